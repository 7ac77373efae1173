"""The commands in the documents parse: every command, flag and field that they name exists."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from meanet_jax.commands.app import COMMANDS, parser_of
from meanet_jax.config.documentation import documented
from meanet_jax.config.grid import GridConfig
from meanet_jax.config.schema import Config
from meanet_jax.errors import UserError

ROOT = Path(__file__).parent.parent.parent
PAGES = ["README.md", *(str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("docs/*.md")))]
PYTHON = r"(?:srun .*)?\S*python (?P<script>train|eval)\.py"
START = re.compile(rf"(?:{PYTHON}|meanet (?P<name>[a-z]+))\s")


def commands(text: str) -> Iterator[tuple[str, list[str]]]:
  """The commands in a page's indented code: each one's name and arguments."""
  code = "\n".join(line[4:] for line in text.split("\n") if line.startswith("    "))
  for line in code.replace("\\\n", " ").split("\n"):
    if found := START.match(line.strip() + " "):
      rest = re.sub(r"[\[\]]| \.\.\.", " ", line.strip()[found.end() - 1 :])
      if rest.count('"') % 2:  # the end of a command that another one starts, by ssh
        rest = rest.rstrip('"')
      yield found["script"] or found["name"], shlex.split(rest, comments=True)


def fields() -> set[str]:
  paths = {field.path for field in documented(Config())}
  return paths | {field.path for field in documented(GridConfig(), "grid.")}


def check(name: str, arguments: list[str]) -> None:
  if name not in COMMANDS:
    raise UserError(f"command {name!r} does not exist")
  for field in parser_of(name).parse(arguments).fields:
    if field.path not in fields():
      raise UserError(f"field {field.path} does not exist")


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_the_documents_parse(page):
  for name, arguments in commands((ROOT / page).read_text()):
    check(name, arguments)


def test_the_readme_has_the_commands_of_its_first_use():
  names = [name for name, _ in commands((ROOT / "README.md").read_text())]
  assert {"train", "eval", "export", "edge"} <= set(names)


@pytest.mark.parametrize(
  "line",
  [
    "meanet nosuch --workdir runs/x",
    "meanet train --config digits --workdirs runs/x",
    "python train.py --config digits --workdir runs/x --config.stages.edge.epoch=3",
    "meanet eval --workdir runs/x \\\n      --max-offloads 0.1",
  ],
)
def test_what_does_not_exist_is_found(line):
  ((name, arguments),) = commands(f"Text.\n\n    {line}\n")
  with pytest.raises(UserError, match="does not exist"):
    check(name, arguments)
