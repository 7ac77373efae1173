"""Figures: how systems look, the forms that are written, uncertainty with its thresholds."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from meanet_jax.report import figures
from meanet_jax.report.colours import HARD as HARD_CLASSES
from meanet_jax.report.colours import RIGHT, STYLES, WRONG
from meanet_jax.report.figure_text import LiteralFigure
from meanet_jax.report.figures import confusion_figure, draw_confusion, draw_entropies
from meanet_jax.report.uncertainties import compared_exits
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.operating_point import OperatingPoint, Temperatures
from meanet_jax.routing.policies import PRESETS, Policy, fixed_thresholds
from meanet_jax.routing.rules import MAIN, route
from tests.experiments import random_records
from tests.report.contrast import contrast

HARD = np.array([1, 3], np.int32)
RECORDS = random_records(np.random.default_rng(0), 60, 6, HARD)


def point(policy: Policy) -> OperatingPoint:
  thresholds = fixed_thresholds(0.5, 0.1)._replace(main=np.float32(0.4), extension=np.float32(0.3))
  return OperatingPoint(policy, thresholds, Temperatures(), HardClasses(HARD, 6))


@pytest.mark.parametrize("background", ["#ffffff", "#191d23"])
def test_every_system_stands_out_in_both_themes(background):
  for name, style in STYLES.items():
    assert contrast(style.colour, background) >= 3, name


def test_no_two_systems_look_alike():
  assert len({style.colour for style in STYLES.values()}) == len(STYLES)
  assert len({style.marker for style in STYLES.values()}) == len(STYLES)
  assert len({style.symbol for style in STYLES.values()}) == len(STYLES)


def test_a_figure_is_written_in_three_forms_and_the_same_every_time(tmp_path):
  found = []
  for name in ("a", "b"):
    (tmp_path / name).mkdir()
    draw_confusion(tmp_path / name, np.eye(2, dtype=int), ("x", "y"), np.array([1]))
    found.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
  assert found[0] == found[1]
  assert sorted(found[0]) == [f"confusion_matrix.{form}" for form in ("pdf", "png", "svg")]
  assert found[0]["confusion_matrix.pdf"].startswith(b"%PDF")
  assert b"<svg" in found[0]["confusion_matrix.svg"]


def test_a_figure_is_drawn_once_for_each_form(tmp_path, monkeypatch):
  drawn, draw = [], LiteralFigure.draw
  monkeypatch.setattr(
    LiteralFigure, "draw", lambda figure, canvas: drawn.append(canvas) or draw(figure, canvas)
  )
  draw_confusion(tmp_path, np.eye(2, dtype=int), ("a", "b"), np.array([1]))
  assert len(drawn) == 3


def test_early_thresholds_are_of_main_on_all_images(tmp_path):
  (panel,) = compared_exits(point(PRESETS["paper"]), RECORDS)
  assert (panel.exit, panel.threshold) == ("main", pytest.approx(0.4))
  np.testing.assert_array_equal(panel.uncertainty, RECORDS.main.entropy)
  np.testing.assert_array_equal(panel.right, RECORDS.main.prediction == RECORDS.label)
  draw_entropies(tmp_path, point(PRESETS["paper"]), RECORDS)
  assert (tmp_path / "entropies.png").read_bytes().startswith(b"\x89PNG")


def test_late_thresholds_are_of_the_exit_that_answers():
  late = point(PRESETS["late"])
  main, extension = compared_exits(late, RECORDS)
  never = dataclasses.replace(late.policy, offload="never")
  taken = route(never, late.thresholds, RECORDS, late.hard_classes.mask)
  at_main = taken.exit == MAIN
  assert len(main.right) + len(extension.right) == 60
  np.testing.assert_array_equal(main.uncertainty, 1 - RECORDS.main.max_prob[at_main])
  np.testing.assert_array_equal(extension.uncertainty, 1 - RECORDS.extension.max_prob[~at_main])
  np.testing.assert_array_equal(extension.right, (taken.prediction == RECORDS.label)[~at_main])
  assert (main.threshold, extension.threshold) == (pytest.approx(0.4), pytest.approx(0.3))


def test_uncertainties_are_drawn_cumulative_with_their_thresholds(tmp_path, monkeypatch):
  drawn = []
  monkeypatch.setattr(figures, "save_figure", lambda figure, path: drawn.append(figure) or path)
  late = point(PRESETS["late"])
  draw_entropies(tmp_path, late, RECORDS)
  for axes, panel in zip(drawn[0].axes, compared_exits(late, RECORDS), strict=True):
    right, wrong, threshold = axes.lines
    for line, of in ((right, panel.right), (wrong, ~panel.right)):
      x, y = line.get_data()
      np.testing.assert_array_equal(x[1:], np.sort(panel.uncertainty[of]))
      np.testing.assert_allclose(y, np.arange(of.sum() + 1) / of.sum(), rtol=1e-6)
    assert list(threshold.get_xdata()) == [panel.threshold] * 2


def test_colours_of_answers_and_classes_are_no_systems():
  systems = {style.colour.lower() for style in STYLES.values()}
  assert not systems & {colour.lower() for colour in (RIGHT, WRONG, HARD_CLASSES)}
  css = (Path(figures.__file__).parent / "page" / "page.css").read_text()
  assert not systems & set(re.findall("#[0-9a-f]{6}", css))


@pytest.mark.parametrize("offload", ["never", "always"])
def test_where_nothing_is_compared_mains_uncertainty_is_shown(offload):
  (panel,) = compared_exits(point(Policy(offload=offload)), RECORDS)
  assert (panel.exit, panel.threshold) == ("main", None)
  np.testing.assert_array_equal(panel.uncertainty, RECORDS.main.entropy)


def test_a_confusion_matrix_shows_shares_of_the_true_classes():
  confusion = np.array([[3, 1, 0], [0, 4, 4], [0, 0, 0]])
  figure = confusion_figure(confusion, ("a", "b", "c"), np.array([1]))
  (image,) = figure.axes[0].images
  expected = [[0.75, 0.25, 0], [0, 0.5, 0.5], [0, 0, 0]]
  np.testing.assert_array_equal(image.get_array(), expected)
