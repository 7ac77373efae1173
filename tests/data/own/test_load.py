"""Own image files as a data set: splits, undecodable files, duplicates, the index."""

import dataclasses
import os
import shutil
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image

from meanet_jax.config.stages import AugmentConfig
from meanet_jax.data.batches import Order
from meanet_jax.data.own import index as indexing
from meanet_jax.data.own.folder import INDEX_NAME
from meanet_jax.data.read_options import ReadOptions
from meanet_jax.data.sources import load, load_test
from meanet_jax.edge.decode import decode_file
from meanet_jax.errors import UserError
from meanet_jax.images.preprocessing import CENTRE, WHOLE
from tests.data.own.folders import (
  IN_MEMORY,
  STREAMED,
  kinds_of_files,
  own_config,
  write,
  write_folder,
)
from tests.data.sets import picture
from tests.images.files import saved

HERE = ReadOptions(workers=0)


def pixels_of(split) -> np.ndarray:
  return split.images_at(range(len(split)))


@pytest.mark.parametrize("megabytes", [STREAMED, IN_MEMORY])
def test_every_file_is_in_one_split_with_class_shares_kept(tmp_path, megabytes):
  root = write_folder(tmp_path)
  dataset = load(own_config(root, in_memory_mb=megabytes), HERE)
  assert (dataset.name, dataset.class_names) == ("folder", ("cat", "dog"))
  assert (dataset.train.resident_images is None) == (megabytes == STREAMED)
  expected = {}
  for path in root.glob("*/*.png"):
    expected[CENTRE(np.asarray(Image.open(path)), (16, 24, 3)).tobytes()] = path.parent.name
  seen = []
  for split, size in ((dataset.train, 13), (dataset.validation, 5), (dataset.test, 6)):
    assert len(split) == size
    assert abs(np.mean(split.labels) - 0.5) < 0.11
    for image, label in zip(pixels_of(split), split.labels, strict=True):
      assert expected[image.tobytes()] == dataset.class_names[label]
      seen.append(image.tobytes())
  assert sorted(seen) == sorted(expected)
  again = load(own_config(root, in_memory_mb=megabytes), HERE)
  np.testing.assert_array_equal(pixels_of(again.test), pixels_of(dataset.test))
  other = load(own_config(root, in_memory_mb=megabytes, split_seed=1), HERE)
  assert not np.array_equal(pixels_of(other.test), pixels_of(dataset.test))


def test_streamed_batches_are_those_of_any_set(tmp_path):
  root = write_folder(tmp_path)
  streamed, kept = (load(own_config(root, in_memory_mb=mb), HERE) for mb in (STREAMED, IN_MEMORY))
  order = Order(13, 0, "main", 4)
  batch = streamed.train.training_batches(order, AugmentConfig())(1)
  index, _ = order(1)
  np.testing.assert_array_equal(batch["image"], kept.train.images_at(index))
  np.testing.assert_array_equal(batch["label"], kept.train.labels[index])
  for (images, real), (others, expected) in zip(
    streamed.test.batches(4), kept.test.batches(4), strict=True
  ):
    assert real == expected
    np.testing.assert_array_equal(images, others)


def test_given_splits_are_kept_and_missing_ones_drawn_from_training(tmp_path):
  train = write_folder(tmp_path / "train")
  write_folder(tmp_path / "test", 3)
  for path in train.glob("*/*.png"):  # no image of the test split is one of training
    path.write_bytes(path.read_bytes() + path.name.encode())
  dataset = load(own_config(tmp_path), HERE)
  assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (18, 6, 6)
  write_folder(tmp_path / "val", 2)
  dataset = load(own_config(tmp_path, test_fraction=0.0), HERE)
  assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (24, 4, 6)


def test_a_test_split_comes_from_somewhere(tmp_path):
  with pytest.raises(UserError, match=r"test_fraction is 0, and .* has no test split"):
    load(own_config(write_folder(tmp_path), test_fraction=0.0), HERE)


def test_a_class_of_too_few_images_is_named_with_counts(tmp_path):
  root = write_folder(tmp_path, classes=("ant", "bee", "cat"))
  for path in sorted((root / "bee").iterdir())[2:]:
    path.unlink()
  config = own_config(root, num_classes=3)
  with pytest.raises(UserError, match=r"\(the smallest: bee 2, ant 12, cat 12\); accepted"):
    load(config, HERE)
  write(root / "bee" / "x.png", saved(picture(900, (20, 30)), "PNG"))
  with pytest.raises(UserError, match=r"class bee of .* missing from the \w+ split .*train \d,"):
    load(dataclasses.replace(config, test_fraction=0.1, validation_fraction=0.15), HERE)
  assert len(load(dataclasses.replace(config, test_fraction=0.3), HERE).test) == 9


