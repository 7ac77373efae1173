"""TFDS's own builders prepare small archives of the genuine layout, in processes of their own."""

import importlib.util
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from meanet_jax.config.schema import DatasetConfig
from meanet_jax.data.read_options import ReadOptions
from meanet_jax.data.sources import load
from meanet_jax.data.tfds import prepare
from meanet_jax.errors import UserError
from tests.data.tfds import archives
from tests.forked_commands import Running, run_command, start_command

needs_tensorflow = pytest.mark.skipif(
  importlib.util.find_spec("tensorflow") is None, reason="TensorFlow (extra prepare) is missing"
)
CIFAR = DatasetConfig(
  name="cifar100", image_shape=(32, 32, 3), num_classes=100, validation_fraction=0.5
)


def start(name: str, data_dir: Path, *flags: str) -> Running:
  return start_command("-m", "meanet_jax", "prepare", name, f"--data-dir={data_dir}", *flags)


def run(name: str, data_dir: Path, *flags: str) -> tuple[int, str]:
  process = start(name, data_dir, *flags)
  output, errors = process.communicate()
  lines = [line for line in errors.splitlines() if line.startswith("error:")]
  return process.wait(), "".join(lines) or output


@pytest.fixture(scope="module")
def cifar(tmp_path_factory):
  """The archive's directory, its test images, and where the set was prepared from it."""
  original, data = tmp_path_factory.mktemp("archives"), tmp_path_factory.mktemp("data")
  images = archives.cifar100(original, train=400, test=30)
  flags = [f"--archives={original}", *archives.checksums(original)]
  assert run("cifar100", data, *flags)[0] == 0
  return original, images, data


@pytest.mark.full
@needs_tensorflow
def test_cifar100_is_prepared_and_read(cifar):
  _, images, data = cifar
  dataset = load(CIFAR, ReadOptions(str(data)))
  assert len(dataset.train) + len(dataset.validation) == 400
  assert dataset.class_names[:2] == ("class0", "class1")
  # TFDS shuffles: as a set, and every image with its own label.
  found = {
    image.tobytes(): label
    for image, label in zip(dataset.test.images_at(range(30)), dataset.test.labels, strict=True)
  }
  assert found == {image.tobytes(): label for label, image in enumerate(images)}
  assert sorted(path.name for path in data.iterdir()) == ["cifar100"]
  # Once more does nothing, needs no archives, and says so.
  status, output = run("cifar100", data)
  assert (status, "is already in" in output) == (0, True)


TRAIN = """
import sys
from meanet_jax import log
from meanet_jax.config.parsing import resolve
from meanet_jax.data.read_options import ReadOptions
from meanet_jax.training.train import train
from tests.experiments import tiny_config
fields = tiny_config()
name, data_dir, workdir, size, classes, hard, batch, test_split = sys.argv[1:]
fields.dataset.update(name=name, image_shape=(int(size), int(size), 3), num_classes=int(classes))
fields.dataset.update(test_fraction=0.0, validation_fraction=0.25, in_memory_mb=0)
fields.dataset.test_split = test_split
fields.hard_classes.count = int(hard)
fields.evaluation.calibration_fraction = 0.0  # so few images that all have to select
for stage in (fields.stages.main, fields.stages.edge, fields.stages.cloud):
  stage.batch_size, stage.epochs = int(batch), 1
  stage.augment.random_resized_crop, stage.augment.pad_crop = True, 0
log.to_console()
train(resolve(fields), workdir, ReadOptions(data_dir, 0))
"""


def trained_steps(workdir: Path, *arguments: str) -> str:
  done = run_command("-c", TRAIN, *arguments)
  assert done.returncode == 0, done.stderr
  assert (workdir / "data.json").is_file()
  return done.stdout


@pytest.mark.full
@needs_tensorflow
def test_two_steps_are_trained_from_a_prepared_set(cifar, tmp_path):
  data = str(cifar[2])
  said = trained_steps(tmp_path, "cifar100", data, str(tmp_path), "32", "100", "99", "140", "test")
  assert "stage main: 2 steps" in said
  assert "stage edge: 2 steps" in said


@pytest.mark.full
@needs_tensorflow
def test_imagenet_is_prepared_from_its_tars_and_trained_on(tmp_path):
  original = tmp_path / "tars"
  original.mkdir()
  archives.imagenet(original)
  data = tmp_path / "data"
  status, said = run("imagenet2012", data, f"--archives={original}")
  assert status == 2
  assert "--accept-checksum" in said
  flags = [f"--archives={original}", *archives.checksums(original)]
  status, said = run("imagenet2012", data, *flags)
  assert (status, "24 train, 6 validation" in said) == (0, True), said
  config = DatasetConfig(
    name="imagenet2012",
    image_shape=(16, 16, 3),
    num_classes=1000,
    test_split="validation",
    validation_fraction=0.25,
  )
  dataset = load(config, ReadOptions(str(data)))
  assert [dataset.class_names[c] for c in np.unique(dataset.train.labels)] == list(archives.SYNSETS)
  arguments = (
    "imagenet2012",
    str(data),
    str(tmp_path / "run"),
    "16",
    "1000",
    "2",
    "9",
    "validation",
  )
  assert "stage main: 2 steps" in trained_steps(tmp_path / "run", *arguments)
  # A tar that is missing would be a split that is missing.
  (original / "ILSVRC2012_img_val.tar").unlink()
  status, said = run("imagenet2012", data, *flags, "--replace")
  assert (status, "ILSVRC2012_img_val.tar is missing" in said) == (2, True)
  assert load(config, ReadOptions(str(data))).name == dataset.name


