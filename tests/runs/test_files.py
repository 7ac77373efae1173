import json
import os

import pytest

from meanet_jax.runs.files import write_json


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
