"""Decoded pixels that are kept beside a set."""

import dataclasses
import os

import numpy as np
import pytest

from meanet_jax.config.schema import DatasetConfig
from meanet_jax.data import in_memory
from meanet_jax.data.own import load as own
from meanet_jax.data.read_options import ReadOptions
from meanet_jax.data.sources import load, load_test
from meanet_jax.images.preprocessing import WHOLE
from tests.data.own.folders import own_config, write, write_folder
from tests.data.sets import encoded, picture, write_set
from tests.images.files import saved

HERE = ReadOptions(workers=0)
NAME = ".meanet_jax.images.pixels.npz"


@pytest.fixture
def decoded(monkeypatch):
  """How many images were decoded into memory so far, as a list of one number."""
  count, read = [0], in_memory.iterate_examples

  def counted(examples, *rest):
    count[0] += len(examples)
    return read(examples, *rest)

  monkeypatch.setattr(in_memory, "iterate_examples", counted)
  return count


def same(first, second) -> None:
  for name in ("train", "validation", "test"):
    ours, theirs = getattr(first, name), getattr(second, name)
    np.testing.assert_array_equal(ours.images, theirs.images)
    np.testing.assert_array_equal(ours.labels, theirs.labels)


def test_own_images_are_decoded_once(tmp_path, decoded, printed):
  config = own_config(write_folder(tmp_path))
  first = load(config, HERE)
  assert f"decoded pixels are kept in {tmp_path / NAME}" in " ".join(printed().split())
  same(load(config, HERE), first)
  np.testing.assert_array_equal(load_test(config, HERE)[1].images_at([0]), first.test.images[:1])
  same(load(dataclasses.replace(config, split_seed=0), HERE), first)
  load(dataclasses.replace(config, split_seed=1), HERE)
  assert decoded == [24]
  same(load(config, dataclasses.replace(HERE, decode_again=True)), first)
  assert decoded == [48]


def test_they_hold_for_files_shape_and_preprocessing(tmp_path, decoded):
  config = own_config(write_folder(tmp_path))
  load(config, HERE)
  path = tmp_path / "cat" / "00.png"
  status = path.stat()
  path.write_bytes(saved(picture(900, (20, 30)), "PNG"))
  os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
  load(config, HERE)
  assert decoded == [48]
  smaller = dataclasses.replace(config, image_shape=(8, 8, 3))
  assert load(smaller, HERE).test.images.shape == (6, 8, 8, 3)
  assert decoded == [72]
  load_test(smaller, HERE, WHOLE)  # which does not decode all for the test split
  assert decoded == [78]
  write(tmp_path / "cat" / "new.png", saved(picture(901, (20, 30)), "PNG"))
  load(smaller, HERE)
  assert decoded == [103]


@pytest.mark.parametrize("place", [0.02, 0.5, 0.999])
def test_damaged_pixels_are_noticed_and_replaced(tmp_path, decoded, place):
  config = own_config(write_folder(tmp_path))
  first, path = load(config, HERE), tmp_path / NAME
  intact = path.read_bytes()
  at = int(len(intact) * place)
  path.write_bytes(intact[:at] + bytes([intact[at] ^ 0xFF]) + intact[at + 1 :])
  same(load(config, HERE), first)
  assert decoded == [48]
  path.write_bytes(intact[:at])
  same(load(config, HERE), first)
  assert decoded == [72]
  same(load(config, HERE), first)
  assert decoded == [72]
  assert not list(tmp_path.glob("*partial*"))


def test_a_full_disk_costs_the_kept_pixels_alone(tmp_path, monkeypatch, printed):
  config = own_config(write_folder(tmp_path))
  load(config, dataclasses.replace(HERE, decode_again=True))
  assert not (tmp_path / NAME).exists()

  def full(file, **arrays):
    file.write(b"half")
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(np, "savez", full)
  assert len(load(config, HERE).test) == 6
  text = " ".join(printed().split())
  assert text.count(f"decoded pixels cannot be kept in {tmp_path} (No space left on device)") == 1
  assert not list(tmp_path.glob("*partial*"))


def test_files_that_change_while_they_are_read_are_not_kept(tmp_path, monkeypatch):
  config = own_config(write_folder(tmp_path))
  read = own.read_into_memory

  def changing(*given):
    reading = read(*given)
    (tmp_path / "cat" / "00.png").touch()
    return reading

  monkeypatch.setattr(own, "read_into_memory", changing)
  load(config, HERE)
  assert not (tmp_path / NAME).exists()


def test_pixels_are_mapped_and_cannot_be_written(tmp_path):
  config = own_config(write_folder(tmp_path))
  load(config, HERE)
  found = own.find_files(tmp_path, config)
  pixels = own._Reading.of(found, config, HERE).kept_pixels()
  assert pixels is not None
  assert not pixels.flags.writeable


def test_a_prepared_set_is_decoded_once_per_split(tmp_path, decoded):
  images = [(encoded(picture(number, (16, 16)), "PNG"), number % 2) for number in range(24)]
  splits = {"train": images[:18], "test": images[18:]}
  directory = write_set(tmp_path, "pets", splits, shape=(16, 16, 3), shards=2)
  config = DatasetConfig(
    name="pets", image_shape=(16, 16, 3), num_classes=2, validation_fraction=0.25
  )
  options = ReadOptions(str(tmp_path), workers=0)
  first = load(config, options)
  same(load(config, options), first)
  assert len(load_test(config, options)[1]) == 6
  assert decoded == [24]
  shard = next(directory.glob("pets-train*00001-of-00002"))
  shard.write_bytes(shard.read_bytes())  # another time of last change
  same(load(config, options), first)
  assert decoded == [42]
  load(dataclasses.replace(config, train_split="train[:50%]"), options)
  assert decoded == [51]
