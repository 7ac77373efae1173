"""Pictures of a grid: a heat map of two fields, parallel coordinates of more, a line of one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from meanet_jax.grid.report import Setting

PICTURE = "grid.png"


def draw_grid(out: Path, settings: Sequence[Setting], system: str) -> None:
  """Draws grid.png: mean over seeds of a system's accuracy on validation, and its spread.

  Args:
    out: the grid's directory.
    settings: at least one, with the same fields.
    system: whose accuracy it is.
  """
  fields = list(settings[0].settings)
  values = {
    field: list(dict.fromkeys(_text(s.settings[field]) for s in settings)) for field in fields
  }
  label = f"{system}: accuracy on validation"
  if len(fields) == 2:
    figure = _heat_map(settings, fields, values, label)
  elif len(fields) > 2:
    figure = _parallel(settings, fields, values, label)
  else:
    figure = _line(settings, fields, label)
  figure.savefig(out / PICTURE, dpi=150)


def _heat_map(
  settings: Sequence[Setting], fields: list[str], values: dict[str, list[str]], label: str
) -> Figure:
  rows, columns = (values[field] for field in fields)
  size = (max(5.0, 1.3 * len(columns) + 2.5), max(3.5, 0.8 * len(rows) + 1.8))
  figure = Figure(figsize=size, layout="constrained")
  axes = figure.subplots()
  table = np.full((len(rows), len(columns)), np.nan)
  notes = np.full(table.shape, "", object)
  for setting in settings:
    place = tuple(values[field].index(_text(setting.settings[field])) for field in fields)
    table[place] = np.nan if setting.mean is None else setting.mean
    notes[place] = _note(setting)
  picture = axes.imshow(table, cmap="viridis", aspect="auto")
  middle = (np.nanmin(table) + np.nanmax(table)) / 2 if np.isfinite(table).any() else 0.0
  for (row, column), note in np.ndenumerate(notes):
    dark = np.isfinite(table[row, column]) and table[row, column] <= middle
    axes.text(
      column, row, note, ha="center", va="center", color="white" if dark else "black", fontsize=8
    )
  axes.set_xticks(range(len(columns)), columns)
  axes.set_yticks(range(len(rows)), rows)
  axes.set_xlabel(fields[1])
  axes.set_ylabel(fields[0])
  figure.colorbar(picture, label=label)
  return figure


def _parallel(
  settings: Sequence[Setting], fields: list[str], values: dict[str, list[str]], label: str
) -> Figure:
  figure = Figure(figsize=(2.2 * (len(fields) + 1) + 1, 4.5), layout="constrained")
  axes = figure.subplots()
  means = [s.mean for s in settings if s.mean is not None]
  norm = mpl.colors.Normalize(min(means, default=0.0), max(means, default=1.0))
  colours = mpl.colormaps["viridis"]
  low, width = norm.vmin, max(norm.vmax - norm.vmin, 1e-9)
  for setting in settings:
    places = [
      _place(values[field].index(_text(setting.settings[field])), len(values[field]))
      for field in fields
    ]
    if setting.mean is None:
      axes.plot(range(len(fields)), places, color="0.6", linestyle=":")
      continue
    height, colour = (setting.mean - low) / width, colours(norm(setting.mean))
    axes.plot(range(len(fields) + 1), [*places, height], color=colour)
    if setting.spread is not None:
      axes.errorbar(
        len(fields), height, setting.spread / width, color=colour, capsize=3, marker="o"
      )
  for place, field in enumerate(fields):
    for index, text in enumerate(values[field]):
      axes.annotate(
        text,
        (place, _place(index, len(values[field]))),
        xytext=(4, 4),
        textcoords="offset points",
        fontsize=8,
      )
    axes.axvline(place, color="0.8", zorder=0)
  axes.set_xticks(
    range(len(fields) + 1), [*(f.replace(".", ".\n") for f in fields), label.replace(": ", ":\n")]
  )
  axes.set_yticks([])
  figure.colorbar(mpl.cm.ScalarMappable(norm, colours), ax=axes, label=label)
  return figure


def _line(settings: Sequence[Setting], fields: list[str], label: str) -> Figure:
  figure = Figure(figsize=(6, 4), layout="constrained")
  axes = figure.subplots()
  known = [s for s in settings if s.mean is not None]
  names = [", ".join(_text(s.settings[field]) for field in fields) or "all seeds" for s in known]
  axes.errorbar(
    names,
    [s.mean for s in known],
    [s.spread or 0.0 for s in known],
    capsize=3,
    marker="o",
    linestyle="none",
  )
  axes.set_xlabel(fields[0] if fields else "seeds")
  axes.set_ylabel(label)
  return figure


def _note(setting: Setting) -> str:
  lost = sum(outcome.status != "finished" for outcome in setting.outcomes)
  text = "-" if setting.mean is None else f"{100 * setting.mean:.2f}%"
  if setting.spread is not None:
    text += f"\n± {100 * setting.spread:.2f}"
  return text + (f"\n{lost} lost" if lost else "")


def _place(index: int, count: int) -> float:
  return 0.5 if count == 1 else index / (count - 1)


def _text(value: Any) -> str:
  return f"{value:g}" if isinstance(value, float) else str(value)
