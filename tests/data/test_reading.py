"""Prepared sets, in memory and streamed; all of it without TensorFlow."""

import dataclasses
import io
import shutil

import numpy as np
import pytest
from PIL import Image

from meanet_jax.config.schema import DatasetConfig
from meanet_jax.config.stages import AugmentConfig
from meanet_jax.data.batches import Order, Part
from meanet_jax.data.read_options import ReadOptions
from meanet_jax.data.sources import load
from meanet_jax.data.splits import ArraySplit
from meanet_jax.data.streaming import StreamedBatches, StreamedSplit
from meanet_jax.errors import UserError
from tests.data.sets import encoded, picture, write_set
from tests.forked_commands import run_command

CONFIG = DatasetConfig(
  name="pets", image_shape=(16, 16, 3), num_classes=2, validation_fraction=0.25, in_memory_mb=0
)
STREAMED, IN_MEMORY = 0, 1000


def examples(count: int, first: int = 0) -> list[tuple[bytes, int]]:
  """Images of several sizes, classes in turn."""
  return [(encoded(picture(i, (20 + i % 5, 30))), i % 2) for i in range(first, first + count)]


@pytest.fixture(scope="module")
def pets(tmp_path_factory) -> ReadOptions:
  root = tmp_path_factory.mktemp("sets")
  write_set(root, "pets", {"train": examples(40), "test": examples(9, 100)}, shards=2)
  return ReadOptions(str(root), workers=0)


def central(image: bytes) -> np.ndarray:
  """What an evaluation sees, by plain Pillow: resize by 7/8 of the short side's inverse, crop."""
  with Image.open(io.BytesIO(image)) as opened:
    whole = opened.convert("RGB")
  side = 224 / 256 * min(whole.size)
  left, upper = (whole.width - side) / 2, (whole.height - side) / 2
  box = (left, upper, left + side, upper + side)
  return np.asarray(whole.resize((16, 16), Image.Resampling.BILINEAR, box=box))


@pytest.mark.parametrize("megabytes", [STREAMED, IN_MEMORY])
def test_a_set_is_read_whole_and_split_disjointly(pets, megabytes):
  dataset = load(dataclasses.replace(CONFIG, in_memory_mb=megabytes), pets)
  assert isinstance(dataset.train, StreamedSplit if megabytes == STREAMED else ArraySplit)
  assert dataset.name == "pets:1.0.0"
  assert dataset.class_names == ("cat", "dog")
  assert dataset.skipped == {"train": 0, "test": 0}
  expected = np.stack([central(image) for image, _ in examples(9, 100)])
  # Resizing may differ from Pillow's by a grey level.
  np.testing.assert_allclose(dataset.test.images_at(range(9)).astype(int), expected, atol=1)
  np.testing.assert_array_equal(dataset.test.labels, np.arange(9) % 2)
  # Every training image is in train or validation, once, with its label and class shares kept.
  known = np.stack([central(image) for image, _ in examples(40)]).astype(int)
  seen = []
  for split, size in ((dataset.train, 30), (dataset.validation, 10)):
    assert len(split) == size
    assert abs(np.mean(split.labels) - 0.5) < 0.01
    for image, label in zip(split.images_at(range(size)), split.labels, strict=True):
      same = np.flatnonzero(np.abs(known - image).max(axis=(1, 2, 3)) <= 1)
      assert same % 2 == [label]  # one image, and this is its class
      seen.append(same[0])
  assert sorted(seen) == list(range(40))


@pytest.mark.parametrize("megabytes", [STREAMED, IN_MEMORY])
def test_evaluation_batches_hold_every_image_once_and_pad_the_last(pets, megabytes):
  test = load(dataclasses.replace(CONFIG, in_memory_mb=megabytes), pets).test
  batches = list(test.batches(4))
  assert [real for _, real in batches] == [4, 4, 1]
  together = np.concatenate([batch[:real] for batch, real in batches])
  np.testing.assert_array_equal(together, test.images_at(range(9)))
  assert not batches[-1][0][1:].any()


def streamed(options: ReadOptions, part: int = 0, parts: int = 1) -> StreamedBatches:
  train = load(CONFIG, options).train
  augment = AugmentConfig(random_resized_crop=True, flip=True)
  made = train.training_batches(Order(len(train), 3, "main", 6, Part(part, parts)), augment)
  assert isinstance(made, StreamedBatches)
  return made


