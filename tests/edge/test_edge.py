"""EdgeClassifier: the decisions of `route`, with real skipping, and the files that it refuses."""

import dataclasses
import hashlib
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from meanet_jax.edge.classifier import EdgeClassifier
from meanet_jax.edge.manifest import read_manifest
from meanet_jax.errors import UserError
from meanet_jax.routing.fusion import FusionWeights, fuse_cloud, fuse_extension, log_softmax
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.learned import with_gain
from meanet_jax.routing.operating_point import Temperatures
from meanet_jax.routing.policies import PRESETS, Policy, Thresholds
from meanet_jax.routing.rules import (
  CLOUD,
  Records,
  cloud_prediction,
  edge_answer,
  extension_scores,
  predicted_hard,
  route,
)
from meanet_jax.routing.scores import Scores, scores
from meanet_jax.tflite.export import Options, export
from tests.edge.links import at_thresholds
from tests.forked_commands import run_command
from tests.learned import some_weights

POLICIES = [
  *(
    Policy(hard, edge, offload, criterion)
    for hard in ("argmax", "probability", "never")
    for edge in ("extension", "most_confident")
    for offload in ("early", "late", "never", "always")
    for criterion in ("entropy", "max_prob", "margin")
  ),
  *(
    Policy(hard, "fused", offload, "max_prob", cloud)
    for hard in ("argmax_uncertain", "uncertain", "probability")
    for offload in ("early", "late", "never", "always")
    for cloud in ("replace", "fused")
  ),
  PRESETS["late"],
  Policy("argmax_uncertain", "extension", "late", "entropy", "fused"),
  Policy("argmax", "extension", "late", "learned"),
  Policy("argmax_uncertain", "fused", "late", "learned", "fused"),
]
GAIN = some_weights(num_classes=10)
FUSION = FusionWeights(0.6, 0.3)


@pytest.fixture(scope="module")
def images(source) -> np.ndarray:
  return source.dataset.test.images[:200]


@pytest.fixture(scope="module")
def records(exported, images) -> Records:
  """What the exported file says of every image, with a made-up cloud.

  It answers the number of the image, and for fusion gives the logits of `cloud_logits`.
  """
  outputs = EdgeClassifier(exported).outputs(images)
  main, extension = (
    Scores(**{name: outputs[exit][name] for name in Scores._fields[:4]})
    for exit in ("main", "extension")
  )
  cloud = main._replace(prediction=np.arange(len(images), dtype=np.int32))
  label = np.zeros(len(images), np.int32)
  logits = outputs["main"]["logits"], outputs["extension"]["logits"]
  fused = fuse_extension(*logits, read_manifest(exported).operating_point.hard_classes, FUSION.edge)
  answers = [
    np.argmax(fuse_cloud(edge, cloud_logits(len(images)), FUSION.cloud), axis=-1).astype(np.int32)
    for edge in (log_softmax(logits[0]), fused)
  ]
  mass = outputs["main"]["hard_probability"]
  with_gains = (
    with_gain(GAIN, answer, main, mass, ran)
    for answer, ran in ((main, False), (extension, True), (scores(fused), True))
  )
  main, extension, of_both = with_gains
  return Records(label, mass, main, extension, cloud, of_both, *answers)


def cloud_logits(count: int) -> np.ndarray:
  return np.random.default_rng(0).normal(size=(count, 10)).astype(np.float32)


def middle_thresholds(policy: Policy, records: Records) -> Thresholds:
  if policy.criterion == "learned":
    side = extension_scores(policy, records)
    run = 1 - records.main.max_prob
    limits = records.main.gain, side.gain, records.hard_probability, run
    return Thresholds(*(np.median(value).astype(np.float32) for value in limits))
  if policy.criterion == "entropy":
    values = records.main.entropy, records.extension.entropy
  else:
    name = policy.criterion
    values = 1 - getattr(records.main, name), 1 - getattr(records.extension, name)
  limits = (*values, records.hard_probability, values[0])
  return Thresholds(*(np.median(value).astype(np.float32) for value in limits))


