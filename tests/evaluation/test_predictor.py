"""Prediction at an operating point against the policy applied to records of every block."""

import dataclasses
import itertools
from collections.abc import Callable

import jax
import numpy as np
import pytest
from jaxtyping import Array

from meanet_jax.data.augment import normalise
from meanet_jax.data.padding import bucket_sizes
from meanet_jax.data.sources import load
from meanet_jax.data.splits import ArraySplit
from meanet_jax.errors import UserError
from meanet_jax.evaluation.predictor import Networks, Prediction, Predictor
from meanet_jax.evaluation.records import make_records
from meanet_jax.evaluation.systems import route_selected
from meanet_jax.models.meanet import Exits, MEANet
from meanet_jax.models.zoo import build
from meanet_jax.routing.fusion import FusionWeights
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.operating_point import OperatingPoint, Temperatures
from meanet_jax.routing.policies import Policy, Thresholds
from meanet_jax.routing.rules import CLOUD, EXTENSION, MAIN, Records, Route, extension_scores
from meanet_jax.routing.scores import Scores, uncertainty
from meanet_jax.training.forward import ForwardPass
from meanet_jax.training.parallel import replicate
from meanet_jax.training.restore import load_variables
from tests.learned import some_weights

POLICIES = [
  Policy(*rules)
  for rules in itertools.product(
    ("argmax", "probability", "never"),
    ("extension", "most_confident"),
    ("early", "late", "never", "always"),
  )
] + [Policy("argmax", "most_confident", "late", criterion) for criterion in ("max_prob", "margin")]
POLICIES += [
  Policy("argmax_uncertain", "fused", "late", "max_prob", "fused"),
  Policy("uncertain", "fused", "early", "entropy", "fused"),
  Policy("argmax", "extension", "always", "entropy", "fused"),
  Policy("argmax_uncertain", "extension", "late", "learned"),
]
BATCH = 12  # no power of two
SIZES = (1, 13, 95)
TEMPERATURES = Temperatures(1.5, 0.7, 2.0)
FUSION = FusionWeights(0.6, 0.7)
GAIN = some_weights(num_classes=10)


class Watched(MEANet):
  """Tells what its blocks trace and compute. Images are told apart by their pixels."""

  watch: Callable[..., None] = print

  def main_exit(self, images: Array) -> tuple[Array, Array]:
    self.watch("traced main", len(images))
    jax.debug.callback(lambda x: self.watch("main", x), images)
    return super().main_exit(images)

  def extend(self, images: Array, features: Array, train: bool = False) -> Array:
    self.watch("traced extension", len(images))
    jax.debug.callback(lambda x: self.watch("extension", x), images)
    return super().extend(images, features, train)

  def classify_on_cloud(self, images: Array) -> Array:
    self.watch("traced cloud", len(images))
    jax.debug.callback(lambda x: self.watch("cloud", x), images)
    return super().classify_on_cloud(images)


class Log:
  """What `Watched` has told."""

  def __init__(self):
    self.told: list[tuple[str, object]] = []

  def __call__(self, what: str, value: object) -> None:
    self.told.append((what, value))

  def values(self, what: str) -> list:
    jax.effects_barrier()
    return [value for name, value in self.told if name == what]


