"""The page and its figures, from the results of any parts, complete or cut off."""

import json
from pathlib import Path
from typing import Any

from benchmarks.accelerator.figures import draw
from benchmarks.accelerator.parts import PARTS
from benchmarks.accelerator.record import RUNNING
from benchmarks.accelerator.tables import TABLES, table
from benchmarks.accelerator.targets import targets
from meanet_jax.errors import UserError
from meanet_jax.files import write_text

Results = dict[str, dict[str, Any]]  # what a part's file holds, by part
TITLE = "# On an accelerator"
COMMAND = "python -m benchmarks.accelerator"
NOT_MEASURED = f"""{TITLE}

Not yet measured: no accelerator has been at hand. Everything below runs on CPU with tiny sizes
(`{COMMAND} --rehearse --out DIR`), where it says nothing about a card.

On a machine with a card, `{COMMAND} --budget-seconds 480 --out DIR` measures
these parts in this order, and `{COMMAND} --report DIR` replaces this page by
what it found:

"""


def write_report(directory: Path, page: Path) -> None:
  """Writes the page, and beside it the figures for which there are results.

  Raises:
    UserError: no such directory, or a file in it that is no result.
  """
  if not directory.is_dir():
    raise UserError(f"flag --report is {directory}, which is no directory; accepted: that of --out")
  results = read_results(directory)
  rows = [row for found in results.values() for row in found["rows"]]
  figures = draw(rows, page) if rows else []
  write_text(page, text(results, figures))
  print(f"{page} has {len(rows)} rows of {len(results)} parts")


def read_results(directory: Path) -> Results:
  """What the parts have written, in their order."""
  results = {}
  for part in PARTS:
    path = directory / f"{part.name}.json"
    if not path.exists():
      continue
    try:
      found = json.loads(path.read_text())
      results[part.name] = {key: found[key] for key in ("status", "rehearsal", "rows")}
      results[part.name]["environment"] = found["environment"]
    except (ValueError, KeyError, TypeError) as error:
      raise UserError(f"{path} is no result of {COMMAND} ({error!r}); delete it") from error
  return results


def text(results: Results, figures: list[Path]) -> str:
  """The page.

  Args:
    results: by part; of no rows at all where nothing was measured.
    figures: beside the page.
  """
  rows = [row for found in results.values() for row in found["rows"]]
  if not rows:
    listed = [f"- {part.title}: at most {part.seconds} s." for part in PARTS]
    return NOT_MEASURED + "\n".join([*listed, "", *_target_lines([])]) + "\n"
  lines = [TITLE, "", *_head(results), "", *_target_lines(rows)]
  for path in figures:
    lines += ["", f"![{path.stem.replace('_', ' ')}]({path.name})"]
  for part in PARTS:
    own = results.get(part.name, {}).get("rows", [])
    lines += ["", f"## {part.title}", "", _ended(results, part.name)]
    for kind, columns in TABLES.items():
      of_kind = [row for row in own if row["kind"] == kind]
      if of_kind:
        lines += ["", *table(columns, of_kind)]
  return "\n".join(lines) + "\n"


def _head(results: Results) -> list[str]:
  known = [found["environment"] for found in results.values() if found["environment"]]
  lines = [
    f"Made by `{COMMAND} --report DIR`. Medians, the kinds in turn; the parts one at a time."
  ]
  if any(found["rehearsal"] for found in results.values()):
    lines += ["", "**A rehearsal: sizes are tiny, and the numbers say nothing about a card.**"]
  for one in {json.dumps(_versions(found)): _versions(found) for found in known}.values():
    lines += ["", " ".join(one)]
  return lines


def _versions(found: dict[str, Any]) -> list[str]:
  packages = ", ".join(f"{name} {version}" for name, version in found["packages"].items())
  devices = f"{len(found['devices'])} x {found['devices'][0]}"
  return [f"{devices}, {found['cores']} CPU cores.", f"Python {found['python']}, {packages}."]


def _ended(results: Results, part: str) -> str:
  if part not in results:
    return "Not measured."
  status = results[part]["status"]
  ended = "cut off together with its call" if status == RUNNING else status
  return f"Ended: {ended}."


def _target_lines(rows: list[dict[str, Any]]) -> list[str]:
  columns = {"target": "target", "at": "at", "reached": "reached"}
  return ["## Targets", "", *table(columns, targets(rows))]
