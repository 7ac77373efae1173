"""The order of the stages, and how many steps each takes."""

import dataclasses

import pytest

from meanet_jax.config.stages import STAGE_NAMES
from meanet_jax.training.stages import (
  CLOUD,
  EDGE,
  FINETUNE,
  JOINT,
  MAIN,
  gradient_stages,
  num_steps,
)


@pytest.mark.parametrize("cloud_first", [False, True])
@pytest.mark.parametrize(
  ("training", "edge"),
  [("blockwise", (EDGE,)), ("joint", (JOINT,)), ("mixed", (EDGE, FINETUNE))],
)
def test_stages_train_in_the_order_of_the_configuration(tiny, training, edge, cloud_first):
  stages = dataclasses.replace(tiny.stages, training=training, cloud_first=cloud_first)
  config = dataclasses.replace(tiny, stages=stages)
  found = gradient_stages(config)
  assert found == ((CLOUD, MAIN, *edge) if cloud_first else (MAIN, *edge, CLOUD))
  assert tuple(stage.name for stage in found) == config.stage_names
  assert set(config.stage_names) <= set(STAGE_NAMES)
  # Hard classes are selected once the main block is trained.
  assert [stage for stage in found if stage.needs_hard_classes] == list(edge)


def test_incomplete_batches_are_no_steps(tiny):
  settings = dataclasses.replace(tiny.stages.main, epochs=3, batch_size=64)
  assert [num_steps(settings, images) for images in (63, 64, 191, 192)] == [0, 3, 6, 9]
