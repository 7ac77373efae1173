"""Records on disk, and the fingerprint that tells those of one run from those of another."""

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int

from meanet_jax.config.parsing import to_json
from meanet_jax.config.schema import Config
from meanet_jax.errors import UserError
from meanet_jax.evaluation.records import EXITS
from meanet_jax.models.variables import Variables
from meanet_jax.routing.policies import Records
from meanet_jax.routing.scores import Scores


class RecordsFile(NamedTuple):
  """The records of one split, as the run with a fingerprint made them.

  calibration: of every exit on that split (`study.calibration`); it cannot be computed from records
  because it needs logits without and with temperature.
  """

  records: Records
  fingerprint: str
  calibration: dict[str, Any]


def fingerprint(
  config: Config,
  hard_classes: Int[np.ndarray, " k"],
  variables: Variables,
  labels: dict[str, Int[np.ndarray, " n"]],
) -> str:
  """A SHA-256 of all that the records of a run follow from, in hexadecimal digits.

  These are the variables of every block, whatever training led to them; the hard classes; the
  networks and the data set as configured; the labels of every split in order, which stand for the
  images too, so that those need not be read; and what temperatures are fitted on and used for.
  Wishes, costs and routing rules are not among them: they are applied to records.
  """
  digest = hashlib.sha256()
  fields = to_json(config)
  decisive = {
    "dataset": fields["dataset"],
    "model": fields["model"],
    "calibrate": fields["routing"]["calibrate"],
    "calibration_fraction": fields["evaluation"]["calibration_fraction"],
  }
  digest.update(json.dumps(decisive, sort_keys=True).encode())
  arrays, _ = jax.tree_util.tree_flatten_with_path((hard_classes, variables, labels))
  for path, leaf in arrays:
    array = np.ascontiguousarray(leaf)
    # Its name and shape as well: equal bytes in other places are other variables.
    digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
    digest.update(array.data)
  return digest.hexdigest()


def save_records(path: Path, file: RecordsFile) -> None:
  """Writes an npz file, whole or not at all, with entries named `EXIT_SCORE`."""
  records = file.records
  arrays = {"label": records.label, "hard_probability": records.hard_probability}
  for name in EXITS:
    exit_scores: Scores = getattr(records, name)
    arrays |= {f"{name}_{field}": value for field, value in exit_scores._asdict().items()}
  texts = {"fingerprint": file.fingerprint, "calibration": json.dumps(file.calibration)}
  partial = path.with_name(f".{path.stem}.partial.npz")
  np.savez(partial, allow_pickle=False, **arrays, **{n: np.array(t) for n, t in texts.items()})
  partial.replace(path)


def load_records(path: Path, fingerprint: str | None) -> RecordsFile:
  """Reads what `save_records` wrote.

  Args:
    path: the file.
    fingerprint: of the run whose records are wanted; None takes those of any run.

  Raises:
    UserError: no such file, one that is damaged or holds something else, or records of another run.
  """
  accepted = "accepted: the file as eval.py wrote it"
  if not path.is_file():
    raise UserError(f"records {path} do not exist; {accepted}, without --reuse_records")
  try:
    found = _read(path)
  except Exception as error:  # damaged archives fail in zipfile, zlib, struct, json and NumPy
    raise UserError(
      f"{path} holds no whole records: {str(error) or type(error).__name__}; {accepted}"
    ) from error
  if fingerprint is not None and found.fingerprint != fingerprint:
    raise UserError(
      f"{path} holds records of another run or split, {_short(found.fingerprint)}; accepted: "
      f"{_short(fingerprint)}, as eval.py makes them without --reuse_records"
    )
  return found


def _short(fingerprint: str) -> str:
  return f"{fingerprint[:24]}..."


def _read(path: Path) -> RecordsFile:
  if not zipfile.is_zipfile(path):
    raise ValueError("it is no npz archive, or a truncated one")
  # Opened here: NumPy leaves a file open when it is a damaged archive.
  with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
    entries = dict(archive)
  columns = [f"{exit}_{field}" for exit in EXITS for field in Scores._fields]
  columns = ["label", "hard_probability", *columns]
  missing = [name for name in (*columns, "fingerprint", "calibration") if name not in entries]
  if missing:
    raise ValueError(f"entry {missing[0]} is missing")
  for name in columns:
    array = entries[name]
    kind = np.int32 if name == "label" or name.endswith("_prediction") else np.float32
    if array.dtype != kind or array.shape != (entries["label"].size,):
      raise ValueError(f"entry {name} is {array.dtype} {array.shape}")
  exits = {
    exit: Scores(**{field: entries[f"{exit}_{field}"] for field in Scores._fields})
    for exit in EXITS
  }
  records = Records(entries["label"], entries["hard_probability"], **exits)
  calibration = json.loads(str(entries["calibration"]))
  return RecordsFile(records, str(entries["fingerprint"]), calibration)
