"""The pages' Mermaid flowcharts as SVG: the site needs no script, and no connection to be read.

The pages keep Mermaid's text, which the repository's own site draws. Colours are the theme's, by
static/diagrams.css.
"""

import html
import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from website.flowcharts import FENCE, Edge, Flowchart, Node, read_flowchart
from website.layout import Item, Places, place

CHARACTER, LINE, PADDING = 6.5, 17.0, 11.0  # in pixels, of a text of 13
BETWEEN = 38.0  # layers, where no text needs more
HEAD = 8.0  # of an arrow
FRAME = 14.0  # around a group
SMALLEST = 0.68  # to which a narrow window shrinks a diagram; beyond, it scrolls


class Box(NamedTuple):
  """A rectangle by its middle and its sizes, in pixels from left to right and top to bottom."""

  x: float
  y: float
  width: float
  height: float


def with_diagrams(page: str) -> str:
  """A page of Markdown with its flowcharts as HTML, each in one line."""
  return FENCE.sub(lambda found: diagram(found[1]), page)


def diagram(text: str) -> str:
  """A flowchart of Mermaid's text as HTML."""
  chart = read_flowchart(text)
  if len(chart.groups) > 1:
    raise ValueError(f"a flowchart has the subgraphs {[*chart.groups]}; accepted: one at most")
  places, boxes, along = _placed(chart)
  group = [boxes[name] for names in chart.groups.values() for name in names]
  frames = [_frame(title, group) for title in chart.groups]
  drawn = [frame for frame, _ in frames]
  drawn += [
    _edge(chart, number, boxes, _bends(number, places, along)) for number in range(len(chart.edges))
  ]
  drawn += [_node(node, boxes[name]) for name, node in chart.nodes.items()]
  turns = (turn for number in range(len(chart.edges)) for turn in _bends(number, places, along))
  bent = [Box(*(turn[::-1] if chart.downwards else turn), 0, 0) for turn in turns]
  around = [*boxes.values(), *bent, *(box for _, box in frames)]
  left = min(box.x - box.width / 2 for box in around) - 4
  top = min(box.y - box.height / 2 for box in around) - 4
  width = max(box.x + box.width / 2 for box in around) + 4 - left
  height = max(box.y + box.height / 2 for box in around) + 4 - top
  return (
    f'<div class="diagram"><svg role="img" aria-label="{_spoken(chart)}" width="{width:.0f}" '
    f'style="min-width: {SMALLEST * width:.0f}px" '
    f'viewBox="{left:.0f} {top:.0f} {width:.0f} {height:.0f}">{"".join(drawn)}</svg></div>'
  )


def _sizes(node: Node) -> tuple[float, float]:
  slanted = LINE if node.shape != "box" else 0.0
  width = CHARACTER * max(map(len, node.lines)) + 2 * PADDING + slanted
  return width, LINE * len(node.lines) + 1.2 * PADDING


def _placed(
  chart: Flowchart,
) -> tuple[Places, dict[str, Box], list[tuple[float, float]]]:
  """Places, boxes by name, and where each layer begins and ends along the arrows."""
  sizes = {name: _sizes(node) for name, node in chart.nodes.items()}
  wide, high = (0, 1) if chart.downwards else (1, 0)  # across, along
  places = place(
    [(edge.source, edge.target) for edge in chart.edges],
    {name: size[wide] for name, size in sizes.items()},
    [name for names in chart.groups.values() for name in names],
  )
  along, boxes, at = [], {}, 0.0
  for layer in places.layers:
    names = [item for item in layer if isinstance(item, str)]
    depth = max((sizes[name][high] for name in names), default=0.0)
    along.append((at, at + depth))
    for name in names:
      ends = (at + depth / 2, places.across[name])
      boxes[name] = Box(*(ends[::-1] if chart.downwards else ends), *sizes[name])
    texts = [edge.text for edge in chart.edges if edge.source in names]
    needed = 0.0 if chart.downwards else CHARACTER * max(map(len, texts), default=0) + 4 * HEAD
    at += depth + max(BETWEEN, needed)
  return places, boxes, along


