"""From a finished run to its evaluation, as one value; nothing but records is written."""

import dataclasses
import functools
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool

from meanet_jax.config.constraints import Constraints
from meanet_jax.config.schema import Config
from meanet_jax.cost.changes import CostChanges, unread_warning
from meanet_jax.cost.device import check_network, check_networks
from meanet_jax.cost.profile_json import named_profile
from meanet_jax.data.calibration_part import run_calibration_part
from meanet_jax.data.read_options import ReadOptions
from meanet_jax.data.sources import load
from meanet_jax.data.splits import Dataset
from meanet_jax.edge.expected import SplitFigures
from meanet_jax.errors import UserError
from meanet_jax.evaluation.collect import Reuse, collect
from meanet_jax.evaluation.context import Context
from meanet_jax.evaluation.expected import split_figures
from meanet_jax.evaluation.limit_report import limit_report
from meanet_jax.evaluation.per_class import with_per_class
from meanet_jax.evaluation.points import joined, point_columns
from meanet_jax.evaluation.policy_selection import SelectedPolicy, select_policy
from meanet_jax.evaluation.records import make_records
from meanet_jax.evaluation.static_systems import static_curves
from meanet_jax.evaluation.study import calibration, study
from meanet_jax.evaluation.systems import Curve, evaluate_systems, route_selected, summary_entry
from meanet_jax.evaluation.unmet import unmet_entry
from meanet_jax.evaluation.verdict import Verdict, candidates, verdict
from meanet_jax.log import logger
from meanet_jax.models.costs import block_macs, training_activation_bytes
from meanet_jax.models.digests import edge_digest
from meanet_jax.models.zoo import build
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.operating_point import OperatingPoint
from meanet_jax.routing.rules import Records, Route
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.training.parallel import check_batch_size
from meanet_jax.training.restore import load_hard_classes, load_variables, require_finished


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """What a run's networks do on the test split, with thresholds selected on validation.

  dataset: the run's. constraints: under which thresholds were selected. context: of the test split;
  it has the configuration, the cost of every block and the hard classes. curves: every system's
  operating points. policy: MEANet's, as selected. validation, test: records of the splits, with
  MEANet's temperatures and weights. calibration: of every exit on the test split. study: the
  figures of `evaluation/study.py`.
  """

  dataset: Dataset
  constraints: Constraints
  context: Context
  curves: dict[str, Curve]
  policy: SelectedPolicy
  validation: Records
  test: Records
  calibration: dict[str, Any]
  study: dict[str, Any]

  @property
  def config(self) -> Config:
    """The run's configuration, with the constants that costs were computed with."""
    return self.context.config

  @property
  def hard_classes(self) -> HardClasses:
    """The run's hard classes."""
    return self.context.hard_classes

  @property
  def class_names(self) -> tuple[str, ...]:
    """By class number."""
    return self.dataset.class_names

  @functools.cached_property
  def systems(self) -> dict[str, dict[str, Any]]:
    """The systems of summary.json: figures of each at its selected operating point."""
    entries = {name: summary_entry(self.context, curve) for name, curve in self.curves.items()}
    for name, curve in self.curves.items():
      if curve.operating_point is not None:
        entries[name] |= limit_report(self.context.costing(curve.macs), curve, self.constraints)
    meanet = self.curves["meanet"].selection
    if meanet is not None and meanet.unmet is not None:
      entries["meanet"] |= unmet_entry(meanet.unmet)  # without a threshold as well: it is exported
    return with_per_class(entries, self.curves, self.class_names)

  @functools.cached_property
  def verdict(self) -> Verdict:
    """Which system to deploy under the constraints."""
    profile = self.context.profile
    device = None if profile is None else profile.name
    return verdict(candidates(self.curves, self.constraints), self.constraints, device)

  @property
  def operating_point(self) -> OperatingPoint:
    """MEANet's, as selected on validation."""
    point = self.curves["meanet"].operating_point
    assert point is not None
    return point

  def route(self) -> Route:
    """Where MEANet's operating point sends the test images."""
    return route_selected(self.operating_point, self.test)

  def expected(self) -> dict[str, SplitFigures]:
    """What MEANet's operating point leads a device to expect, by split."""
    records = {"validation": self.validation, "test": self.test}
    point = self.operating_point
    return {split: split_figures(self.context, point, of) for split, of in records.items()}

  def points(self) -> dict[str, np.ndarray]:
    """Every operating point of every swept system, as the columns of operating_points.csv.

    system: its name. chosen: whether it is the one selected on validation. threshold_EXIT: in the
    criterion's unit. The others are the figures of summary.json, fractions as fraction_EXIT. Each
    column is an array [t] over the points of all systems, one system after another.
    """
    swept = {name: curve for name, curve in self.curves.items() if curve.is_swept}
    tables = {name: point_columns(self.context, curve) for name, curve in swept.items()}
    return joined("system", tables)

  def summary(self) -> dict[str, Any]:
    """The contents of summary.json."""
    constraints = self.constraints.to_json()
    return {
      "dataset": self.dataset.name,
      "split": "test",
      "num_examples": self.context.num_images,
      "skipped_images": self.dataset.skipped,
      "num_classes": self.hard_classes.num_classes,
      "hard_classes": self.hard_classes.numbers.tolist(),
      "class_names": list(self.class_names),
      "constraints": constraints,
      "wish": _under_earlier_names(constraints),
      "cost": dataclasses.asdict(self.config.cost),
      "profile": named_profile(self.context.profile),
      "routing": dataclasses.asdict(self.config.routing),
      "expected": {split: of_split.to_json() for split, of_split in self.expected().items()},
      "policies": self.policy.to_json(),
      "verdict": self.verdict.to_json(),
      "systems": self.systems,
      "calibration": self.calibration,
      "study": self.study,
    }


