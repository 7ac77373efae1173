"""The section of learning curves, from metrics.jsonl."""

from collections.abc import Mapping, Sequence
from typing import Any

from meanet_jax.report.page.contents import ReportContents
from meanet_jax.report.page.elements import paragraph, plot, section

FIGURES = ("loss", "accuracy", "validation_accuracy")
MOST_POINTS = 300  # of a line, evenly spread; a plot shows no more


def learning_curves(
  metrics: Sequence[Mapping[str, Any]],
) -> dict[str, dict[str, tuple[list[float], list[float]]]]:
  """By stage and figure, epochs and values.

  Args:
    metrics: the lines of metrics.jsonl. A step that a resumed run logged again counts once.
  """
  found: dict[str, dict[str, dict[int, tuple[float, float]]]] = {}
  for line in metrics:
    for figure in FIGURES:
      value = line.get(figure)
      if value is not None and "epoch" in line:
        points = found.setdefault(line["stage"], {}).setdefault(figure, {})
        points[line["step"]] = (float(line["epoch"]), float(value))
  return {
    stage: {figure: _thinned([points[step] for step in sorted(points)]) for figure, points in of}
    for stage, of in ((stage, figures.items()) for stage, figures in found.items())
  }


def learning_section(contents: ReportContents) -> str:
  """Loss and accuracy over epochs; "" where nothing was trained or logged."""
  if contents.run is None or not learning_curves(contents.run.metrics):
    return ""
  return section(
    "learning",
    "Learning curves",
    paragraph("Lines are means over training batches, dots are of the validation split."),
    f'<div class="plots">{plot("loss", "training loss of every stage against epochs")}'
    f"{plot('learned', 'accuracy of every stage against epochs')}</div>",
  )


def _thinned(points: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
  step = -(-len(points) // MOST_POINTS)
  shown = points[::-1][::step][::-1]  # the last one is always among them
  return [x for x, _ in shown], [float(f"{y:.5g}") for _, y in shown]
