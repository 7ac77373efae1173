"""Example images of a report: which ones to show of each exit, as PNG data URIs."""

import base64
import dataclasses
import io

import numpy as np
import PIL.Image
from jaxtyping import Int, UInt8

from meanet_jax.routing.policies import CLOUD, EXTENSION, MAIN, Route

KINDS = {"easy": MAIN, "hard": EXTENSION, "complex": CLOUD}  # by the exit at which an image ends
LARGEST_SIDE = 128  # pixels; larger images are shrunk, so that the report stays small


@dataclasses.dataclass(frozen=True)
class Examples:
  """Some of the images that ended at one exit and were answered rightly, or wrongly.

  kind: of `KINDS`. total: all such images. shown: numbers of those to show, in the split's order.
  labels, predictions: of the shown ones.
  """

  kind: str
  right: bool
  total: int
  shown: Int[np.ndarray, " s"]
  labels: Int[np.ndarray, " s"]
  predictions: Int[np.ndarray, " s"]


def pick(taken: Route, labels: Int[np.ndarray, " n"], per_kind: int) -> list[Examples]:
  """Up to `per_kind` right and wrong images of every kind.

  They are spread evenly over the split, which may be sorted by class.
  """
  picked = []
  for kind, exit in KINDS.items():
    for right in (True, False):
      found = np.flatnonzero((taken.exit == exit) & ((taken.prediction == labels) == right))
      places = np.linspace(0, len(found) - 1, min(per_kind, len(found))).astype(np.int64)
      shown = found[places]
      picked.append(
        Examples(kind, right, len(found), shown, labels[shown], taken.prediction[shown])
      )
  return picked


def data_uri(image: UInt8[np.ndarray, "h w c"]) -> str:
  """An image as a PNG in a URI; of more channels than a PNG holds, the first in grey."""
  shown = PIL.Image.fromarray(image if image.shape[-1] in (2, 3, 4) else image[..., 0])
  shown.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
  file = io.BytesIO()
  shown.save(file, "png", optimize=True)
  return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