@pytest.mark.parametrize(
  "workers", [0, 2, *(pytest.param(count, marks=pytest.mark.full) for count in (1, 3))]
)
def test_a_streamed_batch_depends_on_no_number_of_workers(pets, workers):
  expected = streamed(pets)
  found = streamed(dataclasses.replace(pets, workers=workers))
  assert found.augment == AugmentConfig(flip=True)  # the crop is cut on the host
  for step, batch in enumerate(found.stream(4, 11), 4):
    again = expected(step)
    assert batch.keys() == again.keys()
    for name, value in again.items():
      np.testing.assert_array_equal(batch[name], value, err_msg=f"{name} at step {step}")


def test_processes_share_a_batch_between_them(pets):
  whole = streamed(pets)(7)
  parts = [streamed(pets, part, 3)(7) for part in range(3)]
  for name, value in whole.items():
    np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), value)


def test_crops_are_drawn_anew_at_every_step_and_place(pets):
  batches = streamed(pets)
  index, _ = batches.order(0)
  first = batches(0)["image"]
  epoch = batches.order.steps_per_epoch
  for later in range(epoch, 3 * epoch):
    for place in np.flatnonzero(np.isin(batches.order(later)[0], index)):
      again = batches(later)["image"][place]
      assert not any(np.array_equal(again, image) for image in first)


def test_selected_images_keep_their_new_labels(pets):
  train = load(CONFIG, pets).train
  chosen = np.array([5, 2, 2])
  part = train.select(chosen, np.array([7, 8, 9], np.int32))
  np.testing.assert_array_equal(part.images_at([0, 1, 2]), train.images_at(chosen))
  assert part.labels.tolist() == [7, 8, 9]


def test_grey_and_cmyk_images_become_rgb(tmp_path):
  grey = encoded(picture(0, (16, 16), "L"))
  cmyk = encoded(picture(1, (16, 16)), mode="CMYK")
  plain = encoded(picture(1, (16, 16)))
  write_set(tmp_path, "pets", {"train": examples(8), "test": [(grey, 0), (cmyk, 1), (plain, 1)]})
  for megabytes in (STREAMED, IN_MEMORY):
    config = dataclasses.replace(CONFIG, in_memory_mb=megabytes)
    images = load(config, ReadOptions(str(tmp_path), 0)).test.images_at(range(3))
    assert np.all(images[0] == images[0][..., :1])
    # JPEG keeps CMYK and RGB with losses of their own.
    assert np.abs(images[1].astype(int) - images[2]).mean() < 8


def test_images_of_one_size_are_taken_as_they_are(tmp_path):
  pixels = [picture(i, (16, 16), "L")[..., None] for i in range(12)]
  made = [(encoded(p.squeeze(-1), "PNG"), i % 2) for i, p in enumerate(pixels)]
  write_set(tmp_path, "pets", {"train": made, "test": made[:4]}, shape=(16, 16, 1), version="2.1.0")
  config = dataclasses.replace(
    CONFIG,
    name="pets:2.1.0",
    image_shape=(16, 16, 1),
    in_memory_mb=IN_MEMORY,
    test_split="test[1:]",
  )
  dataset = load(config, ReadOptions(str(tmp_path)))
  np.testing.assert_array_equal(dataset.test.images_at([0, 1, 2]), pixels[1:4])
  assert dataset.name == "pets:2.1.0"


def damaged() -> list[tuple[bytes, int]]:
  made = examples(16)
  made[3] = (made[3][0][:400], 1)
  made[8] = (b"no image at all", 0)
  return made


@pytest.mark.parametrize("megabytes", [STREAMED, IN_MEMORY])
def test_damaged_images_are_named_or_left_out_and_counted(tmp_path, megabytes):
  write_set(tmp_path, "pets", {"train": damaged(), "test": examples(4)})
  options = ReadOptions(str(tmp_path), 0)
  config = dataclasses.replace(CONFIG, in_memory_mb=megabytes)
  with pytest.raises(UserError, match=r"image 3 of pets:1.0.0 train \(train_3.img\) cannot be"):
    load(config, options)
  dataset = load(dataclasses.replace(config, undecodable="skip"), options)
  assert dataset.skipped == {"train": 2, "test": 0}
  assert len(dataset.train) + len(dataset.validation) == 14


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_damaged_since_its_set_was_indexed_is_named(tmp_path, workers):
  path = write_set(tmp_path, "pets", {"train": examples(16), "test": examples(4)})
  options = ReadOptions(str(tmp_path), workers)
  train = load(CONFIG, options).train
  shutil.rmtree(path)
  write_set(tmp_path, "pets", {"train": damaged(), "test": examples(4)})
  with pytest.raises(UserError, match=r"\(train_\d+.img\) cannot be decoded"):
    list(train.batches(16))


