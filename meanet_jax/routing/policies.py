"""Policies: at which exit an image ends, and with which answer."""

import dataclasses
from typing import Any, Literal, NamedTuple

from meanet_jax.annotations import Bool, Float, Int, Shaped
from meanet_jax.config.schema import Criterion
from meanet_jax.routing.scores import Scores, uncertainty

Array = Any  # a NumPy or JAX array

MAIN, EXTENSION, CLOUD = 0, 1, 2  # exit numbers, as in `Route.exit`


@dataclasses.dataclass(frozen=True)
class Policy:
  """The rules of a system, without its thresholds.

  hard_rule: how main's answer says that an image is hard. `argmax`: its predicted class is hard.
    `probability`: its probability mass on hard classes exceeds the `hard` threshold. `never`: no
    image is, so the extension never runs.
  edge_rule: for a hard image, `extension` takes the extension's answer, `most_confident` that of
    whichever of main and extension has the larger maximum probability (main wins a tie).
  offload: `early` compares main's uncertainty with its threshold before the extension runs;
    `late` that of the exit taken with that exit's threshold; `never` and `always` compare nothing.
  criterion: what uncertainty means.
  """

  hard_rule: Literal["argmax", "probability", "never"] = "argmax"
  edge_rule: Literal["extension", "most_confident"] = "extension"
  offload: Literal["early", "late", "never", "always"] = "early"
  criterion: Criterion = "entropy"


PRESETS = {
  "paper": Policy(),
  "paper_imagenet": Policy(edge_rule="most_confident"),
  "abstract": Policy(hard_rule="probability", offload="late"),
}


class Thresholds(NamedTuple):
  """Scalars (or, in a sweep, arrays): an image is offloaded when its uncertainty is larger.

  main, extension: per exit, in the criterion's unit. hard: probability mass, for `probability`.
  """

  main: Any
  extension: Any
  hard: Any


def compared_thresholds(policy: Policy) -> frozenset[str]:
  """The names of the thresholds that a policy compares something with."""
  used = {
    "main": policy.offload in ("early", "late"),
    "extension": policy.offload == "late",
    "hard": policy.hard_rule == "probability",
  }
  return frozenset(name for name, is_used in used.items() if is_used)


class Records(NamedTuple):
  """What every exit says about n images, whether or not it would have run.

  label: int32 [n], original class numbers. hard_probability: float32 [n], by main.
  """

  label: Int[Array, " n"]
  hard_probability: Float[Array, " n"]
  main: Scores
  extension: Scores
  cloud: Scores


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
  main: Scores,
  hard_probability: Float[Array, "*n"],
  is_hard: Bool[Array, " c"],
  threshold: Shaped[Array, ""] | float,
) -> Bool[Array, "*n"]:
  """Whether main's answer says that an image needs the extension."""
  if policy.hard_rule == "never":
    return _everywhere(False, main)
  if policy.hard_rule == "argmax":
    return is_hard[main.prediction]
  return hard_probability > threshold


def takes_extension(
  policy: Policy, main: Scores, extension: Scores, ran_extension: Bool[Array, "*n"]
) -> Bool[Array, "*n"]:
  """Whether the extension's answer is the edge's; never where the extension did not run."""
  if policy.edge_rule == "extension":
    return ran_extension
  return ran_extension & (extension.max_prob > main.max_prob)


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
    main, extension: of one image; the extension's are not read where it did not answer.
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
    extension: n images; any values where `ran_extension` is False, none of them is used.
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
  hard = predicted_hard(policy, main, records.hard_probability, is_hard, thresholds.hard)
  ran_extension = hard & ~offloads_early(policy, thresholds, main)
  edge = edge_answer(policy, thresholds, main, records.extension, ran_extension)
  return Route(
    exit=xp.where(edge.complex, xp.int32(CLOUD), edge.exit),
    prediction=xp.where(edge.complex, records.cloud.prediction, edge.prediction),
    ran_extension=ran_extension,
  )


def _everywhere(value: bool, main: Scores) -> Bool[Array, "*n"]:
  # A number and itself: scalars of older NumPy have no namespace with a `full_like`.
  return main.prediction == main.prediction if value else main.prediction != main.prediction
