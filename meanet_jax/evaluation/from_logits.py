"""An operating point for logits of any framework: no run, no configuration, no network."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Int

from meanet_jax.config.constraints import Constraints
from meanet_jax.config.schema import Config, CostConfig
from meanet_jax.cost.energy import BlockMacs
from meanet_jax.errors import UserError
from meanet_jax.evaluation.context import Context, plain
from meanet_jax.evaluation.fitting import Fitted, fit_policy, fits_beside_thresholds
from meanet_jax.evaluation.limit_report import limit_report, untested
from meanet_jax.evaluation.points import joined, point_columns
from meanet_jax.evaluation.records import LabelledLogits, make_records, warn_of_absent_classes
from meanet_jax.evaluation.systems import Curve, System, counts_and_figures, sweep_system
from meanet_jax.log import listed
from meanet_jax.models.meanet import Outputs
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.operating_point import OperatingPoint, Temperatures
from meanet_jax.routing.policies import PRESETS, Policy
from meanet_jax.routing.rules import EXIT_NAMES, Records
from meanet_jax.routing.scores import refuse_nan
from meanet_jax.selection.baselines import main_cloud


@dataclasses.dataclass(frozen=True)
class Costs:
  """What an image costs.

  macs: multiply-accumulates of each block for one image; 0 for an extension that there is none of.
  image_bytes: sent to the cloud for one image. constants: of the cost model.
  """

  macs: BlockMacs
  image_bytes: int
  constants: CostConfig = CostConfig()


@dataclasses.dataclass(frozen=True)
class SelectOptions:
  """How an operating point is selected.

  policy: the rules; None for the paper's, or without an extension the two-exit system of main block
  and cloud. test_fraction, seed: the share of the images that is set aside for testing, drawn at
  random; 0 tests on none. Read only without a test part of its own. num_thresholds: of the sweep.
  hard_threshold: main's probability mass on hard classes above which the rule `probability` says
  hard. run_share: largest share of all images for which a gate lets the extension run.
  """

  policy: Policy | None = None
  test_fraction: float = 0.5
  seed: int = 0
  num_thresholds: int = 1001
  hard_threshold: float = 0.5
  run_share: float = 0.2


@dataclasses.dataclass(frozen=True)
class LogitSelection:
  """An operating point, and what it achieves.

  unmet: why no threshold keeps the constraints; the point is then the nearest. validation, test:
  figures as those of a system in summary.json, on the images that selected the point and on those
  that did not; test is None if there are none. limits, noise: as in a system's entry of
  summary.json (`limit_report`), limits without what is of test if there is none. points: every
  operating point on both parts, as the columns of `Evaluation.points` with `split` (`validation`,
  `test`) in place of `system`.
  curve, context: of the last of these parts, with `fitted`, and `validation_records` of the first:
  what systems beside this one are measured with.
  """

  operating_point: OperatingPoint
  unmet: str | None
  validation: dict[str, Any]
  test: dict[str, Any] | None
  limits: dict[str, Any]
  noise: dict[str, float] | None
  points: dict[str, np.ndarray]
  curve: Curve
  context: Context
  fitted: Fitted
  validation_records: Records


# Per exit an array [n, c]; the extension's stands in a pair with its class numbers [k].
Logits = Mapping[str, Any]


def select(
  logits: Logits,
  labels: Any,
  costs: Costs,
  constraints: Constraints,
  test: tuple[Logits, Any] | None = None,
  options: SelectOptions = SelectOptions(),
) -> LogitSelection:
  """The operating point that constraints select, from the logits of n images.

  With `constraints.confidence`, the images must have selected nothing else: neither hard classes
  nor weights.

  Args:
    logits: `main` and `cloud`, arrays [n, c] of floats over the same c classes, and perhaps
      `extension`: a pair of an array [n, k] and the k increasing class numbers that it is over.
    labels: [n], true classes, 0 .. c - 1.
    costs: of an image.
    constraints: at least one limit or a penalty.
    test: logits and labels of images that select nothing; None sets some of those given aside.
    options: policy and sweep.

  Raises:
    UserError: logits or labels of a wrong type or shape, NaN or infinite logits, no image, an
      extension without a use or the reverse, or constraints that cannot be tested.
  """
  outputs, hard_classes = _checked(logits)
  policy = _policy(options.policy, len(hard_classes) > 0)
  if constraints.confidence is not None and fits_beside_thresholds(policy):
    raise UserError(
      f"confidence {constraints.confidence:g} needs images that selected nothing else, and weights "
      "or a gate are fitted on the same; accepted: a policy without them, or no confidence"
    )
  images = LabelledLogits(outputs, _labels(labels, *outputs.main.shape))
  if test is not None:
    test_outputs, test_classes = _checked(test[0])
    if test_classes != hard_classes:
      raise UserError(
        f"the test part has {_class_words(test_classes)}; accepted: "
        f"{_class_words(hard_classes)}, as the other images"
      )
    parts = images, LabelledLogits(test_outputs, _labels(test[1], *test_outputs.main.shape))
  else:
    parts = _split(images, options.test_fraction, options.seed)
  for part, purpose in zip(parts, ("to select on", "to test on"), strict=True):
    if len(part.labels):
      warn_of_absent_classes(part, purpose)
  config = _config(costs, options)
  fitted = fit_policy(policy, parts[0], hard_classes, Temperatures(), config.routing)
  validation, tested = (make_records(*part, hard_classes, *fitted.of_logits) for part in parts)
  context = Context.of(config, costs.macs, hard_classes, validation.label)
  splits = {"validation": validation} | ({"test": tested} if len(tested.label) else {})
  curves = {
    split: sweep_system(System(policy, fitted), context, validation, records, constraints)
    for split, records in splits.items()
  }
  point = curves["validation"].operating_point
  assert point is not None
  found = {split: _figures(context, point, records) for split, records in splits.items()}
  columns = {
    split: point_columns(context.on(splits[split].label), curve) for split, curve in curves.items()
  }
  last = next(reversed(splits))
  report = limit_report(context.on(splits[last].label), curves[last], constraints)
  if last != "test":
    report["limits"] = {name: untested(limit) for name, limit in report["limits"].items()}
  return LogitSelection(
    operating_point=point,
    unmet=curves["validation"].unmet,
    validation=found["validation"],
    test=found.get("test"),
    **report,
    points=joined("split", columns),
    curve=curves[last],
    context=context.on(splits[last].label),
    fitted=fitted,
    validation_records=validation,
  )


def check_images(logits: Logits, labels: Any) -> None:
  """Refuses logits and labels that `select` refuses.

  Raises:
    UserError: as `select`, of `logits` and `labels`.
  """
  outputs, _ = _checked(logits)
  _labels(labels, *outputs.main.shape)


def _checked(logits: Logits) -> tuple[Outputs, HardClasses]:
  """Float32 logits of all three exits, and the extension's classes; of both none without one."""
  for name in logits:
    if name not in EXIT_NAMES:
      raise UserError(f"logits have exit {name!r}; accepted: {', '.join(EXIT_NAMES)}")
  for name in ("main", "cloud"):
    if name not in logits:
      raise UserError(f"logits of exit {name} are missing; accepted: an array [n, classes]")
  main, cloud = (_array(name, logits[name]) for name in ("main", "cloud"))
  if main.shape != cloud.shape:
    raise UserError(f"logits of exit cloud are {cloud.shape}; accepted: {main.shape}, as main's")
  if main.shape[1] < 2:
    raise UserError(f"logits of exit main are {main.shape}; accepted: at least 2 classes")
  if "extension" not in logits:
    none = np.zeros((len(main), 0), np.float32)
    return Outputs(main, none, cloud), HardClasses(np.zeros(0, np.int32), main.shape[1])
  pair = logits["extension"]
  if not isinstance(pair, tuple) or len(pair) != 2:
    raise UserError("exit extension is no pair; accepted: (logits [n, k], class numbers [k])")
  extension, numbers = _array("extension", pair[0]), np.asarray(pair[1])
  if numbers.ndim != 1 or not numbers.size or not np.issubdtype(numbers.dtype, np.integer):
    raise UserError(
      f"class numbers of exit extension are {numbers.dtype} {numbers.shape}; accepted: integers "
      "[k], at least one"
    )
  if extension.shape != (len(main), len(numbers)):
    raise UserError(
      f"logits of exit extension are {extension.shape}; accepted: {(len(main), len(numbers))}, "
      "a row per image and a column per class number"
    )
  try:
    return Outputs(main, extension, cloud), HardClasses(numbers, main.shape[1])
  except UserError as error:
    raise UserError(f"class numbers of exit extension: {error}") from error


