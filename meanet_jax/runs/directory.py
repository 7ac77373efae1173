"""A run's directory: where its files lie, and whether they are those of one run of this version."""

import re
from pathlib import Path
from typing import Any

from meanet_jax.config.parsing import resolve, to_json
from meanet_jax.config.schema import Config
from meanet_jax.errors import UserError
from meanet_jax.files import read_json, write_json, write_text, writing
from meanet_jax.log import logger
from meanet_jax.paths import expanded_path
from meanet_jax.runs.compatible_changes import check_compatible, selects_anew
from meanet_jax.runs.environment import environment
from meanet_jax.runs.lock import make_directory
from meanet_jax.seeds import LARGEST_SEED

# Of what is in the directory of a run or a grid. A change after which this version could not go on
# with an older directory, or would read it otherwise than it was meant, takes the next number.
FORMAT = 2
SUMMARY = "summary.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_STORES = ("gs", "s3", "az", "hf")  # etils takes /gs/bucket for gs://bucket


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


def check_format(workdir: Path, path: Path) -> None:
  """Refuses the directory of a run or a grid that another version wrote.

  Args:
    workdir: the directory.
    path: the file in it that says its format.

  Raises:
    UserError: it says another format or none, or cannot be read.
  """
  written = read_json(path) if path.exists() else None
  found = written.get("format") if isinstance(written, dict) else None
  if found != FORMAT:
    has = "no format" if found is None else f"format {found!r}"
    raise UserError(
      f"workdir {workdir} was written by another version: {path.name} has {has}, and this version "
      f"reads format {FORMAT}; train it anew with this version, in another --workdir"
    )


