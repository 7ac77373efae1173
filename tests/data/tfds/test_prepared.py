"""What is refused of a prepared set, each in one line that says what to do."""

import dataclasses
import json

import pytest

from meanet_jax.config.schema import DatasetConfig
from meanet_jax.data.read_options import ReadOptions
from meanet_jax.data.sources import load
from meanet_jax.data.tfds.names import parse_name, with_stock_parts
from meanet_jax.data.tfds.prepared import check_disjoint, find_prepared
from meanet_jax.errors import UserError
from tests.data.sets import encoded, picture, write_set

CONFIG = DatasetConfig(name="pets", image_shape=(16, 16, 3), num_classes=2, validation_fraction=0.5)
GOOD = [(encoded(picture(i, (16, 16))), i % 2) for i in range(8)]


def refused(root, words: str, **changes) -> None:
  with pytest.raises(UserError, match=words) as raised:
    load(dataclasses.replace(CONFIG, **changes), ReadOptions(str(root), 0))
  assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
  ("text", "full"),
  [
    ("cifar100", "cifar100:3.0.2"),
    ("cifar100:1.2.3", "cifar100:1.2.3"),
    ("imagenet2012", "imagenet2012:5.1.0"),
    ("imagenette", "imagenette/full-size-v2:1.0.0"),
    ("imagenette/160px-v2", "imagenette/160px-v2:1.0.0"),
    ("pets", "pets"),
  ],
)
def test_names_are_completed_from_the_installed_tfds(text, full):
  assert str(with_stock_parts(parse_name(text))) == full


def test_a_missing_set_names_the_command_that_prepares_it(tmp_path):
  words = f"prepare it with: meanet prepare cifar100:3.0.2 --data-dir {tmp_path}$"
  refused(tmp_path, words, name="cifar100")
  refused(tmp_path / "my sets", "cifar100:3.0.2 --data-dir '.*/my sets'$", name="cifar100")
  refused(tmp_path, "no configuration of imagenette; accepted: full-size-v2, ", name="imagenette/x")
  refused(tmp_path, "did you mean 'cifar100'?", name="cifar1000")
  refused(tmp_path, r"accepted: digits, folder, or NAME\[/CONFIG\]\[:VERSION\]", name="a/b/c")


def test_another_version_is_refused(tmp_path):
  write_set(tmp_path, "cifar100", {"train": GOOD, "test": GOOD}, version="3.0.1")
  refused(
    tmp_path, "only version 3.0.1; prepare it with: meanet prepare cifar100:3.0.2", name="cifar100"
  )
  # Of a set that TFDS has no code for, the newest version counts: 1.10 is newer than 1.9.
  write_set(tmp_path, "pets", {"train": GOOD, "test": GOOD}, version="1.9.0")
  write_set(tmp_path, "pets", {"train": GOOD, "test": GOOD[:6]}, version="1.10.0")
  assert find_prepared(CONFIG, str(tmp_path)).name.version == "1.10.0"


def test_another_file_format_is_refused(tmp_path):
  write_set(tmp_path, "pets", {"train": GOOD, "test": GOOD}, file_format="tfrecord")
  # Our own command could not prepare it: TFDS has no builder of this name.
  way = r"move .*/pets/1.0.0 away, then prepare it with its own builder, CLASS\(data_dir='.*', "
  refused(tmp_path, f"in file format tfrecord; accepted: array_record; .* it: {way}file_format=")
  refused(tmp_path, "does not know it: prepare it with its own builder", name="pets:1.2.0")
  write_set(
    tmp_path, "mnist", {"train": GOOD, "test": GOOD}, version="3.0.1", file_format="tfrecord"
  )
  command = "prepare it with: meanet prepare mnist:3.0.1 --data-dir .* --replace$"
  refused(tmp_path, command, name="mnist")


def test_damaged_metadata_are_refused(tmp_path):
  path = write_set(tmp_path, "pets", {"train": GOOD, "test": GOOD})
  (path / "features.json").write_text("{")
  refused(tmp_path, "metadata of dataset pets:1.0.0 .* cannot be read: .*its own builder")


