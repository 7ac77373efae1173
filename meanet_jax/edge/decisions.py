"""What the edge decides about an image, and thresholds that change within a batch."""

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from meanet_jax.routing.policies import Thresholds
from meanet_jax.routing.rules import Comparison
from meanet_jax.routing.scores import Scores


class Answer(NamedTuple):
  """What became of one image.

  prediction: original class number. exit: `MAIN`, `EXTENSION` or `CLOUD` of
  `routing/rules.py`. complex: whether the policy sends the image to the cloud; without a cloud
  it has the edge's answer all the same. compared: the uncertainty that this came from, and its
  threshold, float32; None for a policy that compares nothing. scores: of the exit at which the edge
  answers (or would have, for an image that went to the cloud), NumPy scalars. main, extension: of
  both exits, the extension's of the fused distribution where the policy answers by it; None for an
  extension that did not run. hard_probability: main's probability mass on
  hard classes. seconds: from taking the image (or its batch) up to its answer.
  """

  prediction: int
  exit: int
  complex: bool
  compared: Comparison | None
  scores: Scores
  main: Scores
  extension: Scores | None
  hard_probability: np.float32
  seconds: float


class EdgeDecision(NamedTuple):
  """What the edge decides about one image before it asks the cloud.

  answer: the edge's own; of the main exit alone where the extension was skipped. skipped: whether
  the extension, which the edge's own answer needs, has not run because the policy sends the image
  to the cloud before. image: uint8 [h, w, c]. features: the main block's, without a batch axis.
  logits: main's [C] and the extension's [K], without temperature; None for one that did not run.
  """

  answer: Answer
  skipped: bool
  image: np.ndarray
  features: np.ndarray
  logits: tuple[np.ndarray, np.ndarray | None]


@runtime_checkable
class BatchThresholds(Protocol):
  """Thresholds that online adaptation may change from one image of a batch to the next."""

  def thresholds(self) -> Thresholds | None:
    """For the next image; None for the classifier's own."""
    ...

  def record_decision(self, row: int, complex: bool, ran_extension: bool) -> None:
    """Called for each image of the batch in turn, before the next image's `thresholds`."""
    ...
