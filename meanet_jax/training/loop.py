"""The one training loop, which every stage goes through."""

import contextlib
import dataclasses
import time
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from meanet_jax import log
from meanet_jax.config.schema import Config
from meanet_jax.data.batches import Order
from meanet_jax.data.splits import Split
from meanet_jax.errors import TrainingStoppedError
from meanet_jax.log import logger
from meanet_jax.models.meanet import MEANet
from meanet_jax.models.variables import Variables
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.runs.stage_files import FilesOnDisk, StageFiles, closing_after_errors
from meanet_jax.stopping import Stop, never
from meanet_jax.training.distributed import all_succeed, broadcast_from_process_0, is_process_0
from meanet_jax.training.forward import ForwardPass
from meanet_jax.training.metrics import NO_SUMS, StageLog, diverged
from meanet_jax.training.optimizers import make_optimizer, make_schedule
from meanet_jax.training.parallel import (
  ACROSS_DEVICES,
  ahead,
  check_batch_size,
  map_train_step,
  replicate,
)
from meanet_jax.training.stages import Stage
from meanet_jax.training.state import TrainState, create_state
from meanet_jax.training.steps import TrainStep, exit_logits, make_train_step, stage_key


@dataclasses.dataclass(frozen=True)
class StageImages:
  """What one stage learns from and is watched on; labels are those of its watched exit.

  to_hard: the label map for the extension where it learns beside the main block; None elsewhere.
  """

  train: Split
  validation: Split
  to_hard: Int[np.ndarray, " c"] | None = None


def train_stage(
  stage: Stage,
  config: Config,
  model: MEANet,
  variables: Variables,
  images: StageImages,
  run: RunDirectory,
  stop: Stop = never,
  tensorboard: bool = False,
) -> Variables:
  """Trains a stage to its end, from its newest checkpoint if there is one.

  Args:
    stage: what learns, from what.
    config: the experiment.
    model: built with the mapped axis.
    variables: of every block, on the host; those of trainable blocks are the starting point.
    images: the stage's own.
    run: where the first process leaves checkpoints and metrics.
    stop: asked after every step for the signal to save a checkpoint and end; in all processes there
      is one at the same call.
    tensorboard: whether metrics are TensorBoard's events as well.

  Returns:
    The learned variables of the stage's blocks, on the host.

  Raises:
    TrainingDivergedError: a loss, or a state to be saved, that is not finite.
    TrainingStoppedError: `stop` said so; a checkpoint holds every step taken.
    UserError: a batch that does not fit the devices or the images.
  """
  settings, logging = config.stage(stage.name), config.logging
  check_batch_size(settings.batch_size, f"stages.{stage.name}.batch_size", settings.accumulate)
  part = (jax.process_index(), jax.process_count())
  order = Order(len(images.train), config.seed, stage.name, settings.batch_size, *part)
  batches = images.train.training_batches(order, settings.augment)
  settings = dataclasses.replace(settings, augment=batches.augment)
  tx = make_optimizer(settings, order.steps_per_epoch)
  step = make_train_step(model, stage, settings, config.dataset, tx, ACROSS_DEVICES, images.to_hard)
  mapped = map_train_step(_compiled_once(step, stage))
  validate = _Validation(stage, config, model, images.validation)
  total = settings.epochs * order.steps_per_epoch
  per_checkpoint = logging.checkpoint_every_epochs * order.steps_per_epoch
  fresh = create_state(stage, variables, tx, settings.ema_decay > 0)
  files = all_succeed(lambda: _open_files(run, stage, config, tensorboard))
  with closing_after_errors(files):
    begin, kept = broadcast_from_process_0(lambda: files.begin(saved(fresh)))
    unlogged = NO_SUMS if kept is None else kept.pop("sums")
    state = replicate(fresh if kept is None else fresh.replace(**kept))
    store, key = replicate(batches.resident()), replicate(stage_key(config.seed, stage.name))
    schedule = make_schedule(settings, order.steps_per_epoch)
    stage_log = StageLog(stage.name, order.steps_per_epoch, files, schedule, unlogged)

    def save(number: int, sums: dict[str, Any], accuracy: float | None = None) -> None:
      tree = _on_host(saved(state, sums), stage, number)
      broadcast_from_process_0(lambda: files.save(number, tree, accuracy))

    begun = time.monotonic()
    with (
      log.progress(f"stage {stage.name}", total, begin) as advance,
      contextlib.closing(batches.stream(begin, total)) as stream,  # its workers, however it ends
    ):
      for number, batch in enumerate(ahead(stream), begin + 1):
        state, sums = mapped(state, store, batch, key)
        stage_log.add(number, sums, number % logging.every_steps == 0)
        last, due = number == total, number == total or number % per_checkpoint == 0
        if due:
          stage_log.flush()  # refuses a loss that is not finite before it is saved
          accuracy = validate(state)
          files.metrics(number, stage_log.epoch(number), {"validation_accuracy": accuracy})
          save(number, NO_SUMS, accuracy)
          stage_log.paused()
        advance(1, stage_log.note)
        if not last and (asked := stop()):
          if not due:
            save(number, stage_log.sums())
          raise TrainingStoppedError(
            asked,
            f"after step {number} of {total} of stage {stage.name}; a checkpoint holds it, and the "
            "same command goes on from there",
          )
    if not total and kept is None:
      save(0, NO_SUMS, validate(state))  # pretrained weights, kept as they are
  broadcast_from_process_0(files.close)
  logger.info(
    f"stage {stage.name}: {total} steps, the last {total - begin} in "
    f"{time.monotonic() - begun:.1f} s, {stage_log.rate}; {stage_log.note}, "
    f"validation {validate.note}"
  )
  return jax.device_get(state.learned())


