"""The figure beside the page: accuracy of every system over the share of images it may send."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from benchmarks.evidence.measure import SHARES, Measured
from meanet_jax.report.colours import STYLES
from meanet_jax.report.figures import save_as

# Systems in the words of a reader who knows none of their names.
SENDING = {
  "meanet": "MEANet, policy selected on validation",
  "paper": "MEANet, the paper's rules",
  "main_cloud": "main block and cloud, no extension",
  "static_cloud": "plain network and cloud",
}
LEVEL = {
  "edge_only": "edge alone: nothing sent",
  "static": "plain network alone: nothing sent",
  "main_only": "main block alone: nothing sent",
  "cloud_only": "cloud alone: everything sent",
}
APART = 0.14  # per cent of the images between systems at one share, so that no bar hides another


def draw(path: Path, name: str, measured: Sequence[Measured]) -> Path:
  """Writes the figure of a configuration.

  Args:
    path: of the SVG.
    name: of the configuration.
    measured: by seed.

  Returns:
    `path`.
  """
  # Texts as texts: they can be searched and read aloud, and take a third of the bytes of outlines.
  with rc_context({"svg.fonttype": "none"}):
    return save_as(evidence_figure(name, measured), path)


def evidence_figure(name: str, measured: Sequence[Measured]) -> Figure:
  """The figure: a line for each system that sends, a level for each that sends nothing or all.

  Bars are one standard deviation over seeds to either side of the mean.

  Args:
    name: of the configuration.
    measured: by seed.
  """
  figure = Figure(figsize=(8, 5.6), layout="constrained")
  FigureCanvasAgg(figure)
  axes = figure.add_subplot()
  sending = [system for system in SENDING if system in measured[0].systems]
  keys: list[Artist | ErrorbarContainer] = [
    _line(axes, system, measured, APART * (place - (len(sending) - 1) / 2))
    for place, system in enumerate(sending)
  ]
  for system in (system for system in LEVEL if system in measured[0].systems):
    mean = statistics.mean(_percent(system, SHARES[0], measured))
    style = {"color": STYLES[system].colour, "linewidth": 1.2, "dashes": (6, 3)}
    keys.append(axes.axhline(mean, label=LEVEL[system], **style))
  seeds, images = len(measured), len(measured[0].labels)
  axes.set_xticks([100 * share for share in SHARES])
  axes.set_xlabel("images that may be sent to the cloud, at most [%]")
  axes.set_ylabel(f"accuracy on {images:,} test images [%]")
  axes.set_title(
    f"{name}: mean and standard deviation over {seeds} seeds", fontsize=11, parse_math=False
  )
  axes.grid(alpha=0.3)
  figure.legend(handles=keys, loc="outside lower center", ncols=2, fontsize=9, frameon=False)
  return figure


def _line(axes: Axes, system: str, measured: Sequence[Measured], shift: float) -> ErrorbarContainer:
  style = STYLES[system]
  at = [_percent(system, share, measured) for share in SHARES]
  deviations = [statistics.stdev(values) if len(values) > 1 else 0.0 for values in at]
  return axes.errorbar(
    [100 * share + shift for share in SHARES],
    [statistics.mean(values) for values in at],
    yerr=deviations,
    color=style.colour,
    linestyle=style.line,
    marker=style.marker,
    markersize=6,
    capsize=2.5,
    elinewidth=1,
    label=f"{SENDING[system]}: {_cost(system, measured)}",
  )


def _cost(system: str, measured: Sequence[Measured]) -> str:
  """Of the edge at the shares of the figure, mean over seeds."""
  costs = [
    statistics.mean(one.systems[system][share].macs for one in measured) / 1e6 for share in SHARES
  ]
  low, high = f"{min(costs):.2g}", f"{max(costs):.2g}"
  return f"{low} MMAC" if low == high else f"{low} to {high} MMAC"


def _percent(system: str, share: float, measured: Sequence[Measured]) -> list[float]:
  return [100 * one.systems[system][share].accuracy for one in measured]