def watched(classifier: EdgeClassifier) -> list[np.ndarray]:
  """The images of every call of the extension's signature, from now on."""
  calls, extension = [], classifier._extension

  def watch(**arguments: np.ndarray):
    calls.append(arguments["image"])
    return extension(**arguments)

  classifier._extension = watch
  return calls


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_decisions_are_those_of_route_and_the_extension_runs_where_it_has_to(
  source, exported, images, records, policy
):
  thresholds = middle_thresholds(policy, records)
  point = at_thresholds(exported, policy, thresholds, FUSION, GAIN)
  hard = point.hard_classes.mask
  asked, logits = [], cloud_logits(len(images))
  # The made-up cloud knows an image by its pixels.
  place = {image.tobytes(): number for number, image in enumerate(images)}

  def cloud(image: np.ndarray):
    asked.append(image)
    number = place[image.tobytes()]
    return logits[number] if policy.cloud_rule == "fused" else number

  classifier = EdgeClassifier(exported, operating_point=point, cloud=cloud)
  calls = watched(classifier)
  answers = classifier.classify(images)
  expected = route(policy, thresholds, records, hard)
  assert [answer.exit for answer in answers] == expected.exit.tolist()
  same_pixels = np.array([place[image.tobytes()] for image in images])
  if policy.cloud_rule == "fused":
    same_pixels = cloud_prediction(policy, records, expected.ran_extension)[same_pixels]
  predictions = np.where(expected.exit == CLOUD, same_pixels, expected.prediction)
  assert [answer.prediction for answer in answers] == predictions.tolist()
  assert [answer.extension is not None for answer in answers] == expected.ran_extension.tolist()
  ran = images[expected.ran_extension]
  assert len(calls) == len(ran)
  np.testing.assert_array_equal(np.concatenate([*calls, ran[:0]]), ran)
  assert len(asked) == (expected.exit == CLOUD).sum()
  assert all(answer.seconds > 0 for answer in answers)

  # Without a cloud every image has the edge's answer, and the complex ones are still told.
  alone = EdgeClassifier(exported, operating_point=point)
  judged = predicted_hard(policy, thresholds, records.main, records.hard_probability, hard)
  side = extension_scores(policy, records)
  edge = edge_answer(policy, thresholds, records.main, side, judged)
  for row, answer in enumerate(alone.classify(images)):
    assert answer.exit == edge.exit[row]
    assert answer.prediction == edge.prediction[row]
    assert answer.complex == edge.complex[row]
    taken = side if answer.exit else records.main
    assert answer.scores[:4] == Scores(*(column[row] for column in taken[:4]))[:4]
    assert answer.hard_probability == records.hard_probability[row]


def test_the_files_own_operating_point_is_the_evaluations(source, exported):
  manifest = read_manifest(exported)
  assert manifest.operating_point.to_json() == source.operating_point.to_json()
  assert manifest.class_names == tuple("0123456789")
  assert manifest.dataset == source.config.dataset
  assert manifest.cost == source.config.cost
  assert manifest.cloud_macs == manifest.files["cloud.tflite"].signatures["cloud"].macs
  written = json.loads((exported / "edge.json").read_text())
  assert json.loads(json.dumps(manifest.to_json())) == written


@pytest.mark.parametrize(("batch_size", "dtype"), [(1, "float32"), (4, "uint8"), (7, "float32")])
def test_batches_answer_as_single_images_do(source, exported, images, tmp_path, batch_size, dtype):
  export(source, tmp_path, Options(batch_size=batch_size, image_dtype=dtype))
  batched, single = EdgeClassifier(tmp_path), EdgeClassifier(exported)
  calls = watched(batched)
  some = images[:30]  # no multiple of 4 or 7
  answers = batched.classify(some)
  for ours, theirs in zip(answers, single.classify(some), strict=True):
    assert (ours.prediction, ours.exit, ours.complex) == (
      theirs.prediction,
      theirs.exit,
      theirs.complex,
    )
    np.testing.assert_allclose(ours.scores[:4], theirs.scores[:4], rtol=1e-4, atol=1e-5)
  ran = [answer.extension is not None for answer in answers]
  needing = [any(ran[i : i + batch_size]) for i in range(0, len(ran), batch_size)]
  assert len(calls) == sum(needing)
  outputs = batched.outputs(some)
  assert outputs["main"]["logits"].shape == (30, 10)


def test_without_skipping_the_extension_always_runs_and_nothing_else_changes(exported, images):
  always, early = EdgeClassifier(exported, skip=False), EdgeClassifier(exported)
  calls = watched(always)
  pairs = zip(always.classify(images), early.classify(images), strict=True)
  assert all(a._replace(seconds=0) == b._replace(seconds=0) for a, b in pairs)
  assert len(calls) == len(images)
  assert early.classify(images[:0]) == []


