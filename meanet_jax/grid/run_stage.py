"""A stage of the trials of one compilation group, batch by batch."""

import contextlib
from collections.abc import Sequence

import jax
import numpy as np

from meanet_jax import log
from meanet_jax.config.grid import GridConfig
from meanet_jax.grid.step import choose_batching
from meanet_jax.grid.trial_batches import make_trial_batches
from meanet_jax.grid.trial_program import StageFunctions, TrialProgram
from meanet_jax.grid.trials import Trial, open_trial_state
from meanet_jax.log import logger
from meanet_jax.models.meanet import Exits
from meanet_jax.training.loop import take_steps
from meanet_jax.training.losses import exit_logits
from meanet_jax.training.stages import Stage
from meanet_jax.training.steps import make_forward


def train_trials(stage: Stage, trials: Sequence[Trial], grid: GridConfig) -> None:
  """Trains a stage to its end, each trial from its own newest checkpoint.

  Afterwards each has the variables that it learned and, of the stage's exits, the logits of all
  validation images, or is marked as diverged.

  Args:
    stage: not finished by any of the trials.
    trials: of one compilation group, with their variables; they share a model, a data set and when
      they stop.
    grid: how they are batched.

  Raises:
    TrainingStoppedError: the context's `stop` said so; checkpoints hold every step taken.
    UserError: fewer images of hard classes than a batch.
  """
  with contextlib.ExitStack() as open_files:
    trial_states = []
    for trial in trials:
      trial_states.append(open_trial_state(stage, trial))
      open_files.callback(trial_states[-1].run.files.close)
    trial_batches = make_trial_batches(trial_states, grid.per_device)
    functions = StageFunctions(trial_states, choose_batching(grid.batching))
    total = sum(trial_batch.steps for trial_batch in trial_batches)
    with log.progress(f"stage {stage.name} of {len(trials)} trials", total) as advance:
      for trial_batch in trial_batches:
        program = TrialProgram(functions, trial_batch)
        take_steps(program, trials[0].context.stop, advance)
        program.hand_on()
  for trial in trials:
    found = trial.diverged
    logger.info(f"trial {trial.point.name}: {found or f'stage {stage.name} finished'}")


def validation_logits(exits: Exits, trials: Sequence[Trial]) -> None:
  """Gives trials the logits that they lack, of stages that an earlier process has trained.

  One after another through one compiled function: this is done at most once for a trial.

  Args:
    exits: whose logits.
    trials: at least one, of one compilation group.
  """
  context = trials[0].context
  # Not `ForwardPass`, which all processes of a run call together: these are this one's trials.
  forward = jax.jit(make_forward(context.model, exits, context.config.dataset))
  for trial in trials:
    parts = []
    for images, real in context.dataset.validation.batches(context.config.evaluation.batch_size):
      outputs = jax.device_get(forward(trial.learned(), images))
      parts.append(jax.tree.map(lambda x, real=real: x[:real], outputs))
    outputs = jax.tree.map(lambda *x: np.concatenate(x), *parts)
    for exit in exits:
      trial.logits[exit] = exit_logits(outputs, exit)
