"""A run's directory: its configuration, environment and hard classes, each written whole."""

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

from meanet_jax.config.parsing import resolve, to_json
from meanet_jax.config.schema import Config
from meanet_jax.errors import UserError
from meanet_jax.paths import expanded_path
from meanet_jax.runs.compatible_changes import check_compatible, selects_anew
from meanet_jax.runs.lock import make_directory

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "meanet_jax")
_STORES = ("gs", "s3", "az", "hf")  # etils takes /gs/bucket for gs://bucket
_PARTIAL = ".partial"  # ends the name of a file that is being written


def run_path(path: str | Path) -> Path:
  """The absolute path of a run or a grid, which Orbax needs.

  Raises:
    UserError: an address, or a path at which Orbax or TensorStore would write or read elsewhere, or
      nothing.
  """
  absolute = Path(expanded_path(str(path), "workdir")).absolute()
  found = None
  if "\\" in str(absolute):
    found = "contains a backslash, which TensorStore takes for /"
  elif any(part.endswith("gs:") for part in absolute.parts):
    found = "has a directory whose name ends in gs:, which Orbax takes for gs://"
  elif absolute.parts[1:2] and absolute.parts[1] in _STORES:
    found = f"is in /{absolute.parts[1]}, which Orbax takes for {absolute.parts[1]}://"
  elif not _is_utf8(str(absolute)):
    found = "is not UTF-8, which TensorStore needs"
  if found is not None:
    raise UserError(
      f"workdir {absolute} {found}, so its checkpoints could not be read; rename it, or use "
      "another --workdir"
    )
  return absolute


class RunDirectory:
  """Where one experiment lives. The files are those of `docs/architecture.md`, "A run on disk"."""

  def __init__(self, path: str | Path):
    """Touches nothing.

    Raises:
      UserError: a path whose checkpoints could not be read.
    """
    self.path = run_path(path)

  @classmethod
  def create(cls, path: str | Path, config: Config, data_dir: str | None = None) -> "RunDirectory":
    """The directory of a new run, or of one begun with the same configuration.

    Fields of stages that have no checkpoint yet may differ (`check_mendable`); the directory has
    the new ones then, and what an earlier selection of hard classes left is removed with the old.

    Args:
      path: made when missing.
      config: of the run.
      data_dir: where its prepared set lies; remembered.

    Raises:
      UserError: a path that cannot be written, or a run of another configuration.
    """
    run = cls(path)
    make_directory(run.path)
    try:
      for partial in run.path.glob(f".*{_PARTIAL}"):
        partial.unlink()  # of a process that was killed while it wrote
      changed = run.changed(config)
      # A directory that can no longer be written is found out now, not at the first checkpoint.
      lies = {} if data_dir is None else {"data_dir": data_dir}
      write_json(run.environment_path, environment() | lies)
      if selects_anew(changed):
        run.hard_classes_path.unlink(missing_ok=True)  # before the fields that tell it is stale
      if changed or not run.config_path.exists():
        write_json(run.config_path, to_json(config))
    except OSError as error:
      raise UserError(
        f"workdir {path} cannot be written: {error.strerror or error}; "
        "accepted: a directory, or a path where one can be made"
      ) from error
    return run

  @classmethod
  def existing(cls, path: str | Path) -> "RunDirectory":
    """The directory of a run that was begun earlier.

    Raises:
      UserError: there is none at `path`.
    """
    run = cls(path)
    if not run.config_path.is_file():
      raise UserError(f"workdir {path} holds no run; accepted: a directory made by train.py")
    return run

  def changed(self, config: Config) -> dict[str, str]:
    """Fields in which a configuration differs from the run's, as text by name; none of a new run.

    Raises:
      UserError: the run cannot go on with them: `check_mendable`.
    """
    if not self.config_path.exists():
      return {}
    return check_compatible(self.path, self.config(), config)

  def record_data(self, data: dict[str, Any]) -> None:
    """Writes down what the run learns from, or compares it with what was written down.

    What an earlier version did not write down is added.

    Raises:
      UserError: the run was begun on other data.
    """
    begun = self.check_data(data)
    if begun != data:
      write_json(self.data_path, data)

  def check_data(self, data: dict[str, Any]) -> dict[str, Any] | None:
    """Compares data with what was written down, if anything was, and returns that.

    Raises:
      UserError: the run was begun on other data.
    """
    if not self.data_path.exists():
      return None
    begun = read_json(self.data_path)
    changed = ", ".join(name for name in begun if begun[name] != data.get(name))
    if changed:
      raise UserError(
        f"workdir {self.path} holds a run on {begun['name']}, and {data['name']} differs from what "
        f"was read then in {changed} (see {self.data_path.name}); accepted: the same data"
      )
    return begun

  @property
  def config_path(self) -> Path:
    """The resolved configuration; a directory without it is not a run."""
    return self.path / "config.json"

  @property
  def environment_path(self) -> Path:
    """What the last process that trained the run was, and where it read data."""
    return self.path / "environment.json"

  @property
  def data_path(self) -> Path:
    """Class names, and sizes and label checksums of the splits."""
    return self.path / "data.json"

  @property
  def hard_classes_path(self) -> Path:
    """The outcome of the `hard_classes` stage."""
    return self.path / "hard_classes.json"

  @property
  def metrics_path(self) -> Path:
    """One JSON line per logged step."""
    return self.path / "metrics.jsonl"

  @property
  def timing_path(self) -> Path:
    """One JSON line per logged step, of what no two runs have in common: time and memory."""
    return self.path / "timing.jsonl"

  @property
  def tensorboard_path(self) -> Path:
    """TensorBoard's events, a directory per stage."""
    return self.path / "tensorboard"

  @property
  def eval_path(self) -> Path:
    """What eval.py writes."""
    return self.path / "eval"

  def checkpoints_path(self, stage: str) -> Path:
    """The checkpoints of one stage, a directory per step."""
    return self.path / "checkpoints" / stage

  def data_dir(self) -> str | None:
    """Where the run's prepared set lay when it was last trained; None where that is not known.

    Raises:
      UserError: a file that cannot be read.
    """
    if not self.environment_path.exists():
      return None
    return read_json(self.environment_path).get("data_dir")  # earlier versions did not write it

  def config(self) -> Config:
    """The run's configuration, checked again."""
    return resolve(read_json(self.config_path))