def test_a_class_that_a_given_split_lacks_is_said(tmp_path, printed):
  write_folder(tmp_path / "train")
  shutil.rmtree(write_folder(tmp_path / "test", 2) / "dog")
  load(own_config(tmp_path), HERE)
  assert "the test split of" in printed()
  assert "has no image of dog" in printed()


def broken(root: Path) -> Path:
  write_folder(root)
  write(root / "cat" / "note.png", b"no image")
  write(root / "dog" / "half.jpg", saved(picture(1, (40, 40)), "JPEG")[:400])
  (root / "dog" / "gone.png").symlink_to("nowhere.png")
  return root


@pytest.mark.parametrize("megabytes", [STREAMED, IN_MEMORY])
def test_broken_files_are_named_or_left_out(tmp_path, megabytes, printed):
  config = own_config(broken(tmp_path), in_memory_mb=megabytes)
  with pytest.raises(UserError, match=r"cat/note.png cannot be decoded: .* \(3 of 27 images\)"):
    load(config, HERE)
  dataset = load(dataclasses.replace(config, undecodable="skip"), HERE)
  assert dataset.skipped == {"all": 3}
  assert sum(map(len, (dataset.train, dataset.validation, dataset.test))) == 24
  text = " ".join(printed().split())
  assert text.count("3 of 27 files are no images and are left out: cat/note.png, dog/gone.png") == 1


def test_a_file_without_permission_is_named(tmp_path, monkeypatch):
  root = write_folder(tmp_path)
  read = Path.read_bytes

  def denied(path):
    if path.name == "03.png":
      raise PermissionError(13, "Permission denied")
    return read(path)

  monkeypatch.setattr(Path, "read_bytes", denied)
  with pytest.raises(UserError, match=r"cat/03\.png cannot be read: Permission denied"):
    load(own_config(root), HERE)


def test_a_file_that_breaks_after_it_was_indexed_is_named(tmp_path):
  root = write_folder(tmp_path)
  train = load(own_config(root, in_memory_mb=STREAMED), HERE).train
  for path in root.glob("*/*.png"):
    path.write_bytes(b"")
  with pytest.raises(UserError, match=r"(cat|dog)/\d\d.png cannot be decoded"):
    train.images_at([0])
  shutil.rmtree(root / "cat")
  shutil.rmtree(root / "dog")
  with pytest.raises(UserError, match=r"(cat|dog)/\d\d.png cannot be read: No such file"):
    train.images_at([0])


def test_equal_files_in_two_splits_or_classes_are_said_once(tmp_path, printed):
  train = write_folder(tmp_path / "train", 6)
  write_folder(tmp_path / "test", 2)
  shutil.copy(train / "cat" / "05.png", train / "dog" / "x.png")
  load(own_config(tmp_path, validation_fraction=0.3), HERE)
  text = " ".join(printed().split())
  assert text.count("have the same bytes as an image of another split") == 1
  assert "cat/00.png in " in text
  assert text.count("1 images have the same bytes as an image of another class") == 1
  assert "train/cat/05.png as cat, train/dog/x.png as dog" in text


def test_no_equal_files_are_not_spoken_of(tmp_path, printed):
  load(own_config(write_folder(tmp_path)), HERE)
  assert "same bytes" not in printed()


@pytest.mark.parametrize("megabytes", [STREAMED, IN_MEMORY])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_device_sees_the_same_pixels(tmp_path, megabytes, channels):
  """Of every kind of file, whether streamed or not."""
  rows = ["path,label,split"]
  for number, (name, data) in enumerate(kinds_of_files().items()):
    write(tmp_path / name, data)
    rows.append(f"{name},{number % 2},{'test' if number >= 8 else 'train'}")
  table = tmp_path / "images.csv"
  table.write_text("\n".join(rows))
  config = own_config(table, in_memory_mb=megabytes, image_shape=(16, 24, channels))
  dataset = load(config, HERE)
  assert dataset.preprocessing == CENTRE
  paths = [row.split(",")[0] for row in rows[9:]]
  for path, pixels in zip(paths, pixels_of(dataset.test), strict=True):
    found = decode_file(tmp_path / path, (16, 24, channels), dataset.preprocessing).pixels
    np.testing.assert_array_equal(found, pixels)
  _, test = load_test(config, HERE, WHOLE)
  found = decode_file(tmp_path / paths[0], (16, 24, channels), WHOLE).pixels
  np.testing.assert_array_equal(test.images_at([0])[0], found)


