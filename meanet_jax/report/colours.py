"""How each system is drawn, in every figure and on the page: one colour, symbol and line each."""

from typing import NamedTuple


class Style(NamedTuple):
  """How a system is drawn.

  colour: in hex; with a contrast of 3 on white and on the page's dark background alike (WCAG 2.1,
  1.4.11), and distinguishable by colour-blind readers together with the symbol. marker:
  Matplotlib's name of the symbol; symbol: plotly's. dash: plotly's name of the line, which
  Matplotlib draws as `line`.
  """

  colour: str
  marker: str
  symbol: str
  dash: str = "solid"
  line: str = "-"


STYLES = {
  "meanet": Style("#D55E00", "o", "circle"),
  "paper": Style("#00916A", "D", "diamond", "dash", "--"),
  "main_cloud": Style("#0072B2", "s", "square", "dot", ":"),
  "main_only": Style("#7A7A7A", "^", "triangle-up"),
  "edge_only": Style("#8C6BB1", "v", "triangle-down"),
  "cloud_only": Style("#C8528F", "p", "pentagon"),
  "static": Style("#B0602F", "P", "cross"),
  "static_cloud": Style("#947600", "h", "hexagon", "dashdot", "-."),
  "random": Style("#607D8B", "X", "x"),
  "oracle": Style("#1B9494", "*", "star"),
}
# Of answers and of hard classes, in figures: as on the page, and no system's.
RIGHT, WRONG, HARD = "#1A7F37", "#B3261E", "#B84F00"
