"""Budgets kept on the stream of benchmarks/online_stream.py, image by image, and by how much."""

from typing import NamedTuple

import numpy as np

from benchmarks.online_stream import Stream
from meanet_jax.routing.online.budget import STEP, Budget, spend, start

WINDOW = 2000  # images over which a budget has to hold
TOLERANCE = 0.02  # of the target
SETTLING = 1000  # images at the start and after the change that windows leave out
TARGET = 0.1  # share of images sent; the targets in bytes and millijoules are what that costs


class Wanted(NamedTuple):
  """A budget, and arrays [n]: what each image costs that is kept, and one that is sent."""

  budget: Budget
  kept: np.ndarray
  sent: np.ndarray


class Followed(NamedTuple):
  """Arrays [n]: which images are sent, what each costs, and the threshold that it met."""

  goes: np.ndarray
  costs: np.ndarray
  threshold: np.ndarray


def first_threshold(stream: Stream) -> float:
  """That of the threshold which sends `TARGET` of the images before the change."""
  return float(np.quantile(stream.halves[0].uncertainty, 1 - TARGET))


def offloads(stream: Stream, step: float = STEP) -> Wanted:
  """So many images sent."""
  return Wanted(
    Budget(TARGET, step=step), np.zeros(len(stream.uncertainty)), np.ones(len(stream.uncertainty))
  )


def png_bytes(stream: Stream) -> Wanted:
  """What that share weighs before the change, as PNG."""
  sent = stream.bytes.astype(float)
  target = TARGET * float(stream.halves[0].bytes.mean())
  return Wanted(Budget(target, float(sent.max())), np.zeros(len(sent)), sent)


def energy(stream: Stream) -> Wanted:
  """What that share costs before the change, in millijoules."""
  clean = stream.halves[0]
  target = float(np.mean(clean.kept_mj + TARGET * (clean.sent_mj - clean.kept_mj)))
  return Wanted(Budget(target, float(stream.sent_mj.max())), stream.kept_mj, stream.sent_mj)


def follow(stream: Stream, wanted: Wanted) -> Followed:
  """The stream under a budget, from `first_threshold` on."""
  state, thresholds = start(wanted.budget, first_threshold(stream)), []
  columns = (stream.uncertainty, wanted.kept, wanted.sent)
  for image, if_kept, if_sent in zip(*(values.tolist() for values in columns)):
    thresholds.append(state.threshold)
    state = spend(wanted.budget, state, if_sent if image > state.threshold else if_kept)
  goes = stream.uncertainty > np.array(thresholds)
  return Followed(goes, np.where(goes, wanted.sent, wanted.kept), np.array(thresholds))


def window_means(costs: np.ndarray) -> np.ndarray:
  """Means over every `WINDOW` consecutive images, by the number of the first."""
  sums = np.concatenate([[0], np.cumsum(costs, dtype=np.float64)])
  return (sums[WINDOW:] - sums[:-WINDOW]) / WINDOW


def errors(budget: Budget, followed: Followed) -> np.ndarray:
  """By which share of the target each window is off."""
  return (window_means(followed.costs) - budget.target) / budget.target


def settled_errors(error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Those of windows that lie before the change, and after it, `SETTLING` images left out."""
  change = (len(error) + WINDOW - 1) // 2
  return error[SETTLING : change - WINDOW + 1], error[change + SETTLING :]
