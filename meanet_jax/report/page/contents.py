"""What report.html shows, as one value."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Int

from meanet_jax.data.splits import Split
from meanet_jax.evaluation.per_class import PerClass, per_class
from meanet_jax.routing.hard_classes import confusion_matrix
from meanet_jax.routing.operating_point import OperatingPoint
from meanet_jax.routing.rules import Records, Route


@dataclasses.dataclass(frozen=True)
class RunParts:
  """What only a run has, and logits alone do not.

  hard_classes, config, environment: contents of the JSON files of these names. metrics: the lines
  of metrics.jsonl, in order. test: the images.
  """

  hard_classes: Mapping[str, Any]
  config: Mapping[str, Any]
  environment: Mapping[str, Any]
  metrics: tuple[Mapping[str, Any], ...]
  test: Split


@dataclasses.dataclass(frozen=True)
class ReportContents:
  """What the report shows; every part is also in a file of the evaluation.

  summary: as summary.json, or for logits alone those of its entries that they have. system: of
  `summary["systems"]` the one that the page is about. operating_points: text of
  operating_points.csv, so that the report has its very numbers. operating_point: of `system`.
  records, taken: of the split, and where `system` sends its images at that point. run: None for
  logits alone.
  """

  summary: Mapping[str, Any]
  system: str
  operating_points: str
  class_names: tuple[str, ...]
  operating_point: OperatingPoint
  records: Records
  taken: Route
  run: RunParts | None

  @property
  def entry(self) -> Mapping[str, Any]:
    """Of the system that the page is about."""
    return self.summary["systems"][self.system]

  @functools.cached_property
  def per_class(self) -> PerClass:
    """What comes of each class at the operating point."""
    return per_class(self.taken, self.records.label, len(self.class_names))

  def confusion(self, prediction: Any) -> Int[np.ndarray, "c c"]:
    """True classes in rows, of answers [n]."""
    return confusion_matrix(self.records.label, np.asarray(prediction), len(self.class_names))
