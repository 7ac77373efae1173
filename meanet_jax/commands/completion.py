"""Prints the completion of a shell, which completes commands, flags and files.

eval "$(meanet completion bash)"; for zsh, meanet completion zsh > DIR/_meanet, DIR in $fpath.
"""

import argparse

from meanet_jax.commands.app import COMMANDS, parser_of
from meanet_jax.commands.flags import Parser, literal_help
from meanet_jax.errors import UserError

SHELLS = ("bash", "zsh")
FILES = {"PATH", "DIR", "FILE", "FILE_OR_NAME", "IMAGE"}  # metavars of what takes a file


def add_flags(parser: Parser) -> None:
  """Adds the flags of this command."""
  parser.add_argument("shell", metavar="SHELL", help=", ".join(SHELLS))


def run(given: argparse.Namespace) -> None:
  """Prints."""
  if given.shell not in SHELLS:
    raise UserError(f"shell {given.shell!r}; accepted: {', '.join(SHELLS)}")
  try:
    import shtab  # pyright: ignore[reportMissingImports]
  except ImportError:
    raise UserError(
      "completion needs shtab; install it with pip install 'meanet_jax[completion]'"
    ) from None
  print(shtab.complete(_all_commands(shtab.FILE), given.shell))


def _all_commands(files: dict[str, str]) -> argparse.ArgumentParser:
  """One parser with every command below it, as shtab reads them."""
  together = argparse.ArgumentParser("meanet", allow_abbrev=False)
  below = together.add_subparsers()
  for name, command in COMMANDS.items():
    text = literal_help(command.help)
    parser = below.add_parser(name, parents=[parser_of(name)], add_help=False, help=text)
    for action in parser._actions:
      if action.metavar in FILES:
        action.complete = files
      if action.dest == "shell":
        action.choices = SHELLS
  return together
