import os

import numpy as np
import pytest

from meanet_jax.data.own.folder import read_folder
from meanet_jax.errors import UserError
from tests.data.own.folders import write


def test_classes_are_folders_in_order_of_their_names(tmp_path):
  for name in ("dog/b.png", "dog/a.JPG", "cat/deep/er/x.webp", "cat/y.png"):
    write(tmp_path / name, b"")
  files = read_folder(tmp_path)
  assert files.class_names == ("cat", "dog")
  assert files.paths == ("cat/deep/er/x.webp", "cat/y.png", "dog/a.JPG", "dog/b.png")
  assert files.labels.tolist() == [0, 0, 1, 1]
  assert files.splits is None


def test_numbers_are_classes_in_the_order_of_numbers(tmp_path):
  for name in ("10", "9", "2"):
    write(tmp_path / name / "a.png", b"")
  assert read_folder(tmp_path).class_names == ("2", "9", "10")


def test_hidden_files_are_ignored_and_others_noted(tmp_path):
  for name in ("a/1.png", "b/1.png", "a/.2.png", ".git/x.png", "a/.thumbs/1.png"):
    write(tmp_path / name, b"")
  for name in ("README.txt", "a/notes.md"):
    write(tmp_path / name, b"")
  (tmp_path / "docs").mkdir()
  files = read_folder(tmp_path)
  assert files.paths == ("a/1.png", "b/1.png")
  assert files.notes == (
    f"2 files in {tmp_path} are not in a class folder or have no image's name, and are ignored "
    f"(the first is {tmp_path}/README.txt)",
    "folders without an image are ignored: docs",
  )


@pytest.mark.parametrize("names", [("train", "validation", "test"), ("Training", "val", "Testing")])
def test_folders_of_splits(tmp_path, names):
  for split in names:
    for c in ("a", "b"):
      write(tmp_path / split / c / "1.png", b"")
  files = read_folder(tmp_path)
  assert files.class_names == ("a", "b")
  assert files.splits is not None
  found = {path.split("/")[0] for path in files.paths}
  assert found == set(names)
  for path, split in zip(files.paths, files.splits, strict=True):
    assert path.startswith(names[split])


def test_train_may_be_a_class(tmp_path):
  """Of vehicles, say: its folder holds images and no folders."""
  for name in ("train", "plane"):
    write(tmp_path / name / "1.png", b"")
  assert read_folder(tmp_path).class_names == ("plane", "train")


def test_links_are_followed_and_their_loops_survived(tmp_path):
  write(tmp_path / "elsewhere" / "2.png", b"")
  root = tmp_path / "set"
  for name in ("a", "b"):
    write(root / name / "1.png", b"")
  (root / "a" / "up").symlink_to(root / "a")
  (root / "b" / "all").symlink_to(root / "b", target_is_directory=True)
  (root / "b" / "more").symlink_to(tmp_path / "elsewhere")
  (root / "b" / "self.png").symlink_to("self.png")
  assert read_folder(root).paths == ("a/1.png", "b/1.png", "b/more/2.png", "b/self.png")


def test_a_folder_that_may_not_be_looked_at_is_named(tmp_path, monkeypatch):
  for name in ("a/1.png", "b/1.png", "c/inner/1.png"):
    write(tmp_path / name, b"")
  found = os.stat

  def stat(path, *args, **kwargs):
    if str(path).endswith("inner"):
      raise PermissionError(13, "Permission denied")
    return found(path, *args, **kwargs)

  monkeypatch.setattr(os, "stat", stat)
  with pytest.raises(UserError, match=r"c/inner cannot be read: Permission denied; accepted"):
    read_folder(tmp_path)


def test_names_of_every_kind(tmp_path):
  names = ["ä ö/ü\n1.png", "日本/2.png", "x,y/3.png"]
  for name in names:
    write(tmp_path / name, b"")
  raw = os.fsencode(tmp_path) + b"/x,y/\xff.png"
  with open(raw, "wb"):
    pass
  files = read_folder(tmp_path)
  assert set(files.class_names) == {"ä ö", "日本", "x,y"}
  assert (tmp_path / files.paths[-1]).exists() or len(files.paths) == 4


@pytest.mark.parametrize(
  ("names", "words"),
  [
    ([], "has no image; accepted: images of at least two classes"),
    (["a/1.png"], r"has images of one class alone \(a: 1\); accepted"),
    (["a/1.txt", "b/1.doc"], r"has no image \(2 files in .*the first is .*a/1\.txt\)"),
    (["train/a/1.png", "train/b/1.png", "notes/1.png"], "has train with folders in it, and also"),
    (["train/a/1.png", "training/b/1.png"], r"two folders of one split \(train, training\)"),
    (["a\nb/1.png", "c/1.png"], r"class name 'a\\nb' has characters that cannot be printed"),
  ],
)
def test_refusals(tmp_path, names, words):
  for name in names:
    write(tmp_path / name, b"")
  with pytest.raises(UserError, match=words) as caught:
    read_folder(tmp_path)
  assert "\n" not in str(caught.value)


def test_many_files_are_found_in_order(tmp_path):
  for c in range(10):
    folder = tmp_path / str(c)
    folder.mkdir()
    for number in range(200):
      (folder / f"{number}.png").touch()
  files = read_folder(tmp_path)
  assert len(files.paths) == 2000
  np.testing.assert_array_equal(np.bincount(files.labels), [200] * 10)
  assert list(files.paths) == sorted(files.paths)
