"""What a stage has learned, from one of its checkpoints."""

import jax

from meanet_jax.config.schema import Config
from meanet_jax.models.variables import Variables
from meanet_jax.runs.checkpoints import open_checkpoints
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.training.optimizers import make_optimizer
from meanet_jax.training.stages import Stage
from meanet_jax.training.state import create_state, saved


def read_stage(
  stage: Stage, config: Config, abstract: Variables, run: RunDirectory, step: int
) -> Variables:
  """The variables that a stage's checkpoint hands on, on the host, of the blocks that it trains.

  Args:
    stage: which.
    config: the run's.
    abstract: variables of every block of the run, of which shapes are read.
    run: where the checkpoint lies.
    step: which one; it is complete.
  """
  settings = config.stage(stage.name)
  tx = make_optimizer(settings, steps_per_epoch=1)  # for the structure of its state alone
  averaged = settings.ema_decay > 0
  like = jax.eval_shape(lambda variables: create_state(stage, variables, tx, averaged), abstract)
  with open_checkpoints(run.checkpoints_path(stage.name), config.logging.keep) as checkpoints:
    restored = checkpoints.restore(step, saved(like))
  del restored["sums"]
  return like.replace(**restored).learned()