def test_the_index_is_made_once_and_anew_when_it_is_damaged(tmp_path):
  path = write_set(tmp_path, "pets", {"train": examples(16), "test": examples(4)})
  options = ReadOptions(str(tmp_path), 0)
  load(CONFIG, options)
  index = next(path.glob(".*train*.npz"))
  made = index.stat().st_mtime_ns
  load(CONFIG, options)
  assert index.stat().st_mtime_ns == made
  index.write_bytes(index.read_bytes()[:50])
  labels = load(CONFIG, options).train.labels
  assert index.stat().st_mtime_ns > made
  np.testing.assert_array_equal(np.sort(labels), np.sort(np.arange(12) % 2))


CLOSED_EARLY = """
import time
import numpy as np
from meanet_jax.data.streaming import stream

def make(number, allocate=np.empty):
  array = allocate((64, 64), np.uint8)
  array[:] = number
  return array

if __name__ == "__main__":
  numbers = stream(make, 1000, workers=2, batch_bytes=64 * 64)
  for expected in range(8):
    assert int(next(numbers)[0, 0]) == expected
    time.sleep(0.05)  # the workers fill their queues
  numbers.close()
"""


def test_a_stream_closed_early_leaves_no_shared_memory(tmp_path):
  script = tmp_path / "closed_early.py"  # a file, so that workers can import `make`
  script.write_text(CLOSED_EARLY)
  done = run_command(script)
  assert (done.returncode, done.stderr) == (0, "")


WITHOUT_TENSORFLOW = """
import importlib.machinery, sys
found = importlib.machinery.PathFinder.find_spec
def hidden(cls, name, path=None, target=None):
  return None if name.partition(".")[0] == "tensorflow" else found(name, path, target)
importlib.machinery.PathFinder.find_spec = classmethod(hidden)
%s
assert not any(name.partition(".")[0] == "tensorflow" for name in sys.modules)
"""
READ = """
from meanet_jax.config.schema import DatasetConfig
from meanet_jax.data.read_options import ReadOptions
from meanet_jax.data.sources import load
import meanet_jax.report.write, meanet_jax.training.train
for megabytes in (0, 1000):
  config = DatasetConfig(
    name="pets", image_shape=(16, 16, 3), num_classes=2, validation_fraction=0.25,
    in_memory_mb=megabytes,
  )
  test = load(config, ReadOptions(sys.argv[1], 0)).test
  images, count = next(iter(test.batches(4)))
"""
TRAIN = """
from meanet_jax.config.parsing import resolve
from meanet_jax.data.read_options import ReadOptions
from meanet_jax.report.write import evaluate_run
from meanet_jax.training.train import train
from tests.experiments import tiny_config
fields = tiny_config()
fields.dataset.update(name="pets", image_shape=(16, 16, 3), num_classes=2, test_fraction=0.0)
fields.dataset.update(validation_fraction=0.25, in_memory_mb=int(sys.argv[3]))
for stage in (fields.stages.main, fields.stages.edge, fields.stages.cloud):
  stage.batch_size, stage.epochs = 10, 1
fields.stages.edge.augment.random_resized_crop = True
options = ReadOptions(sys.argv[1], 0)
train(resolve(fields), sys.argv[2], options)
evaluate_run(sys.argv[2], options=options)
"""


def test_reading_needs_no_tensorflow(pets):
  done = run_command("-c", WITHOUT_TENSORFLOW % READ, pets.data_dir)
  assert done.returncode == 0, done.stderr


@pytest.mark.full
@pytest.mark.parametrize("megabytes", [STREAMED, IN_MEMORY])
def test_training_and_evaluation_need_no_tensorflow(pets, megabytes, tmp_path):
  done = run_command("-c", WITHOUT_TENSORFLOW % TRAIN, pets.data_dir, tmp_path, str(megabytes))
  assert done.returncode == 0, done.stderr
  assert '"skipped_images": {' in (tmp_path / "eval" / "summary.json").read_text()
