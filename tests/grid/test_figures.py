"""What grid.png shows of made-up results: the axes' data and texts, not pixels."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from meanet_jax.config.grid import GridConfig
from meanet_jax.config.schema import Config
from meanet_jax.files import write_json
from meanet_jax.grid.directory import GridDirectory
from meanet_jax.grid.figures import grid_figure
from meanet_jax.grid.report import SYSTEMS, average_seeds, read_outcomes
from meanet_jax.grid.run import plan
from meanet_jax.grid.train import point_path

RATES = "stages.main.learning_rate"
DECAYS = "stages.main.weight_decay"
DIVERGED = "diverged"


def draw(path: Path, tiny: Config, found: list, *axes: str) -> Figure:
  """Writes a grid's files for accuracies (None: unfinished); what grid.png was made from."""
  grid = GridConfig(axes=axes, best_by="edge_only")
  groups = plan(tiny, grid)
  directory = GridDirectory(path / "grid")
  with ExitStack() as stack:
    directory.begin(tiny, grid, groups, stack)
  points = sorted((p for group in groups for p in group.points), key=lambda point: point.number)
  for point, accuracy in zip(points, found, strict=True):
    run = point_path(directory.path, point)
    run.mkdir()
    if accuracy == DIVERGED:
      write_json(run / "diverged.json", {"stage": "main", "step": 3, "message": "NaN"})
    elif accuracy is not None:
      systems = {system: {"accuracy": 0.5} for system in SYSTEMS}
      systems["edge_only"] = {"accuracy": accuracy}
      write_json(run / "validation.json", {"stages": {}, "systems": systems})
  directory.write(groups, grid, None)
  with Image.open(directory.path / "grid.png") as picture:
    assert picture.format == "PNG"
  assert not list(directory.path.glob(".*"))  # written whole
  figure = grid_figure(
    average_seeds(read_outcomes(directory.path, groups), "edge_only"), "edge_only"
  )
  check_that_nothing_is_cut_off(figure)
  return figure


def heights(line: Line2D) -> np.ndarray:
  return np.asarray(line.get_ydata(), float)


def check_that_nothing_is_cut_off(figure: Figure) -> None:
  """All that is drawn lies inside the picture; in inches."""
  figure.draw_without_rendering()
  box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
  assert min(box.x0, box.y0) >= 0
  assert box.x1 <= width
  assert box.y1 <= height


def test_two_fields_are_a_heat_map_of_means_over_seeds(tiny, tmp_path):
  """Rows of the first field, in increasing order; a lost seed is told of, and is not the best."""
  found = [
    *(0.90, 0.92, 0.80, 0.82),  # rate 0.1, decays 1e-3 and 0
    *(0.99, DIVERGED, DIVERGED, None),  # rate 0.02
  ]
  axes = (f"{RATES}=0.1,0.02", f"{DECAYS}=1e-3,0.0", "seed=0,1")
  figure = draw(tmp_path, tiny, found, *axes)
  main, bar = figure.axes
  table = np.ma.filled(main.images[0].get_array(), np.nan)
  np.testing.assert_allclose(table, [[np.nan, 99.0], [81.0, 91.0]])
  assert [t.get_text() for t in main.get_yticklabels()] == ["0.02", "0.1"]
  assert [t.get_text() for t in main.get_xticklabels()] == ["0.0", "0.001"]
  assert (main.get_ylabel(), main.get_xlabel()) == (RATES, DECAYS)
  assert bar.get_ylabel() == "edge_only: accuracy on validation [%]"
  notes = {tuple(map(int, t.get_position())): t.get_text() for t in main.texts}
  assert notes == {  # column, row
    (0, 0): "2 of 2 lost",
    (1, 0): "99.00\n1 of 2 lost",
    (0, 1): "81.00\n± 1.41",
    (1, 1): "91.00\n± 1.41\nbest",
  }
  colours = {t.get_text().split("\n")[0]: t.get_color() for t in main.texts}
  assert colours["99.00"] == "black"  # on yellow
  assert colours["81.00"] == "white"  # on dark blue


def test_a_heat_map_of_nothing_finished_shows_no_scale(tiny, tmp_path):
  figure = draw(tmp_path, tiny, [DIVERGED] * 4, f"{RATES}=0.1,0.02", f"{DECAYS}=0.1,0.2")
  (axes,) = figure.axes
  assert {t.get_text() for t in axes.texts} == {"1 of 1 lost"}
  assert axes.get_title() == "edge_only: accuracy on validation [%]"


def test_close_values_have_their_own_cells_and_a_list_of_points_leaves_cells_empty(tiny, tmp_path):
  axes = f"{{{RATES}=0.1000001, {DECAYS}=0.0}}, {{{RATES}=0.1000002, {DECAYS}=0.5}}"
  figure = draw(tmp_path, tiny, [0.8, 0.9], axes)
  table = np.ma.filled(figure.axes[0].images[0].get_array(), np.nan)
  np.testing.assert_allclose(table, [[80.0, np.nan], [np.nan, 90.0]])
  assert len(figure.axes[0].texts) == 2


