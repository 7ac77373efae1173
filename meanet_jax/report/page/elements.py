"""Pieces of HTML that several sections are made of."""

import html
import importlib.resources
import json
from collections.abc import Iterable
from typing import Any


def section(name: str, title: str, *parts: str) -> str:
  """A section that a link can name and a screen reader lists by its title."""
  return (
    f'<section id="{name}" aria-labelledby="{name}-title">'
    f'<h2 id="{name}-title">{html.escape(title)}</h2>{"".join(parts)}</section>'
  )


def paragraph(text: str, kind: str = "") -> str:
  """Text as it is."""
  attribute = f' class="{kind}"' if kind else ""
  return f"<p{attribute}>{html.escape(text)}</p>"


def table(caption: str, head: Iterable[str], body: Iterable[Iterable[str]]) -> str:
  """A table of texts in a box that scrolls, whose first column names its rows.

  Args:
    caption: read by screen readers.
    head: a title for every column.
    body: rows.
  """
  titles = "".join(f'<th scope="col">{html.escape(text)}</th>' for text in head)
  rows = []
  for first, *rest in body:
    cells = "".join(f"<td>{html.escape(text)}</td>" for text in rest)
    rows.append(f'<tr><th scope="row">{html.escape(first)}</th>{cells}</tr>')
  name = html.escape(caption)
  return (
    f'<div class="scroll" tabindex="0" role="region" aria-label="{name}"><table>'
    f"<thead><tr>{titles}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
  )


def plot(name: str, description: str, kind: str = "plot") -> str:
  """Where the script draws a plot, with what it shows in words."""
  return (
    f'<div id="{name}" class="{kind}" role="img" aria-label="{html.escape(description)}"></div>'
  )


def flat(value: Any, path: str = "") -> Iterable[tuple[str, str]]:
  """Nested dicts as dotted names and their values, in JSON."""
  if isinstance(value, dict) and value:
    for name, item in value.items():
      yield from flat(item, f"{path}.{name}" if path else name)
  else:
    yield path, value if isinstance(value, str) else json.dumps(value)


def script_json(value: Any) -> str:
  """JSON that no name in it can break out of its script element with."""
  text = json.dumps(value, allow_nan=False, separators=(",", ":"))
  return text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")


def percent(share: float | None) -> str:
  """A share in per cent; a dash for none."""
  return "-" if share is None else f"{100 * share:.2f}"


def part(name: str) -> str:
  """The text of a file beside this one."""
  files = importlib.resources.files("meanet_jax.report.page")
  return files.joinpath(name).read_text(encoding="utf-8")
