"""Trains and evaluates a MEANet on scikit-learn's digits: meanet demo [--workdir runs/digits].

The same as `meanet train --config digits` and then `meanet eval`. No images are downloaded.
"""

import argparse
from pathlib import Path

from meanet_jax.commands import evaluate, train
from meanet_jax.commands.app import parser_of
from meanet_jax.commands.flags import Parser, add_path
from meanet_jax.commands.process import add_cache_flag
from meanet_jax.log import logger


def add_flags(parser: Parser) -> None:
  """Adds the flags of this command."""
  add_path(
    parser,
    "--workdir",
    metavar="DIR",
    default="runs/digits",
    help="directory of the run; made when missing",
  )
  add_cache_flag(parser)
  parser.takes_fields = True


def run(given: argparse.Namespace) -> int:
  """Trains and evaluates; the exit status of the evaluation."""
  flags = ["--workdir", given.workdir]
  if given.compilation_cache is not None:
    flags.append(f"--compilation-cache={given.compilation_cache}")
  training = parser_of("train").parse(["--config", "digits", *flags])
  training.fields = given.fields
  train.run(training)
  status = evaluate.run(parser_of("eval").parse(flags))
  logger.info("open %s in a browser", Path(given.workdir, "eval", "report.html"))
  return status
