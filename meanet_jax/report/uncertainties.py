"""How uncertain each image was at the exits whose uncertainty an operating point compares."""

import dataclasses
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from meanet_jax.routing.operating_point import OperatingPoint
from meanet_jax.routing.policies import Policy
from meanet_jax.routing.rules import (
  EXTENSION,
  Records,
  Route,
  compared_uncertainty,
  edge_route,
  extension_scores,
)
from meanet_jax.routing.scores import uncertainty

MEASURES = {
  "entropy": "entropy [nats]",
  "max_prob": "1 - largest probability",
  "margin": "1 - margin",
  "learned": "expected gain",
}


class ComparedExit(NamedTuple):
  """Images whose answer on the edge comes from one exit.

  exit: its name. measure: what uncertainty means, in words. uncertainty: [m]. right: [m], whether
  the edge's answer is right. threshold: what sends images; None if nothing does.
  """

  exit: str
  measure: str
  uncertainty: Float[np.ndarray, " m"]
  right: Bool[np.ndarray, " m"]
  threshold: float | None


def shown_policy(policy: Policy) -> Policy:
  """The policy, under a criterion that records have: a gain only where images are sent by it."""
  return dataclasses.replace(
    policy, criterion=policy.criterion if policy.learns else policy.run_criterion
  )


def shown_uncertainty(policy: Policy, records: Records, stays: Route) -> Float[np.ndarray, " n"]:
  """The uncertainty that could send each image to the cloud; main's where none sends any.

  Args:
    policy: as shown.
    records: of a split.
    stays: where every image ends if none is sent.
  """
  extension = extension_scores(policy, records)
  found = compared_uncertainty(policy, records.main, extension, stays.exit == EXTENSION)
  return np.asarray(uncertainty(policy.criterion, records.main) if found is None else found)


def compared_exits(point: OperatingPoint, records: Records) -> list[ComparedExit]:
  """Main, and with an offload rule `late` the extension where it answers images.

  With `late` each has the images that it answers on the edge; otherwise main has all images, with
  its own answers.

  Args:
    point: an operating point.
    records: of a split, with its temperatures.
  """
  policy, thresholds = shown_policy(point.policy), point.thresholds
  measure = MEASURES[policy.criterion]
  stays = edge_route(policy, thresholds, records, point.hard_classes.mask)
  unsure = shown_uncertainty(policy, records, stays)
  if policy.offload != "late":
    threshold = float(thresholds.main) if policy.offload == "early" else None
    right = records.main.prediction == records.label
    return [ComparedExit("main", measure, unsure, np.asarray(right), threshold)]
  right = np.asarray(stays.prediction == records.label)
  at_extension = np.asarray(stays.exit == EXTENSION)
  found = [
    ComparedExit(name, measure, unsure[of], right[of], float(threshold))
    for name, of, threshold in (
      ("main", ~at_extension, thresholds.main),
      ("extension", at_extension, thresholds.extension),
    )
  ]
  return [panel for panel in found if len(panel.right)] or found[:1]
