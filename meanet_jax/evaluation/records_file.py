"""Logits of a split on disk, and the fingerprint that tells those of one run from another's.

Scores, temperatures and decisions are computed from logits, so every policy can be evaluated from
these files without a network. Logits are float32: rounded to float16, 88 of 1,001 thresholds of a
sweep over 1,000 made-up images send other images (tests/evaluation/test_records_file.py).
"""

import json
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from meanet_jax.config.parsing import to_json
from meanet_jax.config.schema import Config
from meanet_jax.errors import UserError
from meanet_jax.evaluation.records import make_records
from meanet_jax.files import replacing
from meanet_jax.models.digests import digest
from meanet_jax.models.meanet import Outputs
from meanet_jax.models.variables import Variables
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.operating_point import Temperatures
from meanet_jax.routing.rules import Records

# Format 1, which has no such entry, held scores without logits; format 3 may have `static_logits`.
FORMAT, READABLE = 3, (2, 3)
_LOGITS = tuple(f"{exit}_logits" for exit in Outputs._fields)
_STATIC = "static_logits"
_ACCEPTED = "accepted: the file as meanet eval wrote it"


class RecordsFile(NamedTuple):
  """What every exit says about the n images of a split, as the run with a fingerprint made it.

  logits: float32, by exit. labels: int32 [n], original class numbers. hard_classes: the
  extension's. static: float32 [n, c], logits of the run's static network; None without one.
  """

  logits: Outputs
  labels: Int[np.ndarray, " n"]
  hard_classes: HardClasses
  fingerprint: str
  static: Float[np.ndarray, "n c"] | None = None

  def records(self, temperatures: Temperatures = Temperatures()) -> Records:  # noqa: B008
    """The scores that policies decide by."""
    return make_records(self.logits, self.labels, self.hard_classes, temperatures)


def fingerprint(
  config: Config,
  hard_classes: HardClasses,
  variables: Variables,
  labels: dict[str, Int[np.ndarray, " n"]],
) -> str:
  """A SHA-256 of all that the logits of a run follow from, in hexadecimal digits.

  These are the variables of every block, whatever training led to them; the hard classes; the
  networks and the data set as configured; and the labels of every split in order, which stand for
  the images too, so that those need not be read. Constraints, costs, temperatures and routing rules
  are not among them: they are applied to logits.
  """
  fields = to_json(config)
  decisive = {"dataset": fields["dataset"], "model": fields["model"]}
  return digest(json.dumps(decisive, sort_keys=True), (hard_classes.numbers, variables, labels))


def save_records(path: Path, file: RecordsFile) -> None:
  """Writes an npz file, completely or not at all."""
  arrays = {
    "format": np.int32(FORMAT),
    "label": file.labels.astype(np.int32),
    "hard_classes": file.hard_classes.numbers,
    "fingerprint": np.array(file.fingerprint),
    **dict(zip(_LOGITS, file.logits, strict=True)),
  }
  if file.static is not None:
    arrays[_STATIC] = file.static
  with replacing(path) as out:
    np.savez(out, allow_pickle=False, **arrays)


def load_records(path: Path, fingerprint: str | None) -> RecordsFile:
  """Reads what `save_records` wrote.

  Args:
    path: the file.
    fingerprint: of the run whose records are wanted; None takes those of any run.

  Raises:
    UserError: no such file, one that is damaged, of another format or holds something else, or
      records of another run.
  """
  if not path.is_file():
    raise UserError(f"records {path} do not exist; {_ACCEPTED}, without --reuse-records")
  try:
    entries = _entries(path)
  except Exception as error:  # damaged archives fail in zipfile, zlib, struct and NumPy
    raise _damaged(path, str(error) or type(error).__name__) from error
  version = entries.get("format", np.int32(1) if "main_entropy" in entries else None)
  if version is not None and version not in READABLE:
    raise UserError(
      f"{path} holds records of format {version}; accepted: format {FORMAT}; evaluate the run "
      "again, without --reuse-records"
    )
  try:
    found = _checked(entries)
  except (ValueError, UserError) as error:
    raise _damaged(path, str(error)) from error
  if fingerprint is not None and found.fingerprint != fingerprint:
    raise UserError(
      f"{path} holds records of another run or split, {_short(found.fingerprint)}; accepted: "
      f"{_short(fingerprint)}, as meanet eval makes them without --reuse-records"
    )
  return found


def _damaged(path: Path, reason: str) -> UserError:
  return UserError(f"{path} holds no complete records: {reason}; {_ACCEPTED}")


def _short(fingerprint: str) -> str:
  return f"{fingerprint[:24]}..."


def _entries(path: Path) -> dict[str, np.ndarray]:
  if not zipfile.is_zipfile(path):
    raise ValueError("it is no npz archive, or a truncated one")
  # Opened here: NumPy leaves a file open when it is a damaged archive.
  with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
    return dict(archive)


def _checked(entries: dict[str, np.ndarray]) -> RecordsFile:
  """The file's contents, if it has every entry in its type and shape."""
  for name in ("format", "label", "hard_classes", "fingerprint", *_LOGITS):
    if name not in entries:
      raise ValueError(f"entry {name} is missing")
  main = entries["main_logits"]
  count, classes = entries["label"].size, main.shape[-1] if main.ndim else 0
  hard, extension = entries["hard_classes"], entries["extension_logits"]
  # An extension of all classes is known by its number of logits.
  knows_all = extension.ndim == 2 and extension.shape[-1] == classes
  expected = {
    "label": (np.int32, (count,)),
    "hard_classes": (np.int32, (hard.size,)),
    "main_logits": (np.float32, (count, classes)),
    "extension_logits": (np.float32, (count, classes if knows_all else hard.size)),
    "cloud_logits": (np.float32, (count, classes)),
  }
  if _STATIC in entries:
    expected[_STATIC] = (np.float32, (count, classes))
  for name, (kind, shape) in expected.items():
    array = entries[name]
    if array.dtype != kind or array.shape != shape:
      raise ValueError(f"entry {name} is {array.dtype} {array.shape}")
  logits = Outputs(*(entries[name] for name in _LOGITS))
  hard_classes = HardClasses(hard, classes, "all" if knows_all else "hard")
  digest, static = str(entries["fingerprint"]), entries.get(_STATIC)
  return RecordsFile(logits, entries["label"], hard_classes, digest, static)
