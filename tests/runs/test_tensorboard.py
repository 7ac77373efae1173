import importlib.util
import struct
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event

from meanet_jax.errors import UserError
from meanet_jax.runs.tensorboard import Events, check_installed


def scalars(path: Path) -> list[tuple[str, int, float]]:
  """Every scalar of a directory's event files, read by their format: length, sum, event, sum."""
  found = []
  for file in path.iterdir():
    data, at = file.read_bytes(), 0
    while at < len(data):
      (length,) = struct.unpack_from("<Q", data, at)
      event = Event.FromString(data[at + 12 : at + 12 + length])
      at += 12 + length + 4
      found += [(v.tag, event.step, v.simple_value) for v in event.summary.value]
  return found


def test_a_resumed_stage_has_every_step_once(tmp_path: Path):
  lines = [
    {"stage": "main", "step": step, "epoch": 0.1, "loss": 1 / step, "accuracy": 0.5}
    for step in (1, 2, 3)
  ]
  first = Events(tmp_path / "main", [])
  for line in lines:
    first.write(line)
  # Not closed, as by a kill; it goes on from step 2.
  second = Events(tmp_path / "main", lines[:2])
  second.write(lines[2] | {"loss": 7.0})
  second.close()
  first.close()
  expected = [
    *(found for step in (1, 2) for found in (("loss", step, 1 / step), ("accuracy", step, 0.5))),
    ("loss", 3, 7.0),
    ("accuracy", 3, 0.5),
  ]
  found = scalars(tmp_path / "main")
  assert [(tag, step) for tag, step, _ in found] == [(tag, step) for tag, step, _ in expected]
  assert [v for *_, v in found] == pytest.approx([v for *_, v in expected])


def test_a_missing_package_is_named(monkeypatch):
  check_installed()
  monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
  with pytest.raises(UserError, match=r"pip install 'meanet_jax\[tensorboard\]'"):
    check_installed()
