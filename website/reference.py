"""The site's reference pages, made from the package: its API, its configuration, its flags."""

import argparse
import re
from collections.abc import Iterable, Iterator

import meanet_jax
from meanet_jax.commands.app import COMMANDS, parser_of
from meanet_jax.config.documentation import Field, documented
from meanet_jax.config.grid import GridConfig
from meanet_jax.config.schema import Config


def reference_pages() -> dict[str, str]:
  """Markdown by the path of its page."""
  return {
    "reference/api.md": _api(),
    "reference/configuration.md": _configuration(),
    "reference/commands.md": _commands(),
  }


def _api() -> str:
  entries = [
    f"```{{eval-rst}}\n.. auto{_kind(name)}:: meanet_jax.{name}\n{_members(name)}```\n"
    for name in meanet_jax.__all__
  ]
  return "\n".join(
    (
      "# API reference\n",
      "The public names of `meanet_jax`; [docs/api.md](../docs/api.md) uses them one after",
      "another.\n",
      *entries,
    )
  )


def _kind(name: str) -> str:
  return "class" if isinstance(getattr(meanet_jax, name), type) else "function"


def _members(name: str) -> str:
  return "   :members:\n" if _kind(name) == "class" else ""


def _configuration() -> str:
  fields = [*documented(Config()), *documented(GridConfig(), "grid.")]
  groups = dict.fromkeys(_group(field) for field in fields)
  sections = []
  for group in groups:
    entries = (_field(field) for field in fields if _group(field) == group)
    sections.append(f"## {group or 'The run'}\n\n" + "\n".join(entries))
  head = (
    "# Configuration fields\n\n"
    "Every field with its default. A configuration file sets them as `config.PATH = VALUE`, a\n"
    "command line as `--config.PATH=VALUE`; `meanet config NAME` prints those of a configuration.\n"
  )
  return "\n".join((head, *sections))


def _group(field: Field) -> str:
  """Of a field: its path without the last name, of three names at most."""
  return ".".join(field.path.split(".")[:-1][:3])


def _field(field: Field) -> str:
  return (
    f"`{field.path} = {field.value!r}`\n"
    f": {_literal(field.meaning)} Accepted: {_literal(field.accepted)}.\n"
  )


def _commands() -> str:
  head = (
    "# Commands and flags\n\n"
    "Flags are written with dashes and accepted with underscores. A command that takes a\n"
    "configuration takes `--config.FIELD=VALUE` for each of its\n"
    "[fields](configuration.md#configuration-fields).\n"
  )
  return "\n".join((head, *(_command(name) for name in COMMANDS)))


def _command(name: str) -> str:
  parser = parser_of(name)
  groups = parser._action_groups
  usual = [action for group in groups[:2] for action in group._group_actions]
  parts = [f"## meanet {name}\n", f"{_literal(parser.description or '')}\n", *_flags(usual)]
  for group in groups[2:]:
    parts += [f"### meanet {name}: {_literal(group.title or '')}\n", *_flags(group._group_actions)]
  if parser.epilog:
    parts.append(f"{_literal(parser.epilog)}\n")
  return "\n".join(parts)


def _flags(actions: Iterable[argparse.Action]) -> Iterator[str]:
  for action in actions:
    if action.help is argparse.SUPPRESS or action.dest == "help":
      continue
    value = "" if action.nargs == 0 or not action.option_strings else f" {action.metavar}"
    names = ", ".join(action.option_strings) or str(action.metavar or action.dest)
    plain = action.default is None or action.default is False or action.default == []
    default = (
      "" if plain or action.default is argparse.SUPPRESS else f" (default: {action.default})"
    )
    help = (action.help or "").replace("%%", "%")
    yield f"`{names}{value}`\n: {_literal(help)}{_literal(default)}\n"


def _literal(text: str) -> str:
  """Plain text as Markdown; what stands between backticks stays code."""
  pieces = re.split(r"(`[^`]*`)", text)
  return "".join(
    piece if piece.startswith("`") else re.sub(r"([\\*_\[\]<>$#|{}~])", r"\\\1", piece)
    for piece in pieces
  )
