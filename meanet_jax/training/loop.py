"""The one training loop, which every stage goes through."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
from jaxtyping import Int

from meanet_jax.config import Config
from meanet_jax.console import Reporter
from meanet_jax.data.batches import Order, training_batches
from meanet_jax.data.splits import Split
from meanet_jax.errors import TrainingDivergedError, TrainingStoppedError
from meanet_jax.models.meanet import MEANet
from meanet_jax.models.variables import Variables
from meanet_jax.runs.checkpoints import StageCheckpoints, open_checkpoints
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.runs.metrics import MetricsFile
from meanet_jax.training.forward import ForwardPass
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
from meanet_jax.training.steps import Sums, exit_logits, make_train_step, stage_key

# Sums of metrics since the last line of metrics.jsonl, as a checkpoint holds them.
SUMS = ("loss", "examples", "correct", "count", "gradient_norm")
NO_SUMS = {name: np.zeros((), np.float64) for name in SUMS}


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
  reporter: Reporter,
  stop: Callable[[], bool] = lambda: False,
) -> Variables:
  """Trains a stage to its end, from its newest checkpoint if there is one.

  Args:
    stage: what learns, from what.
    config: the experiment.
    model: built with the mapped axis.
    variables: of every block, on the host; those of trainable blocks are the starting point.
    images: the stage's own.
    run: where checkpoints and metrics go.
    reporter: progress and one line at the end.
    stop: asked after every step whether to save a checkpoint and end.

  Returns:
    The learned variables of the stage's blocks, on the host.

  Raises:
    TrainingDivergedError: a loss that is not finite.
    TrainingStoppedError: `stop` said so; a checkpoint holds every step taken.
    UserError: a batch that does not fit the devices or the images.
  """
  settings = config.stage(stage.name)
  check_batch_size(settings.batch_size, f"stages.{stage.name}.batch_size", settings.accumulate)
  order = Order(len(images.train), config.seed, stage.name, settings.batch_size)
  batches = training_batches(images.train, order, settings.augment)
  settings = dataclasses.replace(settings, augment=batches.augment)
  tx = make_optimizer(settings, order.steps_per_epoch)
  step = make_train_step(model, stage, settings, config.dataset, tx, ACROSS_DEVICES, images.to_hard)
  validate = _Validation(stage, config, model, images.validation)
  total = settings.epochs * order.steps_per_epoch
  every = config.logging.checkpoint_every_epochs * order.steps_per_epoch
  fresh = create_state(stage, variables, tx, settings.ema_decay > 0)
  path, kept = run.checkpoints_path(stage.name), config.logging
  with open_checkpoints(path, kept.keep, kept.keep_best) as checkpoints:
    state, unlogged, begin = _start(fresh, checkpoints)
    metrics = MetricsFile(run.metrics_path)
    metrics.rewind(stage.name, begin)
    schedule = make_schedule(settings, order.steps_per_epoch)
    log = _Log(stage.name, order.steps_per_epoch, metrics, schedule, unlogged)
    state = replicate(state)
    store, key = replicate(batches.store), replicate(stage_key(config.seed, stage.name))
    mapped = map_train_step(step)
    with reporter.progress(f"stage {stage.name}", total, begin) as advance:
      for number, batch in enumerate(ahead(batches.stream(begin, total)), begin):
        state, sums = mapped(state, store, batch, key)
        log.add(number + 1, sums)
        last = number + 1 == total
        if last or (number + 1) % every == 0:
          log.flush()  # refuses a loss that is not finite before it is saved
          accuracy = validate(state)
          metrics.write(
            stage.name, number + 1, log.epoch(number + 1), {"validation_accuracy": accuracy}
          )
          checkpoints.save(number + 1, saved(state), accuracy)
        elif (number + 1) % config.logging.every_steps == 0:
          log.flush()
        advance(1, log.note)
        if not last and stop():
          if (number + 1) % every:
            checkpoints.save(number + 1, saved(state, log.sums()))
          raise TrainingStoppedError(
            f"stopped by SIGTERM after step {number + 1} of {total} of stage {stage.name}; "
            "a checkpoint holds it, and the same command goes on from there"
          )
    if not total and checkpoints.latest_step() is None:
      checkpoints.save(0, saved(state), validate(state))  # pretrained weights, kept as they are
  reporter.say(f"stage {stage.name}: {total} steps, {log.note}, validation {validate.note}")
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


def _start(
  state: TrainState, checkpoints: StageCheckpoints
) -> tuple[TrainState, dict[str, Any], int]:
  latest = checkpoints.latest_step()
  if latest is None:
    return state, NO_SUMS, 0
  restored = checkpoints.restore(latest, saved(state))
  sums = restored.pop("sums")
  return state.replace(**restored), sums, latest


class _Log:
  """Sums metrics between lines of metrics.jsonl; fetches each step's sums one step late."""

  def __init__(
    self,
    stage: str,
    steps_per_epoch: int,
    metrics: MetricsFile,
    schedule: optax.Schedule,
    sums: dict[str, Any],
  ):
    self._stage, self._steps_per_epoch = stage, steps_per_epoch
    self._metrics, self._schedule = metrics, schedule
    self._pending: tuple[int, Sums] | None = None
    self._step = 0
    begun = {name: float(value) for name, value in sums.items()}
    self._sums: dict[str, float] = begun if begun["examples"] else {}
    self.note = "loss -"

  def epoch(self, step: int) -> float:
    return step / self._steps_per_epoch

  def add(self, step: int, sums: Sums) -> None:
    self._fetch()
    self._pending = (step, sums)

  def sums(self) -> dict[str, Any]:
    """The sums since the last line, for a checkpoint between two lines."""
    self._fetch()
    if not self._sums:
      return NO_SUMS
    return {name: np.asarray(self._sums[name], np.float64) for name in SUMS}

  def flush(self) -> None:
    """Writes the means since the last line."""
    self._fetch()
    if not self._sums:
      return
    count = self._sums["count"]
    values = {
      "loss": self._sums["loss"] / self._sums["examples"],
      "accuracy": self._sums["correct"] / count,
      "gradient_norm": self._sums["gradient_norm"],
      "learning_rate": float(self._schedule(self._step - 1)),
    }
    self._metrics.write(self._stage, self._step, self.epoch(self._step), values)
    self.note = f"loss {values['loss']:.4f}, accuracy {values['accuracy']:.4f}"
    self._sums = {}

  def _fetch(self) -> None:
    if self._pending is None:
      return
    step, sums = self._pending
    self._pending = None
    values = {name: float(value) for name, value in jax.device_get(sums).items()}
    if not math.isfinite(values["loss"]):
      raise TrainingDivergedError(
        f"stage {self._stage}, step {step}: the loss is {values['loss']}; "
        "accepted: a finite loss (try a smaller learning rate); the last good checkpoint is kept"
      )
    # The norm is of the newest step; the others are summed.
    norm = values.pop("gradient_norm")
    self._sums = {name: self._sums.get(name, 0.0) + value for name, value in values.items()}
    self._sums["gradient_norm"] = norm
    self._step = step


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
