"""Measures on this device what an exported edge costs, block by block, and writes device.json.

meanet measure --model runs/digits/export [--cloud grpc://HOST:PORT] --out device.json [image.png]
"""

import argparse
import contextlib
import datetime
import platform
import tempfile
from importlib import metadata
from pathlib import Path

import numpy as np

import meanet_jax
from meanet_jax.commands.edge_cloud import (
  ADDRESS,
  add_address_flags,
  open_link,
  refuse_without_cloud,
)
from meanet_jax.commands.flags import Parser, add_integer, add_number, add_path, require
from meanet_jax.config.ranges import Range
from meanet_jax.cost.device import BLOCKS, DeviceProfile, Link, Timing
from meanet_jax.edge.decode import decode_file
from meanet_jax.edge.link.encoding import Encoding, encode
from meanet_jax.edge.manifest import EDGE, Manifest, read_manifest
from meanet_jax.edge.measure import (
  FEWEST,
  WARM_UP,
  Energy,
  idle_energy,
  measure_edge,
  measure_encodings,
  measure_link,
  open_classifier,
  times,
  timing,
)
from meanet_jax.edge.power import SYSFS, Found, find_meter
from meanet_jax.errors import UserError
from meanet_jax.files import check_writable, write_json, writing
from meanet_jax.images.decoding import MODES, ignore_pillow_warnings
from meanet_jax.stdout import say_on_stderr

_UPPERMOST = 100_000
# Where boards and PCs say what they are.
_MODELS = ("firmware/devicetree/base/model", "class/dmi/id/product_name")


def add_flags(parser: Parser) -> None:
  """Adds the flags of this command."""
  parser.add_argument(
    "files", metavar="IMAGE", nargs="*", help="image files to measure on; noise without any"
  )
  add_path(parser, "--model", metavar="DIR", help="what `meanet export` wrote")
  add_integer(parser, "--images", Range(FEWEST, _UPPERMOST), default=500, help="that are timed")
  add_integer(parser, "--threads", Range(1, 128), default=1, help="of the interpreter")
  add_number(
    parser, "--energy-seconds", Range(0.01, 1e4), default=3.0, help="of each energy measurement"
  )
  parser.add_argument("--name", help="of the profile; the machine's model if not given")
  add_path(parser, "--out", metavar="FILE", default="device.json", help="the profile")
  add_path(parser, "--sysfs", metavar="DIR", default=str(SYSFS), help=argparse.SUPPRESS)
  add_address_flags(parser.add_argument_group("cloud"))
  parser.set_defaults(window=1, attempts=1)  # one image at a time, and no second attempt


def run(given: argparse.Namespace) -> None:
  """Measures, prints, and writes the profile."""
  ignore_pillow_warnings()
  directory = require(given.model, "--model", "a directory that `meanet export` wrote")
  _check(given)
  manifest = read_manifest(directory)
  images, parts = _images(given.files, manifest, given.images)
  link = None if given.cloud is None else open_link(given, manifest)
  with contextlib.ExitStack() as stack:
    if link is not None:
      stack.callback(link.offloader.close)
      if link.unreachable is not None:
        raise UserError(f"{link.address} {link.unreachable}; expected a cloud that answers")
    # Only now: the interpreter has a word of its own for stderr, where an error is to be alone.
    classifier = open_classifier(directory, given.threads)
    found = find_meter(Path(given.sysfs))
    energy = idle_energy(found.meter, given.energy_seconds)
    print(*_conditions(given, found, energy), sep="\n")
    edge = measure_edge(classifier, images, energy)
    sent = None if link is None else measure_link(link.offloader, classifier, images, energy)
  parts |= edge.parts | measure_encodings(images)
  profile = DeviceProfile(
    name=given.name or _machine(Path(given.sysfs)),
    source=_source(given, found),
    date=datetime.date.today().isoformat(),
    main=edge.main,
    extension=edge.extension,
    upload=None if sent is None else sent.upload,
    idle=None if sent is None else sent.idle,
    link=None if link is None else Link(link.address),
    # Untrained weights are for size and speed alone: such a profile goes with any weights.
    export=manifest.files[EDGE].sha256 if manifest.weights == "trained" else None,
    networks=manifest.networks,
    quantize=manifest.quantize,
    idle_mw=energy.idle_mw,
    parts=parts,
  )
  print(*_table(profile), sep="\n")
  _warn_of_stalls(profile)
  if sent is not None and sent.failed:
    say_on_stderr(f"warning: {sent.failed} of {given.images} images had no answer: not counted")
  _write(profile, Path(given.out))
  print(f"written: {given.out}")