def evaluate(
  run: RunDirectory,
  constraints: Constraints | None = None,
  reuse: Reuse = "never",
  options: ReadOptions | None = None,
  costs: CostChanges = CostChanges(),  # noqa: B008 - immutable
) -> Evaluation:
  """Collects records, selects thresholds on validation and computes figures on test.

  By one process, on its own devices, whatever others there are. The records of both splits are
  kept in the run's eval/ directory; no other file is written.

  Args:
    run: with all stages finished.
    constraints: replace the configuration's.
    reuse: whether the records of an earlier evaluation are read instead of running the networks.
    options: where and how data are read.
    costs: in place of the configuration's.

  Raises:
    UserError: a profile of other networks, a wrong constant, a run with unfinished stages or on
      other data, constraints that cannot be tested, or records that cannot be reused.
  """
  config = run.config()
  before = CostChanges(costs.profile).of(config.cost)
  config = dataclasses.replace(config, cost=costs.of(config.cost))
  if unread := unread_warning(costs.constants, before, costs.profile):
    logger.warning(unread)
  check_evaluation(config)
  dataset = load(config.dataset, (options or ReadOptions()).or_from(run.data_dir()))
  run.check_data(dataset.describe())
  require_finished(config, dataset, run)
  hard_classes = load_hard_classes(config, run)
  constraints = config.evaluation.constraints if constraints is None else constraints
  selects = threshold_images(config, constraints, len(dataset.validation))
  model = build(config)
  macs = block_macs(model, config.dataset.image_shape)
  if costs.profile is not None:
    check_network(costs.profile, int(macs.main), int(macs.extension))
  variables = load_variables(config, model, dataset, run)
  if costs.profile is not None and costs.profile.networks is not None:
    check_networks(costs.profile, edge_digest(variables, config.dataset.image_shape))
  collected = collect(config, run, dataset, hard_classes, variables, reuse)
  validation, test = collected.validation, collected.test

  context = Context.of(config, macs, hard_classes, test.labels, costs.profile)
  policy = select_policy(context, validation, constraints)
  logger.info(
    f"sweeping {config.evaluation.num_thresholds} thresholds, to select on "
    f"{selects.sum()} of {len(selects)} validation images"
  )
  curves = evaluate_systems(policy.system, context, validation.of(selects), test, constraints)
  curves |= static_curves(context, collected, selects, constraints)
  meanet, fitted = curves["meanet"], policy.system.fitted
  assert meanet.operating_point is not None
  records = make_records(*validation, hard_classes, *fitted.of_logits)
  return Evaluation(
    dataset=dataset,
    constraints=constraints,
    context=context,
    curves=curves,
    policy=policy,
    validation=records,
    test=meanet.records,
    calibration=calibration(*test, hard_classes, policy.temperatures),
    study=study(meanet.operating_point, records, meanet.records)
    | {"training_activation_bytes": training_activation_bytes(model, config)},
  )


def check_evaluation(config: Config) -> None:
  """Refuses a batch that this process's devices cannot share evenly.

  Raises:
    UserError: of `evaluation.batch_size`.
  """
  devices = jax.local_device_count()
  check_batch_size(config.evaluation.batch_size, "evaluation.batch_size", devices=devices)


def threshold_images(
  config: Config, constraints: Constraints, num_images: int
) -> Bool[np.ndarray, " n"]:
  """The validation images on which thresholds are selected.

  All of them or, under a confidence, those that selected nothing else.

  Args:
    config: the run's.
    constraints: under which thresholds are selected.
    num_images: n, of the validation split.

  Raises:
    UserError: a confidence, and a run that kept no such images.
  """
  if constraints.confidence is None:
    return np.ones(num_images, bool)
  if not config.evaluation.calibration_fraction:
    raise UserError(
      f"confidence {constraints.confidence:g} needs validation images that selected nothing else, "
      "and evaluation.calibration_fraction is 0; accepted: a run trained with that field above 0"
    )
  return run_calibration_part(config, num_images)


def _under_earlier_names(constraints: dict[str, Any]) -> dict[str, Any]:
  earlier = {"offload_penalty": "price"}
  return {earlier.get(name, name): value for name, value in constraints.items()}
