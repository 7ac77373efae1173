"""Figures of a grid: a heat map of two fields, parallel coordinates of more, a column for each
value of one.

Means over seeds with their standard deviation, in percent. Settings that lost seeds say so, and
the best is named: the highest mean is not the best where a seed was lost.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from meanet_jax.grid.report import Setting, best_setting
from meanet_jax.report.figure_text import LiteralFigure, label
from meanet_jax.report.figures import save_figure

FIGURE = "grid.png"
LOST_COLOUR = "#999999"
# Inches of a cell or column with its text, and the most that all together may take.
CELL, WIDEST = (1.3, 0.8), (60.0, 40.0)
Values = dict[str, list[Any]]


def draw_grid(out: Path, settings: Sequence[Setting], system: str) -> None:
  """Draws grid.png into a grid's directory; the arguments are those of `grid_figure`."""
  save_figure(grid_figure(settings, system), out / FIGURE)


def grid_figure(settings: Sequence[Setting], system: str) -> LiteralFigure:
  """A system's accuracy on validation, mean over seeds and spread, of every setting.

  Args:
    settings: at least one, with the same fields.
    system: whose accuracy it is.
  """
  values = {field: _values(settings, field) for field in settings[0].settings}
  axis_label = f"{system}: accuracy on validation [%]"
  if len(values) == 2:
    return _heat_map(settings, values, axis_label)
  return (_parallel if len(values) > 2 else _columns)(settings, values, axis_label)


def _heat_map(settings: Sequence[Setting], values: Values, axis_label: str) -> LiteralFigure:
  (y_field, rows), (x_field, columns) = values.items()
  width, height = _cell_size(len(columns), 0), _cell_size(len(rows), 1)
  figure = LiteralFigure(
    figsize=(max(5.0, width * len(columns) + 2.5), max(3.5, height * len(rows) + 1.8)),
    layout="constrained",
  )
  axes = figure.subplots()
  table = np.full((len(rows), len(columns)), np.nan)
  best = best_setting(settings)
  cells = [
    tuple(found.index(s.settings[field]) for field, found in values.items()) for s in settings
  ]
  for setting, cell in zip(settings, cells, strict=True):
    table[cell] = np.nan if setting.mean is None else 100 * setting.mean
  image = axes.imshow(table, cmap="viridis", aspect="auto")
  for setting, (row, column) in zip(settings, cells, strict=True):
    colour = "black"
    if setting.mean is not None:
      red, green, blue, _ = image.to_rgba(table[row, column])
      colour = "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.5 else colour
    axes.text(
      column,
      row,
      _note(setting, best),
      ha="center",
      va="center",
      color=colour,
      fontsize=8 * min(width / CELL[0], height / CELL[1]),
      fontweight="bold" if setting is best else "normal",
    )
  _name_columns(axes, columns, width)
  axes.set_yticks(range(len(rows)), map(label, rows))
  axes.set_xlabel(x_field)
  axes.set_ylabel(y_field)
  if np.isfinite(table).any():
    figure.colorbar(image, label=axis_label)
  else:
    axes.set_title(axis_label)
  return figure


def _parallel(settings: Sequence[Setting], values: Values, axis_label: str) -> LiteralFigure:
  figure = LiteralFigure(figsize=(2.2 * (len(values) + 1) + 1, 5.5), layout="constrained")
  axes = figure.subplots()
  best = best_setting(settings)
  # The best is drawn last, above the others.
  ordered = sorted(settings, key=lambda s: (s is best, s.mean is not None, s.mean or 0.0))
  means = [100 * s.mean for s in settings if s.mean is not None]
  colours = mpl.colormaps["viridis"]
  norm = mpl.colors.Normalize(min(means, default=0.0), max(means, default=100.0))
  low, width = _limits(settings)
  for number, setting in enumerate(ordered):
    # Lines through one value lie beside each other, or the last would hide all others.
    beside = number / max(len(ordered) - 1, 1) - 0.5
    heights = [
      (_place(index, len(found)) + beside * 0.3 / max(len(found), 3)) * width + low
      for field, found in values.items()
      for index in (found.index(setting.settings[field]),)
    ]
    if setting.mean is None:
      axes.plot(range(len(values)), heights, color=LOST_COLOUR, linestyle=":")
      continue
    colour = colours(norm(100 * setting.mean))
    axes.plot(
      range(len(values) + 1),
      [*heights, 100 * setting.mean],
      color=colour,
      linestyle="--" if _lost(setting) else "-",
      linewidth=3 if setting is best else 1.5,
    )
    axes.errorbar(
      len(values), 100 * setting.mean, _deviation(setting), color=colour, capsize=3, marker="o"
    )
  for place, (field, found) in enumerate(values.items()):
    axes.axvline(place, color="0.8", zorder=0)
    for index, value in enumerate(found):
      axes.annotate(
        label(value),
        (place, _place(index, len(found)) * width + low),
        xytext=(-4, 0),
        textcoords="offset points",
        ha="right",
        va="center",
        fontsize=8,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
      )
    axes.annotate(
      field.replace(".", ".\n"),
      (place, 0),
      xycoords=("data", "axes fraction"),
      xytext=(0, -6),
      textcoords="offset points",
      ha="center",
      va="top",
    )
  axes.set_xticks([])
  axes.set_xlim(-0.4, len(values) + 0.15)
  axes.yaxis.tick_right()
  axes.yaxis.set_label_position("right")
  axes.set_ylabel(axis_label)
  legend = [("-", "black", "every seed finished"), ("--", "black", "some seeds lost")]
  legend.append((":", LOST_COLOUR, "all seeds lost"))
  shown = [mpl.lines.Line2D([], [], linestyle=s, color=c, label=text) for s, c, text in legend]
  if best is not None:
    name = ", ".join(f"{field}={label(value)}" for field, value in best.settings.items())
    colour = colours(norm(100 * (best.mean or 0.0)))
    shown.append(mpl.lines.Line2D([], [], linewidth=3, color=colour, label=f"best: {name}"))
  figure.legend(handles=shown, loc="outside upper left", fontsize=8)
  return figure


