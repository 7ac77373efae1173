"""Policies: at which exit an image ends, and with which answer."""

import dataclasses
from typing import Any, Literal, NamedTuple

import numpy as np

from meanet_jax.annotations import Bool, Float, Int
from meanet_jax.config.schema import Criterion, RoutingConfig
from meanet_jax.errors import UserError
from meanet_jax.routing.scores import Scores, uncertainty

Array = Any  # a NumPy or JAX array

MAIN, EXTENSION, CLOUD = 0, 1, 2  # exit numbers, as in `Route.exit`


@dataclasses.dataclass(frozen=True)
class Policy:
  """The rules of a system, without its thresholds.

  hard_rule: for which images the extension runs. `argmax`: those for which main predicts a hard
    class. `probability`: those whose probability mass on hard classes, by main, exceeds the `hard`
    threshold. `argmax_uncertain`: those of `argmax` of which main's uncertainty exceeds the `run`
    threshold. `uncertain`: those whose uncertainty does, whatever main predicts. `never`: none.
  edge_rule: where it ran, `extension` takes the extension's answer, `most_confident` that of
    whichever of main and extension has the larger maximum probability (main wins a tie), `fused`
    that of one distribution over all classes from both (`fusion.fuse_extension`).
  offload: `early` compares main's uncertainty with its threshold before the extension runs; `late`
    that of what the edge answers with the threshold of the exit it comes from; `never` and `always`
    compare nothing.
  criterion: what uncertainty means; `learned` with `offload` `late` or `never` alone, and without
    `most_confident`, so that the exit that answers is the last one that ran.
  cloud_rule: `replace` takes the cloud's answer, `fused` that of cloud and edge together
    (`fusion.fuse_cloud`).

  Raises:
    UserError: `learned` with other rules.
  """

  hard_rule: Literal["argmax", "probability", "argmax_uncertain", "uncertain", "never"] = "argmax"
  edge_rule: Literal["extension", "most_confident", "fused"] = "extension"
  offload: Literal["early", "late", "never", "always"] = "early"
  criterion: Criterion = "entropy"
  cloud_rule: Literal["replace", "fused"] = "replace"

  def __post_init__(self):
    late = self.offload in ("late", "never") and self.edge_rule != "most_confident"
    if self.criterion == "learned" and not late:
      raise UserError(
        f"criterion 'learned' stands with offload {self.offload!r} and edge_rule "
        f"{self.edge_rule!r}; expected offload 'late' and edge_rule 'extension' or 'fused'"
      )

  @property
  def learns(self) -> bool:
    """Whether images are sent by a regression that has to be fitted."""
    return self.criterion == "learned" and self.offload == "late"

  @property
  def run_criterion(self) -> Criterion:
    """What a gate's uncertainty means: `learned` says nothing about running the extension."""
    return "max_prob" if self.criterion == "learned" else self.criterion

  @property
  def fuses(self) -> bool:
    """Whether an answer comes from the distributions of several exits."""
    return "fused" in (self.edge_rule, self.cloud_rule)


PRESETS = {
  "paper": Policy(),
  "paper_imagenet": Policy(edge_rule="most_confident"),
  "abstract": Policy(hard_rule="probability", offload="late"),
  "late": Policy(offload="late", criterion="max_prob"),
  "gated": Policy("argmax_uncertain", "fused", "late", "max_prob"),
  "uncertain": Policy("uncertain", "fused", "late", "max_prob"),
}


def configured_policy(routing: RoutingConfig) -> Policy:
  """The preset that is configured, or the policy of the fields beside it.

  The latter with `auto` too: without images to select on there is no other.
  """
  names = [field.name for field in dataclasses.fields(Policy)]
  fields = Policy(**{name: getattr(routing, name) for name in names})
  return PRESETS.get(routing.policy, fields)


class Thresholds(NamedTuple):
  """Scalars (or, in a sweep, arrays): what exceeds them is sent, or runs its extension.

  main, extension: uncertainty per exit, in the criterion's unit, above which an image is sent. With
  `edge_rule` `fused` the extension's is that of the fused distribution. hard: probability mass, for
  `probability`. run: main's uncertainty, for `argmax_uncertain` and `uncertain`.
  """

  main: Any
  extension: Any
  hard: Any
  run: Any = np.float32(np.nan)