@pytest.mark.full
@needs_tensorflow
def test_an_interrupted_preparation_leaves_nothing_and_the_next_one_tidies_up(tmp_path):
  original, data = tmp_path / "idx", tmp_path / "data"
  original.mkdir()
  archives.fashion_mnist(original)
  flags = [f"--archives={original}", *archives.checksums(original)]
  process = start("fashion_mnist", data, *flags)
  while not list(data.glob(f"{prepare.PARTIAL}*/fashion_mnist/*incomplete*/*")):
    assert process.poll() is None
    time.sleep(0.05)
  process.send_signal(signal.SIGKILL)
  process.communicate()
  assert list(data.glob(f"{prepare.PARTIAL}*"))
  config = DatasetConfig(name="fashion_mnist", image_shape=(28, 28, 1))
  with pytest.raises(UserError, match=r"fashion_mnist:3\.0\.1 is not in"):
    load(config, ReadOptions(str(data)))
  status, said = run("fashion_mnist", data, *flags)
  assert (status, "60000 train, 10000 test" in said) == (0, True), said
  assert [path.name for path in data.iterdir()] == ["fashion_mnist"]
  dataset = load(config, ReadOptions(str(data)))
  values = dataset.train.images_at(range(len(dataset.train))).max(axis=(1, 2, 3))
  assert {1, 20, 49} <= set(values.tolist()) | set(
    dataset.validation.images_at(range(len(dataset.validation))).max(axis=(1, 2, 3)).tolist()
  )


@pytest.mark.full
@needs_tensorflow
def test_archives_that_are_altered_missing_or_truncated_are_refused(cifar, tmp_path):
  original, _, _ = cifar
  status, said = run("cifar100", tmp_path, f"--archives={original}")
  digest = archives.checksums(original)[0].removeprefix("--accept-checksum=")
  assert status == 2
  assert f"cifar-100-binary.tar.gz has sha256 {digest}, TFDS recorded 58a81ae1" in said
  assert said.endswith(f"these with --accept-checksum {digest}")
  empty = tmp_path / "empty"
  empty.mkdir()
  status, said = run("cifar100", tmp_path, f"--archives={empty}")
  assert (status, "cifar-100-binary.tar.gz is missing" in said) == (2, True)
  cut = tmp_path / "cut"
  cut.mkdir()
  whole = (original / "cifar-100-binary.tar.gz").read_bytes()
  (cut / "cifar-100-binary.tar.gz").write_bytes(whole[: len(whole) // 2])
  status, said = run("cifar100", tmp_path, f"--archives={cut}", *archives.checksums(cut))
  assert (status, "cifar100:3.0.2 was not prepared: " in said) == (2, True)
  assert sorted(path.name for path in tmp_path.iterdir()) == ["cut", "empty"]


@pytest.mark.parametrize(
  ("name", "flags", "words"),
  [
    ("nonsense", [], "nonsense is not known to tensorflow-datasets"),
    ("imagenet2012", [], "flag --archives is missing; imagenet2012:5.1.0 cannot be downloaded: "),
    ("cifar100", ["--archives=nowhere"], "nowhere'; accepted: a directory"),
    ("cifar100:3.0.1", [], "cannot prepare; accepted: 3.0.2"),
  ],
)
def test_refusals_before_anything_is_read(tmp_path, name, flags, words):
  if importlib.util.find_spec("tensorflow") is None and name in ("imagenet2012", "cifar100"):
    words = "needs TensorFlow, which is not installed"
  status, said = run(name, tmp_path / "data", *flags)
  assert (status, words in said) == (2, True), said
  assert not (tmp_path / "data").exists()


@pytest.mark.full
@needs_tensorflow
def test_a_disk_that_fills_up_is_said_in_one_line_and_nothing_is_left(cifar, tmp_path):
  original, _, _ = cifar
  small = tmp_path / "small"
  small.mkdir()
  # Room for the archive's contents, and not for the records beside them.
  mount = ["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", str(small)]
  if subprocess.run(mount, capture_output=True).returncode:
    pytest.skip("this user cannot mount a small file system")
  try:
    flags = [f"--archives={original}", *archives.checksums(original)]
    status, said = run("cifar100", small, *flags)
    assert (status, list(small.iterdir())) == (2, [])
    assert said == f"error: {small} is full, cifar100:3.0.2 was not prepared; accepted: free space"
  finally:
    subprocess.run(["umount", str(small)], check=True)
