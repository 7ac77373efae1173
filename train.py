"""Trains a MEANet: python train.py --config configs/digits.py --workdir runs/digits."""

from absl import flags

from meanet_jax import cli
from meanet_jax.console import Reporter
from meanet_jax.training.pipeline import train

_config = cli.define_config_flag()
_options = cli.define_read_flags()
_WORKDIR = flags.DEFINE_string("workdir", None, "Directory of the run; made when missing.")


def main() -> None:
  """Reads the flags and trains."""
  workdir = cli.require(_WORKDIR.value, "workdir", "the directory of the run")
  with cli.stop_on_sigterm() as stop:
    train(_config(), workdir, Reporter(), _options(), stop)


if __name__ == "__main__":
  cli.run(main)
