"""What one run's records say: every system at every share, budget and rule. Nothing is trained."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from meanet_jax.config.constraints import Constraints
from meanet_jax.data.read_options import ReadOptions
from meanet_jax.data.sources import load
from meanet_jax.evaluation.collect import Collected, collect
from meanet_jax.evaluation.context import Context
from meanet_jax.evaluation.fitting import selection_part
from meanet_jax.evaluation.policy_selection import select_policy
from meanet_jax.evaluation.records import make_records
from meanet_jax.evaluation.static_systems import static_curves
from meanet_jax.evaluation.systems import (
  Curve,
  System,
  evaluate_systems,
  route_selected,
  selected_figures,
  sweep_system,
)
from meanet_jax.models.costs import block_macs
from meanet_jax.models.zoo import build
from meanet_jax.routing.policies import PRESETS, Policy
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.selection.family import Member
from meanet_jax.selection.learned import FEWEST_IMAGES
from meanet_jax.training.restore import load_hard_classes, load_variables

SHARES = (0.0, 0.02, 0.05, 0.1, 0.2)
AREA_TO = 0.2
# At which of the shares `meanet`'s policy is the one whose curve the area is under.
AREA_POLICY = 0.1
# The mean over test images may be above a budget by as much: thresholds are from other images.
TOLERANCE = 0.05


def rules_of(context: Context) -> tuple[Member, ...]:
  """What the paper's rules gain by each change; each has those before it, `cloud fused` all but
  `learned`.
  """
  gate = PRESETS[gate_of(context)]
  return (
    Member("paper", PRESETS["paper"], calibrated=False),
    Member("late", Policy(offload="late"), calibrated=False),
    Member("calibrated", PRESETS["late"]),
    Member("gated", dataclasses.replace(gate, edge_rule="extension")),
    Member("fused", gate),
    Member("learned", dataclasses.replace(gate, criterion="learned")),
    Member("cloud fused", dataclasses.replace(gate, cloud_rule="fused")),
  )


def gate_of(context: Context) -> str:
  """The preset whose gate a run's extension needs: one of all classes waits for no hard one."""
  return "uncertain" if context.config.model.extension_classes == "all" else "gated"


class Operating(NamedTuple):
  """A system at one operating point, on the test split.

  sent: share of images. macs: of the edge, mean per image. correct: by image.
  """

  sent: float
  macs: float
  correct: Bool[np.ndarray, " n"]

  @property
  def accuracy(self) -> float:
    """The share of images that are answered correctly."""
    return float(self.correct.mean())


ByShare = Mapping[float, Operating]


class Loaded(NamedTuple):
  """A run's records; validation is all of that split, on which thresholds are selected."""

  context: Context
  collected: Collected


class Measured(NamedTuple):
  """What is known of one run.

  labels: of the test split. systems: by name and share. areas: mean accuracy over shares of 0 to
  `AREA_TO`, of the systems that send. rules: by name; None where there are too few images.
  """

  labels: Int[np.ndarray, " n"]
  systems: Mapping[str, ByShare]
  areas: Mapping[str, float]
  rules: Mapping[str, ByShare | None]


def load_run(run: RunDirectory, data_dir: str | None) -> Loaded:
  """The records of a finished run, made when they are missing."""
  config = run.config()
  hard_classes = load_hard_classes(config, run)
  dataset = load(config.dataset, ReadOptions(data_dir).or_from(run.data_dir()))
  model = build(config)
  variables = load_variables(config, model, dataset, run)
  collected = collect(config, run, dataset, hard_classes, variables, reuse="if_valid")
  macs = block_macs(model, config.dataset.image_shape)
  return Loaded(Context.of(config, macs, hard_classes, collected.test.labels), collected)


