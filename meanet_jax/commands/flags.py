"""Flags on argparse, whose errors are one line. No JAX, for the edge's command is made of them."""

import argparse
import contextlib
import re
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

from meanet_jax.config.ranges import LARGEST, Range
from meanet_jax.errors import UserError, hint, nearest
from meanet_jax.paths import expanded_path

Flags = argparse._ActionsContainer  # a parser, or a group of its flags


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
  def _get_help_string(self, action: argparse.Action) -> str | None:
    nothing = action.default is None or action.default is False or action.default == []
    return action.help if nothing else super()._get_help_string(action)


class ConfigField(NamedTuple):
  """One `--config.PATH=TEXT`; None where no text follows."""

  path: str
  text: str | None


class Parser(argparse.ArgumentParser):
  """The flags of one command.

  Names are written with dashes and accepted with underscores. What is wrong raises UserError.

  takes_fields: whether `--config.FIELD=VALUE` are flags, which `parse` gives as `fields`.
  """

  def __init__(self, prog: str, description: str | None):
    super().__init__(
      prog=prog,
      description=description,
      formatter_class=_Formatter,
      allow_abbrev=False,
    )
    self.takes_fields = False

  def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
    """The values of the flags in `arguments`.

    Raises:
      UserError: a flag that does not exist, has no value or a wrong one; an argument too many.
    """
    rest, fields = _without_fields(arguments) if self.takes_fields else (list(arguments), [])
    given, unknown = self.parse_known_args(self._normalised(rest))
    if unknown:
      self._refuse(unknown[0])
    given.fields = fields
    return given

  def error(self, message: str) -> NoReturn:
    """Raises one line instead of argparse's two."""
    required = re.fullmatch(r"the following arguments are required: ([^,]+)(,.*)?", message)
    if required:
      name = required[1]
      raise UserError(f"{'flag' if name[0] == '-' else 'argument'} {name} is missing; see --help")
    about = re.fullmatch(r"argument ([^\s/:]+)[^:]*: (.*)", message)
    if about and about[2].startswith("expected"):
      raise UserError(f"flag {about[1]} has no value; accepted: {about[1]} VALUE")
    raise UserError(f"{message}; see --help")

  def _normalised(self, arguments: Sequence[str]) -> list[str]:
    """Underscores as dashes, and every form of a switch (`--x=true`, `--nox`) as argparse's."""
    known = self._option_string_actions
    result = []
    for index, argument in enumerate(arguments):
      if argument == "--":
        return [*result, *arguments[index:]]
      name, equals, value = argument.partition("=")
      if not name.startswith("--"):
        result.append(argument)
        continue
      name = name.replace("_", "-")
      if name not in known and name.startswith("--no") and f"--no-{name[4:]}" in known:
        name = f"--no-{name[4:]}"
      if equals and name in known and known[name].nargs == 0:
        wanted = {"true": name, "false": f"--no-{name[2:]}"}.get(value.lower())
        if wanted not in known:
          raise UserError(f"flag {name} is {value!r}; accepted: true or false")
        result.append(wanted)
      else:
        result.append(f"{name}={value}" if equals else name)
    return result

  def _refuse(self, argument: str) -> NoReturn:
    name = argument.partition("=")[0]
    if not name.startswith("-"):
      takes = [action.metavar for action in self._positionals._group_actions]
      accepted = f"{' '.join(map(str, takes))} and flags" if takes else "flags only"
      raise UserError(f"unexpected argument {argument!r}; accepted: {accepted}")
    if name.startswith("--config."):
      raise UserError(f"flag {name} does not exist; accepted: the flags of --help")
    shown = [flag for flag in self._option_string_actions if not flag.startswith("--no-")]
    raise UserError(f"flag {name} does not exist; {hint(name, shown)}accepted: the flags of --help")


def literal_help(text: str) -> str:
  """A help text as argparse shows it as it is: argparse formats it with %."""
  return text.replace("%", "%%")


def add_switch(flags: Flags, name: str, help: str) -> None:
  """A flag that is on when it is given; `--no-NAME` turns it off again."""
  flags.add_argument(name, action="store_true", help=help)
  flags.add_argument(
    f"--no-{name[2:]}",
    dest=name[2:].replace("-", "_"),
    action="store_false",
    default=argparse.SUPPRESS,
    help=argparse.SUPPRESS,
  )


def add_path(flags: Flags, name: str, *, schemes: Sequence[str] = (), **settings: Any) -> None:
  """A flag that is a path, as every path that a person gives: see `expanded_path`.

  Args:
    flags, name, settings: as of `add_argument`.
    schemes: of addresses that are accepted as well.
  """
  settings = {"metavar": "PATH"} | settings
  flags.add_argument(
    name, type=lambda text: expanded_path(text, f"flag {name}", schemes), **settings
  )


def add_integer(flags: Flags, name: str, bounds: Range, **settings: Any) -> None:
  """A flag that is an integer within `bounds`."""

  def read(text: str) -> int:
    with contextlib.suppress(ValueError):
      if bounds.holds(int(text)):
        return int(text)
    raise UserError(f"flag {name} is {text}; accepted: an integer, {bounds}")

  flags.add_argument(name, type=read, **({"metavar": "N"} | settings))


def add_number(
  flags: Flags, name: str, bounds: Range, *, older: str | None = None, **settings: Any
) -> None:
  """A flag that is a number within `bounds`; not-a-number and infinity are beyond any.

  Args:
    flags, name, settings: as of `add_argument`.
    bounds: what is accepted.
    older: a name from before, which is accepted as well.
  """

  def read(text: str) -> float:
    with contextlib.suppress(ValueError):
      if bounds.holds(float(text)):
        return float(text)
    finite = "a finite number, " if bounds.high == LARGEST else ""
    raise UserError(f"flag {name} is {text}; accepted: {finite}{bounds}")

  names = (name,) if older is None else (name, older)
  flags.add_argument(*names, type=read, **({"metavar": "X"} | settings))


def add_choice(flags: Flags, name: str, choices: Sequence[str], **settings: Any) -> None:
  """A flag that is one of some words."""

  def read(text: str) -> str:
    if text in choices:
      return text
    raise UserError(f"flag {name} is {text!r}; {nearest(text, choices)}")

  flags.add_argument(name, type=read, metavar=f"{{{','.join(choices)}}}", **settings)


def require(value: str | None, flag: str, accepted: str) -> str:
  """The value of a flag that has no default."""
  if not value:
    raise UserError(f"flag {flag} is missing; accepted: {accepted}")
  return value


def _without_fields(arguments: Sequence[str]) -> tuple[list[str], list[ConfigField]]:
  """The arguments without `--config.FIELD=VALUE`, `--config.FIELD VALUE`, `--noconfig.FIELD`."""
  rest: list[str] = []
  fields: list[ConfigField] = []
  waiting = list(arguments)
  while waiting:
    argument = waiting.pop(0)
    name, equals, value = argument.partition("=")
    if name.startswith("--noconfig.") and not equals:
      fields.append(ConfigField(name.removeprefix("--noconfig."), "false"))
    elif not name.startswith("--config."):
      rest.append(argument)
    else:
      text = value if equals else None
      if not equals and waiting and not waiting[0].startswith("--"):
        text = waiting.pop(0)
      fields.append(ConfigField(name.removeprefix("--config."), text))
  return rest, fields
