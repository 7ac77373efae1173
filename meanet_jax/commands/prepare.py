"""Prepares a TFDS data set: meanet prepare NAME --data-dir DIR [--archives DIR].

TFDS's own builder does the work and needs TensorFlow (extra `prepare`). Nothing else here does.
"""

import argparse

from meanet_jax import log
from meanet_jax.commands.experiment import add_data_dir_flag
from meanet_jax.commands.flags import Parser, add_path, add_switch


def add_flags(parser: Parser) -> None:
  """Adds the flags of this command."""
  parser.add_argument("NAME", help="of the set: NAME[/CONFIG][:VERSION], such as cifar100")
  add_data_dir_flag(parser)
  add_path(
    parser,
    "--archives",
    metavar="DIR",
    help="a directory with the set's original archives; nothing is downloaded",
  )
  parser.add_argument(
    "--accept-checksum",
    metavar="SHA256",
    action="append",
    default=[],
    help="of an archive that may differ from TFDS's record; repeatable",
  )
  add_switch(parser, "--replace", "prepare a set again that is there already")


def run(given: argparse.Namespace) -> None:
  """Prepares."""
  from meanet_jax.data.tfds.names import default_data_dir
  from meanet_jax.data.tfds.prepare import prepare

  log.to_console()
  prepare(
    given.NAME,
    given.data_dir or default_data_dir(),
    given.archives,
    given.accept_checksum,
    given.replace,
  )
