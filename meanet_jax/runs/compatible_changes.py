"""Which fields of a begun run may still change: those that nothing on disk has been made by."""

from collections.abc import Iterable
from pathlib import Path

from meanet_jax.config.parsing import changes
from meanet_jax.config.schema import Config
from meanet_jax.errors import UserError

# The stages that are the first to read a field or a group of them; `evaluation` is none that leaves
# a checkpoint. A field that is not named here is read by all. The hard classes are selected anew as
# long as no stage has learned from them.
_FIELDS = {
  "main": ("model.main", "stages.main"),
  "edge": (
    "hard_classes",
    "evaluation.calibration_fraction",
    "model.adaptive",
    "model.extension",
    "model.extension_classes",
    "model.join",
    "model.join_dropout",
    "stages.edge",
    "stages.training",
  ),
  "finetune": ("stages.finetune",),
  "cloud": ("model.cloud", "stages.cloud"),
  "static": ("baselines",),
  "evaluation": ("routing",),
}
ALL_STAGES = frozenset(_FIELDS)
_SELECT = ("model.main", "stages.main", "hard_classes", "evaluation.calibration_fraction")
# The stages whose outcome stands on that of a stage, itself among them.
_FOLLOWING = {
  "main": ("main", "edge", "finetune", "static"),
  "edge": ("edge", "finetune", "static"),
  "finetune": ("finetune", "static"),
  "cloud": ("cloud",),
  "static": ("static",),
  "evaluation": ("evaluation",),
}


def begun_stages(workdir: Path) -> set[str]:
  """The stages of a run that have a checkpoint."""
  return {stage for stage in _FIELDS if _has_checkpoint(workdir / "checkpoints" / stage)}


def check_compatible(workdir: Path, begun: Config, asked: Config) -> dict[str, str]:
  """The fields in which a run may go on otherwise than it was begun, as text by their names.

  Args:
    workdir: the run's.
    begun: its configuration so far.
    asked: the one that it is to go on with.

  Raises:
    UserError: others differ as well, or stages that have learned by them have a checkpoint.
  """
  stages = begun_stages(workdir)
  fixed = fixed_changes(begun, asked, stages)
  if fixed:
    open_stages = [stage for stage in begun.stage_names if _is_open(stage, stages)]
    others = f", but for fields of stage {' and '.join(open_stages)}" if open_stages else ""
    raise UserError(
      f"workdir {workdir} holds a run of another configuration, which differs in "
      f"{', '.join(fixed)}; accepted: the same configuration{others}, or another --workdir"
    )
  return changes(begun, asked)


def fixed_changes(begun: Config, asked: Config, stages: Iterable[str]) -> list[str]:
  """The changes, as text, that cannot be made once these stages have checkpoints."""
  found = changes(begun, asked)
  return [text for name, text in found.items() if not _is_open(_stage_of(name), stages)]


def selects_anew(changed: dict[str, str]) -> bool:
  """Whether changed fields are such that the hard classes have to be selected again."""
  return any(_is_below(name, group) for name in changed for group in _SELECT)


def _stage_of(name: str) -> str | None:
  for stage, groups in _FIELDS.items():
    if any(_is_below(name, group) for group in groups):
      return stage
  return None


def _is_open(stage: str | None, begun: Iterable[str]) -> bool:
  return stage is not None and not set(_FOLLOWING[stage]) & set(begun)


def _has_checkpoint(path: Path) -> bool:
  # As `checkpoints.finished_step` finds, without Orbax; a quarantined one has another name.
  return path.is_dir() and any(entry.name.isdigit() for entry in path.iterdir())


def _is_below(name: str, group: str) -> bool:
  return name == group or name.startswith(f"{group}.")