def _array(exit: str, values: Any) -> np.ndarray:
  array = np.asarray(values)
  if not np.issubdtype(array.dtype, np.floating) or array.ndim != 2:
    raise UserError(
      f"logits of exit {exit} are {array.dtype} {array.shape}; accepted: floats [n, classes]"
    )
  if not len(array):
    raise UserError(f"logits of exit {exit} are of no image; accepted: at least one")
  with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
    array = array.astype(np.float32)
  refuse_nan(exit, array)
  return array


def _policy(given: Policy | None, has_extension: bool) -> Policy:
  paper = PRESETS["paper"]
  if given is None:
    return paper if has_extension else main_cloud(paper)
  if given.hard_rule != "never" and not has_extension:
    raise UserError(
      f"the policy's hard_rule is {given.hard_rule!r}, and exit extension has no logits; "
      "accepted: 'never', or logits of the extension"
    )
  return given


def _labels(values: Any, count: int, num_classes: int) -> Int[np.ndarray, " n"]:
  labels = np.asarray(values)
  if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
    raise UserError(f"labels are {labels.dtype} {labels.shape}; accepted: integers {(count,)}")
  wrong = (labels < 0) | (labels >= num_classes)
  if labels.min() >= 1 and labels.max() == num_classes:
    raise UserError(
      f"labels are {labels.min()} to {num_classes}; accepted: 0 to {num_classes - 1}; "
      "subtract 1 from labels that count from 1"
    )
  if wrong.any():
    raise UserError(f"labels have {labels[wrong][0]}; accepted: 0 to {num_classes - 1}")
  return labels.astype(np.int32)


