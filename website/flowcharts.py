"""Reads the part of Mermaid's flowcharts that the pages use.

`graph LR` or `graph TD`; nodes `a`, `a[box]`, `a([stadium])`, `a{decision}`, whose text may be
quoted and have `<br>`; edges `-->`, `-- text -->` and `-. text .->`; subgraphs that hold no others.
"""

import re
from typing import NamedTuple

FENCE = re.compile(r"^```mermaid\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_NODE = r"(\w+)(\(\[.*?\]\)|\[.*?\]|\{.*?\})?"
_EDGE = re.compile(rf"{_NODE}\s+(-->|--\s+(.+?)\s+-->|-\.\s+(.+?)\s+\.->)\s+{_NODE}")
_SHAPES = {"(": ("stadium", 2), "[": ("box", 1), "{": ("decision", 1)}  # characters of a bracket


class Node(NamedTuple):
  """A node. shape: box, stadium or decision. lines: of its text."""

  shape: str
  lines: tuple[str, ...]


class Edge(NamedTuple):
  """An arrow between the nodes of two names."""

  source: str
  target: str
  text: str
  dotted: bool


class Flowchart(NamedTuple):
  """A flowchart.

  downwards: from top to bottom, and not from left to right. nodes: by name, in the order in which
  they are met. groups: names of the nodes in each subgraph, by its title.
  """

  downwards: bool
  nodes: dict[str, Node]
  edges: list[Edge]
  groups: dict[str, list[str]]


def read_flowchart(text: str) -> Flowchart:
  """The flowchart that Mermaid's text describes.

  Raises:
    ValueError: a line that is none of the above.
  """
  first, *lines = [line.strip() for line in text.strip().splitlines()]
  if first not in ("graph LR", "graph TD"):
    raise ValueError(f"a flowchart begins with {first!r}; accepted: graph LR or graph TD")
  chart = Flowchart(first == "graph TD", {}, [], {})
  group = None
  for line in lines:
    if line.startswith("subgraph "):
      group = chart.groups.setdefault(line.removeprefix("subgraph "), [])
    elif line == "end":
      group = None
    else:
      _read_line(chart, line, group)
  return chart


def _read_line(chart: Flowchart, line: str, group: list[str] | None) -> None:
  found = _EDGE.fullmatch(line)
  if found is None and not re.fullmatch(_NODE, line):
    raise ValueError(f"a flowchart has the line {line!r}; accepted: a node, or an edge of two")
  if found is None:
    named = re.findall(_NODE, line)
  else:
    source, shape, arrow, text, dotted, target, other = found.groups()
    label = (text or dotted or "").strip('"')
    chart.edges.append(Edge(source, target, label, arrow.startswith("-.")))
    named = [(source, shape), (target, other)]
  for name, shape in named:
    if shape:
      kind, bracket = _SHAPES[shape[0]]
      label = shape[bracket:-bracket].strip('"')
      chart.nodes[name] = Node(kind, tuple(label.split("<br>")))
    else:
      chart.nodes.setdefault(name, Node("box", (name,)))
    if group is not None and name not in group:
      group.append(name)
