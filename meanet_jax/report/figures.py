"""The figures of an evaluation."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from meanet_jax.cost.device import cost_basis
from meanet_jax.evaluation.context import Context, figures
from meanet_jax.evaluation.intervals import exact_band
from meanet_jax.evaluation.systems import Curve
from meanet_jax.files import replacing
from meanet_jax.report.colours import HARD, RIGHT, STYLES, WRONG
from meanet_jax.report.figure_text import LiteralFigure, label
from meanet_jax.report.uncertainties import compared_exits
from meanet_jax.routing.operating_point import OperatingPoint
from meanet_jax.routing.rules import Records

# More class names than these would be no text but a grey band.
MOST_NAMES = 20
LONGEST_NAME = 24  # beside the matrix; longer ones would leave it no space
DPI = 120  # of PNGs
# What is left out of each vector format, which would change from one writing to the next.
VECTORS = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}


def draw_tradeoffs(
  directory: Path, title: str, systems: dict[str, Curve], context: Context
) -> list[Path]:
  """accuracy_vs_offload and accuracy_vs_energy.

  Args:
    directory: where they are written.
    title: the data set's name.
    systems: by name. The first swept one of `meanet`, `main_cloud` has a band.
    context: of the split that their counts are of.
  """
  paths = []
  basis = cost_basis(context.profile)["energy"]
  banded = next((name for name in ("meanet", "main_cloud") if name in systems), None)
  for name, axis_label in (
    ("accuracy_vs_offload", "images sent to the cloud [%]"),
    ("accuracy_vs_energy", f"energy on the edge per image, {basis} [mJ]"),
  ):
    figure, axes = _figure()
    for system, line in systems.items():
      values = figures(context.costing(line.macs), line.policy, line.counts)
      sent = name == "accuracy_vs_offload"
      x = 100 * values["fraction"]["cloud"] if sent else np.asarray(values["energy_mj"])
      if system == banded and line.is_swept:
        low, high = exact_band(np.asarray(line.counts.correct), context.num_images)
        style = STYLES[system]
        axes.fill_between(x, 100 * low, 100 * high, color=style.colour, alpha=0.13, linewidth=0)
      _draw_curve(axes, system, x, values["accuracy"] * 100, line.selected)
    axes.set_xlabel(axis_label)
    axes.set_ylabel(f"accuracy on {context.num_images} images [%]")
    band = f"; band: 95% binomial interval of {banded}" if banded else ""
    axes.set_title(
      f"{label(title)}: symbols are the operating points selected on validation{band}", fontsize=8
    )
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")  # not the best place, which a slow machine warns of looking for
    paths.append(save_figure(figure, directory / f"{name}.png"))
  return paths


def draw_confusion(
  directory: Path,
  confusion: Int[np.ndarray, "c c"],
  class_names: tuple[str, ...],
  hard_classes: Int[np.ndarray, " k"],
) -> Path:
  """confusion_matrix.png: true classes in rows, hard classes in colour."""
  figure = confusion_figure(confusion, class_names, hard_classes)
  return save_figure(figure, directory / "confusion_matrix.png")


def drawn_names(class_names: tuple[str, ...]) -> tuple[str, ...]:
  """The names that `confusion_figure` writes: none of many classes."""
  return class_names if len(class_names) <= MOST_NAMES else ()


def confusion_figure(
  confusion: Int[np.ndarray, "c c"],
  class_names: tuple[str, ...],
  hard_classes: Int[np.ndarray, " k"],
) -> LiteralFigure:
  """The confusion matrix of the main block; the arguments are those of `draw_confusion`."""
  figure, axes = _figure()
  shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
  image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
  figure.colorbar(image, label="share of the true class")
  names = [label(name, LONGEST_NAME) for name in drawn_names(class_names)]
  if names:
    count = len(names)
    axes.set_xticks(range(count), names, rotation=90)
    axes.set_yticks(range(count), names)
    for row, column in np.ndindex(count, count):
      if confusion[row, column]:
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(
          column, row, confusion[row, column], ha="center", va="center", color=colour, fontsize=7
        )
    for hard in hard_classes:
      axes.get_xticklabels()[hard].set(color=HARD, fontweight="bold")
      axes.get_yticklabels()[hard].set(color=HARD, fontweight="bold")
  for hard in hard_classes:
    axes.axvspan(hard - 0.5, hard + 0.5, color=HARD, alpha=0.12)
  axes.set_xlabel("class predicted by the main block (hard classes in orange)")
  axes.set_ylabel("true class")
  axes.set_title("main block on the test split")
  return figure


def draw_entropies(directory: Path, point: OperatingPoint, records: Records) -> Path:
  """entropies.png: the uncertainty of right and of wrong answers, cumulative, with the thresholds.

  A panel for every exit whose uncertainty the operating point compares with a threshold, and one of
  main at least; in the policy's criterion.

  Args:
    directory: where it is written.
    point: whose criterion and thresholds are drawn.
    records: of a split, with the point's temperatures.
  """
  figure = _canvas()
  panels = compared_exits(point, records)
  for place, panel in enumerate(panels):
    axes = figure.add_subplot(1, len(panels), place + 1)
    for name, of_kind, colour in (
      ("right", panel.right, RIGHT),
      ("wrong", ~panel.right, WRONG),
    ):
      if of_kind.any():
        axes.ecdf(
          panel.uncertainty[of_kind], color=colour, label=f"{name} ({int(of_kind.sum())} images)"
        )
    if panel.threshold is not None:
      axes.axvline(
        panel.threshold,
        color="black",
        linestyle="--",
        linewidth=1,
        label=f"threshold {panel.threshold:.3g}",
      )
    axes.set_xlabel(panel.measure)
    axes.set_title(f"{panel.exit} exit", fontsize=10)
    axes.set_ylabel("share of right (or wrong) answers with at most this uncertainty")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
  figure.suptitle("what uncertainty says about right and wrong answers", fontsize=10)
  return save_figure(figure, directory / "entropies.png")


def draw_bands(
  directory: Path,
  offloads: Float[np.ndarray, " t"],
  accuracies: dict[str, Float[np.ndarray, "runs t"]],
  dataset: str,
) -> Path:
  """comparison.png: mean accuracy of several runs, within one standard deviation."""
  figure, axes = _figure()
  runs = 0
  for system, values in accuracies.items():
    runs = len(values)
    mean, deviation = 100 * values.mean(axis=0), 100 * values.std(axis=0, ddof=1)
    style = STYLES[system]
    axes.plot(100 * offloads, mean, color=style.colour, linestyle=style.line, label=system)
    axes.fill_between(
      100 * offloads, mean - deviation, mean + deviation, color=style.colour, alpha=0.2
    )
  axes.set_xlabel("images sent to the cloud [%]")
  axes.set_ylabel("accuracy on the test split [%]")
  axes.set_title(f"{label(dataset)}: mean and standard deviation of {runs} runs")
  axes.grid(alpha=0.3)
  axes.legend(loc="lower right")
  return save_figure(figure, directory / "comparison.png")


def _canvas() -> LiteralFigure:
  figure = LiteralFigure(figsize=(7, 5), layout="constrained")
  FigureCanvasAgg(figure)
  return figure


def _figure() -> tuple[LiteralFigure, Axes]:
  figure = _canvas()
  return figure, figure.add_subplot()


def _draw_curve(axes: Axes, name: str, x: Any, y: Any, selected: int) -> None:
  style = STYLES[name]
  # Open symbols, so that one on another hides nothing.
  symbol = {"marker": style.marker, "markersize": 8, "markerfacecolor": "none"}
  if len(x) > 1:
    axes.plot(x, y, color=style.colour, linewidth=1.5, linestyle=style.line)
    x, y = x[selected], y[selected]
  axes.plot(x, y, color=style.colour, markeredgewidth=1.8, label=name, linestyle="none", **symbol)


def save_figure(figure: LiteralFigure, path: Path) -> Path:
  """Writes a figure as PNG, and beside it as PDF and SVG.

  Args:
    figure: drawn.
    path: of the PNG.

  Returns:
    `path`.
  """
  figure.lay_out(DPI)
  save_as(figure, path)
  for form in VECTORS:
    save_as(figure, path.with_suffix(f".{form}"))
  return path


def save_as(figure: Figure, path: Path) -> Path:
  """Writes a figure in the form that the end of its path names, completely or not at all.

  Args:
    figure: drawn.
    path: of the file.

  Returns:
    `path`.
  """
  form = path.suffix[1:]
  # The same figure twice is the same file: neither a date nor random identifiers are in it.
  with rc_context({"svg.hashsalt": path.stem}), replacing(path) as file:
    figure.savefig(file, format=form, dpi=DPI, metadata=VECTORS.get(form))
  return path
