"""What every stage of a configuration would take on a TPU slice that need not be at hand.

Nothing is run: the images per second are what a chip's peak arithmetic and peak memory bandwidth
allow at most.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from meanet_jax import log
from meanet_jax.config.schema import Config
from meanet_jax.data.known_sizes import TrainingImages, training_images
from meanet_jax.errors import UserError
from meanet_jax.log import logger
from meanet_jax.planning.chips import Chip
from meanet_jax.planning.compile import (
  DoesNotFitError,
  StepCost,
  compile_step,
  cost,
  largest_fitting,
)
from meanet_jax.planning.roofline import roofline
from meanet_jax.planning.topology import open_slice
from meanet_jax.training import stages
from meanet_jax.training.parallel import check_batch_size

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class StagePlan:
  """One stage on one slice, as `--json` prints it.

  stage, chips: its name, and the chips that share its batch. batch_size: of all chips.
  images: that it learns from; streamed: whether they are read as they are needed.
  fits: whether the step compiles within a chip's memory.
  memory_bytes, chip_memory_bytes: of one chip: what the step takes at its peak (asks for, where it
    does not fit), and what the chip has.
  missing_bytes, largest_batch_size: where it does not fit: how much too much it asks for, and the
    largest global batch that fits (None: not even one image per chip and micro-batch).
  flops_per_image, bytes_per_image: by the compiler's count, and between chips and their memory
    (`planning/hbm_traffic.py`); None where it does not fit.
  compute_limit, memory_limit, images_per_second: the roofline, in images per second of the slice.
  bound: `compute` or `memory`, the lower limit.
  """

  stage: str
  chips: int
  batch_size: int
  images: int
  streamed: bool
  fits: bool
  memory_bytes: int
  chip_memory_bytes: int
  missing_bytes: int | None = None
  largest_batch_size: int | None = None
  flops_per_image: float | None = None
  bytes_per_image: float | None = None
  compute_limit: float | None = None
  memory_limit: float | None = None
  images_per_second: float | None = None
  bound: str | None = None


def plan_stage(
  stage: stages.Stage,
  config: Config,
  images: TrainingImages,
  chip: Chip,
  devices: Sequence[Any],
  batch_size: int,
) -> StagePlan:
  """Compiles a stage's step, and where it does not fit, looks for the largest batch that does.

  Args:
    stage, config, images: what learns, and from how many images.
    chip, devices: the slice.
    batch_size: global, a multiple of chips x micro-batches.
  """
  chips = len(devices)

  def compiled(size: int) -> StepCost:
    logger.info(f"stage {stage.name}: compiling at batch {size} for {chips} chips")
    return cost(compile_step(stage, config, images, size, devices))

  common = {
    "stage": stage.name,
    "chips": chips,
    "batch_size": batch_size,
    "images": images.count,
    "streamed": images.streamed,
    "chip_memory_bytes": chip.memory_bytes,
  }
  try:
    step = compiled(batch_size)
  except DoesNotFitError as error:
    asked, usable = error.asked, error.usable
  else:
    flops, moved = (chips * total / batch_size for total in (step.flops, step.bytes))
    limits = roofline(chip, chips, flops, moved)
    return StagePlan(
      **common,
      fits=True,
      memory_bytes=step.memory,
      flops_per_image=flops,
      bytes_per_image=moved,
      compute_limit=limits.compute,
      memory_limit=limits.memory,
      images_per_second=limits.images_per_second,
      bound=limits.bound,
    )
  unit = chips * config.stage(stage.name).accumulate

  def attempt(size: int) -> tuple[bool, float]:
    try:
      fits, taken = True, compiled(size * unit).memory
    except DoesNotFitError as error:
      fits, taken = False, error.asked
    logger.info(
      f"stage {stage.name}: batch {size * unit} {'fits' if fits else 'does not fit'}: "
      f"{taken / GIB:.2f} of {usable / GIB:.2f} GiB"
    )
    return fits, taken / usable

  largest = largest_fitting(attempt, batch_size // unit, asked / usable)
  return StagePlan(
    **common,
    fits=False,
    memory_bytes=asked,
    missing_bytes=asked - usable,
    largest_batch_size=None if largest is None else largest * unit,
  )


def plan(
  config: Config,
  topology: str,
  batch_size: int | None,
  num_train: int | None,
) -> tuple[Chip, list[StagePlan]]:
  """Plans of every stage with a gradient, in order.

  Args:
    config: the experiment.
    topology: chip and shape of the slice.
    batch_size: in place of every stage's own; None keeps them.
    num_train: training images of a set that `data/known_sizes.py` does not know; None for one that
      it does.

  Raises:
    UserError: a slice, data set or batch size that cannot be planned for.
  """
  every = training_images(config.dataset, num_train)
  chip, devices = open_slice(topology)
  work = []
  for stage in stages.gradient_stages(config):
    settings = config.stage(stage.name)
    size = batch_size or settings.batch_size
    field = "flag --batch-size" if batch_size else f"stages.{stage.name}.batch_size"
    check_batch_size(size, field, settings.accumulate, len(devices))
    images = every
    if stage.images == "hard":
      images = every.hard(config.num_hard, config.dataset.num_classes)
    if images.count < size:
      raise UserError(
        f"{field} is {size}; accepted: at most {images.count}, the images of stage {stage.name}"
      )
    work.append((stage, images, size))
  return chip, [
    plan_stage(stage, config, images, chip, devices, size) for stage, images, size in work
  ]


def show(topology: str, chip: Chip, plans: Sequence[StagePlan]) -> None:
  """Prints plans as a table, and a line for every stage that does not fit."""
  columns = (
    "stage",
    "batch",
    "Gflop/image",
    "MB/image",
    "memory [GiB]",
    "limit: arithmetic [images/s]",
    "limit: memory [images/s]",
    "images/s at most",
    "fits",
  )
  rows = [
    (
      stage.stage,
      f"{stage.batch_size:,}",
      _number(stage.flops_per_image, 1e9, 3),
      _number(stage.bytes_per_image, 1e6, 1),
      f"{stage.memory_bytes / GIB:.2f} of {stage.chip_memory_bytes / GIB:.0f}",
      _number(stage.compute_limit, 1, 0),
      _number(stage.memory_limit, 1, 0),
      _number(stage.images_per_second, 1, 0),
      "yes" if stage.fits else "no",
    )
    for stage in plans
  ]
  chips = f"{plans[0].chips} chips {chip.name} ({chip.source})"
  log.table(f"{topology}: {chips}", columns, rows)
  for stage in plans:
    if stage.missing_bytes is not None:
      largest = stage.largest_batch_size
      fitting = "no batch fits" if largest is None else f"the largest batch that fits is {largest}"
      logger.info(
        f"stage {stage.stage} does not fit: {stage.missing_bytes / GIB:.2f} GiB a chip too much; "
        f"{fitting}"
      )


def _number(value: float | None, unit: float, digits: int) -> str:
  return "-" if value is None else f"{value / unit:,.{digits}f}"
