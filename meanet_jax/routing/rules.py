"""What a policy makes of images: at which exit each ends, and with which answer."""

import dataclasses
from typing import Any, NamedTuple

from meanet_jax.annotations import Bool, Float, Int
from meanet_jax.routing.policies import Policy, Thresholds
from meanet_jax.routing.scores import Scores, uncertainty

Array = Any  # a NumPy or JAX array

MAIN, EXTENSION, CLOUD = 0, 1, 2  # exit numbers, as in `Route.exit`
EXIT_NAMES = ("main", "extension", "cloud")  # by number


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


def compared_uncertainty(
  policy: Policy, main: Scores, extension: Scores, at_extension: Bool[Array, "*n"]
) -> Float[Array, "*n"] | None:
  """What the offload rule compares with a threshold; None where it compares nothing.

  Args:
    policy, main, extension: see `edge_answer`.
    at_extension: whether the extension's answer is the edge's.
  """
  if policy.offload not in ("early", "late"):
    return None
  after_main = uncertainty(policy.criterion, main)
  if policy.offload == "early":
    return after_main
  xp = main.prediction.__array_namespace__()
  return xp.where(at_extension, uncertainty(policy.criterion, extension), after_main)


def comparison(
  policy: Policy,
  thresholds: Thresholds,
  main: Scores,
  extension: Scores,
  at_extension: Bool[Array, ""],
) -> Comparison | None:
  """What `offloads_late` compares for one image, as scalars; None where the rule compares nothing.

  Args:
    policy, thresholds: the operating point.
    main, extension, at_extension: of one image, see `compared_uncertainty`.
  """
  value = compared_uncertainty(policy, main, extension, at_extension)
  if value is None:
    return None
  if policy.offload == "late" and at_extension:
    return Comparison(EXTENSION, value, thresholds.extension)
  return Comparison(MAIN, value, thresholds.main)


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


def edge_route(
  policy: Policy, fixed: Thresholds, records: Records, is_hard: Bool[Array, " c"]
) -> Route:
  """Where every image ends if none is sent.

  Args:
    policy: whatever it sends.
    fixed: of its thresholds only `hard` and `run` count.
    records, is_hard: as in `route`.
  """
  return route(dataclasses.replace(policy, offload="never"), fixed, records, is_hard)


def _everywhere(value: bool, main: Scores) -> Bool[Array, "*n"]:
  # A number and itself: scalars of older NumPy have no namespace with a `full_like`.
  return main.prediction == main.prediction if value else main.prediction != main.prediction
