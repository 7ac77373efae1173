"""Streams against a server on this machine, as the command runs them."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from meanet_jax.edge.classifier import EdgeClassifier
from meanet_jax.edge.decisions import Answer
from meanet_jax.edge.inputs import Item
from meanet_jax.edge.link.connection import Address, Expected
from meanet_jax.edge.link.encoding import Encoding
from meanet_jax.edge.link.offload import Offloader, RetryPolicy
from meanet_jax.edge.manifest import read_manifest
from meanet_jax.edge.results import Result
from meanet_jax.edge.stream import Stream
from meanet_jax.protocol import classes_digest
from meanet_jax.routing.fusion import FusionWeights
from meanet_jax.routing.learned import GainWeights
from meanet_jax.routing.operating_point import OperatingPoint
from meanet_jax.routing.policies import Policy, Thresholds

# Long enough for a busy machine: where a test wants a late answer it says so.
LONG_DEADLINE = RetryPolicy(deadline=60.0)


class Ran(NamedTuple):
  """results: in the order in which they came. offloader: closed."""

  results: list[Result]
  offloader: Offloader

  def by_number(self) -> list[Result]:
    """In the images' order; every number exactly once."""
    numbers = [one.item.number for one in self.results]
    assert sorted(numbers) == list(range(len(numbers)))
    return sorted(self.results, key=lambda one: one.item.number)


def offloader_to(
  port: int,
  exported: Path,
  *,
  window: int = 8,
  retry_policy: RetryPolicy = LONG_DEADLINE,
  encoding: Encoding | None = None,
  address: Address | None = None,
  logits: bool = False,
) -> Offloader:
  manifest = EdgeClassifier(exported).manifest
  names = manifest.class_names
  expected = Expected(
    manifest.image_shape, len(names), classes_digest(names), encoding or Encoding(), logits
  )
  return Offloader(address or Address(f"127.0.0.1:{port}"), expected, window, retry_policy)


def stream(
  edge: EdgeClassifier,
  items: Iterable[Item] | np.ndarray,
  offloader: Offloader,
  adaptation: Any = None,
  give: Any = None,
) -> Ran:
  if isinstance(items, np.ndarray):
    items = (Item(number, image) for number, image in enumerate(items))
  results: list[Result] = []

  def take(one: Result) -> None:
    results.append(one)
    if give is not None:
      give(one)

  try:
    Stream(edge, take, offloader, adaptation).run(items)
  finally:
    offloader.close()
  return Ran(results, offloader)


def sending(exported: Path, share: float, images: np.ndarray, **options: Any) -> EdgeClassifier:
  """An edge whose threshold sends that share of these images, before their extension runs."""
  entropy = [answer.main.entropy for answer in EdgeClassifier(exported).classify(images)]
  limit = np.float32(np.quantile(entropy, 1 - share)) if share < 1 else np.float32(-1)
  point = at_thresholds(exported, Policy(), Thresholds(limit, np.nan, np.nan))
  return EdgeClassifier(exported, operating_point=point, **options)


def at_thresholds(
  exported: Path,
  policy: Policy,
  thresholds: Thresholds,
  fusion: FusionWeights | None = None,
  gain: GainWeights | None = None,
) -> OperatingPoint:
  """An operating point for an export's temperatures and hard classes."""
  own = read_manifest(exported).operating_point
  return dataclasses.replace(own, policy=policy, thresholds=thresholds, fusion=fusion, gain=gain)


def untimed(answer: Answer) -> Answer:
  return answer._replace(seconds=0.0)