def environment() -> dict[str, Any]:
  """Versions, devices and git commit of this process."""
  return {
    "python": platform.python_version(),
    "platform": platform.platform(),
    "packages": {name: _version(name) for name in PACKAGES},
    "backend": jax.default_backend(),
    "devices": [device.device_kind for device in jax.devices()],
    "processes": jax.process_count(),
    "git_commit": _git_commit(),
    "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
  }


def read_json(path: Path) -> Any:
  """The contents of a JSON file.

  Raises:
    UserError: it is missing or no JSON.
  """
  try:
    return json.loads(path.read_text())
  except (OSError, ValueError) as error:
    raise UserError(
      f"{path} cannot be read: {error}; accepted: the file that train.py wrote"
    ) from error


def write_json(path: Path, value: Any) -> None:
  """Writes a JSON file whole or not at all."""
  write_text(path, json.dumps(value, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
  """Writes a text file whole or not at all, and safe from a crash once this returns."""
  write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
  """Writes a file whole or not at all, and safe from a crash once this returns."""
  partial = path.with_name(f".{path.name}.{os.getpid()}{_PARTIAL}")
  try:
    with partial.open("wb") as file:
      file.write(data)
      file.flush()
      os.fsync(file.fileno())
    partial.replace(path)
  except BaseException:
    partial.unlink(missing_ok=True)
    raise


def _is_utf8(text: str) -> bool:
  try:
    text.encode()
  except UnicodeEncodeError:
    return False
  return True


def _version(package: str) -> str | None:
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return None


def _git_commit() -> str | None:
  try:
    result = subprocess.run(
      ["git", "rev-parse", "HEAD"],
      cwd=Path(__file__).parent,
      capture_output=True,
      text=True,
      check=True,
    )
  except (OSError, subprocess.CalledProcessError):
    return None
  return result.stdout.strip()