class Finished:
  """A trained network, its test images without repetitions, and what every exit says of them."""

  def __init__(self, run, tiny):
    dataset = load(tiny.dataset)
    model = build(tiny)
    self.networks = Networks(model, load_variables(tiny, model, dataset, run), tiny.dataset)
    _, first = np.unique(dataset.test.images, axis=0, return_index=True)
    first = np.sort(first)[: max(SIZES)]
    self.images = dataset.test.images[first]
    forward = ForwardPass(model, Exits.ALL, tiny.dataset, 32)
    labels = dataset.test.labels[first]
    logits = forward(replicate(self.networks.variables), ArraySplit(self.images, labels))
    assert logits.main is not None
    # Any classes can be called hard. These split the images about evenly, however little was
    # learned: the class that main predicts most often, and those it predicts least often.
    order = np.argsort(np.bincount(np.argmax(logits.main, -1), minlength=tiny.dataset.num_classes))
    numbers = np.sort([order[-1], *order[: tiny.num_hard - 1]])
    self.hard_classes = HardClasses(numbers, tiny.dataset.num_classes)
    self.records = make_records(logits, labels, self.hard_classes, TEMPERATURES, FUSION, GAIN)

  def point(self, policy: Policy) -> OperatingPoint:
    """Thresholds midway between neighbours: rounding moves no image across."""
    thresholds = Thresholds(
      _midway(uncertainty(policy.criterion, self.records.main), 0.7),
      _midway(uncertainty(policy.criterion, extension_scores(policy, self.records)), 0.6),
      _midway(self.records.hard_probability, 0.4),
      _midway(uncertainty(policy.run_criterion, self.records.main), 0.3),
    )
    return OperatingPoint(policy, thresholds, TEMPERATURES, self.hard_classes, FUSION, GAIN)

  def alone(self) -> Networks:
    """The networks without their cloud."""
    edge = {block: v for block, v in self.networks.variables.items() if block != "cloud"}
    return self.networks._replace(variables=edge)

  def predictor(self, policy: Policy, networks=None, batch_size=BATCH) -> Predictor:
    return Predictor(networks or self.networks, self.point(policy), batch_size)

  def first(self, size: int) -> Records:
    return jax.tree.map(lambda x: x[:size], self.records)

  def route(self, policy: Policy, size: int) -> Route:
    return route_selected(self.point(policy), self.first(size))

  def watched(self, log: Log) -> Networks:
    model = self.networks.model
    watched = Watched(
      model.main, model.extension, model.cloud, model.adaptive, model.join, watch=log
    )
    return self.networks._replace(model=watched)

  def pixels(self, batches: list) -> set[bytes]:
    """Rows that are images; what pads them is one value."""
    return {row.tobytes() for batch in batches for row in np.asarray(batch) if np.ptp(row)}

  def pixels_of(self, images: np.ndarray) -> set[bytes]:
    config = self.networks.dataset
    return self.pixels([jax.jit(normalise, static_argnums=(1, 2))(images, config.mean, config.std)])


def _midway(values: np.ndarray, share: float) -> np.float32:
  ordered = np.sort(values)
  gaps = np.diff(ordered)
  start = int(share * len(gaps))
  best = start + int(np.argmax(gaps[start : start + 10]))
  assert gaps[best] > 1e-4
  return np.float32((ordered[best] + ordered[best + 1]) / 2)


@pytest.fixture(scope="module")
def finished(finished_run, tiny) -> Finished:
  return Finished(finished_run, tiny)


def assert_equal(
  found: Prediction, expected: Route, records: Records, policy: Policy = POLICIES[0]
) -> None:
  np.testing.assert_array_equal(found.exit, expected.exit)
  np.testing.assert_array_equal(found.classes, expected.prediction)
  np.testing.assert_array_equal(found.ran_extension, expected.ran_extension)
  for ours, theirs in zip((found.exit, found.classes, found.ran_extension), expected, strict=True):
    assert ours.dtype == theirs.dtype
  # The scores are those of the exit that answered.
  exits = [records.main, extension_scores(policy, records), records.cloud]
  for field in Scores._fields[:4]:
    of_exit = np.stack([getattr(scores, field) for scores in exits])
    theirs = of_exit[expected.exit, np.arange(len(expected.exit))]
    np.testing.assert_allclose(getattr(found.scores, field), theirs, atol=1e-5, err_msg=field)


def test_the_images_tell_the_rules_apart(finished):
  main, extension = finished.records.main, finished.records.extension
  # Comparisons that no threshold guards hold by more than rounding.
  assert np.min(np.abs(main.max_prob - extension.max_prob)) > 1e-5
  assert min(main.margin.min(), extension.margin.min()) > 1e-5
  for policy in POLICIES:
    exits = {MAIN, EXTENSION, CLOUD}
    if policy.hard_rule == "never":
      exits -= {EXTENSION}
    if policy.offload == "never":
      exits -= {CLOUD}
    if policy.offload == "always":
      exits = {CLOUD}
    assert set(finished.route(policy, max(SIZES)).exit.tolist()) == exits


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_answers_equal_those_of_the_policy_on_records(finished, policy):
  predictor = finished.predictor(policy)
  for size in SIZES:
    found = predictor.predict(finished.images[:size])
    assert_equal(found, finished.route(policy, size), finished.first(size), policy)


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_without_a_cloud_the_edge_answers_every_image(finished, policy):
  predictor = finished.predictor(policy, finished.alone())
  alone = dataclasses.replace(policy, offload="never")
  for size in SIZES:
    point = dataclasses.replace(finished.point(policy), policy=alone)
    edge = route_selected(point, finished.first(size))
    # An image that would have gone up before its extension ran now has it run.
    found = predictor.predict(finished.images[:size])
    assert_equal(found, edge, finished.first(size), policy)


