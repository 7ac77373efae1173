"""Trains a MEANet: python train.py --config configs/digits.py --workdir runs/digits.

With --distributed, this is one of several processes that train it together.
"""

from absl import flags

from meanet_jax import cli, launch
from meanet_jax.console import Reporter, silent_reporter
from meanet_jax.training import processes
from meanet_jax.training.pipeline import train

_config = cli.define_config_flag()
_options = cli.define_read_flags()
_cluster = launch.define_cluster_flags()
_use_compilation_cache = launch.define_compilation_cache_flag()
_WORKDIR = flags.DEFINE_string("workdir", None, "Directory of the run; made when missing.")
_TENSORBOARD = flags.DEFINE_boolean(
  "tensorboard", False, "Write metrics as TensorBoard's events too (extra `tensorboard`)."
)


def main() -> None:
  """Reads the flags and trains."""
  workdir = cli.require(_WORKDIR.value, "workdir", "the directory of the run")
  config, options, cluster = _config(), _options(), _cluster()
  _use_compilation_cache()
  if cluster is None:
    with cli.stop_on_sigterm() as stop:
      train(config, workdir, Reporter(), options, stop, _TENSORBOARD.value)
    return
  with processes.connected(cluster):
    reporter = Reporter() if processes.is_first() else silent_reporter()
    stop = processes.stop_together()
    train(config, workdir, reporter, options, stop, _TENSORBOARD.value)


if __name__ == "__main__":
  cli.run(main)