def test_one_field_is_a_column_for_each_value(tiny, tmp_path):
  found = [0.90, 0.92, 0.95, DIVERGED, DIVERGED, None, 0.8, 0.8]
  figure = draw(tmp_path, tiny, found, f"{RATES}=0.02,0.05,0.1,0.2", "seed=0,1")
  (axes,) = figure.axes
  assert [t.get_text() for t in axes.get_xticklabels()] == ["0.02", "0.05", "0.1", "0.2"]
  dots = [line for line in axes.lines if line.get_marker() == "o"]
  np.testing.assert_allclose(
    np.ravel([np.asarray(line.get_xdata(), float) for line in dots]), [0, 1, 3]
  )
  np.testing.assert_allclose(np.ravel([heights(line) for line in dots]), [91, 95, 80])
  bars = [bar.get_segments()[0] for bar in axes.collections if isinstance(bar, LineCollection)]
  deviation = 100 * np.std([0.90, 0.92], ddof=1)
  np.testing.assert_allclose(bars[0], [[0, 91 - deviation], [0, 91 + deviation]])
  assert len(bars) == 2  # one seed alone has no spread
  notes = [t.get_text() for t in axes.texts]
  assert notes == ["91.00\n± 1.41\nbest", "95.00\n1 of 2 lost", "2 of 2 lost", "80.00\n± 0.00"]


@pytest.mark.parametrize("count", [12, 60])
def test_many_long_values_do_not_lie_over_each_other(tiny, tmp_path, count):
  epochs = ",".join(f"({i}, {i + 100}, {i + 1000})" for i in range(1, count + 1))
  figure = draw(tmp_path, tiny, [0.9] * count, f"stages.main.step_epochs={epochs}")
  labels = figure.axes[0].get_xticklabels()
  assert len(labels) == count
  ends = [label.get_window_extent().x1 for label in labels]
  line = 1.2 * float(labels[0].get_fontsize()) / 72 * figure.dpi
  for label, one, other in zip(labels[1:], ends[:-1], ends[1:], strict=True):
    straight = not label.get_rotation()
    # Slanted ones need no more than the height of a line between them.
    needed = label.get_window_extent().width if straight else line / np.sin(np.pi / 6)
    assert other - one > needed


def test_seeds_alone_are_one_column(tiny, tmp_path):
  figure = draw(tmp_path, tiny, [0.8, 0.9], "seed=0,1")
  (axes,) = figure.axes
  assert [t.get_text() for t in axes.get_xticklabels()] == ["all seeds"]
  assert [t.get_text() for t in axes.texts] == ["85.00\n± 7.07\nbest"]


def test_more_fields_are_parallel_coordinates(tiny, tmp_path):
  """A line for each setting, beside those that share its value; its end is the accuracy."""
  axes = (
    f"{RATES}=0.02,0.1",
    f"{DECAYS}=0.0,0.1",
    "stages.edge.schedule=constant,cosine,one_cycle",
    "seed=0,1",
  )
  accuracies = np.linspace(0.70, 0.93, 24)
  found: list = [*accuracies[:20], DIVERGED, None, 0.99, DIVERGED]
  figure = draw(tmp_path, tiny, found, *axes)
  (main,) = figure.axes
  lines = [line for line in main.lines if len(heights(line)) >= 3]
  assert len(lines) == 12
  ends: dict[Any, list] = {line.get_linestyle(): [] for line in lines}
  for line in lines:
    ends[line.get_linestyle()].append(heights(line)[3:].tolist())
  assert ends[":"] == [[]]  # all seeds lost: no accuracy
  np.testing.assert_allclose(ends["--"], [[99.0]])
  np.testing.assert_allclose(np.ravel(ends["-"]), 100 * accuracies[:20].reshape(10, 2).mean(1))
  best = lines[-1]
  assert heights(best)[3] == pytest.approx(100 * accuracies[18:20].mean())
  assert best.get_linewidth() == max(line.get_linewidth() for line in lines)
  starts = sorted(heights(line)[0] for line in lines)
  assert min(np.diff(starts)) > 0  # no line hides another
  low, high = main.get_ylim()
  assert np.diff(starts)[5] > 0.5 * (high - low)  # six settings of each rate
  assert main.get_ylabel() == "edge_only: accuracy on validation [%]"
  assert main.yaxis.get_ticks_position() == "right"
  bars = [bar.get_segments() for bar in main.collections if isinstance(bar, LineCollection)]
  assert len(bars) == 10
  shown = [t.get_text() for t in main.texts]
  assert shown[:3] == ["0.02", "0.1", "stages.\nmain.\nlearning_rate"]
  assert shown[-4:-1] == ["constant", "cosine", "one_cycle"]
  (legend,) = figure.legends
  assert [t.get_text() for t in legend.get_texts()] == [
    "every seed finished",
    "some seeds lost",
    "all seeds lost",
    f"best: {RATES}=0.1, {DECAYS}=0.1, stages.edge.schedule=constant",
  ]