def measure(loaded: Loaded) -> Measured:
  """Every system and every rule at all `SHARES`; `meanet`'s policy is selected at each of them."""
  context, collected = loaded
  auto = _routing(context, policy="auto")
  systems: dict[str, dict[float, Operating]] = {}
  areas: dict[str, float] = {}
  for share in SHARES:
    constraints = _at_most(share)
    system = select_policy(auto, collected.validation, constraints).system
    curves = evaluate_systems(system, auto, *collected[:2], constraints)
    curves |= static_systems(loaded, share)
    for name, curve in curves.items():
      if curve.operating_point is not None:
        systems.setdefault(name, {})[share] = operating(context, curve)
        if share == AREA_POLICY and curve.is_swept:
          areas[name] = area(curve)
  rules = {rule.name: _rule(loaded, rule) for rule in rules_of(context)}
  return Measured(collected.test.labels, systems, areas, rules)


def static_systems(loaded: Loaded, share: float) -> dict[str, Curve]:
  """`static` and `static_cloud` with at most a share of the images sent."""
  context, collected = loaded
  every = np.ones(len(collected.validation.labels), bool)
  return static_curves(context, collected, every, _at_most(share))


def gated(loaded: Loaded, budget: float, shares: Sequence[float]) -> ByShare | None:
  """MEANet by `gate_of` its extension, which runs for as many images as a budget pays for.

  Args:
    loaded: a run's records.
    budget: MACs of the edge, mean per image.
    shares: of images that may be sent.

  Returns:
    By share; None where nothing is left for the extension beside the main block.
  """
  macs = loaded.context.macs
  if macs.main * (1 + TOLERANCE) > budget:
    return None
  share = min((budget - macs.main) / macs.extension, 1)
  context = _routing(
    loaded.context, policy=gate_of(loaded.context), calibrate=True, run_share=share
  )
  return _under(context, loaded.collected, shares)


def by_paper(loaded: Loaded, shares: Sequence[float]) -> ByShare:
  """MEANet by the paper's rules, at shares of images that may be sent."""
  rules = dataclasses.asdict(PRESETS["paper"])
  routing = _routing(loaded.context, policy="configured", calibrate=False, **rules)
  return _under(routing, loaded.collected, shares)


def within(found: ByShare, budget: float) -> ByShare | None:
  """Operating points, if the edge's MACs keep a budget at all of them."""
  keeps = all(point.macs <= budget * (1 + TOLERANCE) for point in found.values())
  return found if keeps else None


def operating(context: Context, curve: Curve) -> Operating:
  """A system's selected operating point."""
  assert curve.operating_point is not None
  figures = selected_figures(context, curve)
  taken = route_selected(curve.operating_point, curve.records)
  correct = np.asarray(taken.prediction) == curve.records.label
  return Operating(figures["fraction"]["cloud"], figures["macs_edge"], correct)


def area(curve: Curve) -> float:
  """Mean accuracy over shares of test images sent from 0 to `AREA_TO`, linear between points."""
  images = len(curve.records.label)
  sent, first = np.unique(curve.counts.cloud / images, return_index=True)
  shares = np.linspace(0, AREA_TO, 201)
  accuracy = np.interp(shares, sent, (curve.counts.correct / images)[first])
  return float(np.trapezoid(accuracy, shares) / AREA_TO)


def _rule(loaded: Loaded, rule: Member) -> ByShare | None:
  context, collected = loaded
  images = len(selection_part(context.config, collected.validation).labels)
  if rule.policy.learns and images < FEWEST_IMAGES:
    return None
  rules = dataclasses.asdict(rule.policy)
  routing = _routing(context, policy="configured", calibrate=rule.calibrated, **rules)
  return _under(routing, collected, SHARES)


def _under(context: Context, collected: Collected, shares: Sequence[float]) -> ByShare:
  """The one policy that `routing` configures, thresholds selected at each share."""
  validation, test, _ = collected
  found = {}
  for share in shares:
    constraints = _at_most(share)
    system: System = select_policy(context, validation, constraints).system
    fitted = system.fitted.of_logits
    records = (make_records(*split, context.hard_classes, *fitted) for split in (validation, test))
    found[share] = operating(context, sweep_system(system, context, *records, constraints))
  return found


def _routing(context: Context, **changes: object) -> Context:
  routing = dataclasses.replace(context.config.routing, **changes)
  return dataclasses.replace(context, config=dataclasses.replace(context.config, routing=routing))


def _at_most(share: float) -> Constraints:
  return Constraints(max_offload=share, spend_budget=True)
