"""A setting of a grid that wins by breaking its constraints does not win."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from meanet_jax.grid.points import Point
from meanet_jax.grid.report import SYSTEMS, Outcome, average_seeds, best_setting, grid_csv

UNMET = "no threshold keeps max-energy-mj 0.01; the nearest has max-energy-mj 0.2"


def outcome(tiny, number: int, accuracy: float, unmet: str | None) -> Outcome:
  systems: dict[str, Any] = {system: {"accuracy": accuracy} for system in SYSTEMS}
  if unmet is not None:
    systems["meanet"]["unmet"] = unmet
  point = Point(number, {"model.join": f"value{number}", "seed": 0}, tiny)
  return Outcome(point, 0, {"stages": {}, "systems": systems}, None)


@pytest.mark.parametrize(
  ("first", "second", "best"), [(UNMET, None, 1), (None, UNMET, 0), (UNMET, UNMET, 0)]
)
def test_the_best_meets_its_constraints_where_one_does(tiny, first, second, best):
  outcomes = [outcome(tiny, 0, 0.9, first), outcome(tiny, 1, 0.8, second)]
  settings = average_seeds(outcomes, "meanet")
  found = best_setting(settings)
  assert found is settings[best]
  assert found.unmet == (first, second)[best]
  rows = list(csv.DictReader(io.StringIO(grid_csv(outcomes, Path("grid")))))
  for row, unmet in zip(rows, (first, second), strict=True):
    assert row["unmet"] == ("" if unmet is None else f"meanet: {unmet}")
