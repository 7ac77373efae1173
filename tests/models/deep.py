"""Which networks of the zoo differ from another one in depth alone, for tests of all of them."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest

DEEP = (
  "resnet32",
  "resnet44",
  "resnet56",
  "resnet34",
  "resnet101",
  "resnet101_cifar",
  "mobilenet_v3_large",
  "efficientnet_b0",
  "efficientnet_lite0",
)


def tiered(places: Iterable[Any], name: Callable[[Any], str] = str) -> list[Any]:
  """The places as parameters of a test, in the full tier where the network named is deep."""
  return [
    pytest.param(
      *(place if isinstance(place, tuple) else (place,)),
      marks=pytest.mark.full if name(place) in DEEP else (),
    )
    for place in places
  ]
