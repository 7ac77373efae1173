import json
import os
import subprocess
import sys

import pytest

from meanet_jax.files import replacing, write_bytes, write_json


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


def test_what_killed_processes_left_goes_and_what_living_ones_write_stays(tmp_path):
  path = tmp_path / "x[1].npz"  # whose name is not taken for a pattern
  writes_for_ever = (
    "import pathlib, sys\n"
    "from meanet_jax.files import replacing\n"
    "with replacing(pathlib.Path(sys.argv[1])) as file:\n"
    "  print('writing', flush=True)\n"
    "  sys.stdin.read()\n"
  )
  command = [sys.executable, "-c", writes_for_ever, str(path)]
  with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
    try:
      assert process.stdout is not None
      process.stdout.readline()
    finally:
      process.kill()
  (left,) = tmp_path.iterdir()
  write_bytes(path, b"young")
  assert left.exists()  # it might be one that is not locked yet
  with replacing(path) as other:
    other.write(b"other")
    for partial in tmp_path.glob(".*.partial"):
      os.utime(partial, (0, 0))
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert not left.exists()
  assert path.read_bytes() == b"other"
  assert [p.name for p in tmp_path.iterdir()] == [path.name]
