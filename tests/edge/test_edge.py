"""EdgeClassifier: the decisions of `route`, with real skipping."""

import json

import numpy as np
import pytest

from meanet_jax.edge.classifier import EdgeClassifier
from meanet_jax.edge.manifest import read_manifest
from meanet_jax.errors import UserError
from meanet_jax.routing.fusion import FusionWeights, fuse_cloud, fuse_extension, log_softmax
from meanet_jax.routing.learned import with_gain
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
