"""`meanet COMMAND`: finds the command, parses its flags, runs it, and ends with its status."""

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import meanet_jax
from meanet_jax.commands.flags import Parser
from meanet_jax.errors import UserError, nearest
from meanet_jax.stdout import checked_stdout, open_closed_streams, say_on_stderr


class Command(NamedTuple):
  """A module with `add_flags(parser)` and `run(given)`, imported when the command is asked for.

  `run` returns the exit status, or None for 0.

  jax: whether it uses JAX, whose process has to be set up.
  """

  module: str
  help: str
  jax: bool = True


COMMANDS = {
  "demo": Command("demo", "train and evaluate a MEANet on handwritten digits, in a minute"),
  "train": Command("train", "train a MEANet, or a grid of them"),
  "eval": Command("evaluate", "evaluate finished runs, and select an operating point"),
  "select": Command("select", "select an operating point from logits of any framework"),
  "export": Command("export", "export a run's edge for TF Lite"),
  "edge": Command("edge", "classify images with an exported edge", jax=False),
  "measure": Command("measure", "measure what an exported edge costs on this device", jax=False),
  "cloud": Command("cloud", "serve a run's cloud model over gRPC"),
  "prepare": Command("prepare", "prepare a TFDS data set"),
  "summary": Command("summary", "print a configuration's costs, or a run's evaluations"),
  "plan": Command("plan", "compile a configuration for a TPU slice that need not be at hand"),
  "config": Command("config", "print every field of a configuration with its meaning", jax=False),
  "completion": Command("completion", "print the completion of a shell", jax=False),
}


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs a command.

  Args:
    arguments: what follows `meanet`; those of this process if not given.

  Returns:
    The exit status: the command's, that of the error, or 2 for a wrong flag.
  """
  return guarded(lambda: _run(sys.argv[1:] if arguments is None else arguments))


def parser_of(name: str) -> Parser:
  """The flags of a command."""
  module = _module(name)
  parser = Parser(f"meanet {name}", module.__doc__)
  module.add_flags(parser)
  return parser


def run_script(
  description: str | None,
  add_flags: Callable[[Parser], None],
  run: Callable[[argparse.Namespace], int | None],
) -> int:
  """Runs a script of its own, such as a benchmark, as `main` runs a command; the exit status.

  Args:
    description: for `--help`.
    add_flags, run: as of a command's module.
  """

  def script() -> int | None:
    parser = Parser(sys.argv[0], description)
    add_flags(parser)
    given = parser.parse(sys.argv[1:])
    _set_up()
    return run(given)

  return guarded(script)


def guarded(main: Callable[[], int | None]) -> int:
  """Calls `main`; the exit status: what it returns, 0 for None.

  A `UserError` ends as one line on stderr; output that nobody reads any longer (`| head`) without
  a word, with the status of SIGPIPE. Any other exception is a defect and keeps its traceback.
  """
  open_closed_streams()
  try:
    with checked_stdout():
      return main() or 0
  except UserError as error:
    say_on_stderr(f"error: {error}")
    return error.status
  except KeyboardInterrupt:
    say_on_stderr("error: interrupted")
    return 130


def _run(arguments: Sequence[str]) -> int | None:
  name, rest = (arguments[0], arguments[1:]) if arguments else ("--help", ())
  if name in ("-h", "--help"):
    print(_overview())
    return None
  if name == "--version":
    print(meanet_jax.__version__)
    return None
  if name not in COMMANDS:
    raise UserError(f"command {name!r} does not exist; {nearest(name, COMMANDS)}")
  given = parser_of(name).parse(rest)
  if COMMANDS[name].jax:
    _set_up()
  return _module(name).run(given)


def _module(name: str) -> Any:
  return importlib.import_module(f"meanet_jax.commands.{COMMANDS[name].module}")


def _set_up() -> None:
  # Here, for it imports what a device need not have.
  from meanet_jax.commands.process import set_up

  set_up()


def _overview() -> str:
  width = max(map(len, COMMANDS))
  lines = (f"  {name:{width}}  {command.help}" for name, command in COMMANDS.items())
  return "\n".join(
    (
      "usage: meanet COMMAND [flags]",
      "",
      "MEANet in JAX: networks split between an edge device and the cloud.",
      "",
      *lines,
      "",
      "`meanet COMMAND --help` prints a command's flags, `meanet --version` the version.",
    )
  )