def _bends(
  number: int, places: Places, along: Sequence[tuple[float, float]]
) -> list[tuple[float, float]]:
  """Where an edge enters and leaves the layers between its ends: along, across."""
  bends: Iterable[Item] = (item for layer in places.layers for item in layer)
  return [
    (end, places.across[bend])
    for bend in bends
    if not isinstance(bend, str) and bend[0] == number
    for end in along[bend[1]]
  ]


def _edge(
  chart: Flowchart, number: int, boxes: dict[str, Box], bends: Sequence[tuple[float, float]]
) -> str:
  edge: Edge = chart.edges[number]
  source, target = boxes[edge.source], boxes[edge.target]
  if chart.downwards:
    start = (source.y + source.height / 2, source.x)
    end = (target.y - target.height / 2, target.x)
  else:
    start = (source.x + source.width / 2, source.y)
    end = (target.x - target.width / 2, target.y)
  tip = (end[0] - HEAD, end[1])
  points = [start, *bends, tip]

  def written(*ends: tuple[float, float]) -> str:
    return " ".join(f"{y:.1f},{x:.1f}" if chart.downwards else f"{x:.1f},{y:.1f}" for x, y in ends)

  path = f"M{written(start)}"
  for (x, y), (next_x, next_y) in itertools.pairwise(points):
    middle = (x + next_x) / 2
    path += f"C{written((middle, y), (middle, next_y), (next_x, next_y))}"
  corners = written(end, (tip[0], tip[1] - HEAD / 2), (tip[0], tip[1] + HEAD / 2))
  kind = "edge dotted" if edge.dotted else "edge"
  drawn = f'<path class="{kind}" d="{path}"/><polygon class="head" points="{corners}"/>'
  if edge.text:
    (x, y), (next_x, next_y) = points[:2]
    at = ((x + next_x) / 2, (y + next_y) / 2)
    drawn += _text(*(at[::-1] if chart.downwards else at), (edge.text,), "label")
  return drawn


def _node(node: Node, box: Box) -> str:
  x, y = box.x - box.width / 2, box.y - box.height / 2
  if node.shape == "decision":
    right, bottom, slant = x + box.width, y + box.height, LINE / 1.5
    corners = (
      *((x, box.y), (x + slant, y), (right - slant, y)),
      *((right, box.y), (right - slant, bottom), (x + slant, bottom)),
    )
    points = " ".join(f"{px:.1f},{py:.1f}" for px, py in corners)
    shape = f'<polygon class="node decision" points="{points}"/>'
  else:
    round_by = box.height / 2 if node.shape == "stadium" else 4
    shape = (
      f'<rect class="node {node.shape}" x="{x:.1f}" y="{y:.1f}" width="{box.width:.1f}" '
      f'height="{box.height:.1f}" rx="{round_by:.1f}"/>'
    )
  return shape + _text(box.x, box.y, node.lines)


def _frame(title: str, boxes: Sequence[Box]) -> tuple[str, Box]:
  left = min(box.x - box.width / 2 for box in boxes) - FRAME
  right = max(box.x + box.width / 2 for box in boxes) + FRAME
  top = min(box.y - box.height / 2 for box in boxes) - FRAME - LINE
  bottom = max(box.y + box.height / 2 for box in boxes) + FRAME
  box = Box((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
  rectangle = (
    f'<rect class="group" x="{left:.1f}" y="{top:.1f}" width="{box.width:.1f}" '
    f'height="{box.height:.1f}" rx="6"/>'
  )
  return rectangle + _text(box.x, top + LINE / 2 + 3, (title,), "title"), box


def _text(x: float, y: float, lines: Sequence[str], kind: str = "") -> str:
  first = y - LINE * (len(lines) - 1) / 2 + 4.5
  attribute = f' class="{kind}"' if kind else ""
  spans = "".join(
    f'<tspan x="{x:.1f}" y="{first + LINE * number:.1f}">{html.escape(line)}</tspan>'
    for number, line in enumerate(lines)
  )
  return f"<text{attribute}>{spans}</text>"


def _spoken(chart: Flowchart) -> str:
  """The edges in words, for screen readers."""
  named = {name: " ".join(node.lines) for name, node in chart.nodes.items()}
  said = (
    f"{named[edge.source]} to {named[edge.target]}{f' ({edge.text})' if edge.text else ''}"
    for edge in chart.edges
  )
  return html.escape("; ".join(said))