@pytest.mark.parametrize(
  "wrong",
  [
    np.zeros((1, 9, 8, 1), np.uint8),
    np.zeros((8, 8, 1), np.uint8),
    np.zeros((1, 8, 8, 3), np.uint8),
    np.zeros((1, 8, 8, 1), np.float32),
  ],
)
def test_images_of_another_shape_or_type(exported, wrong):
  message = rf"images are {wrong.dtype} .*; accepted: uint8 \(n, 8, 8, 1\)"
  with pytest.raises(UserError, match=message):
    EdgeClassifier(exported).classify(wrong)


def changed(exported: Path, directory: Path, **fields) -> Path:
  shutil.copytree(exported, directory)
  source = json.loads((directory / "edge.json").read_text())
  (directory / "edge.json").write_text(json.dumps(source | fields))
  return directory


def test_files_that_do_not_belong_together(exported, source, tmp_path):
  point = dataclasses.replace(source.operating_point, temperatures=Temperatures(main=2.0))
  other = dataclasses.replace(source, operating_point=point)
  export(other, tmp_path / "other", Options())
  mixed = changed(exported, tmp_path / "mixed")
  shutil.copy(tmp_path / "other" / "edge.tflite", mixed / "edge.tflite")
  with pytest.raises(UserError, match=r"edge\.tflite does not match edge\.json: its SHA-256 is"):
    EdgeClassifier(mixed)


@pytest.mark.parametrize("place", [0, 4, 1000, -1])
def test_a_corrupted_file(exported, tmp_path, place):
  directory = changed(exported, tmp_path / "bad")
  data = bytearray((directory / "edge.tflite").read_bytes())
  data[place] ^= 0xFF
  (directory / "edge.tflite").write_bytes(data)
  with pytest.raises(UserError, match="does not match"):
    EdgeClassifier(directory)
  (directory / "edge.tflite").write_bytes(data[:-100])
  with pytest.raises(UserError, match=r"bytes \(found"):
    EdgeClassifier(directory)
  (directory / "edge.tflite").unlink()
  with pytest.raises(UserError, match=r"edge\.tflite cannot be read: No such file"):
    EdgeClassifier(directory)


def test_a_file_that_is_no_model_though_edge_json_names_it(exported, tmp_path):
  directory = changed(exported, tmp_path / "bad")
  own = json.loads((exported / "edge.json").read_text())["files"]["edge.tflite"]
  for data in (b"not a model at all", (exported / "cloud.tflite").read_bytes()):
    entry = own | {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (directory / "edge.tflite").write_bytes(data)
    source = json.loads((exported / "edge.json").read_text())
    source["files"]["edge.tflite"] = entry
    (directory / "edge.json").write_text(json.dumps(source))
    with pytest.raises(UserError, match=r"cannot be run: .* accepted: signatures main and"):
      EdgeClassifier(directory)


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"format": 3}, "has format 3; accepted: 5, as this version's meanet export writes it, or 4$"),
    ({"preprocessing": {"crop": "centre"}}, r"preprocessing\.share is None"),
    ({"unmet_constraint": 3}, "unmet_constraint is 3"),
    (
      {"operating_point": {}},
      "damaged: field 'operating_point.policy' is missing; expected policy, ",
    ),
    (
      {"operating_point": None},
      "damaged: operating_point is None; expected an object with policy, .*, gain; accepted",
    ),
    ({"class_names": ["a", "b"]}, "class_names are 2, and the operating point is of 10 classes"),
    ({"image_dtype": "int8"}, "image_dtype is 'int8', not one of uint8, float32"),
    ({"image_shape": [8, 8]}, "not enough values to unpack"),
    ({"image_shape": [-8, 8, 1]}, r"image_shape is \[-8, 8, 1\]"),
    (
      {"image_shape": [9, 8, 1]},
      r"takes images uint8 \[1, 8, 8, 1\]; accepted: uint8 \[1, 9, 8, 1",
    ),
    ({"batch_size": 2}, r"takes images uint8 \[1, 8, 8, 1\]; accepted: uint8 \[2, 8, 8, 1\]"),
    ({"files": {}}, "no field 'edge.tflite'"),
    ({"dataset": "digits"}, "edge.json is damaged: "),
    ({"dataset": {"name": "digits", "path": ""}}, r"dataset\.image_shape is None"),
    ({"cost": {"radio": "5g"}}, r"cost\.radio is '5g', not one of wifi, lte, 3g"),
    ({"batch_size": math.inf}, "cannot convert float infinity to integer"),
    ({"cloud_macs": math.inf}, "cannot convert float infinity to integer"),
    ({"cost": {"radio": "wifi", "watts": 1}}, "unexpected keyword argument 'watts'"),
  ],
)
def test_a_manifest_that_is_wrong(exported, tmp_path, fields, message):
  with pytest.raises(UserError, match=message):
    EdgeClassifier(changed(exported, tmp_path / "bad", **fields))


