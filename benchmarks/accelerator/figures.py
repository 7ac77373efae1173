"""The page's figures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, Any]]


def draw(rows: Rows, page: Path) -> list[Path]:
  """Writes the figures for which there are rows, named after the page."""
  drawn = []
  for name, kind, fill in (("training", "step", _training), ("grids", "grid", _grids)):
    own = [row for row in rows if row["kind"] == kind]
    if own:
      figure = Figure(figsize=(8, 4.5), layout="constrained")
      FigureCanvasAgg(figure)
      fill(figure.add_subplot(), own)
      drawn.append(page.with_name(f"{page.stem}_{name}.png"))
      figure.savefig(drawn[-1], dpi=120)
  return drawn


def _training(axes: Any, rows: Rows) -> None:
  """A bar for every step."""
  labels = [
    f"{row['network']}, {row['batch']}, {row['dtype']}\n{row['implementation']}" for row in rows
  ]
  values = [row["images_per_second"] for row in rows]
  bars = axes.barh(range(len(rows)), values, color="#0072B2")
  axes.bar_label(bars, fmt="%.0f", padding=2, fontsize=7)
  axes.set_yticks(range(len(rows)), labels, fontsize=6)
  axes.invert_yaxis()
  axes.margins(x=0.1)
  axes.set_xlabel("images/s of a training step")


def _grids(axes: Any, rows: Rows) -> None:
  """A line for every network and way of batching."""
  kinds = dict.fromkeys((row["network"], row["batching"]) for row in rows)
  for network, batching in kinds:
    own = [row for row in rows if (row["network"], row["batching"]) == (network, batching)]
    own.sort(key=lambda row: row["trials"])
    x, y = [row["trials"] for row in own], [row["images_per_second"] for row in own]
    axes.plot(x, y, marker="o", label=f"{network}, {batching}")
  axes.set_xscale("log", base=2)
  axes.set_xlabel("trials")
  axes.set_ylabel("images/s of all trials")
  axes.set_ylim(bottom=0)
  axes.grid(alpha=0.3)
  axes.legend(loc="upper left", fontsize=8)