class RunDirectory:
  """Where one experiment lives. The files are those of docs/runs.md."""

  def __init__(self, path: str | Path):
    """Touches nothing.

    Raises:
      UserError: a path whose checkpoints could not be read.
    """
    self.path = run_path(path)

  @classmethod
  def create(cls, path: str | Path, config: Config, data_dir: str | None = None) -> "RunDirectory":
    """The directory of a new run, or of one begun with the same configuration.

    Fields of stages that have no checkpoint yet may differ (`check_compatible`); the directory has
    the new ones then, and what an earlier selection of hard classes left is removed with the old.

    Args:
      path: made when missing.
      config: of the run.
      data_dir: where its prepared set lies; remembered.

    Raises:
      UserError: a path that cannot be written, a run of another configuration, or a new one with a
        seed of which JAX's keys would lose the upper bits.
    """
    run = cls(path)
    if config.seed > LARGEST_SEED and not run.config_path.exists():
      raise UserError(f"seed is {config.seed}; accepted: 0 to {LARGEST_SEED}")
    make_directory(run.path)
    with writing(f"workdir {path}"):
      changed = run.changed(config)
      # A directory that can no longer be written is found out now, not at the first checkpoint.
      lies = {} if data_dir is None else {"data_dir": data_dir}
      write_json(run.environment_path, {"format": FORMAT} | environment() | lies)
      if selects_anew(changed):
        run.hard_classes_path.unlink(missing_ok=True)  # before the fields that tell it is stale
      if changed or not run.config_path.exists():
        write_json(run.config_path, to_json(config))
    return run

  @classmethod
  def existing(cls, path: str | Path) -> "RunDirectory":
    """The directory of a run that was begun earlier.

    Raises:
      UserError: there is none at `path`, or one of another format.
    """
    run = cls(path)
    if not run.config_path.is_file():
      raise UserError(f"workdir {path} holds no run; accepted: a directory made by meanet train")
    check_format(run.path, run.environment_path)
    return run

  def changed(self, config: Config) -> dict[str, str]:
    """Fields in which a configuration differs from the run's, as text by name; none of a new run.

    Raises:
      UserError: the run cannot go on with them (`check_compatible`), or is of another format.
    """
    if not self.config_path.exists():
      return {}
    check_format(self.path, self.environment_path)
    return check_compatible(self.path, self.config(), config)

  def record_data(self, data: dict[str, Any]) -> None:
    """Writes down what the run learns from, or compares it with what was written down.

    Raises:
      UserError: the run was begun on other data.
    """
    begun = self.check_data(data)
    if begun != data:
      write_json(self.data_path, data)

  def record_files(self, listing: str) -> None:
    """Writes down which own files are in which split, when the run first has them."""
    if listing and not self.splits_path.exists():
      write_text(self.splits_path, listing)

  def check_data(self, data: dict[str, Any]) -> dict[str, Any] | None:
    """Compares data with what was written down, if anything was, and returns that.

    Raises:
      UserError: the run was begun on other data.
    """
    if not self.data_path.exists():
      return None
    begun = read_json(self.data_path)
    changed = ", ".join(name for name in begun | data if begun.get(name) != data.get(name))
    if changed:
      raise UserError(
        f"workdir {self.path} holds a run on {begun['name']}, and {data['name']} differs from what "
        f"was read then in {changed} (see {self.data_path.name}); accepted: the same data"
      )
    return begun

  def record_modules(self, modules: dict[str, dict[str, str]]) -> None:
    """Writes down the user's modules, by block, as they are when the run first has them."""
    known = self._modules()
    same = {
      block for block in modules if known.get(block, {}).get("module") == modules[block]["module"]
    }
    kept = {block: (known if block in same else modules)[block] for block in modules}
    if kept != known:
      write_json(self.modules_path, kept)

  def warn_of_changed_modules(self, modules: dict[str, dict[str, str]]) -> None:
    """Names the user's modules whose files have changed since they were written down."""
    known = self._modules()
    for block, found in modules.items():
      before = known.get(block)
      if before is not None and before["sha256"] != found["sha256"]:
        logger.warning(
          f"the file of {found['module']} (model.{block}.module) has changed since workdir "
          f"{self.path} was begun; what it learned is read into the module as it is now"
        )

  def _modules(self) -> dict[str, dict[str, str]]:
    return read_json(self.modules_path) if self.modules_path.exists() else {}

  @property
  def modules_path(self) -> Path:
    """The user's modules by block: names, and digests of their files."""
    return self.path / "modules.json"

  @property
  def config_path(self) -> Path:
    """The resolved configuration; a directory without it is not a run."""
    return self.path / "config.json"

  @property
  def environment_path(self) -> Path:
    """The format, what the last process that trained the run ran on, and where it read data."""
    return self.path / "environment.json"

  @property
  def data_path(self) -> Path:
    """Class names, and sizes and label checksums of the splits."""
    return self.path / "data.json"

  @property
  def splits_path(self) -> Path:
    """Which own files are in which split; only in runs on such."""
    return self.path / "splits.csv"

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
    """The records of the run's networks, and what an evaluation without a name writes."""
    return self.path / "eval"

  def evaluation_path(self, name: str | None) -> Path:
    """What the evaluation with this name writes; the one without a name is in `eval_path` itself.

    Raises:
      UserError: a name that cannot be a directory's beside the files of `eval_path`.
    """
    if name is None:
      return self.eval_path
    if not _NAME.fullmatch(name):
      raise UserError(
        f"the name of an evaluation is {name!r}; accepted: up to 100 of the letters a-z and A-Z, "
        "digits, - and _, of which the first is a letter or digit"
      )
    return self.eval_path / name

  def evaluations(self) -> dict[str | None, Path]:
    """The summaries of the run's evaluations by name, None's first."""
    found = sorted(self.eval_path.glob(f"*/{SUMMARY}"))
    named = {path.parent.name: path for path in found if _NAME.fullmatch(path.parent.name)}
    unnamed = self.eval_path / SUMMARY
    return ({None: unnamed} if unnamed.is_file() else {}) | named

  def checkpoints_path(self, stage: str) -> Path:
    """The checkpoints of one stage, a directory per step."""
    return self.path / "checkpoints" / stage

  def data_dir(self) -> str | None:
    """Where the run's prepared set lay when it was last trained; None where it has none.

    Raises:
      UserError: a file that cannot be read.
    """
    if not self.environment_path.exists():
      return None
    return read_json(self.environment_path).get("data_dir")

  def config(self) -> Config:
    """The run's configuration, checked again."""
    return resolve(read_json(self.config_path))


def _is_utf8(text: str) -> bool:
  try:
    text.encode()
  except UnicodeEncodeError:
    return False
  return True
