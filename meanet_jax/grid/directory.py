"""A grid's directory: who may use it, its tables and its figure."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from meanet_jax.config.grid import GridConfig
from meanet_jax.config.parsing import resolve, to_json
from meanet_jax.config.schema import Config
from meanet_jax.errors import UserError
from meanet_jax.files import read_json, write_json, write_text, writing
from meanet_jax.grid.compilation_groups import CompilationGroup
from meanet_jax.grid.figures import draw_grid
from meanet_jax.grid.report import (
  average_seeds,
  best_json,
  best_setting,
  grid_csv,
  outcomes_json,
  read_outcomes,
)
from meanet_jax.grid.trials import is_done, point_path
from meanet_jax.models.zoo import build
from meanet_jax.runs.compatible_changes import ALL_STAGES, begun_stages, fixed_changes
from meanet_jax.runs.directory import FORMAT, RunDirectory, check_format, run_path
from meanet_jax.runs.lock import held
from meanet_jax.training.parts import check_parts
from meanet_jax.training.pretrained import check_pretrained


class GridDirectory:
  """A grid's directory: grid.json, grid.csv, grid.png, and a run directory for each trial."""

  def __init__(self, path: str | Path):
    """Touches nothing.

    Raises:
      UserError: a path whose checkpoints could not be read.
    """
    self.path = run_path(path)

  def begin(
    self,
    config: Config,
    grid: GridConfig,
    groups: Sequence[CompilationGroup],
    until_the_end: contextlib.ExitStack,
  ) -> None:
    """Makes the directory of a new grid, or checks that it is of the same one; and holds it.

    As of a run, fields of stages that have no checkpoint in any trial yet may differ.

    Args:
      config, grid, groups: of the grid.
      until_the_end: gives the directory free again when it is closed.

    Raises:
      UserError: it holds a run, another grid or one of another format, is in use by another process
        or cannot be written; or pretrained weights of a new grid that are not its networks'.
    """
    if (self.path / "config.json").exists():
      raise UserError(
        f"workdir {self.path} holds a run; accepted: a grid's own directory, or a path where one "
        "can be made"
      )
    if self.json_path.exists():
      check_format(self.path, self.json_path)
      begun = read_json(self.json_path)
      before = resolve(begun["config"])
      changed = fixed_changes(before, config, self._begun_stages(groups))
      if tuple(begun["axes"]) != grid.axes:
        changed.append(f"axes ({'; '.join(begun['axes'])!r} -> {'; '.join(grid.axes)!r})")
      if changed:
        raise UserError(
          f"workdir {self.path} holds another grid, which differs in {', '.join(changed)}; "
          "accepted: the same grid, or another --workdir"
        )
      if before != config:
        _check_networks(groups)
      until_the_end.enter_context(held(self.path))
      if before != config:
        write_json(self.json_path, begun | {"config": to_json(config)})
      return
    _check_networks(groups)
    until_the_end.enter_context(held(self.path))
    with writing(f"workdir {self.path}"):
      (self.path / "points").mkdir(parents=True, exist_ok=True)
      begun = {"format": FORMAT, "config": to_json(config), "axes": list(grid.axes)}
      write_json(self.json_path, begun)

  def _begun_stages(self, groups: Sequence[CompilationGroup]) -> set[str]:
    """The stages that have a checkpoint in any trial; once a trial is done all, evaluation too."""
    paths = [point_path(self.path, point) for group in groups for point in group.points]
    if any(map(is_done, paths)):
      return set(ALL_STAGES)
    return set().union(*map(begun_stages, paths))

  def data_dir(self) -> str | None:
    """As `RunDirectory.data_dir`, of the trial that was begun last."""
    runs = [RunDirectory(path) for path in (self.path / "points").glob("*")]
    begun = [run for run in runs if run.environment_path.exists()]
    newest = max(begun, key=lambda run: run.environment_path.stat().st_mtime, default=None)
    return None if newest is None else newest.data_dir()

  @property
  def json_path(self) -> Path:
    """The grid as data, and what became of it."""
    return self.path / "grid.json"

  def write(
    self, groups: Sequence[CompilationGroup], grid: GridConfig, test: dict[str, Any] | None
  ) -> None:
    """Writes the tables and the figure of what there is so far.

    Args:
      groups: of the grid.
      grid: by which system the best is selected.
      test: the best trial's systems on the test split, where they are known.
    """
    outcomes = read_outcomes(self.path, groups)
    settings = average_seeds(outcomes, grid.best_by)
    best = best_setting(settings)
    begun = read_json(self.json_path)
    write_json(
      self.json_path,
      {
        "format": FORMAT,
        "config": begun["config"],
        "axes": begun["axes"],
        "groups": [[point.number for point in group.points] for group in groups],
        "points": outcomes_json(outcomes, self.path),
        "best": best_json(best, grid, self.path, test) if best else None,
      },
    )
    write_text(self.path / "grid.csv", grid_csv(outcomes, self.path))
    draw_grid(self.path, settings, grid.best_by)


def _check_networks(groups: Sequence[CompilationGroup]) -> None:
  for group in groups:
    model = build(group.config)
    check_parts(group.config, model)
    check_pretrained(group.config, model)
