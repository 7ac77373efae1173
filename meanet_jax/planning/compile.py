"""A stage's mapped step compiled for devices that may not exist, and what it takes there."""

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from meanet_jax.config.schema import Config
from meanet_jax.data.batches import BLOCK, Batch, left_for_device, steps_per_epoch
from meanet_jax.data.device_resident import ResidentImages
from meanet_jax.data.known_sizes import TrainingImages
from meanet_jax.models.variables import abstract_variables
from meanet_jax.models.zoo import build
from meanet_jax.planning.hbm_traffic import hbm_traffic
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.training.optimizers import make_optimizer
from meanet_jax.training.parallel import ACROSS_DEVICES, AXIS, map_train_step
from meanet_jax.training.stages import Stage
from meanet_jax.training.state import create_state
from meanet_jax.training.steps import Recipe, make_train_step

STRAIGHT_ATTEMPTS = 8
# libtpu 0.0.42's words; older ones said "Used 24.7G of 15.75G hbm".
OUT_OF_MEMORY = re.compile(
  r"(?:total memory required.*?\(|Used )([\d.]+)([KMGT]?)\)? (?:exceeds available HBM \(|of )"
  r"([\d.]+)([KMGT]?)"
)
UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclasses.dataclass(frozen=True)
class StepCost:
  """What one step of one chip takes.

  flops: floating-point operations, by the compiler's count. bytes: read from and written to the
  chip's memory (`planning/hbm_traffic.py`). memory: bytes of it that are taken at its peak.
  """

  flops: float
  bytes: int
  memory: int


class DoesNotFitError(Exception):
  """A step that asks for more memory than a chip has.

  asked, usable: bytes of the chip's memory; the compiler keeps some of it for itself.
  """

  def __init__(self, asked: int, usable: int):
    super().__init__(f"{asked} bytes of {usable}")
    self.asked, self.usable = asked, usable


def compile_step(
  stage: Stage, config: Config, images: TrainingImages, batch_size: int, devices: Sequence[Any]
) -> jax.stages.Compiled:
  """Compiles the step that `training/run_stage.py` would map, from shapes alone.

  Args:
    stage: what learns.
    config: the experiment.
    images: the stage's own.
    batch_size: of all devices together, a multiple of their number.
    devices: of one TPU slice.

  Raises:
    DoesNotFitError: the step needs more memory than a device has.
  """
  model = build(config, AXIS)
  settings = config.stage(stage.name)
  if images.streamed:
    settings = dataclasses.replace(settings, augment=left_for_device(settings.augment))
  shape = config.dataset.image_shape
  tx = make_optimizer(settings, max(steps_per_epoch(images.count, batch_size), 1))
  to_hard = None
  if (
    stage.needs_hard_classes
  ):  # which classes are hard is known after training; any K cost the same
    to_hard = HardClasses(np.arange(config.num_hard), config.dataset.num_classes).label_map
  step = make_train_step(
    model, stage, Recipe(settings, tx), config.dataset, ACROSS_DEVICES, to_hard
  )
  state = jax.eval_shape(
    lambda variables: create_state(stage, variables, tx, settings.ema_decay > 0),
    abstract_variables(model, shape),
  )
  store, batch = abstract_inputs(images, shape, (len(devices), batch_size // len(devices)))
  key = jax.eval_shape(lambda: jax.random.key(0))
  return compile_lowered(map_train_step(step, devices).lower(state, store, batch, key))


def abstract_inputs(
  images: TrainingImages, shape: tuple[int, ...], sharded: tuple[int, int]
) -> tuple[Batch, Batch]:
  """Shapes and types of what `parallel.fetch` takes: the store, and a batch [devices, b, ...]."""
  numbers = jax.ShapeDtypeStruct(sharded, jnp.int32)
  if images.streamed:
    pixels = jax.ShapeDtypeStruct((*sharded, *shape), jnp.uint8)
    return {}, {"image": pixels, "label": numbers, "position": numbers}
  labels = jax.ShapeDtypeStruct((images.resident,), jnp.int32)
  store = {"image": ResidentImages.abstract(images.resident, shape), "label": labels}
  return store, {"index": jax.ShapeDtypeStruct((*sharded, BLOCK), jnp.int32), "position": numbers}


def compile_lowered(lowered: jax.stages.Lowered) -> jax.stages.Compiled:
  """The compiled function.

  Raises:
    DoesNotFitError: it needs more memory than a chip has.
  """
  try:
    return lowered.compile()
  except jax.errors.JaxRuntimeError as error:
    said = OUT_OF_MEMORY.search(str(error))
    if said is None:
      raise
    asked, usable = (round(float(said[i]) * UNITS[said[i + 1]]) for i in (1, 3))
    raise DoesNotFitError(asked, usable) from error


def cost(compiled: jax.stages.Compiled) -> StepCost:
  """What one chip of its slice does and keeps."""
  counted, memory = compiled.cost_analysis(), compiled.memory_analysis()
  taken = (
    memory.argument_size_in_bytes
    + memory.output_size_in_bytes
    - memory.alias_size_in_bytes
    + memory.temp_size_in_bytes
    + memory.generated_code_size_in_bytes
  )
  return StepCost(counted["flops"], hbm_traffic(compiled.as_text()), taken)


def largest_fitting(
  attempt: Callable[[int], tuple[bool, float]], fails: int, share: float
) -> int | None:
  """The largest size that fits, given one that does not; None when not even 1 does.

  Args:
    attempt: whether a size fits, and what share of the memory it asks for, which as a rule grows
      along a line, so that four attempts do. Near the limit the compiler trades time for memory,
      and the share stays below 1 for long.
    fails: a size that does not fit.
    share: of the memory that it asks for.
  """
  low, low_share, high, high_share = 0, 0.0, fails, max(share, 1.001)
  streak = 0  # attempts in a row that ended alike, less one; negative where they did not fit
  attempts = 0
  while high - low > 1:
    if attempts < STRAIGHT_ATTEMPTS:
      # Where the line through both ends meets the whole memory; further with every attempt that
      # moved the same end, or the other end would stay where it is.
      size = int(low + (1 - low_share) * (high - low) / (high_share - low_share))
      if streak > 0:
        size = low + max(size - low, 1) * 2**streak
      elif streak < 0:
        size = high - max(high - size, 1) * 2**-streak
      size = min(max(size, low + 1), high - 1)
    else:
      size = (low + high) // 2
    fits, share = attempt(size)
    attempts += 1
    if fits:
      streak = streak + 1 if low and streak >= 0 else 0
      low, low_share = size, min(share, 1.0)  # counted after it was compiled, and rounded
    else:
      streak = streak - 1 if high < fails and streak <= 0 else 0
      high, high_share = size, max(share, 1.001)
  return low or None
