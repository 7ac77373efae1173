import numpy as np
import pytest

from meanet_jax.data.own.arrays import read_arrays
from meanet_jax.data.read_options import ReadOptions
from meanet_jax.data.sources import load, load_test
from meanet_jax.errors import UserError
from tests.data.own.folders import own_config

IMAGES = np.random.default_rng(0).integers(256, size=(40, 6, 5, 3), dtype=np.uint8)
LABELS = np.arange(40) % 2


def saved(root, **arrays):
  path = root / "images.npz"
  np.savez(path, **({"images": IMAGES, "labels": LABELS} | arrays))
  return path


def test_every_image_is_in_one_split_under_its_label(tmp_path):
  config = own_config(saved(tmp_path), image_shape=(6, 5, 3))
  dataset = load(config)
  assert dataset.class_names == ("0", "1")
  seen = []
  for split in (dataset.train, dataset.validation, dataset.test):
    for image, label in zip(split.images_at(range(len(split))), split.labels, strict=True):
      (number,) = np.flatnonzero((image == IMAGES).all(axis=(1, 2, 3)))
      assert label == LABELS[number]
      seen.append(int(number))
  assert sorted(seen) == list(range(40))
  assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (22, 8, 10)
  names, test = load_test(config, ReadOptions())
  assert names == dataset.class_names
  np.testing.assert_array_equal(test.images_at(range(10)), dataset.test.images_at(range(10)))


def test_names_splits_and_grey_images(tmp_path):
  split = np.array(["train", "validation", "test", "train"] * 10)
  path = saved(tmp_path, images=IMAGES[..., 0], split=split, class_names=np.array(["no", "yes"]))
  dataset = load(own_config(path, image_shape=(6, 5, 1)))
  assert dataset.class_names == ("no", "yes")
  np.testing.assert_array_equal(
    dataset.test.images_at(range(10)), IMAGES[np.flatnonzero(split == "test")][..., :1]
  )


def test_labels_as_texts_or_numbers_with_gaps(tmp_path):
  names = np.array(["b", "a"])[LABELS]
  found = read_arrays(saved(tmp_path, labels=names))
  assert found.class_names == ("a", "b")
  np.testing.assert_array_equal(found.labels, 1 - LABELS)
  found = read_arrays(saved(tmp_path, labels=10 * LABELS + 1))
  assert found.class_names == ("1", "11")
  np.testing.assert_array_equal(found.labels, LABELS)


@pytest.mark.parametrize(
  ("arrays", "words"),
  [
    (
      {"images": IMAGES / 255},
      r"images in .* are float64 \[40, 6, 5, 3\]; accepted: images",
    ),
    ({"images": IMAGES[0, 0]}, r"are uint8 \[5, 3\]"),
    ({"labels": LABELS[:39]}, r"labels in .* has shape \[39\] beside 40 images"),
    ({"labels": LABELS / 2}, "labels in .* are float64"),
    ({"labels": np.array(["", "a"] * 20)}, "class name '' is empty; accepted: letters"),
    ({"labels": np.zeros(40, int)}, r"one class alone \(0: 40\)"),
    (
      {"labels": LABELS + 1, "class_names": np.array(["a", "b"])},
      "label 1 in .* is 2, and",
    ),
    ({"class_names": np.array(["a", "a"])}, "has a name twice"),
    (
      {"split": np.array(["train", "other"] * 20)},
      "has 'other'; accepted: train",
    ),
    ({"labels": np.array([None] * 40)}, "cannot be read"),
  ],
)
def test_refusals(tmp_path, arrays, words):
  with pytest.raises(UserError, match=words):
    read_arrays(saved(tmp_path, **arrays))


def test_a_file_that_is_no_archive(tmp_path):
  path = tmp_path / "x.npz"
  path.write_bytes(b"no archive")
  with pytest.raises(UserError, match=r"x\.npz cannot be read"):
    load(own_config(path))


def test_damaged_archives_are_one_line_wherever_the_damage_is(tmp_path):
  path, rng = tmp_path / "x.npz", np.random.default_rng(0)
  np.savez_compressed(path, images=IMAGES, labels=LABELS)
  data = path.read_bytes()
  refused = 0
  for _ in range(60):
    damaged = bytearray(data)
    damaged[int(rng.integers(len(data)))] ^= int(rng.integers(1, 256))
    path.write_bytes(damaged)
    try:
      read_arrays(path)
    except UserError:
      refused += 1
  assert refused > 10


def test_a_single_array_is_no_archive(tmp_path):
  with (tmp_path / "x.npz").open("wb") as file:
    np.save(file, IMAGES)
  with pytest.raises(UserError, match=r"x\.npz cannot be read"):
    read_arrays(tmp_path / "x.npz")


def test_a_file_without_labels(tmp_path):
  path = tmp_path / "x.npz"
  np.savez(path, pictures=IMAGES)
  with pytest.raises(UserError, match="has the arrays pictures; accepted"):
    load(own_config(path))


def test_a_pair_of_files_is_what_an_archive_is(tmp_path):
  expected = read_arrays(saved(tmp_path))
  pair = tmp_path / "pair"
  pair.mkdir()
  np.save(pair / "images.npy", IMAGES)
  np.save(pair / "labels.npy", LABELS)
  found = read_arrays(pair)
  np.testing.assert_array_equal(found.images, expected.images)
  np.testing.assert_array_equal(found.labels, expected.labels)
  assert len(load(own_config(pair, image_shape=(6, 5, 3))).test) == 10
  (pair / "labels.npy").write_bytes(b"no array")
  with pytest.raises(UserError, match="pair cannot be read"):
    read_arrays(pair)


def test_groups_are_not_divided(tmp_path):
  groups = np.arange(40) // 4
  dataset = load(own_config(saved(tmp_path, group=groups), image_shape=(6, 5, 3)))
  for split in (dataset.train, dataset.validation, dataset.test):
    numbers = [np.flatnonzero((i == IMAGES).all(axis=(1, 2, 3)))[0] for i in split.images]
    of_split = groups[numbers]
    assert all((of_split == group).sum() == 4 for group in set(of_split.tolist()))
  with pytest.raises(UserError, match=r"group in .* has shape \[39\] beside 40 images"):
    read_arrays(saved(tmp_path, group=groups[:39]))
