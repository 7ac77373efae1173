import json
import os

import pytest

from meanet_jax.errors import UserError
from meanet_jax.runs.directory import RunDirectory, read_json, write_json


def test_a_new_run_and_the_same_again(tiny, tmp_path):
  run = RunDirectory.create(tmp_path / "a" / "b", tiny)
  assert run.config() == tiny
  assert RunDirectory.create(tmp_path / "a" / "b", tiny).config() == tiny
  environment = read_json(run.path / "environment.json")
  assert environment["devices"]
  assert environment["packages"]["flax"]


def test_a_file_in_the_way_is_refused(tiny, tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(UserError, match="cannot be written: File exists"):
    RunDirectory.create(tmp_path / "file", tiny)


def test_a_damaged_configuration_is_refused_not_replaced(tiny, tmp_path):
  run = RunDirectory.create(tmp_path, tiny)
  run.config_path.write_text('{"seed": ')
  with pytest.raises(UserError, match=r"config\.json cannot be read"):
    RunDirectory.create(tmp_path, tiny)
  assert run.config_path.read_text() == '{"seed": '


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
  path = tmp_path / "x.json"
  write_json(path, {"old": 1})

  def full_disk(descriptor):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(os, "fsync", full_disk)
  with pytest.raises(OSError, match="No space"):
    write_json(path, {"new": 2})
  assert json.loads(path.read_text()) == {"old": 1}
  assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_what_a_killed_process_left_half_written_is_removed(tiny, tmp_path):
  (tmp_path / ".metrics.jsonl.7.partial").write_text('{"sta')
  run = RunDirectory.create(tmp_path, tiny)
  assert sorted(p.name for p in run.path.iterdir()) == ["config.json", "environment.json"]


def test_data_are_written_down_compared_and_completed(tiny, tmp_path):
  run = RunDirectory.create(tmp_path, tiny)
  data = {"name": "digits", "class_names": ["0", "1"], "splits": {"train": 3}}
  older = {name: value for name, value in data.items() if name != "class_names"}
  run.record_data(older)
  run.record_data(data)  # what an earlier version did not write down is added
  assert read_json(run.data_path) == data
  for changed in (data | {"splits": {"train": 4}}, data | {"class_names": ["0", "2"]}, older):
    with pytest.raises(UserError, match="differs from what was read then in"):
      run.record_data(changed)
  assert read_json(run.data_path) == data
