"""Early exit in a batch against running every block on every image and selecting afterwards."""

import itertools
from collections.abc import Callable

import jax
import numpy as np
import pytest
from jaxtyping import Array

from meanet_jax.config.schema import DatasetConfig
from meanet_jax.data.augment import normalise
from meanet_jax.data.sources import load
from meanet_jax.data.splits import ArraySplit
from meanet_jax.errors import UserError
from meanet_jax.evaluation.early_exit import Answers, EarlyExit
from meanet_jax.evaluation.pool import bucket_sizes
from meanet_jax.evaluation.records import make_records
from meanet_jax.models.meanet import Exits, MEANet
from meanet_jax.models.variables import Variables
from meanet_jax.models.zoo import build
from meanet_jax.routing.hard_classes import is_hard
from meanet_jax.routing.policies import (
  CLOUD,
  EXTENSION,
  MAIN,
  Policy,
  Records,
  Thresholds,
  predicted_hard,
  route,
)
from meanet_jax.routing.scores import uncertainty
from meanet_jax.training.forward import ForwardPass
from meanet_jax.training.parallel import replicate
from meanet_jax.training.pipeline import load_variables

POLICIES = [
  Policy(*rules)
  for rules in itertools.product(
    ("argmax", "probability", "never"),
    ("extension", "most_confident"),
    ("main", "edge", "never", "always"),
  )
] + [Policy("argmax", "most_confident", "edge", criterion) for criterion in ("max_prob", "margin")]
BATCH = 12  # no power of two
SIZES = (1, 13, 95)


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
    self.dataset_config: DatasetConfig = tiny.dataset
    dataset = load(tiny.dataset)
    self.model = build(tiny)
    self.variables: Variables = load_variables(tiny, self.model, dataset, run)
    _, first = np.unique(dataset.test.images, axis=0, return_index=True)
    first = np.sort(first)[: max(SIZES)]
    self.images = dataset.test.images[first]
    self.forward = ForwardPass(self.model, Exits.ALL, tiny.dataset, 32)
    split = ArraySplit(self.images, dataset.test.labels[first])
    logits = self.forward(replicate(self.variables), split)
    assert logits.main is not None
    # Any classes can be called hard. These split the images about evenly, however little was
    # learned: the class that main predicts most often, and those it predicts least often.
    order = np.argsort(np.bincount(np.argmax(logits.main, -1), minlength=tiny.dataset.num_classes))
    self.hard_classes = np.sort([order[-1], *order[: tiny.num_hard - 1]])
    self.is_hard = is_hard(self.hard_classes, tiny.dataset.num_classes)
    self.records = make_records(logits, split, self.hard_classes)

  def cloud(self, images: np.ndarray) -> np.ndarray:
    unknown = ArraySplit(images, np.zeros(len(images), np.int32))
    logits = self.forward(replicate(self.variables), unknown).cloud
    assert logits is not None
    return np.argmax(logits, axis=-1)

  def thresholds(self, policy: Policy) -> Thresholds:
    """Midway between neighbours: rounding moves no image across."""
    return Thresholds(
      _midway(uncertainty(policy.criterion, self.records.main), 0.7),
      _midway(uncertainty(policy.criterion, self.records.extension), 0.6),
      _midway(self.records.hard_probability, 0.4),
    )

  def early_exit(self, policy: Policy, cloud=None, model=None, batch_size=BATCH) -> EarlyExit:
    return EarlyExit(
      model or self.model,
      self.variables,
      policy,
      self.thresholds(policy),
      self.hard_classes,
      self.dataset_config,
      batch_size,
      cloud,
    )

  def first(self, size: int) -> Records:
    return jax.tree.map(lambda x: x[:size], self.records)

  def hard(self, policy: Policy, size: int) -> np.ndarray:
    records, limit = self.first(size), self.thresholds(policy).hard
    return predicted_hard(policy, records.main, records.hard_probability, self.is_hard, limit)

  def watched(self, log: Log) -> Watched:
    model = self.model
    return Watched(model.main, model.extension, model.cloud, model.adaptive, model.join, watch=log)

  def pixels(self, batches: list) -> set[bytes]:
    """Rows that are images; what pads them is one value."""
    return {row.tobytes() for batch in batches for row in np.asarray(batch) if np.ptp(row)}

  def pixels_of(self, images: np.ndarray) -> set[bytes]:
    config = self.dataset_config
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


def assert_equal(answers: Answers, exit, prediction, ran_extension, complex) -> None:
  expected = Answers(exit, prediction, ran_extension, complex)
  for name, ours, theirs in zip(Answers._fields, answers, expected, strict=True):
    np.testing.assert_array_equal(ours, theirs, err_msg=name)
    assert ours.dtype == theirs.dtype


