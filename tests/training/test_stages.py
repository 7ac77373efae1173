"""The order of the stages, and how many steps each takes."""

import dataclasses

from meanet_jax.config.stages import STAGE_NAMES
from meanet_jax.training.stages import CLOUD, EDGE, JOINT, MAIN, gradient_stages, num_steps


def test_stages_train_in_the_order_of_the_configuration():
  assert gradient_stages(joint=False) == (MAIN, EDGE, CLOUD)
  assert gradient_stages(joint=True) == (MAIN, JOINT, CLOUD)
  for joint in (False, True):
    stages = gradient_stages(joint)
    assert tuple(stage.name for stage in stages) == STAGE_NAMES
    # Hard classes are selected once the main block is trained.
    assert [stage.name for stage in stages if stage.needs_hard_classes] == ["edge"]


def test_incomplete_batches_are_no_steps(tiny):
  settings = dataclasses.replace(tiny.stages.main, epochs=3, batch_size=64)
  assert [num_steps(settings, images) for images in (63, 64, 191, 192)] == [0, 3, 6, 9]
