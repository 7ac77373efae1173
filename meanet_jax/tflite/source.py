"""What is exported: a finished, evaluated run, or a configuration's untrained networks."""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from meanet_jax.config.schema import Config, CostConfig
from meanet_jax.cost.changes import changed_cost, unread_warning
from meanet_jax.cost.device import DeviceProfile
from meanet_jax.cost.energy import CostModel, upload_bytes
from meanet_jax.cost.profile_json import parse_named_profile
from meanet_jax.data.read_options import ReadOptions
from meanet_jax.data.sources import load
from meanet_jax.data.splits import Dataset
from meanet_jax.edge.expected import Evaluated
from meanet_jax.errors import UserError, hint
from meanet_jax.evaluation.unmet import unmet_constraint
from meanet_jax.files import read_json
from meanet_jax.log import logger
from meanet_jax.models.costs import block_macs
from meanet_jax.models.digests import edge_digest
from meanet_jax.models.meanet import BLOCKS, MEANet
from meanet_jax.models.variables import Variables, abstract_variables, init_variables
from meanet_jax.models.zoo import build
from meanet_jax.routing.fusion import FusionWeights
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.operating_point import OperatingPoint, Temperatures
from meanet_jax.routing.policies import configured_policy, fixed_thresholds
from meanet_jax.runs.directory import SUMMARY, RunDirectory
from meanet_jax.runs.lock import refuse_if_held
from meanet_jax.training.restore import load_variables, read_hard_classes, require_finished


@dataclasses.dataclass(frozen=True)
class Source:
  """Networks at an operating point.

  config: with the costs of the evaluation. model: computes in float32, whatever the configuration
  trains in. variables: of every block, on the host. unmet: why the thresholds break the constraints
  that they were selected under, None if they do not. dataset, evaluation: None for untrained
  networks, which have none; no evaluation of an earlier version has figures to expect. profile: of
  the device that costs are of; None for the cost model alone. deployed: the system that the
  evaluation's verdict names; None without one.
  """

  config: Config
  model: MEANet
  variables: Variables
  class_names: tuple[str, ...]
  operating_point: OperatingPoint
  unmet: str | None
  dataset: Dataset | None
  profile: DeviceProfile | None = None
  evaluation: Evaluated | None = None
  deployed: str | None = None

  @functools.cached_property
  def networks(self) -> str | None:
    """The digest of what a device runs of them; None of untrained networks, which are nobody's."""
    if self.dataset is None:
      return None
    return edge_digest(self.variables, self.config.dataset.image_shape)


class Selected(NamedTuple):
  """Which of a run's evaluations is exported.

  name: of the evaluation; None for that without a name. cost: constants of the cost model by field,
  in place of the evaluation's.
  """

  name: str | None = None
  cost: Mapping[str, Any] = MappingProxyType({})


def from_run(
  workdir: str | Path, options: ReadOptions | None = None, selected: Selected | None = None
) -> Source:
  """A run's networks at the operating point that an evaluation selected.

  Args:
    workdir: the run.
    options: where and how its data are read.
    selected: the evaluation; that without a name if not given.

  Raises:
    UserError: no run, one that another process is writing, one with an unfinished stage or on other
      data, one that has not been evaluated under that name, or a wrong constant. Thresholds that
      break a constraint are no error here: `unmet` says why, and `export` decides.
  """
  run = RunDirectory.existing(workdir)
  refuse_if_held(run.path)  # by meanet eval, which may be about to select other thresholds
  config = _in_float32(run.config())
  dataset = load(config.dataset, (options or ReadOptions()).or_from(run.data_dir()))
  run.check_data(dataset.describe())
  require_finished(config, dataset, run)
  name, changes = selected or Selected()
  summary_path = run.evaluation_path(name) / SUMMARY
  command = f"meanet eval --workdir {quote(str(workdir))}" + (f" --name {name}" if name else "")
  if not summary_path.is_file():
    raise _not_evaluated(run, name, command)
  summary = read_json(summary_path)
  entry = summary["systems"]["meanet"]
  point = _operating_point(summary_path, entry, command)
  if not np.array_equal(point.hard_classes.numbers, read_hard_classes(run)):
    raise UserError(
      f"{summary_path} is of other hard classes than the run's; accepted: a run after {command}"
    )
  model = build(config)
  try:
    profile, evaluation = _evaluated(name, summary)
    cost = CostConfig(**summary["cost"]) if "cost" in summary else config.cost
  except (UserError, KeyError, TypeError, ValueError) as error:
    raise _damaged(summary_path, error, command) from error
  unmet = unmet_constraint(entry)
  if changes:
    before, cost = cost, changed_cost(cost, changes)
    if unread := unread_warning(changes, before, profile):
      logger.warning(unread)
    if evaluation is not None:
      macs = block_macs(model, config.dataset.image_shape)
      image_bytes = upload_bytes(cost, config.dataset)
      evaluation = evaluation.at_costs(CostModel(cost, macs, image_bytes, profile))
      unmet = unmet or evaluation.broken_limit()
  return Source(
    config=dataclasses.replace(config, cost=cost),
    model=model,
    variables=load_variables(config, model, dataset, run),
    class_names=dataset.class_names,
    operating_point=point,
    unmet=unmet,
    dataset=dataset,
    profile=profile,
    evaluation=evaluation,
    deployed=summary.get("verdict", {}).get("system"),  # earlier versions wrote no verdict
  )