def _check(given: argparse.Namespace) -> None:
  """Refuses what would only be refused after the measurement."""
  refuse_without_cloud(given, ADDRESS)
  if given.name is not None and (not given.name.strip() or len(given.name.splitlines()) > 1):
    raise UserError(f"--name is {given.name!r}; accepted: a line of text")
  check_writable(Path(given.out), "--out")


def _images(
  files: list[str], manifest: Manifest, count: int
) -> tuple[np.ndarray, dict[str, Timing]]:
  """Images to measure on, uint8 [count, h, w, c], and how long files take to become that."""
  shape = manifest.image_shape
  if not files:
    noise = np.random.default_rng(0).integers(256, size=(count, *shape), dtype=np.uint8)
    return noise, _noise_decoding(noise, manifest)
  rows = np.resize(np.arange(len(files)), count)
  pixels = [decode_file(path, shape, manifest.preprocessing).pixels for path in files]
  seconds = times(lambda row: decode_file(files[row], shape, manifest.preprocessing), rows)
  return np.stack(pixels)[rows], {"preprocess": timing(seconds)}


def _noise_decoding(noise: np.ndarray, manifest: Manifest) -> dict[str, Timing]:
  if noise.shape[3] not in MODES:
    return {}
  try:
    data = encode(Encoding("png"), noise[0])
  except UserError:  # no Pillow: image files cannot be read here
    return {}
  with tempfile.TemporaryDirectory() as directory:
    path = Path(directory) / "noise.png"
    path.write_bytes(data)
    seconds = times(
      lambda _: decode_file(path, manifest.image_shape, manifest.preprocessing), noise
    )
  return {"preprocess": timing(seconds)}


def _conditions(given: argparse.Namespace, found: Found, energy: Energy) -> list[str]:
  kind = "noise" if not given.files else f"{len(given.files)} files"
  lines = [
    f"{WARM_UP} images of {kind} to warm up, then {given.images} timed one by one, "
    f"{given.threads} thread{'s' if given.threads > 1 else ''}"
  ]
  if found.meter is None:
    lines.append(f"energy: not measured here ({found.reason}); the cost model's is used")
  elif energy.idle_mw is None:
    lines.append(f"energy: {found.meter.covers} cannot be read; the cost model's is used")
  else:
    lines.append(f"energy: {found.meter.covers}, above {energy.idle_mw:.0f} mW of the idle device")
  return lines


def _table(profile: DeviceProfile) -> list[str]:
  lines = [f"{'':<22}{'mean [ms]':>12}{'p95 [ms]':>12}{'mean [mJ]':>12}"]
  for name in BLOCKS:
    block = profile.block(name)
    if block is None:
      lines.append(f"{name:<22}{'not measured: the cost model (--cloud measures it)':>12}")
      continue
    energy = "-" if block.mean_mj is None else f"{block.mean_mj:.4f}"
    lines.append(f"{name:<22}{block.mean_ms:>12.4f}{block.p95_ms:>12.4f}{energy:>12}")
  for name, part in profile.parts.items():
    lines.append(f"  {name:<20}{part.mean_ms:>12.4f}{part.p95_ms:>12.4f}")
  return lines


def _warn_of_stalls(profile: DeviceProfile) -> None:
  """A mean above the 0.95 quantile comes of a few very long times."""
  stalled = [
    name
    for name in BLOCKS
    if (block := profile.block(name)) is not None and block.mean_ms > block.p95_ms
  ]
  if stalled:
    say_on_stderr(
      f"warning: the mean of {', '.join(stalled)} is above the 0.95 quantile: other programs were "
      "running; measure again when the device does nothing else"
    )


def _source(given: argparse.Namespace, found: Found) -> str:
  covers = "no energy" if found.meter is None else f"energy by {found.meter.covers}"
  threads = f"{given.threads} thread{'s' if given.threads > 1 else ''}"
  images = f"{given.images} images" + ("" if given.files else " of noise")
  return (
    f"meanet measure {meanet_jax.__version__}, LiteRT {metadata.version('ai-edge-litert')}, "
    f"{platform.machine()}, {threads}, {images}, {covers}"
  )


def _machine(sysfs: Path) -> str:
  """What the machine says that it is."""
  for file in _MODELS:
    try:
      text = (sysfs / file).read_text(encoding="utf-8").strip("\0 \n")
    except (OSError, ValueError):
      continue
    if text and len(text.splitlines()) == 1:
      return text
  return platform.machine()


def _write(profile: DeviceProfile, out: Path) -> None:
  with writing(f"--out {out}", "a writable file"):
    write_json(out, profile.to_json())