def test_no_manifest_at_all(exported, tmp_path):
  with pytest.raises(UserError, match=r"edge\.json cannot be read: .*accepted: a directory that"):
    EdgeClassifier(tmp_path)
  for text in ("{", "[]", "3"):
    (tmp_path / "edge.json").write_text(text)
    with pytest.raises(UserError, match=r"cannot be read|has format"):
      EdgeClassifier(tmp_path)
  source = json.loads((exported / "edge.json").read_text())
  for name in source.keys() - {"networks"}:  # which exports of format 5 may lack
    less = {key: value for key, value in source.items() if key != name}
    (tmp_path / "edge.json").write_text(json.dumps(less))
    with pytest.raises(UserError, match=f"no field '{name}'|has format None"):
      EdgeClassifier(tmp_path)


def test_an_operating_point_of_another_export(exported):
  own = read_manifest(exported).operating_point
  for name, value, words in (
    ("temperatures", Temperatures(main=2.0), "has temperatures Temperatures"),
    ("hard_classes", HardClasses(np.array([1, 2]), 10), "has hard_classes HardClasses"),
  ):
    with pytest.raises(UserError, match=f"the operating point {words}.*; expected the export's, "):
      EdgeClassifier(exported, operating_point=dataclasses.replace(own, **{name: value}))


def test_hard_classes_that_are_not_the_networks(exported, tmp_path):
  point = json.loads((exported / "edge.json").read_text())["operating_point"]
  for classes, words in (
    ([1, 2], "has 5 classes at exit extension; accepted: 2, as edge.json says"),
    ([3, 10], r"damaged: hard_classes is \[3, 10\] with 10 classes; expected numbers from 0 to 9"),
    ([], r"damaged: hard_classes is \[\] with 10 classes; expected at least 1 class number"),
  ):
    other = changed(
      exported,
      tmp_path / f"of{len(classes)}{max(classes, default=0)}",
      operating_point=point | {"hard_classes": classes},
    )
    with pytest.raises(UserError, match=words):
      EdgeClassifier(other)


def test_a_file_of_format_4_is_read(exported, tmp_path):
  """As the version before wrote it: nothing of the evaluation and the device."""
  fields = json.loads((exported / "edge.json").read_text())
  del fields["evaluation"], fields["profile"], fields["networks"], fields["dataset"]["path"]
  del fields["operating_point"]["extension_classes"]
  directory = changed(exported, tmp_path / "earlier")
  (directory / "edge.json").write_text(json.dumps(fields | {"format": 4}))
  found = EdgeClassifier(directory).manifest
  expected = read_manifest(exported)
  assert found == dataclasses.replace(expected, evaluation=None, profile=None, networks=None)


def test_the_command_refuses_in_one_line(exported, tmp_path):
  text = tmp_path / "text.png"
  text.write_text("no image")
  for arguments, status, words in (
    ([], 2, "flag --model is missing; accepted: a directory that"),
    (["--model", str(tmp_path), str(text)], 2, "edge.json cannot be read"),
    (["--model", str(exported), str(text)], 2, "text.png cannot be read"),
    (["--model", str(exported), str(tmp_path / "none.png")], 2, "No such file"),
    (["--model", str(exported), "--threads", "0", str(text)], 2, "--threads is 0"),
    (
      ["--model", str(exported), "--threads", "many", str(text)],
      2,
      "--threads is many; accepted: an integer",
    ),
  ):
    result = run_command("-m", "meanet_jax", "edge", *arguments)
    assert result.returncode == status
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert words in line
    assert result.stdout == ""
