"""What an answer says was compared is what decided, and it can be read off to the last digit."""

import dataclasses

import numpy as np
import pytest

from meanet_jax.edge.classifier import EdgeClassifier
from meanet_jax.edge.decisions import Answer
from meanet_jax.edge.inputs import Item
from meanet_jax.edge.manifest import read_manifest
from meanet_jax.edge.output import to_line
from meanet_jax.edge.results import Result
from meanet_jax.edge.text import describe
from meanet_jax.routing.policies import Policy, Thresholds, fixed_thresholds
from meanet_jax.routing.rules import EXTENSION, MAIN, Comparison
from meanet_jax.routing.scores import Scores
from tests.edge.links import at_thresholds

LIMIT = np.float32(0.488)


def scores(entropy: float, max_prob: float = 0.75, margin: float = 0.5) -> Scores:
  return Scores(np.int32(3), *map(np.float32, (max_prob, entropy, margin)))


def answered(compared: Comparison | None, *, complex: bool = False) -> Result:
  """An image that the extension answers, whose own entropy is 0.489."""
  answer = Answer(
    prediction=3,
    exit=EXTENSION,
    complex=complex,
    compared=compared,
    scores=scores(0.489),
    main=scores(0.25),
    extension=scores(0.489),
    hard_probability=np.float32(0.5),
    seconds=0.001,
  )
  return Result(Item(7, np.zeros((8, 8, 1), np.uint8)), answer, None, None, 0.002)


def test_lines_show_what_main_was_compared_by_though_the_extension_answers(exported):
  manifest = read_manifest(exported)
  one = answered(Comparison(MAIN, np.float32(0.25), LIMIT))
  line = to_line(one, manifest)
  assert (line["exit"], line["uncertainty"], line["threshold"]) == ("extension", 0.25, 0.488)
  text = describe(one, manifest)
  assert "  entropy 0.250 nats at main, threshold 0.488  not complex  " in text
  assert "0.489" not in text
  for criterion, name in (("max_prob", "1 - probability"), ("margin", "1 - margin")):
    point = dataclasses.replace(manifest.operating_point, policy=Policy(criterion=criterion))
    other = dataclasses.replace(manifest, operating_point=point)
    assert f"  {name} 0.250 at main, threshold 0.488  not complex  " in describe(one, other)


def test_numbers_that_differ_in_the_last_bit_are_told_apart(exported):
  manifest = read_manifest(exported)
  above = np.nextafter(LIMIT, np.float32(1))
  for value, complex in ((LIMIT, False), (above, True)):
    one = answered(Comparison(MAIN, value, LIMIT), complex=complex)
    line = to_line(one, manifest)
    assert (line["uncertainty"] > line["threshold"]) == complex
    said = describe(one, manifest).split("entropy ")[1].split()
    assert (float(said[0]) > float(said[5])) == complex


def test_nothing_compared_is_nothing_shown(exported):
  manifest = read_manifest(exported)
  line = to_line(answered(None), manifest)
  assert (line["uncertainty"], line["threshold"]) == (None, None)
  assert "threshold" not in describe(answered(None), manifest)


@pytest.mark.parametrize("offload", ["early", "late", "never", "always"])
@pytest.mark.parametrize("criterion", ["entropy", "margin"])
def test_the_number_and_its_threshold_decide(exported, source, offload, criterion):
  images = source.dataset.test.images[:40]
  policy = Policy(offload=offload, criterion=criterion)

  def measured(part: Scores) -> np.float32:
    return part.entropy if criterion == "entropy" else 1 - part.margin

  never = at_thresholds(exported, Policy(offload="never"), fixed_thresholds())
  free = EdgeClassifier(exported, operating_point=never).classify(images)
  middle = np.float32(np.median([measured(answer.main) for answer in free]))
  thresholds = Thresholds(middle, np.float32(0.9 * middle), np.float32(0.5))
  point = at_thresholds(exported, policy, thresholds)
  answers = EdgeClassifier(exported, operating_point=point).classify(images)
  exits = set()
  for answer in answers:
    if offload in ("never", "always"):
      assert answer.compared is None
      continue
    assert answer.compared is not None
    exit, value, limit = answer.compared
    exits.add(exit)
    assert exit == (answer.exit if offload == "late" else MAIN)
    part = answer.extension if exit == EXTENSION else answer.main
    assert part is not None
    assert (value, limit) == (measured(part), thresholds[exit])
    assert answer.complex == (value > limit)
  if offload in ("early", "late"):
    assert {answer.complex for answer in answers} == {False, True}
    assert exits == ({MAIN} if offload == "early" else {MAIN, EXTENSION})


def test_a_threshold_that_moves_is_the_images_own(exported, source):
  limits = iter([np.float32(-1), np.float32(2)])

  class BatchThresholds:
    def thresholds(self) -> Thresholds:
      return Thresholds(next(limits), np.float32(np.nan), np.float32(np.nan))

    def record_decision(self, row: int, complex: bool, ran_extension: bool) -> None: ...

  edge = EdgeClassifier(exported)
  for image, limit in zip(source.dataset.test.images[:2], (-1, 2), strict=True):
    (one,) = edge.decide(image[None], online=BatchThresholds())
    assert one.answer.compared is not None
    assert one.answer.compared.threshold == limit
    alone = edge.answer_alone(one)  # the extension may run only now; what decided stays
    assert alone.compared == one.answer.compared
