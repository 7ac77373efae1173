"""The flowcharts of the pages as SVG: all that they say, and nothing on top of something else."""

import html
import itertools
import re
from pathlib import Path

import pytest

from website.diagrams import FRAME, _placed, diagram, with_diagrams
from website.flowcharts import FENCE, Edge, Node, read_flowchart
from website.layout import place

ROOT = Path(__file__).parent.parent
CHARTS = [
  pytest.param(found[1], id=f"{path.name}-{number}")
  for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")))
  for number, found in enumerate(FENCE.finditer(path.read_text()))
]


def test_a_flowchart_is_read():
  chart = read_flowchart(
    'graph LR\n  a([x]) -- yes --> b{"is it?<br>really"}\n  subgraph one\n    b -. "so so" .-> c\n'
    "  end\n  c[see] --> d\n"
  )
  assert not chart.downwards
  assert chart.nodes == {
    "a": Node("stadium", ("x",)),
    "b": Node("decision", ("is it?", "really")),
    "c": Node("box", ("see",)),
    "d": Node("box", ("d",)),
  }
  assert chart.edges == [
    Edge("a", "b", "yes", dotted=False),
    Edge("b", "c", "so so", dotted=True),
    Edge("c", "d", "", dotted=False),
  ]
  assert chart.groups == {"one": ["b", "c"]}


@pytest.mark.parametrize("line", ["a ==> b", "a --> b --> c", "style a fill:red", "a((round))"])
def test_what_is_not_understood_is_refused(line):
  with pytest.raises(ValueError, match=re.escape(f"has the line {line!r}; accepted: a node")):
    read_flowchart(f"graph TD\na --> b\n{line}\n")
  with pytest.raises(ValueError, match="begins with 'sequenceDiagram'"):
    read_flowchart(f"sequenceDiagram\n{line}\n")


@pytest.mark.parametrize("text", CHARTS)
def test_a_flowchart_of_the_pages_is_drawn(text):
  chart = read_flowchart(text)
  drawn = diagram(text)
  assert "\n" not in drawn  # Markdown ends HTML at an empty line
  spans = list(map(html.unescape, re.findall(r"<tspan[^>]*>(.*?)</tspan>", drawn)))
  said = [line for node in chart.nodes.values() for line in node.lines]
  assert sorted(spans) == sorted(
    [*said, *filter(None, (e.text for e in chart.edges)), *chart.groups]
  )
  assert drawn.count('<path class="edge') == len(chart.edges)
  _, boxes, _ = _placed(chart)
  for one, other in itertools.combinations(boxes.values(), 2):
    apart_x = abs(one.x - other.x) >= (one.width + other.width) / 2 + 5
    assert apart_x or abs(one.y - other.y) >= (one.height + other.height) / 2 + 5
  for edge in chart.edges:
    source, target = boxes[edge.source], boxes[edge.target]
    assert source.y < target.y if chart.downwards else source.x < target.x
  left, top, width, height = map(float, re.findall(r'viewBox="(.*?)"', drawn)[0].split())
  for box in boxes.values():
    assert left <= box.x - box.width / 2 < box.x + box.width / 2 <= left + width
    assert top <= box.y - box.height / 2 < box.y + box.height / 2 <= top + height


def test_a_group_holds_its_nodes_and_no_others():
  (text,) = FENCE.findall((ROOT / "README.md").read_text())
  chart = read_flowchart(text)
  ((_, group),) = chart.groups.items()
  _, boxes, _ = _placed(chart)
  inside = [boxes[name] for name in group]
  top = min(box.y - box.height / 2 for box in inside) - FRAME
  bottom = max(box.y + box.height / 2 for box in inside) + FRAME
  left = min(box.x - box.width / 2 for box in inside) - FRAME
  right = max(box.x + box.width / 2 for box in inside) + FRAME
  for name in chart.nodes.keys() - {*group}:
    box = boxes[name]
    above = box.y + box.height / 2 < top or box.y - box.height / 2 > bottom
    assert above or box.x + box.width / 2 < left or box.x - box.width / 2 > right, name


def test_nodes_are_ordered_so_that_edges_cross_as_little_as_they_can():
  edges = [("a", "z"), ("b", "y"), ("c", "x"), ("a", "end")]
  places = place(edges, dict.fromkeys("abcxyz", 10.0) | {"end": 10.0}, [])
  assert places.layers[0] == ["a", "b", "c"]
  assert places.layers[1] in (["z", "end", "y", "x"], ["end", "z", "y", "x"])


def test_a_page_keeps_all_but_its_flowcharts():
  page = "# Title\n\n```mermaid\ngraph TD\n  a --> b\n```\n\n```text\nmermaid\n```\n"
  before, _, after = with_diagrams(page).partition('<div class="diagram">')
  assert before == "# Title\n\n"
  assert after.endswith("</svg></div>\n\n```text\nmermaid\n```\n")
