import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meanet_jax.config.stages import AugmentConfig, StageConfig
from meanet_jax.data import batches as data_batches
from meanet_jax.data.batches import BLOCK, ArrayBatches, Order, Part
from meanet_jax.data.padding import padded_batches
from meanet_jax.data.splits import ArraySplit
from meanet_jax.errors import UserError
from meanet_jax.training.parallel import ahead, fetch


def numbered(size: int) -> ArraySplit:
  images = np.arange(size, dtype=np.uint8).reshape(-1, 1, 1, 1)
  return ArraySplit(images, np.arange(size, dtype=np.int32))


def batches(size=23, batch_size=5, seed=0, stage="main") -> ArrayBatches:
  order = Order(size, seed, stage, batch_size)
  return numbered(size).training_batches(order, AugmentConfig())


def test_an_epoch_shows_no_image_twice_and_the_next_is_in_another_order():
  train = batches()
  assert train.order.steps_per_epoch == 4
  epochs = [[train(epoch * 4 + s)["index"] for s in range(4)] for epoch in range(30)]
  for epoch in epochs:
    assert len(set(np.concatenate(epoch).tolist())) == 20
  assert not np.array_equal(np.concatenate(epochs[0]), np.concatenate(epochs[1]))
  # The 3 images that an epoch leaves out are not always the same.
  assert set(np.concatenate([np.concatenate(epoch) for epoch in epochs]).tolist()) == set(range(23))


def test_a_batch_is_a_function_of_seed_stage_and_step():
  steps = [17, 3, 0, 17]
  first = [batches()(step)["index"] for step in steps]
  second = [batches()(step)["index"] for step in steps]
  np.testing.assert_array_equal(first, second)
  for other in (batches(seed=1), batches(stage="edge")):
    assert not np.array_equal(batches()(0)["index"], other(0)["index"])


def test_orders_that_are_asked_in_turn_are_each_drawn_once_an_epoch(monkeypatch):
  """As the trials of a grid ask, of which each has a seed."""
  drawn = []
  monkeypatch.setattr(
    data_batches, "uniform_order", lambda rng, size: drawn.append(size) or rng.permutation(size)
  )
  orders = [Order(20, seed, "main", 5) for seed in range(6)]
  for step in range(8):
    for order in orders:
      order(step)
  assert len(drawn) == 6 * 2
  assert Order(20, 0, "main", 5) == orders[0] != orders[1]


def test_fetch_gathers_images_and_labels_of_the_same_number():
  train = batches()
  (block,) = train.stream(6, 7)
  batch = fetch(train.resident(), block, 6)
  np.testing.assert_array_equal(batch["image"].ravel(), batch["label"])
  np.testing.assert_array_equal(batch["position"], range(5))


def test_a_subset_has_the_batches_of_its_images_and_keeps_them_among_all():
  whole, chosen = numbered(40), np.arange(1, 40, 2)
  labels = (chosen % 7).astype(np.int32)
  subset, alone = whole.subset(chosen, labels), whole.select(chosen, labels)
  order = Order(len(chosen), 0, "edge", 5)
  ours, theirs = (split.training_batches(order, AugmentConfig()) for split in (subset, alone))
  assert len(ours.resident()["image"].rows) == 40
  assert len(theirs.resident()["image"].rows) == 20
  for step, (block, other) in enumerate(zip(ours.stream(0, 9), theirs.stream(0, 9), strict=True)):
    found, expected = fetch(ours.resident(), block, step), fetch(theirs.resident(), other, step)
    np.testing.assert_array_equal(found["image"], expected["image"])
    np.testing.assert_array_equal(found["label"], expected["label"])
    np.testing.assert_array_equal(whole.images[ours(step)["index"]], expected["image"])


def test_a_step_fetches_its_own_batch_from_its_block_wherever_the_stream_begins():
  train, begin, end = batches(), BLOCK - 3, 3 * BLOCK + 2
  streamed = list(train.stream(begin, end))
  for step, block in enumerate(streamed, begin):
    np.testing.assert_array_equal(
      fetch(train.resident(), block, step)["label"], train(step)["index"]
    )
  assert len({id(block) for block in streamed}) == 4


def test_a_block_goes_to_the_devices_once():
  train = batches(batch_size=4)
  on_devices = list(ahead(train.stream(0, BLOCK + 1)))
  assert len(on_devices) == BLOCK + 1
  assert all(batch is on_devices[0] for batch in on_devices[:BLOCK])
  assert on_devices[BLOCK] is not on_devices[0]
  np.testing.assert_array_equal(on_devices[BLOCK]["index"][0, :, 0], train(BLOCK)["index"])


def test_a_batch_larger_than_the_split_is_refused():
  labels, settings = np.arange(23, dtype=np.int32), StageConfig(batch_size=24)
  with pytest.raises(UserError, match=r"stages\.main\.batch_size is 24; accepted: at most 23"):
    Order.of(labels, 0, "main", settings)
  # Of a stage that takes no step no batch is drawn.
  assert Order.of(labels, 0, "main", dataclasses.replace(settings, epochs=0)).size == 23


@given(size=st.integers(1, 40), batch_size=st.integers(1, 17))
def test_padded_batches_hold_every_image_once(size, batch_size):
  seen = []
  for batch, real in padded_batches(numbered(size).images, batch_size):
    assert batch.shape == (batch_size, 1, 1, 1)
    assert not batch[real:].any()
    seen += batch[:real].ravel().tolist()
  assert seen == list(range(size))


SKEWED = np.repeat(np.arange(3, dtype=np.int32), (50, 9, 2))


def balanced_batches(seed: int = 0) -> ArrayBatches:
  split = ArraySplit(np.zeros((len(SKEWED), 1, 1, 1), np.uint8), SKEWED)
  settings = StageConfig(batch_size=6, sampling="balanced")
  return split.training_batches(Order.of(SKEWED, seed, "main", settings), AugmentConfig())


def test_balanced_batches_have_every_class_alike():
  train = balanced_batches()
  assert train.order.steps_per_epoch == 10
  for step in range(25):
    counts = np.bincount(SKEWED[train(step)["index"]], minlength=3)
    np.testing.assert_array_equal(counts, [2, 2, 2])
  epoch = np.concatenate([train(step)["index"] for step in range(10)])
  shown = np.bincount(epoch, minlength=len(SKEWED))
  assert shown[:50].max() == 1  # none again before all of its class were shown
  np.testing.assert_array_equal(shown[50:59].sum(), 20)
  assert shown[50:59].min() == 2
  np.testing.assert_array_equal(shown[59:], [10, 10])
  later = np.concatenate([train(step)["index"] for step in range(100)])
  assert set(later.tolist()) == set(range(len(SKEWED)))


def test_a_balanced_batch_is_a_function_of_seed_and_step_in_all_parts():
  train, again = balanced_batches(), balanced_batches()
  for step in (12, 3, 12):
    np.testing.assert_array_equal(train(step)["index"], again(step)["index"])
    parts = [dataclasses.replace(train.order, part=Part(number, 3)) for number in range(3)]
    joined = [
      np.concatenate(arrays) for arrays in zip(*(part(step) for part in parts), strict=True)
    ]
    np.testing.assert_array_equal(joined, train.order(step))
  assert not np.array_equal(train(0)["index"], balanced_batches(1)(0)["index"])
