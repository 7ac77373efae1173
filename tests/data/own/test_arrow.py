"""Images inside Arrow and Parquet files, as `datasets` and others save them."""

import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from meanet_jax.data.own.arrow import read_saved
from meanet_jax.data.own.parquet import read_parquet
from meanet_jax.data.read_options import ReadOptions
from meanet_jax.data.sources import load
from meanet_jax.errors import UserError
from tests.data.own.folders import IN_MEMORY, STREAMED, own_config, write
from tests.data.own.saved_datasets import image_table, save, save_splits
from tests.data.sets import picture

HERE = ReadOptions(workers=0)
LABELS = [0, 1] * 10
NAMES = ("cat", "dog")


def as_they_are(path, **changes) -> dict[bytes, int]:
  """Every image of a set of its own size, and its label."""
  dataset = load(own_config(path, image_shape=(20, 30, 3), **changes), HERE)
  assert dataset.class_names == NAMES
  return {
    image.tobytes(): int(label)
    for split in (dataset.train, dataset.validation, dataset.test)
    for image, label in zip(split.images_at(range(len(split))), split.labels, strict=True)
  }


EXPECTED = {picture(number, (20, 30)).tobytes(): label for number, label in enumerate(LABELS)}


@pytest.mark.parametrize("megabytes", [STREAMED, IN_MEMORY])
def test_a_saved_dataset_of_two_files(tmp_path, megabytes):
  root = save(image_table(LABELS, names=NAMES), tmp_path / "saved", files=2)
  assert as_they_are(root, in_memory_mb=megabytes) == EXPECTED
  files = read_saved(root)
  assert files.paths[10] == "data-00001-of-00002.arrow:0"
  store = pickle.loads(pickle.dumps(files.store))
  assert store.read(files.paths[10]) == files.store.read(files.paths[10])


def test_saved_splits_are_kept(tmp_path):
  tables = {
    "train": image_table(LABELS, names=NAMES),
    "test": image_table([0, 1, 1], first=50, names=NAMES),
  }
  dataset = load(own_config(save_splits(tables, tmp_path / "s"), test_fraction=0.0), HERE)
  assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (15, 5, 3)
  assert dataset.test.labels.tolist() == [0, 1, 1]


def test_a_parquet_file_of_images(tmp_path):
  path = tmp_path / "images.parquet"
  pq.write_table(image_table(LABELS, names=NAMES), path)
  assert as_they_are(path) == EXPECTED
  table = image_table([NAMES[label] for label in LABELS], split=["train", "val"] * 10)
  pq.write_table(table.set_column(0, "data", table["image"].combine_chunks().field(0)), path)
  files = read_parquet(path)
  assert files.class_names == NAMES
  assert files.splits is not None
  assert files.splits.tolist() == [0, 1] * 10
  assert files.store.name(files.paths[3]) == f"row 3 of {path}"


def test_a_parquet_file_of_paths(tmp_path):
  for name in ("1.png", "a/2.png"):
    write(tmp_path / name, b"")
  path = tmp_path / "images.parquet"
  table = {"path": ["1.png", "a/2.png"], "Label": [7, 12], "split": ["train", "test"]}
  pq.write_table(pa.table(table | {"group": ["x", "y"]}), path)
  files = read_parquet(path)
  assert (files.class_names, files.paths) == (("7", "12"), ("1.png", "a/2.png"))
  assert (files.splits.tolist(), files.groups.tolist()) == ([0, 2], ["x", "y"])
  pq.write_table(pa.table({"path": ["1.png", "no.png"], "label": ["a", "b"]}), path)
  with pytest.raises(UserError, match=r"1 of 2 paths in .* \(the first is no.png, row 1\)"):
    read_parquet(path)
  pq.write_table(pa.table({"path": ["1.png", None], "label": ["a", "b"]}), path)
  with pytest.raises(UserError, match=r"row 1 of .* has no path; accepted: one in every row"):
    read_parquet(path)
  for labels in ([0.5, 1.5], [[1], [2]], [True, False]):
    pq.write_table(pa.table({"path": ["1.png", "a/2.png"], "label": labels}), path)
    with pytest.raises(UserError, match=r"row 0 of .* has label .*; accepted: names or whole num"):
      read_parquet(path)


def test_rows_without_images_are_named(tmp_path):
  table = image_table(LABELS, names=NAMES)
  rows = table["image"].to_pylist()
  rows[4] = {"bytes": None, "path": "elsewhere.png"}
  image = pa.array(rows, table.schema.field("image").type)
  saved = save(table.set_column(0, table.schema.field("image"), image), tmp_path / "saved")
  with pytest.raises(UserError, match=r"row 4 of .*arrow cannot be read: the row has no image"):
    load(own_config(saved), HERE)
  assert len(load(own_config(saved, undecodable="skip"), HERE).skipped) == 1


@pytest.mark.parametrize(
  ("table", "words"),
  [
    (image_table([0, 1, 2], names=NAMES), "row 2 of .* has label 2; accepted: 0 to 1"),
    (image_table([0, 1, None], names=NAMES), "row 2 of .* has label None; accepted: 0 to 1"),
    (image_table([0.5, 1.0]), "row 0 of .* has label 0.5; accepted: names or whole numbers"),
    (image_table([0, 0], names=NAMES), r"images of one class alone \(cat: 2\)"),
    (image_table([0, 1]).rename_columns(["image", "y"]), "has the columns image, y; accepted"),
    (image_table([0, 1]).drop_columns(["image"]), "has the columns label; accepted: one column"),
    (image_table([0, 1], split=["train", "dev"]), "has split 'dev'; accepted"),
  ],
)
def test_refusals(tmp_path, table, words):
  with pytest.raises(UserError, match=words):
    read_saved(save(table, tmp_path / "saved"))


def test_damaged_directories(tmp_path):
  root = save(image_table([0, 1], names=NAMES), tmp_path / "saved")
  (root / "data-00000-of-00001.arrow").write_bytes(b"no Arrow file")
  with pytest.raises(UserError, match=r"saved cannot be read: .*; accepted: a directory that save"):
    read_saved(root)
  (root / "state.json").write_text("{")
  with pytest.raises(UserError, match=r"state.json cannot be read"):
    read_saved(root)
  (root / "state.json").write_text("{}")
  with pytest.raises(UserError, match="lists no data files"):
    read_saved(root)
  path = write(tmp_path / "images.parquet", b"no Parquet file")
  with pytest.raises(UserError, match=r"images\.parquet cannot be read as Parquet"):
    read_parquet(path)
  np.testing.assert_equal(len(list(tmp_path.iterdir())), 2)  # nothing was left behind
