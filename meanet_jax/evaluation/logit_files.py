"""Logits and costs from files that any framework can write: an .npz file and a JSON file."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np

from meanet_jax.config.ranges import Range
from meanet_jax.config.schema import CostConfig
from meanet_jax.config.values import checked, checked_object
from meanet_jax.cost.energy import BlockMacs
from meanet_jax.errors import UserError, nearest
from meanet_jax.evaluation.from_logits import Costs, Logits, check_images

ARRAYS = ("labels", "main", "cloud", "extension", "extension_classes")
LARGEST = 1e15  # MACs or bytes of an image; far above any, and exact as float64
_Macs = Annotated[int, Range(0, LARGEST)]
_Bytes = Annotated[int, Range(1, LARGEST)]
_FIELDS = ("macs", "image_bytes", "constants")
_CONSTANTS = {field.name: field for field in dataclasses.fields(CostConfig)}
del _CONSTANTS["bytes_per_image"]  # which `image_bytes` is


class LogitFile(NamedTuple):
  """What one file has: logits as `select` takes them, and labels [n]."""

  logits: Logits
  labels: np.ndarray


def read_logits(path: Path) -> LogitFile:
  """Reads the arrays `labels`, `main`, `cloud` and perhaps `extension`, `extension_classes`.

  Raises:
    UserError: no such file, arrays that are missing or unknown, or what `select` refuses.
  """
  arrays = _arrays(path)
  for name in arrays:
    if name not in ARRAYS:
      raise UserError(f"{path}: array {name!r} is unknown; {nearest(name, ARRAYS)}")
  for name in ("labels", "main", "cloud"):
    if name not in arrays:
      raise UserError(f"{path}: array {name!r} is missing; accepted: labels, main and cloud")
  for name, other in (("extension", "extension_classes"), ("extension_classes", "extension")):
    if name in arrays and other not in arrays:
      raise UserError(f"{path}: array {other!r} is missing; accepted: {name} with {other}")
  logits: dict[str, Any] = {exit: arrays[exit] for exit in ("main", "cloud")}
  if "extension" in arrays:
    logits["extension"] = arrays["extension"], arrays["extension_classes"]
  try:
    check_images(logits, arrays["labels"])
  except UserError as error:
    raise UserError(f"{path}: {error}") from error
  return LogitFile(logits, arrays["labels"])


def read_costs(path: Path) -> Costs:
  """Reads `macs` per block, `image_bytes` and perhaps `constants`, fields of `CostConfig`.

  Raises:
    UserError: no such file, no JSON, or a field that is missing, unknown or out of range.
  """
  blocks = [field.name for field in dataclasses.fields(BlockMacs)]
  try:
    fields = checked_object(_json(path), "", _FIELDS, required=_FIELDS[:2])
    macs = checked_object(fields["macs"], "macs", blocks, required=blocks)
    constants = checked_object(fields.get("constants", {}), "constants", _CONSTANTS)
    return Costs(
      BlockMacs(**{name: _value(value, _Macs, f"macs.{name}") for name, value in macs.items()}),
      _value(fields["image_bytes"], _Bytes, "image_bytes"),
      CostConfig(
        **{
          name: _value(value, _CONSTANTS[name].type, f"constants.{name}")
          for name, value in constants.items()
        }
      ),
    )
  except UserError as error:
    raise UserError(f"{path}: {error}") from error


def _arrays(path: Path) -> dict[str, np.ndarray]:
  accepted = f"accepted: an .npz file with the arrays {', '.join(ARRAYS[:3])}"
  try:
    with path.open("rb") as stream:  # which NumPy leaves open where it fails
      file = np.load(stream, allow_pickle=False)
      if isinstance(file, np.ndarray):
        raise UserError(f"{path} holds a single array; {accepted}")
      return {name: file[name] for name in file.files}
  except OSError as error:
    raise UserError(f"{path} cannot be read: {error.strerror or error}; {accepted}") from error
  except UserError:
    raise
  except Exception as error:  # damaged files raise whatever NumPy and its decoders run into
    raise UserError(f"{path} cannot be read: {_one_line(error)}; {accepted}") from error


def _json(path: Path) -> Any:
  try:
    return json.loads(path.read_text(encoding="utf-8"))
  except OSError as error:
    raise UserError(
      f"cannot be read: {error.strerror or error}; accepted: a JSON file with macs and image_bytes"
    ) from error
  except (ValueError, RecursionError) as error:
    raise UserError(f"is no JSON: {_one_line(error)}") from error


def _value(value: Any, kind: Any, path: str) -> Any:
  if isinstance(value, int | float) and not abs(value) <= LARGEST:  # NaN is beyond as well
    raise UserError(f"field {path!r} is {value}; accepted: a number up to {LARGEST:g}")
  if isinstance(value, float) and kind in (_Macs, _Bytes) and value.is_integer():
    value = int(value)  # 7e7, as many write it
  return checked(value, kind, path, "field")


def _one_line(error: Exception) -> str:
  return " ".join(str(error).split())
