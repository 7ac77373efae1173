import numpy as np

from meanet_jax.evaluation.records import make_records
from meanet_jax.models.meanet import Outputs
from meanet_jax.routing.hard_classes import HardClasses

HARD = np.array([1, 3], np.int32)
LABELS = np.array([0, 1, 2, 3, 3], np.int32)


def outputs(rng: np.random.Generator) -> Outputs:
  return Outputs(*(rng.normal(size=(5, c)).astype(np.float32) for c in (4, 2, 4)))


def test_the_extension_answers_in_original_class_numbers():
  logits = outputs(np.random.default_rng(0))
  records = make_records(logits, LABELS, HardClasses(HARD, 4))
  np.testing.assert_array_equal(records.main.prediction, logits.main.argmax(-1))
  np.testing.assert_array_equal(records.extension.prediction, HARD[logits.extension.argmax(-1)])
  exp = np.exp(logits.main)
  np.testing.assert_allclose(
    records.hard_probability, exp[:, HARD].sum(-1) / exp.sum(-1), rtol=1e-5
  )


def test_an_extension_of_all_classes_answers_with_any():
  rng = np.random.default_rng(0)
  logits = Outputs(*(rng.normal(size=(5, 4)).astype(np.float32) for _ in range(3)))
  records = make_records(logits, LABELS, HardClasses(HARD, 4, "all"))
  np.testing.assert_array_equal(records.extension.prediction, logits.extension.argmax(-1))
  alone = make_records(
    logits._replace(extension=logits.extension[:, HARD]), LABELS, HardClasses(HARD, 4)
  )
  np.testing.assert_array_equal(records.hard_probability, alone.hard_probability)


def test_without_an_extension_no_probability_is_of_hard_classes():
  logits = outputs(np.random.default_rng(0))._replace(extension=np.zeros((5, 0), np.float32))
  records = make_records(logits, LABELS, HardClasses(np.zeros(0, np.int32), 4))
  assert records.hard_probability.tolist() == [0.0] * 5
  np.testing.assert_array_equal(records.extension.prediction, records.main.prediction)
