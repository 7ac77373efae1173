"""The figures that an operating point leads a device to expect, of a split's records."""

import numpy as np

from meanet_jax.edge.expected import CONFIDENCE, SplitFigures
from meanet_jax.evaluation.context import Context, figures
from meanet_jax.evaluation.intervals import exact_interval
from meanet_jax.evaluation.systems import route_selected
from meanet_jax.routing.counts import count
from meanet_jax.routing.operating_point import OperatingPoint
from meanet_jax.routing.policies import Records


def split_figures(context: Context, point: OperatingPoint, records: Records) -> SplitFigures:
  """What an operating point does with the images of a split.

  Args:
    context: whose costs are meant; of any split.
    point: policy and thresholds.
    records: of the split, with the point's temperatures and weights.
  """
  num_images = len(records.label)
  counts = count(route_selected(point, records), records, context.hard_classes.mask)
  found = figures(context.on(np.asarray(records.label)), point.policy, counts)
  return SplitFigures(
    num_images=num_images,
    accuracy=float(found["accuracy"]),
    accuracy_interval=exact_interval(int(counts.correct), num_images, CONFIDENCE),
    fraction={name: float(share) for name, share in found["fraction"].items()},
    ran_extension=float(counts.ran_extension) / num_images,
    extension_and_cloud=float(counts.extension_and_cloud) / num_images,
    **{
      name: float(found[name]) for name in ("bytes_up", "energy_mj", "latency_ms", "latency_p95_ms")
    },
  )