def test_images_of_one_size_are_resized_without_cutting(tmp_path):
  for number in range(24):
    data = saved(picture(number, (32, 48)), "PNG")
    write(tmp_path / "ab"[number % 2] / f"{number}.png", data)
  dataset = load(own_config(tmp_path), HERE)
  assert dataset.preprocessing == WHOLE
  expected = {WHOLE(picture(n, (32, 48)), (16, 24, 3)).tobytes() for n in range(24)}
  assert {image.tobytes() for image in pixels_of(dataset.test)} <= expected


def test_only_new_and_changed_files_are_read_again(tmp_path, monkeypatch):
  root, read = write_folder(tmp_path), []
  decode = indexing.decode.read
  monkeypatch.setattr(
    indexing.decode, "read", lambda data, channels: read.append(data) or decode(data, channels)
  )
  config = own_config(root, in_memory_mb=STREAMED)
  load(config, HERE)
  assert len(read) == 24
  load(config, HERE)
  assert len(read) == 24
  changed, new = root / "cat" / "00.png", root / "dog" / "zz.png"
  status = changed.stat()
  changed.write_bytes(saved(picture(700, (20, 30)), "PNG"))
  os.utime(changed, ns=(status.st_atime_ns, status.st_mtime_ns))
  write(new, saved(picture(701, (20, 30)), "PNG"))
  load(config, HERE)
  assert sorted(read[24:]) == sorted([changed.read_bytes(), new.read_bytes()])
  (root / INDEX_NAME).write_bytes((root / INDEX_NAME).read_bytes()[:90])
  load(config, HERE)
  assert len(read) == 26 + 25
  assert not list(root.glob("*partial*"))


def test_undecodable_files_are_tried_again_with_another_pillow(tmp_path, monkeypatch):
  config = own_config(broken(tmp_path), undecodable="skip", in_memory_mb=STREAMED)
  load(config, HERE)
  read = []
  monkeypatch.setattr(indexing.decode, "read", lambda *given: read.append(given) or 1 / 0)
  load(config, HERE)
  assert not read
  monkeypatch.setattr(PIL, "__version__", "99.0.0")
  with pytest.raises(ZeroDivisionError):
    load(config, HERE)


def test_a_folder_that_cannot_be_written_is_read_all_the_same(tmp_path, monkeypatch, printed):
  root = write_folder(tmp_path)

  def refuse(*_, **__):
    raise PermissionError(13, "Permission denied")

  monkeypatch.setattr(np, "savez", refuse)
  assert len(load(own_config(root), HERE).test) == 6
  assert "the index cannot be kept in" in printed()


def test_a_set_that_was_moved_is_found_where_data_dir_says(tmp_path):
  root = write_folder(tmp_path / "old")
  config = own_config(root)
  test = load(config, HERE).test
  root.rename(tmp_path / "new")
  with pytest.raises(UserError, match="old does not exist; accepted: a folder of class folders"):
    load(config, HERE)
  moved = ReadOptions(str(tmp_path / "new"), 0)
  np.testing.assert_array_equal(pixels_of(load(config, moved).test), pixels_of(test))
  assert load(config, moved).data_dir == str(tmp_path / "new")


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    ({"path": ""}, "dataset.path is empty; accepted: a folder of class folders"),
    (
      {"path": __file__},
      r"dataset.path is .*test_load.py; accepted: a folder of class folders",
    ),
    ({"path": "gs://bucket/x"}, "dataset.path is 'gs://bucket/x', and gs:// cannot be used there"),
    ({"num_classes": 3}, "dataset.num_classes is 3; accepted: 2, as folder has"),
    ({"image_shape": (16, 16, 5)}, "dataset.image_shape has 5 channels"),
  ],
)
def test_refusals(tmp_path, changes, words):
  with pytest.raises(UserError, match=words):
    load(dataclasses.replace(own_config(write_folder(tmp_path)), **changes), HERE)