@pytest.mark.parametrize("megabytes", [0, 1000])
def test_damaged_records_are_refused(tmp_path, megabytes):
  path = write_set(tmp_path, "pets", {"train": GOOD, "test": GOOD})
  file = next(path.glob("pets-train*"))
  file.write_bytes(file.read_bytes()[:-3000])
  refused(tmp_path, "the records of pets:1.0.0 train .* are damaged", in_memory_mb=megabytes)


@pytest.mark.parametrize("megabytes", [0, 1000])
def test_a_label_that_is_no_class_is_refused(tmp_path, megabytes):
  wrong = [*GOOD[:5], (GOOD[5][0], 2), *GOOD[6:]]
  write_set(tmp_path, "pets", {"train": wrong, "test": GOOD})
  words = "image 5 of pets:1.0.0 train has label 2; accepted: 0 to 1"
  refused(tmp_path, words, in_memory_mb=megabytes)


def test_splits_that_are_empty_missing_or_overlap_are_refused(tmp_path):
  write_set(tmp_path, "pets", {"train": GOOD, "test": GOOD, "extra": []})
  refused(tmp_path, "split 'extra' of pets:1.0.0 is empty", test_split="extra")
  refused(tmp_path, r"split 'test\[:0\]' of pets:1.0.0 is empty", test_split="test[:0]")
  refused(tmp_path, "has no split 'vali'; accepted: train, test, extra", test_split="vali")
  refused(tmp_path, r"share images; accepted: disjoint ones", test_split="train[50%:]")
  refused(tmp_path, "test_fraction is 0.2; accepted: 0", test_fraction=0.2)


def test_other_shapes_and_classes_than_declared_are_refused(tmp_path):
  write_set(tmp_path, "pets", {"train": GOOD, "test": GOOD}, shape=(16, 16, 3))
  refused(tmp_path, r"image_shape is \(8, 16, 3\); accepted: \(16, 16, 3\)", image_shape=(8, 16, 3))
  write_set(tmp_path, "any", {"train": GOOD, "test": GOOD})
  words = r"image_shape is \(16, 16, 1\); accepted: \(any, any, 3\), as any:1.0.0 has"
  refused(tmp_path, words, name="any", image_shape=(16, 16, 1))
  refused(tmp_path, "num_classes is 3; accepted: 2, as pets:1.0.0 has", num_classes=3)


def test_a_set_without_one_image_and_one_label_is_refused(tmp_path):
  path = write_set(tmp_path, "pets", {"train": GOOD, "test": GOOD})
  features = json.loads((path / "features.json").read_text())
  del features["featuresDict"]["features"]["label"]
  (path / "features.json").write_text(json.dumps(features))
  refused(tmp_path, r"has 0 features of type ClassLabel \(none\); accepted: image classification")


def test_the_supervised_keys_choose_among_several_labels(tmp_path):
  path = write_set(tmp_path, "pets", {"train": GOOD, "test": GOOD})
  features = json.loads((path / "features.json").read_text())
  fields = features["featuresDict"]["features"]
  fields["coarse"] = fields["label"]
  (path / "features.json").write_text(json.dumps(features))
  refused(tmp_path, r"has 2 features of type ClassLabel \(coarse, label\)")
  info = json.loads((path / "dataset_info.json").read_text())
  keys = {"items": [{"featureKey": "image"}, {"featureKey": "label"}]}
  (path / "dataset_info.json").write_text(json.dumps(info | {"supervisedKeys": {"tuple": keys}}))
  assert find_prepared(CONFIG, str(tmp_path)).label == "label"


def test_neighbouring_slices_share_no_image(tmp_path):
  write_set(tmp_path, "pets", {"train": GOOD, "test": GOOD}, shards=2)
  found = find_prepared(CONFIG, str(tmp_path))
  for first, second in (("train[:3]", "train[3:]"), ("train[:4]", "train[4:]"), ("train", "test")):
    check_disjoint(found, first, second)
    check_disjoint(found, second, first)
  with pytest.raises(UserError, match="share images"):
    check_disjoint(found, "train[:4]", "train[3:]")
