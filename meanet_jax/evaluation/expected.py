"""The figures that an operating point leads a device to expect, of a split's records."""

from meanet_jax.edge.expected import CONFIDENCE, SplitFigures
from meanet_jax.evaluation.context import Context
from meanet_jax.evaluation.intervals import exact_interval
from meanet_jax.evaluation.systems import counts_and_figures
from meanet_jax.routing.operating_point import OperatingPoint
from meanet_jax.routing.rules import Records


def split_figures(context: Context, point: OperatingPoint, records: Records) -> SplitFigures:
  """What an operating point does with the images of a split.

  The arguments are those of `counts_and_figures`.
  """
  num_images = len(records.label)
  counts, found = counts_and_figures(context, point, records)
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
