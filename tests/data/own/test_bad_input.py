"""What people give by mistake: one line that says what was found, where, and what to do."""

import os
from pathlib import Path

import numpy as np
import pytest

from meanet_jax.config.load import load_config
from meanet_jax.data.own.complete import complete_config
from meanet_jax.data.read_options import ReadOptions
from meanet_jax.data.sources import load
from meanet_jax.data.splits import Dataset
from meanet_jax.errors import UserError
from tests.data.own.folders import write, write_folder
from tests.data.sets import picture
from tests.images.files import saved

HERE = ReadOptions(workers=0)
PNG = saved(picture(0, (20, 30)), "PNG")


def found(path: Path) -> Dataset:
  """As `meanet train --data PATH` begins."""
  config = complete_config(load_config("own_images", {"dataset.path": str(path)}), HERE)
  return load(config.dataset, HERE)


def empty(root: Path) -> Path:
  return root


def one_class(root: Path) -> Path:
  return write_folder(root, classes=("cat",))


def no_images(root: Path) -> Path:
  for name in ("cat/1.png", "cat/2.png", "dog/1.png"):
    write(root / name, b"no image")
  return root


def documents(root: Path) -> Path:
  write(root / "cat" / "1.txt", b"text")
  write(root / "dog" / "1.pdf", b"text")
  return root


def files_without_classes(root: Path) -> Path:
  write(root / "1.png", PNG)
  return root


def a_folder_named_like_an_image(root: Path) -> Path:
  write(root / "dog" / "1.png" / "a.png", PNG)
  return write_folder(root)


def missing_paths(root: Path) -> Path:
  write(root / "1.png", PNG)
  return write(root / "t.csv", b"path,label\n1.png,a\n2.png,b\n3.png,b\n")


def one_file_in_two_classes(root: Path) -> Path:
  write(root / "1.png", PNG)
  return write(root / "t.csv", b"path,label\n1.png,a\n./1.png,b\n")


def labels_of_no_kind(root: Path) -> Path:
  path = root / "a.npz"
  np.savez(path, images=np.zeros((9, 8, 8), np.uint8), labels=np.linspace(0, 1, 9))
  return path


def lines_in_a_class_name(root: Path) -> Path:
  write(root / "cat" / "1.png", PNG)
  write(root / "do\ng" / "1.png", PNG)
  return root


def no_class_in_training(root: Path) -> Path:
  write_folder(root / "train", 6)
  write(root / "test" / "bird" / "1.png", PNG)
  return root


def a_single_image_file(root: Path) -> Path:
  return write(root / "1.png", PNG)


def half_a_pair(root: Path) -> Path:
  np.save(root / "images.npy", np.zeros((9, 8, 8), np.uint8))
  return root / "images.npy"


@pytest.mark.parametrize(
  ("make", "words"),
  [
    (empty, "{} has no image; accepted: images of at least two classes"),
    (one_class, "{} has images of one class alone (cat: 12); accepted: "),
    (no_images, "{}/cat/1.png cannot be decoded: "),
    (
      documents,
      "{} has no image (2 files in {} are not in a class folder or have no image's name, ",
    ),
    (files_without_classes, "{} has no image (1 files in {} are not in a class folder or "),
    (
      a_folder_named_like_an_image,
      "{}/dog/1.png cannot be read: Is a directory (1 of 25 images); ",
    ),
    (missing_paths, "2 of 3 paths in {}/t.csv are not files (the first is 2.png, line 3); "),
    (one_file_in_two_classes, "{}/t.csv lists ./1.png twice (line 2 and line 3) as a and b; "),
    (labels_of_no_kind, "labels in {}/a.npz are float64; accepted: "),
    (lines_in_a_class_name, r"class name 'do\ng' has characters that cannot be printed; "),
    (no_class_in_training, "{} has too few images to train on of a class (the smallest: bird 0, "),
    (a_single_image_file, "dataset.path is {}/1.png; accepted: a folder of class folders, "),
    (half_a_pair, "dataset.path is {}/images.npy; accepted: a folder of class folders, "),
  ],
)
def test_one_line_says_what_was_found(tmp_path, make, words):
  with pytest.raises(UserError) as caught:
    found(make(tmp_path))
  text = str(caught.value)
  assert words.replace("{}", str(tmp_path)) in text
  assert "\n" not in text
  assert "accepted" in text
  assert not list(tmp_path.glob("*partial*"))


def test_names_of_every_kind_are_read(tmp_path):
  root = tmp_path / "naïve 猫"
  for c, name in enumerate(("猫", "chien d'été [x]")):
    for number in range(8):
      data = saved(picture(100 * c + number, (20, 30)), "PNG")
      write(root / name / f"a\nb {number} é;,.png", data)
  assert found(root).class_names == ("chien d'été [x]", "猫")


def test_a_link_to_the_folder_itself_is_no_class(tmp_path, printed):
  root = write_folder(tmp_path)
  os.symlink(root, root / "loop")
  os.symlink("self.png", root / "cat" / "self.png")
  (root / "cat" / "self.png").unlink()
  os.symlink(root, root / "dog" / "up")
  assert found(root).class_names == ("cat", "dog")
  assert "folders without an image are ignored: loop" in " ".join(printed().split())