def _not_evaluated(run: RunDirectory, name: str | None, command: str) -> UserError:
  if name is None:
    return UserError(
      f"workdir {run.path} has not been evaluated, so no thresholds are selected; "
      f"accepted: a run after {command}"
    )
  names = [other for other in run.evaluations() if other is not None]
  have = f"those of this run are {', '.join(names)}" if names else "this run has none with a name"
  return UserError(
    f"workdir {run.path} has no evaluation {name!r}; {hint(name, names)}{have}; {command} makes it"
  )


def _evaluated(
  name: str | None, summary: Mapping[str, Any]
) -> tuple[DeviceProfile | None, Evaluated | None]:
  """An evaluation's device profile, and what it leads to expect; both None of earlier versions."""
  if "expected" not in summary:
    return None, None
  fields = {"name": name, "constraints": summary["constraints"], "expected": summary["expected"]}
  return parse_named_profile(summary["profile"]), Evaluated.from_json(fields)


def _operating_point(path: Path, entry: Mapping[str, Any], command: str) -> OperatingPoint:
  if "operating_point" not in entry:
    raise UserError(
      f"{path} is of an earlier version, which wrote no operating point; accepted: a run after "
      f"{command}, which reads records again with --reuse-records"
    )
  try:
    return OperatingPoint.from_json(entry["operating_point"])
  except UserError as error:
    raise _damaged(path, error, command) from error


def _damaged(path: Path, error: Exception, command: str) -> UserError:
  what = f"no field {error}" if isinstance(error, KeyError) else str(error)
  return UserError(f"{path} is damaged: {what}; accepted: a run after {command}")


def untrained(config: Config, cloud: bool) -> Source:
  """A configuration's networks with initial weights: of the size and speed of trained ones.

  Args:
    config: the experiment.
    cloud: whether the cloud model is wanted; its initialisation takes the longest.
  """
  model = build(_in_float32(config))
  shape = config.dataset.image_shape
  present = abstract_variables(model, shape)
  blocks = tuple(block for block in BLOCKS if block in present and (cloud or block != "cloud"))
  return without_dataset(config, init_variables(model, config.seed, shape, blocks))


def without_dataset(config: Config, variables: Variables) -> Source:
  """A configuration's networks with given weights.

  There is no evaluation to select thresholds, so the policy never offloads. Classes are named by
  their numbers, and the first K are the hard ones.
  """
  config = _in_float32(config)
  meanet = dataclasses.replace(configured_policy(config.routing), offload="never")
  first = np.arange(config.num_hard, dtype=np.int32)
  hard_classes = HardClasses(first, config.dataset.num_classes, config.model.extension_classes)
  return Source(
    config=config,
    model=build(config),
    variables=variables,
    class_names=tuple(map(str, range(config.dataset.num_classes))),
    operating_point=OperatingPoint(
      policy=meanet,
      # No image has selected a gate, so the extension runs for all that may need it.
      thresholds=fixed_thresholds(hard=config.routing.hard_threshold, run=0.0),
      temperatures=Temperatures(),
      hard_classes=hard_classes,
      fusion=FusionWeights() if meanet.fuses else None,
    ),
    unmet=None,
    dataset=None,
  )


def _in_float32(config: Config) -> Config:
  return dataclasses.replace(
    config, model=dataclasses.replace(config.model, compute_dtype="float32")
  )