def fixed_thresholds(hard: Any = np.nan, run: Any = np.nan) -> Thresholds:
  """Those that say for which images the extension runs; none that an image is sent by."""
  return Thresholds(*map(np.float32, (np.nan, np.nan, hard, run)))


def compared_thresholds(policy: Policy) -> frozenset[str]:
  """The names of the thresholds that a policy compares something with."""
  used = {
    "main": policy.offload in ("early", "late"),
    "extension": policy.offload == "late",
    "hard": policy.hard_rule == "probability",
    "run": policy.hard_rule in ("argmax_uncertain", "uncertain"),
  }
  return frozenset(name for name, is_used in used.items() if is_used)


class Records(NamedTuple):
  """What every exit says about n images, whether or not it would have run.

  label: int32 [n], original class numbers. hard_probability: float32 [n], by main. fused: of the
  distribution of main and extension. cloud_with_main, cloud_with_fused: int32 [n], the answer of
  the cloud together with main, and together with main and extension. These three are None where
  only policies are looked at that fuse nothing.
  """

  label: Int[Array, " n"]
  hard_probability: Float[Array, " n"]
  main: Scores
  extension: Scores
  cloud: Scores
  fused: Scores | None = None
  cloud_with_main: Int[Array, " n"] | None = None
  cloud_with_fused: Int[Array, " n"] | None = None


class Route(NamedTuple):
  """Where each image ends.

  exit: int32 [n], `MAIN`, `EXTENSION` or `CLOUD`. prediction: int32 [n], original class numbers.
  ran_extension: bool [n], whether adaptive and extension block ran, which an image that ends in
  the cloud or at the main exit may also have paid for.
  """

  exit: Int[Array, " n"]
  prediction: Int[Array, " n"]
  ran_extension: Bool[Array, " n"]


class EdgeAnswer(NamedTuple):
  """What the edge says by itself, and whether it would rather ask the cloud.

  exit: int32 [n], `MAIN` or `EXTENSION`. prediction: int32 [n], original class numbers. complex:
  bool [n], whether the offload rule sends the image to the cloud.
  """

  exit: Int[Array, "*n"]
  prediction: Int[Array, "*n"]
  complex: Bool[Array, "*n"]


class Comparison(NamedTuple):
  """What decided whether one image goes to the cloud: it does if its uncertainty is larger.

  exit: `MAIN` or `EXTENSION`, whose uncertainty it is, which need not be the exit that answers.
  uncertainty, threshold: scalars, in the criterion's unit.
  """

  exit: int
  uncertainty: Any
  threshold: Any


def predicted_hard(
  policy: Policy,
  thresholds: Thresholds,
  main: Scores,
  hard_probability: Float[Array, "*n"],
  is_hard: Bool[Array, " c"],
) -> Bool[Array, "*n"]:
  """Whether main's answer says that an image needs the extension."""
  if policy.hard_rule == "never":
    return _everywhere(False, main)
  if policy.hard_rule == "argmax":
    return is_hard[main.prediction]
  if policy.hard_rule == "probability":
    return hard_probability > thresholds.hard
  uncertain = uncertainty(policy.run_criterion, main) > thresholds.run
  return uncertain if policy.hard_rule == "uncertain" else is_hard[main.prediction] & uncertain


def extension_scores(policy: Policy, records: Records) -> Scores:
  """The scores behind an answer at the extension: its own, or the fused distribution's."""
  if policy.edge_rule != "fused":
    return records.extension
  assert records.fused is not None, "records without fused scores"
  return records.fused


def takes_extension(
  policy: Policy, main: Scores, extension: Scores, ran_extension: Bool[Array, "*n"]
) -> Bool[Array, "*n"]:
  """Whether the extension's answer is the edge's; never where the extension did not run."""
  if policy.edge_rule == "most_confident":
    return ran_extension & (extension.max_prob > main.max_prob)
  return ran_extension


