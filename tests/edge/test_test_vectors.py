"""edge_test.json: which images it has, and what a check of it finds."""

import base64
import shutil
from pathlib import Path

import numpy as np
import pytest

from meanet_jax.edge import test_vectors
from meanet_jax.edge.classifier import EdgeClassifier
from meanet_jax.edge.combination import log_probabilities
from meanet_jax.edge.test_vectors import (
  PER_ROUTE,
  check_test_vectors,
  describe_ends,
  make_test_vectors,
)
from meanet_jax.errors import UserError, VerificationError
from meanet_jax.files import read_json, write_json
from meanet_jax.routing.fusion import FusionWeights, log_softmax
from meanet_jax.routing.policies import Policy, Thresholds
from tests.edge.links import at_thresholds
from tests.forked_commands import run_command


@pytest.fixture
def copy(exported, tmp_path) -> Path:
  return Path(shutil.copytree(exported, tmp_path / "copy"))


def test_the_export_has_each_route_of_its_images(exported, source):
  tests = read_json(exported / "edge_test.json")
  assert tests["format"] == 1
  vectors, split = tests["vectors"], source.dataset.test
  assert {vector["with_cloud"]["exit"] for vector in vectors} == {"main", "extension", "cloud"}
  routes = [(one["with_cloud"]["exit"], one["predicted_hard"]) for one in vectors]
  assert max(map(routes.count, routes)) <= PER_ROUTE
  for vector in vectors:
    image = np.frombuffer(base64.b64decode(vector["image"]), np.uint8)
    np.testing.assert_array_equal(image, split.images[vector["index"]].ravel())
    assert (vector["label"], vector["pixel_sum"]) == (
      split.labels[vector["index"]],
      image.sum(dtype=int),
    )
    assert (vector["extension"] is not None) == vector["ran_extension"]
    for exit in ("main", "extension"):
      if vector[exit] is not None:
        assert sum(vector[exit]["probabilities"]) == pytest.approx(1, abs=1e-5)
        assert max(vector[exit]["probabilities"]) == pytest.approx(vector[exit]["max_prob"])
    compared = vector["compared"]
    assert vector["sent"] == (compared["uncertainty"] > compared["threshold"])
    assert abs(compared["uncertainty"] - compared["threshold"]) > 2 * tests["tolerance"]


def test_answers_are_the_classifiers(exported, source):
  vectors = read_json(exported / "edge_test.json")["vectors"]
  images = source.dataset.test.images[[vector["index"] for vector in vectors]]
  alone = EdgeClassifier(exported).classify(images)
  asked = iter([int(np.argmax(one["cloud_logits"])) for one in vectors if one["sent"]])
  sending = EdgeClassifier(exported, cloud=lambda _: next(asked)).classify(images)
  names = ("main", "extension", "cloud")
  for vector, edge, cloud in zip(vectors, alone, sending, strict=True):
    assert tuple(vector["without_cloud"].values()) == (names[edge.exit], edge.prediction)
    assert tuple(vector["with_cloud"].values()) == (names[cloud.exit], cloud.prediction)


def test_images_near_a_threshold_are_left_out(exported, source):
  """Where all are near, the farthest stands in."""
  images = source.dataset.test.images[:60]
  uncertain = [answer.main.entropy for answer in EdgeClassifier(exported).classify(images)]
  point = at_thresholds(exported, Policy("never"), Thresholds(uncertain[7], np.nan, np.nan))
  edge = EdgeClassifier(exported, operating_point=point)
  only = make_test_vectors(edge, images[[7, 7]], np.array([3, 4]), None)
  assert [vector["index"] for vector in only["vectors"]] == [3]
  vectors = make_test_vectors(edge, images, np.arange(len(images)), None)["vectors"]
  indices = [vector["index"] for vector in vectors]
  assert 7 not in indices
  assert 1 < len(indices) <= 2 * PER_ROUTE


def test_no_step_is_nearer_to_a_tie_than_an_images_clearance(exported, source):
  """Also of an extension that answers without a cloud alone, and of answers that are fused."""
  seen = set()
  for policy in (Policy(), Policy("argmax", "fused", "late", "max_prob", "fused")):
    thresholds = Thresholds(*map(np.float32, (0.5, 0.5, np.nan)))
    edge = EdgeClassifier(
      exported, operating_point=at_thresholds(exported, policy, thresholds, FusionWeights())
    )
    for number, image in enumerate(source.dataset.test.images[:120]):
      (decision,) = edge.decide(image[None])
      cloud = test_vectors._cloud_logits(edge, number)
      clearance = test_vectors._clearance(edge, decision, cloud)
      steps = test_vectors._steps(edge, image, cloud)
      margins = {"main": steps["main"]["margin"]}
      if decision.skipped:
        margins["skipped"] = edge.answer_alone(decision).extension.margin
      if steps["extension"] is not None:
        margins["extension"] = steps["extension"]["margin"]
      if policy.cloud_rule == "fused" and steps["sent"]:
        said = log_probabilities(edge.operating_point, decision)
        together = np.exp(said / 2 + log_softmax(np.asarray(cloud, np.float32)) / 2)
        second, first = np.sort(together / together.sum())[-2:]
        margins["fused with the cloud"] = first - second
      assert clearance <= min(margins.values()) + 1e-6
      seen |= margins.keys()
  assert seen == {"main", "skipped", "extension", "fused with the cloud"}


def test_a_check_agrees(exported):
  ends = check_test_vectors(exported)
  assert min(ends.values()) > 0
  result = run_command("-m", "meanet_jax", "edge", "--model", str(exported), "--check")
  assert result.returncode == 0, result.stderr
  assert result.stdout == f"{exported / 'edge_test.json'}: {describe_ends(ends)}\n"


def test_a_check_names_the_step_that_differs(copy):
  tests = read_json(copy / "edge_test.json")
  tests["vectors"][1]["main"]["entropy"] += 0.1
  write_json(copy / "edge_test.json", tests)
  index = tests["vectors"][1]["index"]
  with pytest.raises(VerificationError, match=rf"image {index}: main.entropy is .*; expected"):
    check_test_vectors(copy)
  result = run_command("-m", "meanet_jax", "edge", "--model", str(copy), "--check")
  # LiteRT has a line of its own.
  lines = [line for line in result.stderr.splitlines() if not line.startswith("INFO")]
  assert result.returncode == 1
  assert lines == [line for line in lines if line.startswith("error: ")]
  assert len(lines) == 1


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"format": 2}, "has format 2; accepted: 1"),
    ({"vectors": [{}]}, "is damaged: no field 'image'"),
    ({"operating_point": {}}, "is of another edge.tflite or operating point than edge.json"),
    ({"files": {"edge.tflite": "0"}}, "is of another edge.tflite or operating point"),
  ],
)
def test_other_files_are_refused(copy, change, message):
  write_json(copy / "edge_test.json", read_json(copy / "edge_test.json") | change)
  with pytest.raises(UserError, match=message):
    check_test_vectors(copy)


def test_a_missing_file_and_images_beside_check_are_refused(copy):
  (copy / "edge_test.json").unlink()
  with pytest.raises(UserError, match=r"cannot be read: .* accepted: the file that meanet export"):
    check_test_vectors(copy)
  result = run_command("-m", "meanet_jax", "edge", "--model", str(copy), "--check", "x.png")
  assert (result.returncode, "--check with images" in result.stderr) == (2, True)
