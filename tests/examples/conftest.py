"""Exports at policies of every kind, each with its edge_test.json."""

from pathlib import Path

import numpy as np
import pytest

from meanet_jax.edge.classifier import EdgeClassifier
from meanet_jax.edge.test_vectors import make_test_vectors
from meanet_jax.files import read_json, write_json
from meanet_jax.routing.fusion import FusionWeights
from meanet_jax.routing.operating_point import OperatingPoint
from meanet_jax.routing.policies import Policy, Thresholds
from meanet_jax.routing.scores import uncertainty
from meanet_jax.tflite.convert import convert
from meanet_jax.tflite.policy import policy_signatures
from tests.edge.links import at_thresholds
from tests.learned import some_weights
from tests.policies import POLICIES


@pytest.fixture(scope="session")
def exports(source, exported, tmp_path_factory) -> dict[str, Path]:
  """By the name of the policy; thresholds send about half of the images."""
  images, directories = source.dataset.test.images, {}
  for name, policy in POLICIES.items():
    directory = directories[name] = tmp_path_factory.mktemp(name)
    point = _halved(exported, policy, images)
    write_json(
      directory / "edge.json",
      read_json(exported / "edge.json") | {"operating_point": point.to_json()},
    )
    (directory / "edge.tflite").symlink_to(exported / "edge.tflite")
    (directory / "policy.tflite").write_bytes(convert(policy_signatures(point)))
    numbers = np.arange(len(images))
    vectors = make_test_vectors(EdgeClassifier(directory), images, numbers, None)
    write_json(directory / "edge_test.json", vectors)
  return directories


def _halved(exported: Path, policy: Policy, images: np.ndarray) -> OperatingPoint:
  classes = EdgeClassifier(exported).operating_point.hard_classes.num_classes
  gain = some_weights(classes) if policy.learns else None
  fusion = FusionWeights(0.6, 0.4) if policy.fuses else None

  def at(*limits: float) -> OperatingPoint:
    return at_thresholds(exported, policy, Thresholds(*limits), fusion, gain)

  first = at(0.5, 0.5, 0.3, 0.02)
  answers = EdgeClassifier(exported, operating_point=first).classify(images)
  gate = np.median([uncertainty(policy.run_criterion, answer.main) for answer in answers])
  if policy.offload not in ("early", "late"):
    return first
  criterion = policy.criterion
  main = [uncertainty(criterion, answer.main) for answer in answers]
  ran = [answer.extension for answer in answers if answer.extension is not None]
  extension = [uncertainty(criterion, scores) for scores in ran] if policy.offload == "late" else []
  return at(float(np.median(main)), float(np.median(extension or [0.0])), 0.3, float(gate))
