"""A begun grid goes on with other fields of stages that no point has a checkpoint of."""

import contextlib
import dataclasses

import pytest

from meanet_jax.config.grid import GridConfig
from meanet_jax.config.schema import Config
from meanet_jax.errors import UserError
from meanet_jax.files import read_json, write_json
from meanet_jax.grid.run import GridDirectory, plan
from meanet_jax.runs.directory import FORMAT

GRID = GridConfig(axes=("seed=0,1",))


def with_edge_batch(config: Config, size: int) -> Config:
  edge = dataclasses.replace(config.stages.edge, batch_size=size)
  return dataclasses.replace(config, stages=dataclasses.replace(config.stages, edge=edge))


def begin(directory: GridDirectory, config: Config) -> None:
  with contextlib.ExitStack() as until_the_end:
    directory.begin(config, GRID, plan(config, GRID), until_the_end)


def test_fields_of_stages_without_a_checkpoint_may_change(tiny, tmp_path):
  directory = GridDirectory(tmp_path / "grid")
  begin(directory, tiny)
  point = directory.path / "points" / "001"
  (point / "checkpoints" / "main" / "4").mkdir(parents=True)
  changed = with_edge_batch(tiny, 16)
  begin(directory, changed)
  assert read_json(directory.json_path)["config"]["stages"]["edge"]["batch_size"] == 16
  reseeded = dataclasses.replace(changed, seed=3)
  with pytest.raises(UserError, match=r"holds another grid, which differs in seed \(0 -> 3\); "):
    begin(directory, reseeded)
  (point / "checkpoints" / "edge" / "4").mkdir(parents=True)
  with pytest.raises(UserError, match=r"differs in stages\.edge\.batch_size \(16 -> 64\)"):
    begin(directory, tiny)
  begin(directory, changed)


def with_policy(config: Config, policy: str) -> Config:
  return dataclasses.replace(config, routing=dataclasses.replace(config.routing, policy=policy))


def test_rules_may_change_until_a_point_has_figures_by_them(tiny, tmp_path):
  directory = GridDirectory(tmp_path / "grid")
  begin(directory, tiny)
  point = directory.path / "points" / "000"
  (point / "checkpoints" / "cloud" / "4").mkdir(parents=True)
  begin(directory, with_policy(tiny, "auto"))
  assert read_json(directory.json_path)["config"]["routing"]["policy"] == "auto"
  write_json(point / "validation.json", {})
  with pytest.raises(UserError, match=r"differs in routing\.policy \('auto' -> 'late'\)"):
    begin(directory, with_policy(tiny, "late"))


def test_a_point_that_is_done_holds_every_field(tiny, tmp_path):
  directory = GridDirectory(tmp_path / "grid")
  begin(directory, tiny)
  point = directory.path / "points" / "000"
  point.mkdir()
  write_json(point / "diverged.json", {"stage": "main", "step": 3, "message": "NaN"})
  changed = with_edge_batch(tiny, 16)
  with pytest.raises(UserError, match=r"differs in stages\.edge\.batch_size"):
    begin(directory, changed)


def test_a_grid_of_another_format_is_refused(tiny, tmp_path):
  directory = GridDirectory(tmp_path / "grid")
  begin(directory, tiny)
  begun = read_json(directory.json_path)
  assert begun["format"] == FORMAT
  for format_, found in ((FORMAT + 1, f"format {FORMAT + 1}"), (None, "no format")):
    write_json(directory.json_path, begun | {"format": format_})
    with pytest.raises(UserError) as caught:
      begin(directory, tiny)
    assert str(caught.value) == (
      f"workdir {directory.path} was written by another version: grid.json has {found}, and this "
      f"version reads format {FORMAT}; train it anew with this version, in another --workdir"
    )
