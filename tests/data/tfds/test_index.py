"""The index of a streamed set belongs to the record files that it was read from."""

import dataclasses
import json
import os
import shutil
from pathlib import Path

import numpy as np
import PIL
import pytest

from meanet_jax.config.schema import DatasetConfig
from meanet_jax.data.read_options import ReadOptions
from meanet_jax.data.sources import load
from meanet_jax.data.tfds import index as indexing
from meanet_jax.errors import UserError
from tests.data.sets import encoded, picture, write_set

CONFIG = DatasetConfig(
  name="pets", image_shape=(8, 8, 3), num_classes=2, validation_fraction=0.25, in_memory_mb=0
)
IMAGES = [encoded(picture(number, (8, 8)), "PNG") for number in range(16)]


def write(root: Path, flip: bool, images: list[bytes] = IMAGES) -> Path:
  """Two shards a split; the labels of even images are 0, or 1 where they are flipped."""
  examples = [(image, (number + flip) % 2) for number, image in enumerate(images)]
  return write_set(root, "pets", {"train": examples, "test": examples}, shards=2)


def labels(root: Path, **changes) -> list[int]:
  config = dataclasses.replace(CONFIG, **changes)
  return load(config, ReadOptions(str(root), 0)).test.labels.tolist()


def change_times(directory: Path) -> dict[str, tuple[int, int]]:
  found = {path.name: path.stat() for path in directory.glob("*array_record*")}
  return {name: (status.st_size, status.st_mtime_ns) for name, status in found.items()}


def replaced_directory(root: Path, new: Path) -> None:
  """A new set in the old one's place; the old index and all times of modification stay."""
  old = root / "pets" / "1.0.0"
  for file in old.glob(".meanet_jax*"):
    shutil.copy2(file, new)
  for file in new.glob("*array_record*"):
    status = (old / file.name).stat()
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
  shutil.rmtree(old)
  new.rename(old)


def written_over(root: Path, new: Path) -> None:
  """New contents in the old files, as rsync --inplace --times leaves them."""
  for file in new.glob("*array_record*"):
    old = root / "pets" / "1.0.0" / file.name
    status = old.stat()
    old.write_bytes(file.read_bytes())
    os.utime(old, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("replace", [replaced_directory, written_over])
def test_a_relabelled_set_has_its_new_labels(tmp_path, replace):
  old = write(tmp_path, flip=False)
  assert labels(tmp_path) == [0, 1] * 8
  before = change_times(old)
  replace(tmp_path, write(tmp_path / "elsewhere", flip=True))
  assert change_times(old) == before  # nothing but contents gives the new set away
  assert labels(tmp_path) == [1, 0] * 8
  replace(tmp_path, write(tmp_path / "again", flip=False))
  assert labels(tmp_path) == [0, 1] * 8


def test_one_new_shard_is_enough(tmp_path):
  old = write(tmp_path, flip=False)
  labels(tmp_path)
  name = "pets-test.array_record-00001-of-00002"
  (write(tmp_path / "elsewhere", flip=True) / name).replace(old / name)
  assert labels(tmp_path) == [0, 1] * 4 + [1, 0] * 4


def test_a_set_that_has_other_file_formats_too(tmp_path):
  old, new = write(tmp_path, flip=False), write(tmp_path / "elsewhere", flip=True)
  for directory in (old, new):
    path = directory / "dataset_info.json"
    formats = {"fileFormat": "tfrecord", "alternativeFileFormats": ["array_record"]}
    path.write_text(json.dumps(json.loads(path.read_text()) | formats))
  assert labels(tmp_path) == [0, 1] * 8
  written_over(tmp_path, new)
  assert labels(tmp_path) == [1, 0] * 8


def test_the_undecodable_images_are_those_of_the_files(tmp_path):
  bad = [*IMAGES[:3], IMAGES[3][:-20] + bytes(20), *IMAGES[4:]]
  write(tmp_path, False, bad)
  dataset = load(dataclasses.replace(CONFIG, undecodable="skip"), ReadOptions(str(tmp_path), 0))
  assert (dataset.skipped["test"], len(dataset.test)) == (1, 15)
  replaced_directory(tmp_path, write(tmp_path / "mended", flip=False))
  assert labels(tmp_path) == [0, 1] * 8  # nothing is undecodable any longer
  replaced_directory(tmp_path, write(tmp_path / "worse", False, [b"", *IMAGES[1:]]))
  with pytest.raises(UserError, match=r"image 0 of pets:1.0.0 train \(train_0.img\) cannot be"):
    labels(tmp_path)


def test_undecodable_images_are_tried_again_with_another_pillow(tmp_path, monkeypatch):
  directory = write(tmp_path, False, [b"no image", *IMAGES[1:]])
  made = []
  monkeypatch.setattr(
    indexing, "_build", lambda *given, build=indexing._build: made.append(given[1]) or build(*given)
  )
  for version in (PIL.__version__, "99.0.0"):
    monkeypatch.setattr(PIL, "__version__", version)
    for _ in range(2):
      assert labels(tmp_path, undecodable="skip") == [1, *[0, 1] * 7]
  assert made == ["train", "test"] * 2  # once for each version
  replaced_directory(tmp_path, write(tmp_path / "mended", flip=False))
  labels(tmp_path)
  monkeypatch.setattr(PIL, "__version__", "100.0.0")
  labels(tmp_path)  # without any, the version does not matter
  assert made == ["train", "test"] * 3
  assert not list(directory.glob("*partial*"))


def test_an_index_of_an_earlier_version_is_made_anew(tmp_path):
  directory = write(tmp_path, flip=False)
  wrong = {"labels": np.ones(16, np.int32), "undecodable": np.zeros(0, np.int64)}
  np.savez(directory / ".meanet_jax.test.index.npz", **wrong)
  assert labels(tmp_path) == [0, 1] * 8


def test_files_that_change_while_they_are_read_leave_no_index(tmp_path, monkeypatch):
  directory = write(tmp_path, flip=False)
  other = write(tmp_path / "elsewhere", flip=True)
  build = indexing._build

  def changed_meanwhile(*given):
    written_over(tmp_path, other)
    return build(*given)

  monkeypatch.setattr(indexing, "_build", changed_meanwhile)
  with pytest.raises(UserError, match=r"record files of pets:1.0.0 train .* changed while they"):
    labels(tmp_path)
  assert not list(directory.glob(".meanet_jax*"))


def test_a_missing_record_file_is_named(tmp_path):
  directory = write(tmp_path, flip=False)
  (directory / "pets-train.array_record-00001-of-00002").unlink()
  with pytest.raises(UserError, match=r"record file .*pets-train.* cannot be read: No such file"):
    labels(tmp_path)
