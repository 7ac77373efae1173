"""That the checks of types and shapes, which every other test has, are there."""

import numpy as np
import pytest
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import Float, TypeCheckError

from meanet_jax.evaluation.predictor import _padded
from meanet_jax.models.meanet import Trunk
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.selection.temperature import fit_temperature
from tests.type_checks import decorate

LOGITS, LABELS = np.zeros((3, 4), np.float32), np.zeros(3, np.int32)


def test_sizes_of_one_name_are_the_same():
  fit_temperature(LOGITS, LABELS)
  with pytest.raises(BeartypeCallHintViolation, match="dimension n is 4"):
    fit_temperature(LOGITS, np.zeros(4, np.int32))
  fit_temperature(LOGITS[:2], LABELS[:2])  # a call is a scope of its own


def test_a_result_is_checked_with_what_was_given():
  @decorate(typechecker=None)
  def without_last(x: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    return x[:-1]

  with pytest.raises(BeartypeCallHintViolation, match="dimension n is 2"):
    without_last(LOGITS[0, :3])


def test_dataclasses_modules_and_generators_are_checked():
  with pytest.raises(BeartypeCallHintViolation, match="num_classes"):
    HardClasses(np.arange(2, dtype=np.int32), 4.5)
  with pytest.raises(TypeCheckError, match="structure"):
    Trunk(3)
  with pytest.raises(TypeCheckError, match="numbers"):
    list(_padded(LOGITS, 2))
