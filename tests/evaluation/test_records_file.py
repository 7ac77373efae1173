"""Records on disk: complete, of the right run, or refused in a line."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest

from meanet_jax.config.constraints import Constraints
from meanet_jax.config.schema import Config
from meanet_jax.errors import UserError
from meanet_jax.evaluation.records import make_records
from meanet_jax.evaluation.records_file import (
  FORMAT,
  RecordsFile,
  fingerprint,
  load_records,
  save_records,
)
from meanet_jax.models.meanet import Outputs
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.operating_point import Temperatures
from meanet_jax.routing.policies import Policy, fixed_thresholds
from meanet_jax.selection.sweep import threshold_grid
from tests.experiments import random_logits

HARD = HardClasses(np.array([1, 3], np.int32), 6)
LABELS, LOGITS = random_logits(np.random.default_rng(0), 20, 6, HARD.numbers)
FILE = RecordsFile(LOGITS, LABELS, HARD, "test-0123abcd")


def test_records_survive_the_disk(tmp_path):
  path = tmp_path / "records.npz"
  save_records(path, FILE)
  assert [p.name for p in tmp_path.iterdir()] == ["records.npz"]
  for wanted in ("test-0123abcd", None):
    loaded = load_records(path, wanted)
    assert_equal(loaded, FILE)
    temperatures = Temperatures(2.0, 0.5, 1.0)
    for ours, theirs in zip(
      jax.tree.leaves(loaded.records(temperatures)),
      jax.tree.leaves(make_records(LOGITS, LABELS, HARD, temperatures)),
      strict=True,
    ):
      np.testing.assert_array_equal(ours, theirs)


def test_a_static_network_is_one_more_exit_and_files_without_it_are_read(tmp_path):
  path = tmp_path / "records.npz"
  assert LOGITS.cloud is not None
  static = LOGITS.cloud + np.float32(1)
  save_records(path, FILE._replace(static=static))
  found = load_records(path, None)
  assert_equal(found, FILE)
  np.testing.assert_array_equal(found.static, static)
  entries = dict(np.load(path))
  np.savez(path, **entries | {"static_logits": static[:, 1:]})
  assert "entry static_logits is float32 (20, 5)" in refused(path)
  # As the version before wrote them.
  del entries["static_logits"]
  np.savez(path, **entries | {"format": np.int32(2)})
  old = load_records(path, None)
  assert_equal(old, FILE)
  assert old.static is None


def test_an_extension_of_all_classes_is_read_as_one(tmp_path):
  every = HardClasses(HARD.numbers, 6, "all")
  file = RecordsFile(LOGITS._replace(extension=LOGITS.main), LABELS, every, "test-0123abcd")
  save_records(tmp_path / "records.npz", file)
  assert_equal(load_records(tmp_path / "records.npz", None), file)


def assert_equal(found: RecordsFile, expected: RecordsFile) -> None:
  assert (found.hard_classes, found.fingerprint) == (expected.hard_classes, expected.fingerprint)
  for ours, theirs in zip((*found.logits, found.labels), (*expected.logits, expected.labels)):
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)


def test_logits_in_half_precision_would_change_decisions():
  """Why the file has float32: of 1,001 thresholds, 88 would send other images."""
  labels, logits = random_logits(np.random.default_rng(1), 1000, 10, np.arange(5))
  hard = HardClasses(np.arange(5, dtype=np.int32), 10)
  rounded = Outputs(*(values.astype(np.float16).astype(np.float32) for values in logits))
  grid = threshold_grid(Policy(), hard, fixed_thresholds(), 1001)
  unsure, rounded_unsure = (make_records(of, labels, hard).main.entropy for of in (logits, rounded))
  above = unsure[:, None] > grid.main
  changed = (above != (rounded_unsure[:, None] > grid.main)).any(axis=0)
  assert changed.sum() == pytest.approx(88, abs=5)


def refused(path) -> str:
  with pytest.raises(UserError) as caught:
    load_records(path, "test-0123abcd")
  message = str(caught.value)
  assert str(path) in message
  assert "accepted: " in message
  return message


def test_records_of_another_run_are_refused(tmp_path):
  save_records(tmp_path / "records.npz", FILE._replace(fingerprint="test-98765432"))
  message = refused(tmp_path / "records.npz")
  assert "holds records of another run or split, test-98765432...; accepted: test-0123abcd" in (
    message
  )


def test_what_is_no_records_file_is_refused(tmp_path):
  path = tmp_path / "records.npz"
  assert "do not exist" in refused(path)
  for content in (b"", b"not an archive", b"PK\x03\x04" + bytes(100)):
    path.write_bytes(content)
    assert "it is no npz archive, or a truncated one" in refused(path)
  with path.open("wb") as file:
    np.save(file, np.zeros(3))
  assert "it is no npz archive" in refused(path)
  np.savez(path, weights=np.zeros(3))
  assert "entry format is missing" in refused(path)
  save_records(path, FILE)
  with np.load(path) as archive:
    entries = dict(archive)
  np.savez(path, **{name: array for name, array in entries.items() if name != "fingerprint"})
  assert "entry fingerprint is missing" in refused(path)
  np.savez(path, **entries | {"main_logits": entries["main_logits"][:-1]})
  assert "entry main_logits is float32 (19, 6)" in refused(path)
  np.savez(path, **entries | {"cloud_logits": entries["cloud_logits"].astype(np.float16)})
  assert "entry cloud_logits is float16 (20, 6)" in refused(path)
  np.savez(path, **entries | {"hard_classes": np.array([1, 6], np.int32)})
  assert "hard_classes is [1, 6] with 6 classes" in refused(path)
  path.unlink()
  path.mkdir()
  assert "do not exist" in refused(path)


def test_another_format_asks_for_another_evaluation(tmp_path):
  path = tmp_path / "records.npz"
  save_records(path, FILE)
  with np.load(path) as archive:
    entries = dict(archive)
  np.savez(path, **entries | {"format": np.int32(4)})
  expected = f"of format 4; accepted: format {FORMAT}; evaluate the run again"
  assert expected in refused(path)
  # As earlier versions wrote them: scores alone.
  np.savez(path, label=LABELS, main_entropy=np.zeros(20), fingerprint=np.array("test-0123abcd"))
  assert expected.replace("4", "1", 1) in refused(path)


def test_no_truncated_or_damaged_file_passes(tmp_path):
  path = tmp_path / "records.npz"
  save_records(path, FILE)
  whole = path.read_bytes()
  for length in range(0, len(whole), 37):
    path.write_bytes(whole[:length])
    refused(path)
  # A flipped bit is found, or lies where nothing is kept (names' times, padding).
  found = 0
  for place in range(0, len(whole), 23):
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
    try:
      loaded = load_records(path, "test-0123abcd")
    except UserError:
      found += 1
    else:
      assert_equal(loaded, FILE)
  assert found > 0.5 * len(whole) / 23


def changed(config: Config, group: str, **fields) -> Config:
  return dataclasses.replace(
    config, **{group: dataclasses.replace(getattr(config, group), **fields)}
  )


def test_a_fingerprint_knows_what_records_follow_from_and_nothing_else():
  config = Config()
  hard = HARD
  variables = {
    "main": {"params": {"kernel": np.arange(6, dtype=np.float32)}, "batch_stats": {}},
    "cloud": {"params": {"kernel": np.ones(3, np.float32)}, "batch_stats": {"mean": np.zeros(2)}},
  }
  labels = {"validation": np.array([0, 1, 2], np.int32), "test": np.array([3, 1], np.int32)}
  base = fingerprint(config, hard, variables, labels)
  assert len(base) == 64
  for same in (
    changed(config, "evaluation", num_thresholds=7, batch_size=3, calibration_fraction=0.1),
    changed(config, "evaluation", constraints=Constraints(max_offload=0.5)),
    changed(config, "routing", hard_rule="probability", criterion="margin", calibrate=True),
    changed(config, "cost", uplink_mbps=1.0),
  ):
    assert fingerprint(same, hard, variables, labels) == base
  trained_further = jax.tree.map(np.copy, variables)
  trained_further["cloud"]["batch_stats"]["mean"][1] = np.nextafter(0, 1)
  moved = {"cloud": variables["main"], "main": variables["cloud"]}
  reshaped = jax.tree.map(np.copy, variables)
  reshaped["main"]["params"]["kernel"] = reshaped["main"]["params"]["kernel"].reshape(2, 3)
  others = [
    fingerprint(changed(config, "dataset", split_seed=1), hard, variables, labels),
    fingerprint(changed(config, "model", join="sum"), hard, variables, labels),
    fingerprint(config, HardClasses(np.array([1, 2], np.int32), 6), variables, labels),
    fingerprint(config, hard, trained_further, labels),
    fingerprint(config, hard, moved, labels),
    fingerprint(config, hard, reshaped, labels),
    fingerprint(config, hard, variables, labels | {"test": labels["test"][::-1]}),
    fingerprint(
      config, hard, variables, {"validation": labels["test"], "test": labels["validation"]}
    ),
  ]
  for one, other in itertools.combinations([base, *others], 2):
    assert one != other
