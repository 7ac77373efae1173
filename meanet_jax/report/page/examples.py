"""The section of example images: which ones to show of each exit, and what was said of them."""

import base64
import dataclasses
import html
import io

import numpy as np
import PIL.Image
from jaxtyping import Int, UInt8

from meanet_jax.evaluation.records import answering_scores
from meanet_jax.report.page.contents import ReportContents
from meanet_jax.report.page.elements import paragraph, section
from meanet_jax.report.uncertainties import MEASURES, shown_policy, shown_uncertainty
from meanet_jax.routing.rules import CLOUD, EXTENSION, MAIN, Route, edge_route

KINDS = {"easy": MAIN, "hard": EXTENSION, "complex": CLOUD}  # by the exit at which an image ends
PER_KIND = 8
TITLES = {
  "easy": "Ended at the main exit",
  "hard": "Ended at the extension exit",
  "complex": "Ended in the cloud",
}
LARGEST_SIDE = 128  # pixels; larger images are shrunk, so that the report stays small
LOSSLESS_SIDE = 64  # pixels; up to here every pixel is shown as it is


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


def examples_section(contents: ReportContents) -> str:
  """Right and wrong answers of every exit, with probability and uncertainty; "" without images."""
  if contents.run is None:
    return ""
  groups = pick(contents.taken, np.asarray(contents.records.label), PER_KIND)
  captions = _Captions(contents)
  parts = []
  for kind, title in TITLES.items():
    parts.append(f"<h3>{title}</h3>")
    for group in groups:
      if group.kind == kind:
        word = "right" if group.right else "wrong"
        parts.append(f'<h4 class="{word}">{word}: {group.total or "none"}</h4>')
        shown = "".join(captions.figure(int(number)) for number in group.shown)
        parts.append(f'<div class="examples">{shown}</div>' if shown else "")
  measure = MEASURES[captions.criterion]
  note = paragraph(
    f"Where {contents.system} sends images at its selected operating point. The probability is "
    f"that of the answer; uncertainty ({measure}) is what a threshold is compared with."
  )
  return section("examples", "Example images", note, *parts)


class _Captions:
  """What was said of every image."""

  def __init__(self, contents: ReportContents):
    assert contents.run is not None
    point, records = contents.operating_point, contents.records
    policy = shown_policy(point.policy)
    self.criterion = policy.criterion
    self._images, self._names = contents.run.test, contents.class_names
    self._label, self._main, self._taken = records.label, records.main, contents.taken
    self._final = answering_scores(point.policy, records, contents.taken).max_prob
    stays = edge_route(policy, point.thresholds, records, point.hard_classes.mask)
    self._unsure = shown_uncertainty(policy, records, stays)

  def figure(self, number: int) -> str:
    """An image of the split, by its number, with its caption."""
    true, main, final = (
      html.escape(self._names[int(of[number])])
      for of in (self._label, self._main.prediction, self._taken.prediction)
    )
    lines = (
      f"true <b>{true}</b>",
      f"main <b>{main}</b> {100 * float(self._main.max_prob[number]):.0f} %",
      f"final <b>{final}</b> {100 * float(self._final[number]):.0f} %",
      f"uncertainty {float(self._unsure[number]):.3f}",
    )
    caption = "".join(f"<span>{line}</span>" for line in lines)
    source = data_uri(self._images.images_at([number])[0])
    return (
      f'<figure><img src="{source}" alt="image {number}: {true}">'
      f"<figcaption>{caption}</figcaption></figure>"
    )


def data_uri(image: UInt8[np.ndarray, "h w c"]) -> str:
  """An image in a URI: as PNG, or shrunk as JPEG; of more channels than these hold, the first."""
  shown = PIL.Image.fromarray(image if image.shape[-1] in (2, 3, 4) else image[..., 0])
  file = io.BytesIO()
  if max(shown.size) <= LOSSLESS_SIDE:
    form = "png"
    shown.save(file, form, optimize=True)
  else:
    form = "jpeg"
    shown = shown.convert("RGB")
    shown.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    shown.save(file, form, quality=80)
  return f"data:image/{form};base64,{base64.b64encode(file.getvalue()).decode()}"
