"""The batcher around a model that is told when to answer, so that no test waits for a clock."""

import asyncio
import threading

import numpy as np
import prometheus_client
import pytest

from meanet_jax.cloud.batching import Batcher, OverloadedError
from meanet_jax.cloud.limits import Limits
from meanet_jax.cloud.metrics import Metrics


class Held:
  """A model whose output is an image's first pixel. A batch is answered when it is released."""

  def __init__(self, released: bool = False):
    self.batches: list[int] = []
    self._release = threading.Semaphore(1000 if released else 0)
    self.begun = threading.Event()

  def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
    self.batches.append(len(images))
    self.begun.set()
    assert self._release.acquire(timeout=60)
    if (images == 255).any():
      raise RuntimeError("no such luck")
    return {"pixel": images[:, 0, 0, 0], "row": np.arange(len(images))}

  def release(self, count: int = 1) -> None:
    self._release.release(count)


def numbered(*values: int) -> np.ndarray:
  return np.array(values, np.uint8)[:, None, None, None]


CONSTANT = {1: 1.0, 2: 1.0, 4: 1.0}  # seconds by size: whatever waits is run together
LINEAR = {1: 1.0, 2: 2.0, 4: 4.0}


def run(test, model: Held, max_wait: float = 0.0, max_queue: int = 100, seconds: dict = CONSTANT):
  """What `test(batcher)` returns, and the metrics' registry."""
  registry = prometheus_client.CollectorRegistry()
  limits = Limits(max(seconds), max_wait, max_queue, max_images=100, max_bytes=1000, grace=0.0)

  async def main():
    async with asyncio.timeout(60):
      return await test(Batcher(model, seconds, limits, Metrics([1, 2, 4], registry)))

  return asyncio.run(main()), registry


async def begun(model: Held) -> None:
  await asyncio.to_thread(model.begun.wait, 60)


def test_requests_that_wait_for_a_busy_model_share_its_next_batch():
  model = Held()

  async def test(batcher: Batcher):
    first = batcher.submit(numbered(9))
    await begun(model)
    rest = [batcher.submit(numbered(i)) for i in range(6)]
    await asyncio.sleep(0)
    model.release(3)
    return [int(values["pixel"][0]) for values in await asyncio.gather(first, *rest)]

  answers, registry = run(test, model)
  assert answers == [9, 0, 1, 2, 3, 4, 5]
  assert model.batches == [1, 4, 2]
  assert registry.get_sample_value("cloud_images_total") == 7
  assert registry.get_sample_value("cloud_batch_images_sum") == 7
  assert registry.get_sample_value("cloud_batch_images_count") == 3


def test_one_full_batch_queues_behind_the_one_that_runs_and_a_part_of_one_goes_on_filling():
  model = Held()

  async def test(batcher: Batcher):
    first = batcher.submit(numbered(9))
    await begun(model)
    full = batcher.submit(numbered(0, 1, 2, 3))
    full.cancel()  # too late: it is in a batch
    part = batcher.submit(numbered(4, 5))
    model.release(1)
    await first
    more = batcher.submit(numbered(6))
    model.release(2)
    return [values["pixel"].tolist() for values in await asyncio.gather(part, more)]

  answers, _ = run(test, model)
  assert answers == [[4, 5], [6]]
  assert model.batches == [1, 4, 3]


def test_no_image_is_padded_where_that_takes_longer_than_two_batches():
  async def test(batcher: Batcher):
    return (await batcher.submit(numbered(1, 2, 3)))["pixel"].tolist()

  for seconds, batches in ((CONSTANT, [3]), (LINEAR, [2, 1])):
    model = Held(released=True)
    answer, _ = run(test, model, seconds=seconds)
    assert answer == [1, 2, 3]
    assert model.batches == batches


def test_an_idle_model_waits_no_longer_than_max_wait_and_not_at_all_for_a_full_batch():
  model = Held(released=True)

  async def test(batcher: Batcher):
    return await batcher.submit(numbered(1, 2, 3, 4))

  # An hour to wait: only a full batch can be answered within the test's time.
  answer, _ = run(test, model, max_wait=3600.0)
  np.testing.assert_array_equal(answer["pixel"], [1, 2, 3, 4])

  async def alone(batcher: Batcher):
    return await batcher.submit(numbered(7))

  answer, _ = run(alone, model, max_wait=0.001)
  np.testing.assert_array_equal(answer["pixel"], [7])


def test_a_request_larger_than_a_batch_is_spread_and_answered_in_order():
  model = Held(released=True)

  async def test(batcher: Batcher):
    return await batcher.submit(numbered(*range(11)))

  answer, _ = run(test, model)
  np.testing.assert_array_equal(answer["pixel"], np.arange(11))
  np.testing.assert_array_equal(answer["row"], [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2])
  assert model.batches == [4, 4, 3]


def test_a_failing_batch_fails_its_requests_alone():
  model = Held(released=True)

  async def test(batcher: Batcher):
    with pytest.raises(RuntimeError, match="no such luck"):
      await batcher.submit(numbered(255))
    return await batcher.submit(numbered(3))

  answer, _ = run(test, model)
  assert answer["pixel"][0] == 3


def test_a_request_that_failed_with_its_first_images_costs_the_model_no_more():
  model = Held(released=True)

  async def test(batcher: Batcher):
    with pytest.raises(RuntimeError, match="no such luck"):
      await batcher.submit(numbered(255, 1, 2, 3, 4, 5))
    return await batcher.submit(numbered(6))

  answer, registry = run(test, model)
  assert answer["pixel"].tolist() == [6]
  assert model.batches == [4, 1]
  assert registry.get_sample_value("cloud_waiting_images") == 0


def test_a_cancelled_request_costs_the_model_nothing():
  model = Held()

  async def test(batcher: Batcher):
    first = batcher.submit(numbered(1))
    await begun(model)
    given_up = batcher.submit(numbered(2, 3))
    kept = batcher.submit(numbered(4))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.sleep(0)
    model.release(2)
    return [int(values["pixel"][0]) for values in await asyncio.gather(first, kept)]

  answers, _ = run(test, model)
  assert answers == [1, 4]
  assert model.batches == [1, 1]


def test_a_full_queue_refuses_whole_requests():
  model = Held()

  async def test(batcher: Batcher):
    first = batcher.submit(numbered(1))
    await begun(model)
    waiting = batcher.submit(numbered(2, 3))
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError, match="2 images wait; accepted: 3"):
      await batcher.submit(numbered(4, 5))
    fits = batcher.submit(numbered(6))
    await asyncio.sleep(0)
    model.release(2)
    return [values["pixel"].tolist() for values in await asyncio.gather(first, waiting, fits)]

  answers, _ = run(test, model, max_queue=3)
  assert answers == [[1], [2, 3], [6]]
