"""Of every system what it is in one line, and a small diagram of where its images go."""

import html
from typing import Any, NamedTuple


class Glossed(NamedTuple):
  """What a system is.

  line: in words. blocks: what runs, in the order of the diagram. rule: over the arrow to the cloud.
  """

  line: str
  blocks: tuple[str, ...]
  rule: str = "unsure?"


GLOSSARY = {
  "main_only": Glossed("the main block alone; nothing is sent", ("main",)),
  "edge_only": Glossed(
    "the edge alone: main, and the extension for images that look hard", ("main", "extension")
  ),
  "cloud_only": Glossed("every image is sent, and nothing computed before", ("cloud",), "all"),
  "main_cloud": Glossed(
    "main, and the cloud where main is unsure; no extension", ("main", "cloud")
  ),
  "paper": Glossed(
    "the paper's rules on the same networks, uncalibrated", ("main", "extension", "cloud")
  ),
  "meanet": Glossed(
    "main, extension and cloud, under the policy selected on validation",
    ("main", "extension", "cloud"),
  ),
  "static": Glossed("an ordinary network of the same edge cost; nothing is sent", ("static",)),
  "static_cloud": Glossed(
    "that ordinary network, and the cloud where it is unsure", ("static", "cloud")
  ),
  "random": Glossed(
    "sends as many images as meanet, drawn at random", ("main", "extension", "cloud"), "random"
  ),
  "oracle": Glossed(
    "sends exactly what the edge gets wrong and the cloud right: a bound, as it needs labels",
    ("main", "extension", "cloud"),
    "it helps",
  ),
}
_WIDTH, _HEIGHT, _GAP, _TOP = 76.0, 28.0, 46.0, 30.0  # of a diagram, in its own units


def glossary(systems: dict[str, dict[str, Any]], meanet: str) -> str:
  """A list of the systems: a diagram and a line each.

  Args:
    systems: entries of summary.json.
    meanet: the one whose offload rule `random` and `oracle` share.
  """
  rows = []
  for name, entry in systems.items():
    found = GLOSSARY.get(name)
    if found is None:
      continue
    point = entry.get("operating_point") or systems[meanet].get("operating_point") or {}
    late = point.get("policy", {}).get("offload") == "late"
    rows.append(
      f"<div>{_diagram(name, found, late)}<dl><dt>{html.escape(name)}</dt>"
      f"<dd>{html.escape(found.line)}</dd></dl></div>"
    )
  return f'<div class="glossary">{"".join(rows)}</div>'


def _diagram(name: str, system: Glossed, late: bool) -> str:
  """Image and blocks in a row, an arrow between two, and one from main over the extension."""
  width = 24 + len(system.blocks) * (_GAP + _WIDTH)
  middle = _TOP + _HEIGHT / 2
  parts = [f'<circle cx="10" cy="{middle}" r="6"/>']
  x, centres = 16.0, {}
  for block in system.blocks:
    left = x + _GAP
    centres[block] = left + _WIDTH / 2
    follows_extension = block == "cloud" and "extension" in centres
    if not follows_extension or late:
      parts.append(_arrow(x + 2, middle, left))
    rule = {"extension": "hard?", "cloud": "" if follows_extension else system.rule}.get(block, "")
    if rule:
      parts.append(_text((x + left) / 2, middle - 5, rule, "rule"))
    parts.append(
      f'<rect class="{block}" x="{left}" y="{_TOP}" width="{_WIDTH}" height="{_HEIGHT}" rx="5"/>'
    )
    parts.append(_text(left + _WIDTH / 2, middle + 4, block))
    x = left + _WIDTH
  if {"extension", "cloud"} <= centres.keys():
    start, end = centres["main"], centres["cloud"]
    parts.append(
      f'<path class="arrow" d="M{start} {_TOP}V13H{end}V{_TOP - 2}"/>{_head(end, _TOP, down=True)}'
    )
    parts.append(_text((start + end) / 2, 9.0, system.rule, "rule"))
  high = 0.0 if {"extension", "cloud"} <= centres.keys() else _TOP - 4  # where no arrow is above
  words = " to ".join(("image", *system.blocks))
  return (
    f'<svg viewBox="0 {high} {width} {_TOP + _HEIGHT + 4 - high}" width="{width}" role="img" '
    f'aria-label="{html.escape(name)}: {words}">{"".join(parts)}</svg>'
  )


def _arrow(start: float, y: float, end: float) -> str:
  return f'<path class="arrow" d="M{start} {y}H{end - 2}"/>{_head(end, y)}'


def _head(x: float, y: float, down: bool = False) -> str:
  corners = f"{x - 4},{y - 7} {x + 4},{y - 7}" if down else f"{x - 7},{y - 4} {x - 7},{y + 4}"
  return f'<polygon points="{x},{y} {corners}"/>'


def _text(x: float, y: float, text: str, kind: str = "") -> str:
  attribute = f' class="{kind}"' if kind else ""
  return f'<text x="{x}" y="{y}"{attribute}>{html.escape(text)}</text>'
