"""Evaluates a finished run: python eval.py --workdir runs/digits."""

from absl import flags

from meanet_jax import cli
from meanet_jax.console import Reporter
from meanet_jax.evaluation.pipeline import evaluate

_WORKDIR = flags.DEFINE_string("workdir", None, "Directory of a run that train.py finished.")


def main() -> None:
  """Reads the flags and evaluates."""
  evaluate(cli.require(_WORKDIR.value, "workdir", "the directory of a run"), Reporter())


if __name__ == "__main__":
  cli.run(main)
