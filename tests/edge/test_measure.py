"""`meanet measure`: what it writes, and what it refuses."""

import numpy as np
import pytest

from meanet_jax.commands.app import main
from meanet_jax.cost.device import check_export, check_network, cost_basis
from meanet_jax.cost.device_file import read_profile
from meanet_jax.edge.manifest import EDGE, read_manifest
from meanet_jax.edge.measure import timing
from meanet_jax.models.costs import block_macs
from meanet_jax.models.digests import edge_digest
from tests.edge.rewritten import rewritten
from tests.edge.test_power import BATTERY, INA, tree


def measure(capsys, *arguments):
  """The command's status, its lines on stdout and on stderr."""
  status = main(["measure", *map(str, arguments)])
  out, err = capsys.readouterr()
  return status, out.splitlines(), err.splitlines()


@pytest.fixture
def flags(exported, tmp_path):
  sysfs, out = tmp_path / "sysfs", tmp_path / "device.json"
  return ["--model", exported, "--images=100", "--sysfs", sysfs, "--out", out]


def test_an_edge_without_meter_or_cloud(exported, source, flags, tmp_path, capsys):
  status, out, _ = measure(capsys, *flags)
  assert status == 0
  assert out[0] == "20 images of noise to warm up, then 100 timed one by one, 1 thread"
  assert out[1].startswith("energy: not measured here (no INA sensor in hwmon; no RAPL;")
  profile = read_profile(tmp_path / "device.json")
  manifest = read_manifest(exported)
  check_export(profile, manifest.networks, manifest.quantize)
  assert (profile.export, profile.networks, profile.quantize) == (
    manifest.files[EDGE].sha256,
    edge_digest(source.variables, source.config.dataset.image_shape),
    "none",
  )
  macs = block_macs(source.model, source.config.dataset.image_shape)
  check_network(profile, macs.main, macs.extension)
  assert profile.main.mean_ms > 0
  assert profile.main.mean_mj is None
  assert (profile.upload, profile.idle, profile.link) == (None, None, None)
  assert {"preprocess", "main_signature", "extension_signature", "encode_png"} <= {*profile.parts}
  assert cost_basis(profile) == {"energy": "estimated", "latency": "estimated"}
  assert [path.name for path in tmp_path.iterdir()] == ["device.json"]


def test_with_a_meter_a_cloud_and_image_files(server, folder, flags, tmp_path, capsys):
  tree(tmp_path / "sysfs", INA | {"class/dmi/id/product_name": "Some Board 4"})
  files = sorted(folder.glob("[0-9][0-9].png"))
  status, out, _ = measure(
    capsys,
    *flags,
    *files,
    "--energy-seconds=0.02",
    f"--cloud=grpc://127.0.0.1:{server.port}",
    "--encoding=png",
  )
  assert status == 0
  assert out[0].startswith(f"20 images of {len(files)} files to warm up")
  assert out[1] == "energy: ina226, the board, above 5000 mW of the idle device"
  profile = read_profile(tmp_path / "device.json")
  assert profile.name == "Some Board 4"
  assert "energy by ina226, the board" in profile.source
  assert profile.link.name == f"grpc://127.0.0.1:{server.port}"
  assert profile.idle_mw == pytest.approx(5000, rel=1e-6)
  for block in (profile.main, profile.extension, profile.upload, profile.idle):
    assert block.mean_ms > 0
    # As much power as at rest, but for rounding.
    assert block.mean_mj == pytest.approx(0, abs=1e-6)
  assert profile.upload.bytes_per_image is not None
  assert profile.upload.bytes_per_image > 64
  assert cost_basis(profile) == {"energy": "measured", "latency": "measured"}


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    (["--images=99"], "flag --images is 99; accepted: an integer, 100 to 100000"),
    (["--out=/nowhere/device.json"], "--out /nowhere/device.json cannot be written"),
    (["--name="], "--name is ''; accepted: a line of text"),
    (["--token-file=x"], "--token-file without --cloud"),
    (["--encoding=png"], "--encoding without --cloud"),
    (["--cloud=grpc://127.0.0.1:1", "--check-seconds=0.2"], "expected a cloud that answers"),
    (["--model=/nowhere"], "/nowhere/edge.json cannot be read"),
    (["missing.png"], "image missing.png cannot be read"),
  ],
)
def test_what_is_refused_in_one_line(flags, tmp_path, capsys, changes, message):
  status, out, (line,) = measure(capsys, *flags, *changes)
  assert status == 2
  assert line.startswith("error: ")
  assert message in line
  assert out == []
  assert list(tmp_path.iterdir()) == []


def test_an_export_of_several_images_at_once_is_refused(exported, flags, tmp_path, capsys):
  model = rewritten(exported, tmp_path / "model", batch_size=4)
  status, _, (line,) = measure(capsys, *flags, "--model", model)
  assert status == 2
  assert "takes 4 images at once" in line


def test_an_export_that_says_less_about_its_networks(exported, flags, tmp_path, capsys):
  """An earlier version's, which is compared by its file, and untrained weights, by MACs alone."""
  sha256 = read_manifest(exported).files[EDGE].sha256
  for weights, export in (("trained", sha256), ("untrained", None)):
    model = rewritten(exported, tmp_path / weights, networks=None, weights=weights)
    status, _, _ = measure(capsys, *flags, "--model", model)
    assert status == 0
    profile = read_profile(tmp_path / "device.json")
    assert (profile.export, profile.networks, profile.quantize) == (export, None, "none")


def test_a_battery_on_the_mains_is_named(flags, tmp_path, capsys):
  tree(tmp_path / "sysfs", BATTERY | {"class/power_supply/BAT0/status": "Full"})
  _, out, _ = measure(capsys, *flags)
  assert "battery BAT0 is not discharging" in out[1]


def test_the_quantile_is_a_time_that_was_measured():
  seconds = list(np.arange(1, 101) / 1e3)
  assert timing(seconds).mean_ms == pytest.approx(50.5)
  assert timing(seconds).p95_ms == pytest.approx(95)