def test_the_images_tell_the_rules_apart(finished):
  main, extension = finished.records.main, finished.records.extension
  # Comparisons that no threshold guards hold by more than rounding.
  assert np.min(np.abs(main.max_prob - extension.max_prob)) > 1e-5
  assert min(main.margin.min(), extension.margin.min()) > 1e-5
  for policy in POLICIES:
    taken = route(policy, finished.thresholds(policy), finished.records, finished.is_hard)
    exits = {MAIN, EXTENSION, CLOUD}
    if policy.hard_rule == "never":
      exits -= {EXTENSION}
    if policy.offload_rule == "never":
      exits -= {CLOUD}
    if policy.offload_rule == "always":
      exits = {CLOUD}
    assert set(taken.exit.tolist()) == exits


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_answers_equal_those_of_running_everything_and_selecting(finished, policy):
  early_exit = finished.early_exit(policy, finished.cloud)
  for size in SIZES:
    taken = route(policy, finished.thresholds(policy), finished.first(size), finished.is_hard)
    answers = early_exit.predict(finished.images[:size])
    assert_equal(answers, *taken, taken.exit == CLOUD)


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_without_a_cloud_the_edge_answers_every_image(finished, policy):
  early_exit = finished.early_exit(policy)
  alone = Policy(policy.hard_rule, policy.edge_rule, "never", policy.criterion)
  for size in SIZES:
    records, limits = finished.first(size), finished.thresholds(policy)
    edge = route(alone, limits, records, finished.is_hard)
    # An image that would have gone up before its extension ran now has it run.
    np.testing.assert_array_equal(edge.ran_extension, finished.hard(policy, size))
    complex = route(policy, limits, records, finished.is_hard).exit == CLOUD
    assert_equal(early_exit.predict(finished.images[:size]), *edge, complex)


@pytest.mark.parametrize("policy", [p for p in POLICIES if p.edge_rule == "extension"], ids=str)
def test_blocks_and_cloud_see_exactly_the_images_that_need_them(finished, policy):
  log, sent = Log(), []

  def cloud(images: np.ndarray) -> np.ndarray:
    sent.append(images)
    return finished.cloud(images)

  early_exit = finished.early_exit(policy, cloud, finished.watched(log))
  for images in (finished.images[start:] for start in range(0, 24, 4)):
    log.told.clear()
    sent.clear()
    answers = early_exit.predict(images)
    ran = int(answers.ran_extension.sum())
    entered = finished.pixels(log.values("extension"))
    assert entered == finished.pixels_of(images[answers.ran_extension])
    assert len(entered) == ran
    # Full batches, and one padded bucket for what is left.
    sizes = [len(batch) for batch in log.values("extension")]
    left = ran % BATCH
    last = [min(size for size in bucket_sizes(BATCH) if size >= left)] if left else []
    assert sorted(sizes) == sorted([BATCH] * (ran // BATCH) + last)

    batches = 0 if policy.offload_rule == "always" else -(-len(images) // BATCH)
    assert [len(batch) for batch in log.values("main")] == [BATCH] * batches
    offloaded = images[answers.exit == CLOUD]
    assert len(sent) == (len(offloaded) > 0)
    if sent:
      np.testing.assert_array_equal(sent[0], offloaded)


def test_every_bucket_compiles_once(finished):
  log = Log()
  policy = Policy(offload_rule="never")
  early_exit = finished.early_exit(policy, model=finished.watched(log))
  for size in 2 * (3, 8, 12, 20, 30, 95):
    early_exit.predict(finished.images[:size])
  traced = log.values("traced extension")
  assert sorted(traced) == sorted(set(traced))
  assert set(traced) <= set(bucket_sizes(BATCH))
  assert len(traced) > 2
  assert log.values("traced main") == [BATCH]


def test_bucket_sizes():
  assert bucket_sizes(1) == [1]
  assert bucket_sizes(8) == [1, 2, 4, 8]
  assert bucket_sizes(12) == [1, 2, 4, 8, 12]


def test_the_batch_size_changes_no_answer(finished):
  policy = Policy(hard_rule="probability", offload_rule="edge")
  expected = finished.early_exit(policy, finished.cloud).predict(finished.images)
  for batch_size in (1, 7, 200):
    early_exit = finished.early_exit(policy, finished.cloud, batch_size=batch_size)
    assert_equal(early_exit.predict(finished.images), *expected)


def test_no_image_has_no_answer(finished):
  for policy in (Policy(), Policy(offload_rule="always")):
    answers = finished.early_exit(policy, finished.cloud).predict(finished.images[:0])
    assert [len(column) for column in answers] == [0, 0, 0, 0]


def test_wrong_images_hard_classes_and_clouds_are_refused(finished):
  with pytest.raises(UserError, match=r"images are \(4, 8, 1\); accepted: \(8, 8, 1\)"):
    finished.early_exit(Policy()).predict(finished.images[:, :4])
  with pytest.raises(UserError, match="batch_size is 0; accepted: at least 1"):
    finished.early_exit(Policy(), batch_size=0)
  silent = finished.early_exit(Policy(offload_rule="always"), lambda images: images[:0, 0, 0, 0])
  with pytest.raises(UserError, match=r"the cloud answered \(0,\); accepted: \(95,\)"):
    silent.predict(finished.images)
  with pytest.raises(UserError, match="1 hard classes given; accepted: 5, one per logit"):
    EarlyExit(
      finished.model,
      finished.variables,
      Policy(),
      Thresholds(0.0, 0.0, 0.5),
      finished.hard_classes[:1],
      finished.dataset_config,
      BATCH,
    )