def saved(state: TrainState, sums: dict[str, Any] = NO_SUMS) -> dict[str, Any]:
  """What a checkpoint holds of a state, all but what other stages have learned; and metric sums."""
  kept = {
    "step": state.step,
    "params": state.params,
    "batch_stats": state.batch_stats,
    "opt_state": state.opt_state,
    "sums": sums,
  }
  return kept if state.average is None else kept | {"average": state.average}


def _compiled_once(step: TrainStep, stage: Stage) -> TrainStep:
  """The step, which refuses to be traced again: each compilation begins with a trace."""
  traced = False

  def once(*arguments: Any) -> Any:
    nonlocal traced
    if traced:
      raise RuntimeError(f"stage {stage.name}: its step would be compiled again, for other shapes")
    traced = True
    return step(*arguments)

  return once


def _open_files(run: RunDirectory, stage: Stage, config: Config, tensorboard: bool) -> StageFiles:
  return (
    FilesOnDisk(run, stage.name, config.logging, tensorboard) if is_process_0() else StageFiles()
  )


def checked(tree: dict[str, Any], stage: Stage, step: int) -> dict[str, Any]:
  """What is to be saved, as it is.

  Raises:
    TrainingDivergedError: it is not finite. A finite loss may come with an update that is not.
  """
  if not all(np.isfinite(array).all() for array in jax.tree.leaves(tree)):
    raise diverged(stage.name, step, "the state after it has NaN or infinite numbers")
  return tree


def _on_host(tree: dict[str, Any], stage: Stage, step: int) -> dict[str, Any]:
  """Copies of all arrays, so that later steps may reuse the devices' buffers."""
  return checked(jax.tree.map(np.array, jax.device_get(tree)), stage, step)


class _Validation:
  """Accuracy of a stage's exit on the validation images that the stage knows."""

  def __init__(self, stage: Stage, config: Config, model: MEANet, split: Split):
    self._forward = ForwardPass(model, stage.watched, config.dataset, config.evaluation.batch_size)
    self._exit, self._split = stage.watched, split
    self.note = "not run"

  def __call__(self, state: TrainState) -> float:
    outputs = self._forward(state.frozen | state.learned(), self._split)
    predictions = np.argmax(exit_logits(outputs, self._exit), axis=-1)
    accuracy = float(np.mean(predictions == self._split.labels))
    self.note = f"{accuracy:.4f}"
    return accuracy