def _class_words(classes: HardClasses) -> str:
  extension = listed([str(number) for number in classes.numbers])
  return f"{classes.num_classes} classes, extension {extension or 'none'}"


def _split(
  images: LabelledLogits, fraction: float, seed: int
) -> tuple[LabelledLogits, LabelledLogits]:
  """Images that select, and images set aside at random."""
  if not 0 <= fraction < 1:
    raise UserError(f"test_fraction is {fraction:g}; accepted: 0 to below 1")
  count = len(images.labels)
  order, aside = np.random.default_rng(seed).permutation(count), round(fraction * count)
  if aside == count:
    raise UserError(
      f"test_fraction {fraction:g} leaves none of {count} images to select on; "
      "accepted: more images, or a smaller share"
    )
  parts = np.sort(order[aside:]), np.sort(order[:aside])
  return images.of(parts[0]), images.of(parts[1])


def _config(costs: Costs, options: SelectOptions) -> Config:
  """The configuration that the sweep reads its settings from."""
  if costs.image_bytes < 1:
    raise UserError(f"image_bytes is {costs.image_bytes}; accepted: at least 1")
  if options.num_thresholds < 2:
    raise UserError(f"num_thresholds is {options.num_thresholds}; accepted: at least 2")
  config = Config()
  return dataclasses.replace(
    config,
    cost=dataclasses.replace(costs.constants, bytes_per_image=costs.image_bytes),
    routing=dataclasses.replace(
      config.routing, hard_threshold=options.hard_threshold, run_share=options.run_share
    ),
    evaluation=dataclasses.replace(config.evaluation, num_thresholds=options.num_thresholds),
  )


def _figures(context: Context, point: OperatingPoint, records: Records) -> dict[str, Any]:
  _, found = counts_and_figures(context, point, records)
  return {"num_examples": len(records.label)} | plain(found)