@pytest.mark.parametrize(
  "policy", [p for p in POLICIES if p.edge_rule != "most_confident"], ids=str
)
def test_each_block_computes_exactly_the_images_that_need_it(finished, policy):
  log = Log()
  predictor = finished.predictor(policy, finished.watched(log))
  for images in (finished.images[start:] for start in range(0, 24, 4)):
    log.told.clear()
    found = predictor.predict(images)
    for block, needed in (("extension", found.ran_extension), ("cloud", found.exit == CLOUD)):
      entered = finished.pixels(log.values(block))
      assert entered == finished.pixels_of(images[needed])
      assert len(entered) == needed.sum()
      # Full batches, and one padded bucket for what is left.
      sizes, left = [len(batch) for batch in log.values(block)], int(needed.sum()) % BATCH
      last = [min(size for size in bucket_sizes(BATCH) if size >= left)] if left else []
      assert sorted(sizes) == sorted([BATCH] * (int(needed.sum()) // BATCH) + last)
    skipped = policy.offload == "always" and policy.cloud_rule == "replace"
    batches = 0 if skipped else -(-len(images) // BATCH)
    assert [len(batch) for batch in log.values("main")] == [BATCH] * batches


def test_a_block_that_no_image_needs_is_neither_computed_nor_compiled(finished):
  policy = Policy()
  taken = finished.route(policy, max(SIZES))
  log = Log()
  predictor = finished.predictor(policy, finished.watched(log))
  easy = finished.images[taken.exit == MAIN]
  assert len(easy) > BATCH
  assert (predictor.predict(easy).exit == MAIN).all()
  for block in ("extension", "cloud"):
    assert not log.values(block)
    assert not log.values(f"traced {block}")


def test_many_rounds_give_the_same_answers(finished, monkeypatch):
  monkeypatch.setattr("meanet_jax.evaluation.predictor._BATCHES_PER_ROUND", 2)
  policy = Policy(hard_rule="probability", offload="late")
  for batch_size in (1, 7, 200):
    found = finished.predictor(policy, batch_size=batch_size).predict(finished.images)
    assert_equal(found, finished.route(policy, max(SIZES)), finished.records)


def test_every_bucket_compiles_once(finished):
  log = Log()
  predictor = finished.predictor(Policy(offload="never"), finished.watched(log))
  for size in 2 * (3, 8, 12, 20, 30, 95):
    predictor.predict(finished.images[:size])
  traced = log.values("traced extension")
  assert sorted(traced) == sorted(set(traced))
  assert set(traced) <= set(bucket_sizes(BATCH))
  assert len(traced) > 2
  assert log.values("traced main") == [BATCH]


def test_bucket_sizes():
  assert bucket_sizes(1) == [1]
  assert bucket_sizes(8) == [1, 2, 4, 8]
  assert bucket_sizes(12) == [1, 2, 4, 8, 12]


def test_no_image_has_no_answer(finished):
  for policy in (Policy(), Policy(offload="always")):
    found = finished.predictor(policy).predict(finished.images[:0])
    assert {len(column) for column in jax.tree.leaves(found)} == {0}


def test_a_run_is_loaded(finished, tiny):
  class Run:
    config = tiny

    def load(self):
      return finished.networks.model, finished.networks.variables

  found = Predictor(Run(), finished.point(Policy()), BATCH).predict(finished.images)
  assert_equal(found, finished.route(Policy(), max(SIZES)), finished.records)


def test_wrong_images_hard_classes_and_batches_are_refused(finished):
  images = finished.images[:3]
  for wrong, found in (
    (images[:, :4], r"uint8 \(3, 4, 8, 1\)"),
    (images[0], r"uint8 \(8, 8, 1\)"),
    (images[None], r"uint8 \(1, 3, 8, 8, 1\)"),
    ((images / 255).astype(np.float32), r"float32 \(3, 8, 8, 1\)"),
  ):
    with pytest.raises(UserError, match=rf"images are {found}; accepted: uint8 \(n, 8, 8, 1\)$"):
      finished.predictor(Policy()).predict(wrong)
  with pytest.raises(UserError, match="batch_size is 0; accepted: at least 1"):
    finished.predictor(Policy(), batch_size=0)
  point = finished.point(Policy())
  for numbers, classes, words in (
    ([0], 10, "has 1 classes for the extension; accepted: 5, one per logit"),
    ([0, 1, 2, 3, 4], 11, "is of 11 classes; accepted: 10"),
  ):
    other = HardClasses(np.array(numbers), classes)
    other = dataclasses.replace(point, hard_classes=other, gain=None)
    with pytest.raises(UserError, match=words):
      Predictor(finished.networks, other)
