"""Of every system what it is in one line, and a small diagram of where its images go."""

import html
from collections.abc import Mapping
from typing import Any, NamedTuple


class Glossed(NamedTuple):
  """What a system is.

  line: in words; `{rules}` stands for those of its policy. blocks: what may run, in the order of
  the diagram. rule: over the arrow to the cloud where a policy does not say.
  """

  line: str
  blocks: tuple[str, ...]
  rule: str = "unsure?"


class _Extends(NamedTuple):
  """For which images the extension runs: over its arrow, and in words."""

  short: str
  words: str


# By `hard_rule`, and by `offload`; "" is of a system whose policy is not known.
_EXTENDS = {
  "argmax": _Extends("hard?", "where main predicts a hard class"),
  "probability": _Extends("hard?", "where main says that a hard class is likely"),
  "argmax_uncertain": _Extends("hard, unsure?", "where main predicts a hard class and is unsure"),
  "uncertain": _Extends("unsure?", "where main is unsure"),
  "": _Extends("needed?", "where the policy needs it"),
}
_SENDS = {
  "early": "where main is unsure",
  "late": "where the exit that answers is unsure",
  "always": "for every image",
  "": "where the policy says so",
}
GLOSSARY = {
  "main_only": Glossed("the main block alone; nothing is sent", ("main",)),
  "edge_only": Glossed("the edge alone: {rules}; nothing is sent", ("main", "extension")),
  "cloud_only": Glossed("every image is sent, and nothing computed before", ("cloud",), "all"),
  "main_cloud": Glossed("{rules}; no extension", ("main", "cloud")),
  "paper": Glossed(
    "the paper's rules on the same networks, uncalibrated: {rules}", ("main", "extension", "cloud")
  ),
  "meanet": Glossed("the policy selected on validation: {rules}", ("main", "extension", "cloud")),
  "static": Glossed("a plain network of the same edge cost; nothing is sent", ("static",)),
  "static_cloud": Glossed(
    "a plain network of the same edge cost, and the cloud where it is unsure", ("static", "cloud")
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
_LETTER = 5.6  # the width of one over an arrow


def glossary(systems: dict[str, dict[str, Any]], meanet: str) -> str:
  """A list of the systems: a diagram and a line each.

  Args:
    systems: entries of summary.json.
    meanet: the one whose rules `random` and `oracle` share.
  """
  rows = []
  for name, entry in systems.items():
    if name not in GLOSSARY:
      continue
    policy = policy_of(entry) or policy_of(systems[meanet])
    rows.append(
      f"<div>{_diagram(name, policy)}<dl><dt>{html.escape(name)}</dt>"
      f"<dd>{html.escape(described(name, policy))}</dd></dl></div>"
    )
  return f'<div class="glossary">{"".join(rows)}</div>'


def policy_of(entry: Mapping[str, Any]) -> Mapping[str, str]:
  """The rules of an entry of summary.json by name; empty where it has none."""
  return (entry.get("operating_point") or {}).get("policy", {})


def described(name: str, policy: Mapping[str, str]) -> str:
  """A system in one line.

  Args:
    name: of `GLOSSARY`.
    policy: see `policy_of`.
  """
  blocks = _blocks(name, policy)
  parts = ["main"]
  if "extension" in blocks:
    parts.append(f"the extension {_EXTENDS[policy.get('hard_rule', '')].words}")
  if "cloud" in blocks:
    parts.append(f"the cloud {_SENDS[policy.get('offload', '')]}")
  *first, last = parts
  return GLOSSARY[name].line.format(rules=f"{', '.join(first)} and {last}" if first else last)


def _blocks(name: str, policy: Mapping[str, str]) -> list[str]:
  """Those of a system that its policy ever runs."""
  never = {"extension": policy.get("hard_rule"), "cloud": policy.get("offload")}
  return [block for block in GLOSSARY[name].blocks if never.get(block) != "never"]


def _diagram(name: str, policy: Mapping[str, str]) -> str:
  """Image and blocks in a row, an arrow between two, and one from main over the extension."""
  system, late = GLOSSARY[name], policy.get("offload") == "late"
  middle = _TOP + _HEIGHT / 2
  parts, ways = [f'<circle cx="10" cy="{middle}" r="6"/>'], []
  x, before, centres = 16.0, "image", {}
  for block in _blocks(name, policy):
    over_extension = block == "cloud" and "extension" in centres
    rule = ""
    if block == "extension":
      rule = _EXTENDS[policy.get("hard_rule", "")].short
    elif block == "cloud" and not over_extension:
      rule = system.rule
    left = x + max(_GAP, _LETTER * len(rule) + 8)
    centres[block] = left + _WIDTH / 2
    if not over_extension or late:
      parts.append(_arrow(x + 2, middle, left))
      ways.append(f"{before} to {block}")
    if rule:
      parts.append(_text((x + left) / 2, middle - 5, rule, "rule"))
    parts.append(
      f'<rect class="{block}" x="{left}" y="{_TOP}" width="{_WIDTH}" height="{_HEIGHT}" rx="5"/>'
    )
    parts.append(_text(left + _WIDTH / 2, middle + 4, block))
    x, before = left + _WIDTH, block
  high = _TOP - 4  # where no arrow is above
  if {"extension", "cloud"} <= centres.keys():
    high = 0.0
    start, end = centres["main"], centres["cloud"]
    parts.append(
      f'<path class="arrow" d="M{start} {_TOP}V13H{end}V{_TOP - 2}"/>{_head(end, _TOP, down=True)}'
    )
    parts.append(_text((start + end) / 2, 9.0, system.rule, "rule"))
    ways.append("main to cloud")
  width = x + 8
  return (
    f'<svg viewBox="0 {high} {width} {_TOP + _HEIGHT + 4 - high}" width="{width}" role="img" '
    f'aria-label="{html.escape(name)}: {", ".join(ways)}">{"".join(parts)}</svg>'
  )


def _arrow(start: float, y: float, end: float) -> str:
  return f'<path class="arrow" d="M{start} {y}H{end - 2}"/>{_head(end, y)}'


def _head(x: float, y: float, down: bool = False) -> str:
  corners = f"{x - 4},{y - 7} {x + 4},{y - 7}" if down else f"{x - 7},{y - 4} {x - 7},{y + 4}"
  return f'<polygon points="{x},{y} {corners}"/>'


def _text(x: float, y: float, text: str, kind: str = "") -> str:
  attribute = f' class="{kind}"' if kind else ""
  return f'<text x="{x}" y="{y}"{attribute}>{html.escape(text)}</text>'
