import dataclasses

import numpy as np
import pytest

from meanet_jax.data.batches import Order
from meanet_jax.data.sources import load
from meanet_jax.grid.batch_streams import Source, make_batch_streams, make_store
from meanet_jax.routing.hard_classes import HardClasses


@pytest.mark.parametrize("sampling", ["uniform", "balanced"])
def test_sources_give_the_batches_of_ordinary_runs(tiny, sampling):
  """Of hard images under their own labels, from any step on; a source that is done repeats."""
  train = load(tiny.dataset).train
  settings = dataclasses.replace(tiny.stages.edge, sampling=sampling)
  classes = [(0, 2, 4, 6, 8), (1, 2, 3, 4, 5)]
  maps = [HardClasses(np.asarray(c, np.int32), 10).label_map for c in classes]
  sources = [Source(0, 3, 5, classes[0]), Source(1, 0, 12, classes[1])]
  streams, left = make_batch_streams(sources, "edge", settings, train, maps)
  store = make_store(train)
  assert left == settings
  for round, batch in enumerate(streams.stream(12)):
    assert {name: value.shape for name, value in batch.items()} == {
      "index": (2, 64),
      "label": (2, 64),
      "position": (2, 64),
    }
    for number, (source, to_hard) in enumerate(zip(sources, maps, strict=True)):
      labels = to_hard[train.labels]
      chosen = np.flatnonzero(labels >= 0)
      split = train.select(chosen, labels[chosen])
      order = Order.of(labels[chosen], source.seed, "edge", settings)
      own = split.training_batches(order, settings.augment)
      expected = own(min(source.begin + round, source.steps - 1))
      np.testing.assert_array_equal(
        store["image"].take(batch["index"][number]), split.images[expected["index"]]
      )
      np.testing.assert_array_equal(
        batch["label"][number], own.resident()["label"][expected["index"]]
      )
      np.testing.assert_array_equal(batch["position"][number], expected["position"])