def _columns(settings: Sequence[Setting], values: Values, axis_label: str) -> LiteralFigure:
  width = _cell_size(len(settings), 0)
  figure = LiteralFigure(figsize=(max(6.0, width * len(settings) + 1), 4.5), layout="constrained")
  axes = figure.subplots()
  best = best_setting(settings)
  low, height = _limits(settings)
  for place, setting in enumerate(settings):
    mean = low if setting.mean is None else 100 * setting.mean
    if setting.mean is not None:
      axes.errorbar(place, mean, _deviation(setting), color="#0072B2", capsize=3, marker="o")
    axes.annotate(
      _note(setting, best),
      (place, mean),
      xytext=(6, 0),
      textcoords="offset points",
      va="center",
      fontsize=8 * width / CELL[0],
      fontweight="bold" if setting is best else "normal",
    )
  names = [", ".join(label(v) for v in s.settings.values()) or "all seeds" for s in settings]
  _name_columns(axes, names, width)
  axes.set_xlim(-0.5, len(settings) - 0.3)
  axes.set_ylim(low - 0.1 * height, low + 1.1 * height)
  axes.set_xlabel(next(iter(values), ""))
  axes.set_ylabel(axis_label)
  return figure


def _values(settings: Sequence[Setting], field: str) -> list[Any]:
  """A field's different values: numbers in order, others as the grid has them."""
  found = list(dict.fromkeys(setting.settings[field] for setting in settings))
  numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in found)
  return sorted(found) if numbers else found


def _limits(settings: Sequence[Setting]) -> tuple[float, float]:
  """Where the bars of all settings begin, and how far they reach [%]; all of it without any."""
  known = [(100 * s.mean, 100 * (s.spread or 0.0)) for s in settings if s.mean is not None]
  low = min((mean - spread for mean, spread in known), default=0.0)
  high = max((mean + spread for mean, spread in known), default=100.0)
  return low, max(high - low, 0.1)


def _note(setting: Setting, best: Setting | None) -> str:
  lost = _lost(setting)
  lines = [] if setting.mean is None else [f"{100 * setting.mean:.2f}"]
  if setting.spread is not None:
    lines.append(f"± {100 * setting.spread:.2f}")
  if lost:
    lines.append(f"{lost} of {len(setting.outcomes)} lost")
  return "\n".join(lines + ["best"] * (setting is best))


def _lost(setting: Setting) -> int:
  """How many of its points are not finished, or diverged."""
  return sum(outcome.status != "finished" for outcome in setting.outcomes)


def _deviation(setting: Setting) -> float | None:
  return None if setting.spread is None else 100 * setting.spread


def _cell_size(count: int, direction: int) -> float:
  """Inches for each of so many cells, so that no figure grows beyond what can be opened."""
  return min(CELL[direction], WIDEST[direction] / max(count, 1))


def _name_columns(axes: Axes, names: Sequence[Any], width: float) -> None:
  texts = [label(name) for name in names]
  slanted = max(map(len, texts)) * 0.09 > width  # a character takes about 0.09 inches
  turned = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if slanted else {}
  axes.set_xticks(range(len(texts)), texts, **turned)


def _place(index: int, count: int) -> float:
  return 0.5 if count == 1 else index / (count - 1)