def cloud_prediction(
  policy: Policy, records: Records, ran_extension: Bool[Array, " n"]
) -> Int[Array, " n"]:
  """The answer for images that are sent: int32 [n].

  Args:
    policy, records: as in `route`.
    ran_extension: which images ran their extension before they were sent.
  """
  if policy.cloud_rule == "replace":
    return records.cloud.prediction
  assert records.cloud_with_main is not None, "records without fused answers"
  xp = records.label.__array_namespace__()
  return xp.where(ran_extension, records.cloud_with_fused, records.cloud_with_main)


def offloads_early(policy: Policy, thresholds: Thresholds, main: Scores) -> Bool[Array, "*n"]:
  """Whether the image goes to the cloud before its extension runs, which saves running it."""
  if policy.offload == "early":
    return uncertainty(policy.criterion, main) > thresholds.main
  return _everywhere(policy.offload == "always", main)


def offloads_late(
  policy: Policy,
  thresholds: Thresholds,
  main: Scores,
  extension: Scores,
  at_extension: Bool[Array, "*n"],
) -> Bool[Array, "*n"]:
  """Whether the image goes to the cloud, once it is known at which exit the edge answers it."""
  if policy.offload != "late":
    return offloads_early(policy, thresholds, main)
  after_main = uncertainty(policy.criterion, main) > thresholds.main
  after_extension = uncertainty(policy.criterion, extension) > thresholds.extension
  return (at_extension & after_extension) | (~at_extension & after_main)


def comparison(
  policy: Policy, thresholds: Thresholds, main: Scores, extension: Scores, at_extension: bool
) -> Comparison | None:
  """What `offloads_late` compares for one image, as scalars; None where the rule compares nothing.

  Args:
    policy, thresholds: the operating point.
    main, extension: of one image (see `edge_answer`); the extension's are not read where it did not
      answer.
    at_extension: whether the extension's answer is the edge's.
  """
  if policy.offload not in ("early", "late"):
    return None
  if policy.offload == "late" and at_extension:
    return Comparison(EXTENSION, uncertainty(policy.criterion, extension), thresholds.extension)
  return Comparison(MAIN, uncertainty(policy.criterion, main), thresholds.main)


def edge_answer(
  policy: Policy,
  thresholds: Thresholds,
  main: Scores,
  extension: Scores,
  ran_extension: Bool[Array, "*n"],
) -> EdgeAnswer:
  """The answer of the edge, once the extension has run where it had to.

  Args:
    policy: static under `jit`.
    thresholds: scalars.
    main: n images (or one, as scalars).
    extension: n images, with `edge_rule` `fused` those of the fused distribution; any values where
      `ran_extension` is False, none of them is used.
    ran_extension: which images the extension saw.
  """
  xp = main.prediction.__array_namespace__()
  at_extension = takes_extension(policy, main, extension, ran_extension)
  return EdgeAnswer(
    exit=xp.where(at_extension, xp.int32(EXTENSION), xp.int32(MAIN)),
    prediction=xp.where(at_extension, extension.prediction, main.prediction),
    complex=offloads_late(policy, thresholds, main, extension, at_extension),
  )


def route(
  policy: Policy, thresholds: Thresholds, records: Records, is_hard: Bool[Array, " c"]
) -> Route:
  """Applies a policy to every image.

  Args:
    policy: static under `jit`.
    thresholds: scalars.
    records: n images.
    is_hard: [c], True at hard classes.
  """
  main = records.main
  xp = main.prediction.__array_namespace__()
  hard = predicted_hard(policy, thresholds, main, records.hard_probability, is_hard)
  ran_extension = hard & ~offloads_early(policy, thresholds, main)
  edge = edge_answer(policy, thresholds, main, extension_scores(policy, records), ran_extension)
  from_cloud = cloud_prediction(policy, records, ran_extension)
  return Route(
    exit=xp.where(edge.complex, xp.int32(CLOUD), edge.exit),
    prediction=xp.where(edge.complex, from_cloud, edge.prediction),
    ran_extension=ran_extension,
  )


def _everywhere(value: bool, main: Scores) -> Bool[Array, "*n"]:
  # A number and itself: scalars of older NumPy have no namespace with a `full_like`.
  return main.prediction == main.prediction if value else main.prediction != main.prediction
