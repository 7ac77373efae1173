"""Images of the same bytes in two splits, or in two classes."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Int, UInt8

from meanet_jax.data.own.files import SPLITS
from meanet_jax.log import logger


def report_duplicates(
  digests: UInt8[np.ndarray, "n 16"],
  labels: Int[np.ndarray, " n"],
  splits: Int[np.ndarray, " n"],
  class_names: Sequence[str],
  name: Callable[[int], str],
) -> None:
  """Says once how many images of the same bytes lie in two splits, and in two classes.

  Args:
    digests: equal for equal images.
    labels, splits: of each image; `splits` are places in `SPLITS`.
    class_names: by label.
    name: how an image is named to a person.
  """
  _, group = np.unique(digests, axis=0, return_inverse=True)
  group = group.reshape(-1)
  found = _mixed(group, splits)
  if found:
    first, second = found[0]
    logger.warning(
      f"{len(found)} images have the same bytes as an image of another split, which a test should "
      f"not have seen in training (the first: {name(first)} in {SPLITS[splits[first]]}, "
      f"{name(second)} in {SPLITS[splits[second]]})"
    )
  found = _mixed(group, labels)
  if found:
    first, second = found[0]
    logger.warning(
      f"{len(found)} images have the same bytes as an image of another class (the first: "
      f"{name(first)} as {class_names[labels[first]]}, {name(second)} as "
      f"{class_names[labels[second]]})"
    )


def _mixed(group: Int[np.ndarray, " n"], kind: Int[np.ndarray, " n"]) -> list[tuple[int, int]]:
  """Images whose group has an earlier one of another kind, each behind the first of its group."""
  order = np.argsort(group, kind="stable")
  first = order[np.unique(group[order], return_index=True)[1]]
  differs = kind != kind[first[group]]
  return [(int(first[group[number]]), int(number)) for number in np.flatnonzero(differs)]
