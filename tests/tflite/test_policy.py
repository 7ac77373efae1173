"""policy.tflite: in the interpreter, what the rules make of the same logits."""

import jax.numpy as jnp
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from meanet_jax.config.schema import Criterion
from meanet_jax.evaluation.records import records_at
from meanet_jax.models.meanet import Outputs
from meanet_jax.routing.fusion import FusionWeights
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.operating_point import OperatingPoint, Temperatures
from meanet_jax.routing.policies import Policy, Thresholds
from meanet_jax.routing.rules import route
from meanet_jax.routing.scores import Scores, uncertainty
from meanet_jax.tflite.convert import convert
from meanet_jax.tflite.flatbuffer import read_signatures
from meanet_jax.tflite.policy import policy_signatures, run_policy
from tests.learned import some_weights
from tests.policies import POLICIES

IMAGES, CLASSES = 60, 5


def some_logits(known: int) -> Outputs:
  rng = np.random.default_rng(1)
  widths = (CLASSES, known, CLASSES)
  return Outputs(*(rng.normal(0, 2, (IMAGES, n)).astype(np.float32) for n in widths))


def a_point(policy: Policy, hard_classes: HardClasses, logits: Outputs) -> OperatingPoint:
  """One that every comparison divides the images of."""
  temperatures = Temperatures(1.3, 0.8, 1.7)
  gain = some_weights(CLASSES) if policy.learns else None
  loose = OperatingPoint(
    policy,
    Thresholds(0.0, 0.0, 0.0, 0.0),
    temperatures,
    hard_classes,
    FusionWeights(0.6, 0.4) if policy.fuses else None,
    gain,
  )
  records = records_at(loose, logits, np.zeros(IMAGES, np.int32))

  def share(scores: Scores | None, criterion: Criterion, below: float = 0.5) -> float:
    assert scores is not None
    return float(np.quantile(uncertainty(criterion, scores), below))

  extension = records.fused if policy.edge_rule == "fused" else records.extension
  limits = Thresholds(
    share(records.main, policy.criterion if policy.learns else policy.run_criterion),
    share(extension, policy.criterion if policy.learns else policy.run_criterion),
    float(np.median(records.hard_probability)),
    share(records.main, policy.run_criterion, 0.3),
  )
  return OperatingPoint(policy, limits, temperatures, hard_classes, loose.fusion, gain)


@pytest.mark.parametrize("extension", ["hard", "all"])
@pytest.mark.parametrize("name", POLICIES)
def test_the_rules(name, extension):
  hard_classes = HardClasses(np.array([1, 3, 4]), CLASSES, extension)
  logits = some_logits(len(hard_classes.known))
  point = a_point(POLICIES[name], hard_classes, logits)
  records = records_at(point, logits, np.zeros(IMAGES, np.int32))
  expected = route(point.policy, point.thresholds, records, hard_classes.mask)
  found = run_policy(convert(policy_signatures(point)), logits)
  for field in expected._fields:
    np.testing.assert_array_equal(getattr(found, field), getattr(expected, field), err_msg=field)
  if point.policy.offload in ("early", "late"):  # and the images take more than one way
    assert 5 < np.sum(found.exit == 2) < IMAGES - 5
  if point.policy.hard_rule != "never" and point.policy.offload != "always":
    assert 5 < found.ran_extension.sum() < IMAGES


def test_what_was_compared_is_an_output():
  hard_classes = HardClasses(np.array([0]), CLASSES)
  point = a_point(Policy("never", "extension", "late", "max_prob"), hard_classes, some_logits(1))
  (after_main, *_) = policy_signatures(point)
  half = jnp.array([[0.0, 0.0, 1.3 * np.log(4), 0.0, 0.0]], jnp.float32)  # and four eighths
  found = after_main.function(half)
  assert float(found["uncertainty"][0]) == pytest.approx(0.5)
  assert int(found["prediction"][0]) == 2


def test_each_output_is_a_tensor_of_its_own():
  """Of a policy that compares nothing, `exit`, `send` and `uncertainty` are constants."""
  hard_classes = HardClasses(np.array([1, 2]), CLASSES)
  point = a_point(Policy("never", offload="never"), hard_classes, some_logits(2))
  model = schema.Model.GetRootAs(convert(policy_signatures(point)), 0)
  for index in range(model.SignatureDefsLength()):
    signature = model.SignatureDefs(index)
    graph = model.Subgraphs(signature.SubgraphIndex())
    numbers = [signature.Outputs(place).TensorIndex() for place in range(signature.OutputsLength())]
    assert len(set(numbers)) == len(numbers)
    for number in numbers:
      assert not model.Buffers(graph.Tensors(number).Buffer()).DataLength()


def test_operations_are_builtin_and_names_those_of_the_page():
  hard_classes = HardClasses(np.array([1, 2]), CLASSES)
  point = a_point(POLICIES["learned_fused"], hard_classes, some_logits(2))
  contents = read_signatures(convert(policy_signatures(point)))
  assert list(contents) == [
    "after_main",
    "after_extension",
    "after_cloud",
    "after_extension_and_cloud",
  ]
  assert not [op for found in contents.values() for op in found.operations if "CUSTOM" in op]
