"""edge.json: what a device has to know beside the networks, and the files that it belongs to."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from meanet_jax.config.ranges import NonNegative, Positive, Range
from meanet_jax.config.schema import CostConfig, DatasetConfig
from meanet_jax.config.values import checked, checked_dataclass
from meanet_jax.cost.changes import changed_cost
from meanet_jax.cost.device import DeviceProfile, check_export
from meanet_jax.cost.energy import BlockMacs, CostModel, upload_bytes
from meanet_jax.cost.profile_json import named_profile, parse_named_profile
from meanet_jax.edge.expected import Evaluated
from meanet_jax.errors import UserError
from meanet_jax.images.preprocessing import Preprocessing
from meanet_jax.routing.operating_point import OperatingPoint

FORMAT = 5
# Format 4 has neither `evaluation` nor `profile`.
EARLIER = 4
MANIFEST, EDGE, POLICY, CLOUD = "edge.json", "edge.tflite", "policy.tflite", "cloud.tflite"
Quantize = Literal["none", "float16", "dynamic_int8", "int8"]
ImageDtype = Literal["uint8", "float32"]
_ACCEPTED = "accepted: a directory that meanet export wrote"


@dataclasses.dataclass(frozen=True)
class Signature:
  """macs: multiply-accumulates per image, 0 for rules. bytes: of the constants that it reads."""

  macs: NonNegative
  bytes: NonNegative


@dataclasses.dataclass(frozen=True)
class File:
  """A tflite file: its SHA-256 in hex, its length, and its signatures by name."""

  sha256: str
  bytes: int
  signatures: dict[str, Signature]


@dataclasses.dataclass(frozen=True)
class Manifest:
  """The contents of edge.json, field by field.

  dataset: the configuration's. class_names: C names. operating_point: what the classifier decides
  by; the signatures divide each exit's logits by its temperature before they compute scores.
  unmet_constraint: why the thresholds break the constraints that they were selected under; None if
  they keep them, or there are none. image_shape: height, width, channels. image_dtype: `uint8`, or
  `float32` for the same values 0 .. 255. preprocessing: from an image file to those pixels, as
  evaluated. batch_size: images per call of a network. quantize: `none`,
  `float16`, `dynamic_int8` or `int8`. weights: `trained`, or `untrained` for an export of a
  configuration alone. networks: the SHA-256 of the networks, whatever their operating point and
  quantisation (`models/digests.py`); None of untrained weights, and of exports that do not say it.
  cost, cloud_macs: the cost model's constants, and what the cloud computes per
  image, whether it is exported or not. profile: of the device that costs were computed for; None
  for the cost model alone. evaluation: which selected the operating point, with the figures that it
  leads to expect; None of untrained weights, and of exports of earlier versions. files: by name.
  versions: of the packages that made them.
  """

  dataset: DatasetConfig
  class_names: tuple[str, ...]
  operating_point: OperatingPoint
  unmet_constraint: str | None
  image_shape: tuple[int, int, int]
  image_dtype: str
  preprocessing: Preprocessing
  batch_size: int
  quantize: str
  weights: str
  networks: str | None
  cost: CostConfig
  cloud_macs: int
  profile: DeviceProfile | None
  evaluation: Evaluated | None
  files: dict[str, File]
  versions: dict[str, str | None]

  @property
  def macs(self) -> BlockMacs:
    """Of the exported blocks and the cloud."""
    signatures = self.files[EDGE].signatures
    return BlockMacs(signatures["main"].macs, signatures["extension"].macs, self.cloud_macs)

  @property
  def cost_model(self) -> CostModel:
    """Of one image that is sent raw."""
    return CostModel(self.cost, self.macs, upload_bytes(self.cost, self.dataset), self.profile)

  def at_costs(self, changes: Mapping[str, Any]) -> "Manifest":
    """The same with other constants of the cost model, under which figures are expected.

    Args:
      changes: values by the field's name in `CostConfig`.

    Raises:
      UserError: a constant that does not exist, of a wrong type or out of range.
    """
    changed = dataclasses.replace(self, cost=changed_cost(self.cost, changes))
    if self.evaluation is None:
      return changed
    evaluation = self.evaluation.at_costs(changed.cost_model)
    return dataclasses.replace(changed, evaluation=evaluation)

  def to_json(self) -> dict[str, Any]:
    """What edge.json holds."""
    fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
    for name in ("dataset", "cost", "preprocessing"):
      fields[name] = dataclasses.asdict(getattr(self, name))
    fields["operating_point"] = self.operating_point.to_json()
    fields["evaluation"] = None if self.evaluation is None else self.evaluation.to_json()
    fields["profile"] = named_profile(self.profile)
    fields["files"] = {name: dataclasses.asdict(file) for name, file in self.files.items()}
    return {"format": FORMAT} | fields


def file_entry(data: bytes, signatures: dict[str, Signature]) -> File:
  """The entry of a tflite file."""
  return File(hashlib.sha256(data).hexdigest(), len(data), signatures)


def read_manifest(directory: str | Path) -> Manifest:
  """Reads and checks a directory's edge.json.

  Raises:
    UserError: it is missing, no JSON, of another format, a field is missing or wrong, or its
      device profile is of another export.
  """
  path = Path(directory) / MANIFEST
  try:
    source = json.loads(path.read_text(encoding="utf-8"))
  except (OSError, ValueError, RecursionError) as error:
    raise UserError(f"{path} cannot be read: {error}; {_ACCEPTED}") from error
  found = source.get("format") if isinstance(source, dict) else source
  if not isinstance(source, dict) or found not in (FORMAT, EARLIER):
    raise UserError(
      f"{path} has format {found!r}; accepted: {FORMAT}, as this version's "
      f"meanet export writes it, or {EARLIER}"
    )
  try:
    manifest = _parse(source)
  except (UserError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
    what = f"no field {error}" if isinstance(error, KeyError) else str(error)
    raise UserError(f"{path} is damaged: {what}; {_ACCEPTED}") from error
  if manifest.profile is not None:
    check_export(manifest.profile, manifest.networks, manifest.quantize)
  return manifest


def read_model(directory: str | Path, name: str, manifest: Manifest) -> bytes:
  """The bytes of a tflite file, which are those that edge.json was written for.

  Raises:
    UserError: the file is missing, or its SHA-256 is another.
  """
  path = Path(directory) / name
  try:
    data = path.read_bytes()
  except OSError as error:
    raise UserError(f"{path} cannot be read: {error.strerror}; {_ACCEPTED}") from error
  found = hashlib.sha256(data).hexdigest()
  expected = manifest.files[name].sha256
  if found != expected:
    raise UserError(
      f"{path} does not match {MANIFEST}: its SHA-256 is {found[:12]}...; accepted: "
      f"{expected[:12]}..., {manifest.files[name].bytes} bytes (found {len(data)}); export it again"
    )
  return data


def _parse(source: Mapping[str, Any]) -> Manifest:
  if source["format"] == EARLIER:
    source = {**source, "evaluation": None, "profile": None}
    # Fields that are newer than the export had no effect then, which is what their defaults have.
    for name, default in (("dataset", DatasetConfig()), ("cost", CostConfig())):
      source[name] = dataclasses.asdict(default) | source[name]

  def field(name: str, kind: Any) -> Any:
    return checked(source[name], kind, name, "field")

  height, width, channels = field("image_shape", Annotated[tuple[int, ...], Range(1)])
  manifest = Manifest(
    dataset=checked_dataclass(source["dataset"], DatasetConfig, "dataset"),
    class_names=field("class_names", tuple[str, ...]),
    operating_point=OperatingPoint.from_json(source["operating_point"]),
    unmet_constraint=field("unmet_constraint", str | None),
    image_shape=(height, width, channels),
    image_dtype=field("image_dtype", ImageDtype),
    preprocessing=checked_dataclass(source["preprocessing"], Preprocessing, "preprocessing"),
    batch_size=field("batch_size", Positive),
    quantize=field("quantize", Quantize),
    weights=field("weights", Literal["trained", "untrained"]),
    networks=checked(source.get("networks"), str | None, "networks", "field"),
    cost=checked_dataclass(source["cost"], CostConfig, "cost"),
    cloud_macs=field("cloud_macs", NonNegative),
    profile=parse_named_profile(source["profile"]),
    evaluation=None if source["evaluation"] is None else Evaluated.from_json(source["evaluation"]),
    files={name: _file(entry, name) for name, entry in source["files"].items()},
    versions=dict(source["versions"]),
  )
  classes, known = len(manifest.class_names), manifest.operating_point.hard_classes.num_classes
  if classes != known:
    raise ValueError(f"class_names are {classes}, and the operating point is of {known} classes")
  for name in ("main", "extension"):
    manifest.files[EDGE].signatures[name]  # a KeyError names it
  return manifest


def _file(entry: Mapping[str, Any], name: str) -> File:
  signatures = {
    signature: checked_dataclass(values, Signature, f"files.{name}.signatures.{signature}")
    for signature, values in entry["signatures"].items()
  }
  length = checked(entry["bytes"], NonNegative, f"files.{name}.bytes", "field")
  return File(checked(entry["sha256"], str, f"files.{name}.sha256", "field"), length, signatures)
