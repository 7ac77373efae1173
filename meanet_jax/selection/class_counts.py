"""Right answers of every class at every threshold, from one pass over the images."""

import numpy as np
from jaxtyping import Int

from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.policies import Policy, Thresholds
from meanet_jax.routing.rules import EXTENSION, Records, cloud_prediction, route
from meanet_jax.selection.exact import kept_on_edge


def class_counts(
  policy: Policy, thresholds: Thresholds, records: Records, hard_classes: HardClasses
) -> Int[np.ndarray, "t c"]:
  """How many images of each class are answered correctly at each operating point.

  As thresholds rise an image changes its exit once, from the cloud to the edge, so it changes its
  class's count once: the counts are cumulative sums, and their cost is that of the result.

  Args:
    policy: the rules.
    thresholds: arrays [t], those of both exits not decreasing, the others the same everywhere.
    records: n images, NumPy arrays.
    hard_classes: of all c classes.
  """
  count, classes, labels = len(thresholds.main), hard_classes.num_classes, records.label
  fixed = Thresholds(*(values[0] for values in thresholds))
  if policy.offload not in ("early", "late"):
    right = labels[route(policy, fixed, records, hard_classes.mask).prediction == labels]
    return np.tile(np.bincount(right, minlength=classes), (count, 1))
  edge, unsure = kept_on_edge(policy, records, hard_classes.mask, fixed)
  late = policy.offload == "late"
  # An image is sent at the thresholds below its uncertainty, which are the first of them.
  at_extension = (edge.exit == EXTENSION) & late
  sent_at = np.where(
    at_extension,
    np.searchsorted(thresholds.extension, unsure),
    np.searchsorted(thresholds.main, unsure),
  )
  ran_if_sent = edge.ran_extension & late
  right_in_cloud = cloud_prediction(policy, records, ran_if_sent) == labels
  changes = (edge.prediction == labels).astype(np.int64) - right_in_cloud
  totals = np.zeros((count + 1, classes), np.int64)
  np.add.at(totals, (sent_at, labels), changes)
  start = np.bincount(labels[right_in_cloud], minlength=classes)
  return start + np.cumsum(totals[:count], axis=0)
