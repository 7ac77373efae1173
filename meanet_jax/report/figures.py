"""The figures of an evaluation."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from meanet_jax.evaluation.context import Context, figures
from meanet_jax.evaluation.systems import Curve
from meanet_jax.report.figure_text import LiteralFigure, label

# More class names than these would be no text but a grey band.
MOST_NAMES = 20
LONGEST_NAME = 24  # beside the matrix; longer ones would leave it no space
# Okabe and Ito's colours, which colour-blind readers can tell apart.
COLOURS = {
  "meanet": "#D55E00",
  "paper": "#56B4E9",
  "main_cloud": "#0072B2",
  "main_only": "#000000",
  "edge_only": "#009E73",
  "cloud_only": "#CC79A7",
  "static": "#7F3C8D",
  "static_cloud": "#A65628",
  "random": "#999999",
  "oracle": "#F0E442",
}


def draw_tradeoffs(directory: Path, systems: dict[str, Curve], context: Context) -> list[Path]:
  """accuracy_vs_offload.png and accuracy_vs_energy.png."""
  paths = []
  for name, axis, axis_label in (
    ("accuracy_vs_offload", lambda f: f["fraction"]["cloud"], "images sent to the cloud [%]"),
    ("accuracy_vs_energy", lambda f: f["energy_mj"], "energy on the edge per image [mJ]"),
  ):
    figure, axes = _figure()
    for system, line in systems.items():
      values = figures(context.costing(line.macs), line.policy, line.counts)
      scale = 100 if name == "accuracy_vs_offload" else 1
      _draw_curve(axes, system, axis(values) * scale, values["accuracy"] * 100, line.selected)
    axes.set_xlabel(axis_label)
    axes.set_ylabel(f"accuracy on {context.num_images} test images [%]")
    axes.set_title(
      f"{label(context.config.dataset.name)}: dots are the operating points selected on validation"
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
) -> Figure:
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
      axes.get_xticklabels()[hard].set(color=COLOURS["meanet"], fontweight="bold")
      axes.get_yticklabels()[hard].set(color=COLOURS["meanet"], fontweight="bold")
  for hard in hard_classes:
    axes.axvspan(hard - 0.5, hard + 0.5, color=COLOURS["meanet"], alpha=0.12)
  axes.set_xlabel("class predicted by the main block (hard classes in orange)")
  axes.set_ylabel("true class")
  axes.set_title("main block on the test split")
  return figure


def draw_entropies(
  directory: Path, entropy: Float[np.ndarray, " n"], right: Bool[np.ndarray, " n"]
) -> Path:
  """entropies.png: the main exit's entropy over its right and over its wrong answers."""
  figure, axes = _figure()
  bins = np.linspace(0, max(float(entropy.max()), 1e-6), 41)
  for name, of_kind, colour in (
    ("right", right, COLOURS["edge_only"]),
    ("wrong", ~right, COLOURS["meanet"]),
  ):
    if of_kind.any():
      weights = np.full(int(of_kind.sum()), 100 / of_kind.sum())
      kind = f"{name} ({int(of_kind.sum())} images)"
      axes.hist(entropy[of_kind], bins, weights=weights, alpha=0.6, color=colour, label=kind)
  axes.set_xlabel("entropy of the main exit [nats]")
  axes.set_ylabel("share of the answers of that kind [%]")
  axes.set_title("what uncertainty can tell: right and wrong answers of the main block")
  axes.legend(loc="upper right")
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
    axes.plot(100 * offloads, mean, color=COLOURS[system], label=system)
    axes.fill_between(
      100 * offloads, mean - deviation, mean + deviation, color=COLOURS[system], alpha=0.2
    )
  axes.set_xlabel("images sent to the cloud [%]")
  axes.set_ylabel("accuracy on the test split [%]")
  axes.set_title(f"{label(dataset)}: mean and standard deviation of {runs} runs")
  axes.grid(alpha=0.3)
  axes.legend(loc="lower right")
  return save_figure(figure, directory / "comparison.png")


def _figure() -> tuple[Figure, Axes]:
  figure = LiteralFigure(figsize=(7, 5), layout="constrained")
  FigureCanvasAgg(figure)
  return figure, figure.add_subplot()


def _draw_curve(axes: Axes, name: str, x: Any, y: Any, selected: int) -> None:
  if len(x) > 1:
    axes.plot(x, y, color=COLOURS[name], linewidth=1.5, label=name)
    axes.plot(x[selected], y[selected], "o", color=COLOURS[name])
  else:
    axes.plot(x, y, "s", color=COLOURS[name], label=name)


def save_figure(figure: Figure, path: Path) -> Path:
  """Writes a figure completely, or not at all."""
  partial = path.with_name(f".{path.stem}.partial.png")
  figure.savefig(partial, dpi=120)
  partial.replace(path)
  return path
