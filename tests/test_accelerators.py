"""libtpu is left alone where no TPU is, and only there."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from meanet_jax.accelerators import tpu_may_be_here
from tests.exports import ROOT

LOOKS = """
import sys
from meanet_jax.commands.app import run_script
def main():
  import jax
  print(jax.devices()[0].platform, sorted(jax._src.xla_bridge._backend_errors))
sys.exit(run_script(None, lambda _: None, lambda _: main()))
"""


def device(root: Path, name: str, vendor: str, kind: str) -> None:
  path = root / "sys/bus/pci/devices" / name
  path.mkdir(parents=True)
  (path / "vendor").write_text(f"{vendor}\n")
  (path / "class").write_text(f"{kind}\n")


def test_signs_of_a_tpu(tmp_path):
  assert not tpu_may_be_here({}, tmp_path)
  device(tmp_path, "0000:00:01.0", "0x8086", "0x120000")  # another maker's accelerator
  device(tmp_path, "0000:00:02.0", "0x1ae0", "0x020000")  # Google's network card
  device(tmp_path, "0000:00:03.0", "0x1ae0", "0x010802")  # Google's disk
  assert not tpu_may_be_here({}, tmp_path)
  quiet = {"TPU_SKIP_MDS_QUERY": "1", "TPU_LIBRARY_PATH": "/x/libtpu.so", "HOME": "/"}
  assert not tpu_may_be_here(quiet, tmp_path)
  for name in ("TPU_WORKER_ID", "TPU_ACCELERATOR_TYPE", "JAX_FORCE_TPU_INIT"):
    assert tpu_may_be_here({name: "0"}, tmp_path)
  device(tmp_path, "0000:00:04.0", "0x1ae0", "0x120000")  # of a model that JAX need not know
  assert tpu_may_be_here({}, tmp_path)


@pytest.mark.parametrize("node", ["dev/accel0", "dev/vfio/0"])
def test_device_files_of_a_tpu(tmp_path, node):
  (tmp_path / node).parent.mkdir(parents=True)
  (tmp_path / "dev/vfio").mkdir(exist_ok=True)
  (tmp_path / "dev/vfio/vfio").touch()  # there without any device
  assert not tpu_may_be_here({}, tmp_path)
  (tmp_path / node).touch()
  assert tpu_may_be_here({}, tmp_path)


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs libtpu")
@pytest.mark.skipif(tpu_may_be_here(os.environ), reason="needs a machine without a TPU")
def test_a_command_without_a_tpu_says_nothing_of_one():
  environment = {n: v for n, v in os.environ.items() if n != "JAX_PLATFORMS"}
  result = subprocess.run(
    [sys.executable, "-c", LOOKS],
    cwd=ROOT,
    env=environment,
    capture_output=True,
    text=True,
    check=False,
  )
  assert result.returncode == 0, result.stderr
  assert result.stderr == ""
  assert "'tpu'" in result.stdout  # it was skipped
