"""The TPU's own compiler, for slices that do not exist."""

import importlib.util
import json
import re
import subprocess
from pathlib import Path

import jax
import pytest

from meanet_jax.config.schema import Config
from meanet_jax.data.device_resident import ResidentImages
from meanet_jax.data.known_sizes import TrainingImages
from meanet_jax.errors import UserError
from meanet_jax.models import convolution, layers
from meanet_jax.planning.compile import DoesNotFitError, compile_step, cost
from meanet_jax.planning.topology import ENVIRONMENT, open_slice
from meanet_jax.training import stages
from tests.commands.test_app import one_line_error, write
from tests.experiments import TINY_FILE
from tests.forked_commands import run_command

needs_libtpu = pytest.mark.skipif(
  importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed (extra `tpu`)"
)


@pytest.fixture(autouse=True)
def environment_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
  for name, value in ENVIRONMENT.items():
    monkeypatch.setenv(name, value)


def aot(tmp_path: Path, *flags: str) -> subprocess.CompletedProcess:
  config = write(tmp_path / "tiny.py", TINY_FILE)
  return run_command("-m", "meanet_jax", "plan", "--config", config, *flags)


@pytest.mark.full
@needs_libtpu
def test_every_stage_is_compiled_for_four_chips(tmp_path: Path):
  result = aot(tmp_path, "--topology", "v5e:2x2", "--json")
  assert result.returncode == 0, result.stderr
  assert all(line.startswith("stage ") for line in result.stderr.splitlines())  # libtpu is quiet
  printed = json.loads(result.stdout)
  chip, plans = printed["chip"], {plan["stage"]: plan for plan in printed["stages"]}
  assert chip["name"] == "v5e"
  assert list(plans) == ["main", "edge", "cloud"]
  for plan in plans.values():
    assert plan["chips"] == 4
    assert plan["fits"]
    assert not plan["streamed"]
    assert 0 < plan["memory_bytes"] < plan["chip_memory_bytes"] == 16 * 2**30
    assert plan["compute_limit"] == pytest.approx(
      4 * chip["flops_per_second"] / plan["flops_per_image"]
    )
    assert plan["memory_limit"] == pytest.approx(
      4 * chip["bytes_per_second"] / plan["bytes_per_image"]
    )
    assert plan["images_per_second"] == min(plan["compute_limit"], plan["memory_limit"])
    assert plan["bytes_per_image"] > 8 * 8  # at least its pixels are read
  # The main block's convolutions, 2 flops a MAC, forward and towards the kernels at least. A
  # padded border is not multiplied: 4/9 and more of the MACs are left.
  macs = 8 * 8 * 9 * 4 + 4 * 4 * 4 * (9 * 4 + 9 * 4 + 4)
  assert 2 * 2 * macs * 4 / 9 < plans["main"]["flops_per_image"] < 20 * macs


@pytest.mark.full
@needs_libtpu
def test_a_step_that_does_not_fit_says_what_it_asked_for(tiny: Config):
  chip, devices = open_slice("v5e:1x1")
  images = TrainingImages(2**40, 0, streamed=True)
  with pytest.raises(DoesNotFitError) as error:
    compile_step(stages.MAIN, tiny, images, 2**23, devices)
  assert error.value.asked > error.value.usable
  assert 0.9 * chip.memory_bytes < error.value.usable <= chip.memory_bytes


@pytest.mark.full
@needs_libtpu
def test_the_kernel_gradients_of_cpus_leave_a_tpus_step_as_it_was(tiny: Config, monkeypatch):
  _, devices = open_slice("v5e:1x1")
  monkeypatch.setattr(convolution, "CACHED_BYTES", 0)
  images = TrainingImages(1000, 1000, streamed=False)
  ours = cost(compile_step(stages.MAIN, tiny, images, 64, devices))
  monkeypatch.setattr(layers, "conv_general_dilated", jax.lax.conv_general_dilated)
  assert cost(compile_step(stages.MAIN, tiny, images, 64, devices)) == ours


@pytest.mark.full
@needs_libtpu
def test_slices_of_every_chip_have_one_device_per_chip():
  shapes = {"v4:2x2x2": 8, "v5e:4x8": 32, "v5e:1x1": 1, "v5p:2x2x1": 4, "v6e:2x4": 8}
  for name, count in shapes.items():
    chip, devices = open_slice(name)
    assert chip.name == name.partition(":")[0]
    assert len(devices) == count


@pytest.mark.full
@needs_libtpu
@pytest.mark.parametrize(
  ("name", "said"),
  [
    ("v5e:3x7", r"flag --topology is 'v5e:3x7' \(INVALID_ARGUMENT: Topology layout"),
    ("v9:2x2", r"Invalid TPU external name: TPU v9\); accepted: a chip and the slice's shape"),
    ("v3:2x2", "flag --topology is 'v3:2x2', of 'TPU v3'; accepted: chips v4, v5e, v5p, v6e"),
    ("v5e:32x32", "of 1024 chips; accepted: at most 256 of v5e"),
  ],
)
def test_slices_that_cannot_be(name, said):
  with pytest.raises(UserError, match=said):
    open_slice(name)


def test_names_that_are_none():
  for name in ("nonsense", "v5e", "v5e:", "v5e:8", "4x8", "v5e:2x2x2x2"):
    with pytest.raises(UserError, match=r"flag --topology is '.*'; accepted: a chip and the slice"):
      open_slice(name)


def test_without_libtpu_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch):
  monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
  with pytest.raises(UserError, match=r"libtpu.* is not installed; accepted: pip install"):
    open_slice("v5e:2x2")


@pytest.mark.full
@needs_libtpu
@pytest.mark.parametrize(
  ("flags", "said"),
  [
    ([], "flag --topology is missing; accepted: a TPU slice, such as v5e:4x8"),
    (
      ["--topology=v5e:2x2", "--batch-size=6"],
      "flag --batch-size is 6; accepted: a multiple of the 4 devices",
    ),
    (
      ["--topology=v5e:2x2", "--config.dataset.name=imagenette"],
      "flag --num-train is missing, and imagenette train is not a whole split of",
    ),
    (
      ["--topology=v5e:4x8", "--config.stages.edge.batch_size=20"],
      "stages.edge.batch_size is 20; accepted: a multiple of the 32 devices",
    ),
    (
      ["--topology=v5e:2x2", "--batch-size=1024"],
      "flag --batch-size is 1024; accepted: at most 754",
    ),
  ],
)
def test_commands_that_end_in_one_line(tmp_path: Path, flags, said):
  assert said in one_line_error(aot(tmp_path, *flags))


@pytest.mark.full
@needs_libtpu
@pytest.mark.parametrize("shape", [(32, 32, 3), (28, 28, 1), (8, 8, 1)])
def test_a_batch_is_gathered_without_reading_the_other_images(shape):
  store, (_, devices) = ResidentImages.abstract(45000, shape), open_slice("v5e:2x2")
  take = jax.pmap(ResidentImages.take, in_axes=(None, 0), devices=devices)
  compiled = take.lower(store, jax.ShapeDtypeStruct((4, 32), jax.numpy.int32)).compile()
  assert compiled.memory_analysis().temp_size_in_bytes < 100_000
  assert not re.search(r"u8\[45000[^ ]* (copy|transpose|fusion)\(", compiled.as_text())
