import json
import os

import pytest

from meanet_jax.files import replacing, write_json


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


def test_what_is_interrupted_leaves_the_old_file(tmp_path):
  path = tmp_path / "x.npz"
  path.write_bytes(b"old")

  def interrupted():
    with replacing(path) as file:
      file.write(b"ne")
      file.flush()
      assert path.read_bytes() == b"old"
      raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    interrupted()
  assert path.read_bytes() == b"old"
  assert [p.name for p in tmp_path.iterdir()] == ["x.npz"]


def test_what_is_no_ordinary_file_stays_one_and_is_written_to(tmp_path):
  path = tmp_path / "pipe"
  os.mkfifo(path)
  reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
  try:
    write_json(path, 3)
    assert os.read(reader, 100) == b"3\n"
  finally:
    os.close(reader)
  assert path.is_fifo()
