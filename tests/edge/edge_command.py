"""`meanet edge` within the test's process."""

import json
from pathlib import Path

from meanet_jax.commands.app import main


def run(*arguments: str | Path) -> int:
  return main(["edge", *map(str, arguments)])


def lines_of(path: Path) -> list[dict]:
  return [json.loads(line) for line in path.read_text().splitlines()]


def one_line(capsys, *arguments: str | Path, status: int = 2) -> str:
  """The one line on stderr of a command that ends so, with nothing on stdout."""
  assert run(*arguments) == status
  out, err = capsys.readouterr()
  (line,) = err.splitlines()
  assert line.startswith("error: ")
  assert out == ""
  return line
