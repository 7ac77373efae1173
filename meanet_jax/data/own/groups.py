"""Splits that keep groups together: images of one patient, one scene, one video."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int

from meanet_jax.data.own.files import SPLITS, shown
from meanet_jax.errors import UserError


def check_given(splits: Int[np.ndarray, " n"], groups: np.ndarray, source: Path) -> None:
  """Refuses given splits that share a group.

  Raises:
    UserError: with the first such group.
  """
  names, number = np.unique(groups, return_inverse=True)
  found = np.zeros((len(names), len(SPLITS)), bool)
  found[number, splits] = True
  for group in np.flatnonzero(found.sum(axis=1) > 1)[:1]:
    of = " and ".join(name for name, has in zip(SPLITS, found[group], strict=True) if has)
    raise UserError(
      f"group {shown(str(names[group]))} of {shown(source)} is in the splits {of}; accepted: each "
      "group in one split"
    )


def check_enough(
  counts: Int[np.ndarray, "g c"], needed: int, class_names: Sequence[str], source: Path
) -> None:
  """Refuses a class whose images are of fewer groups than there are splits.

  Args:
    counts: images by group and class; see `count_groups`.
    needed: groups.
    class_names, source: for the message.

  Raises:
    UserError: naming the classes of the fewest groups.
  """
  groups = (counts > 0).sum(axis=0)
  if groups.min() < needed:
    few = ", ".join(f"{class_names[c]} {groups[c]}" for c in np.argsort(groups, kind="stable")[:3])
    raise UserError(
      f"{shown(source)} has too few groups of a class to split by group (the fewest: {few}); "
      f"accepted: images of at least {needed} groups in each class"
    )


def count_groups(
  labels: Int[np.ndarray, " n"], number: Int[np.ndarray, " n"], classes: int
) -> Int[np.ndarray, "g c"]:
  """Images by group and class; `number` is each image's group."""
  counts = np.zeros((int(number.max()) + 1, classes), np.int64)
  np.add.at(counts, (number, labels), 1)
  return counts


def draw_groups(
  counts: Int[np.ndarray, "g c"], fraction: float, seed: int, keep: int
) -> Bool[np.ndarray, " g"]:
  """Which groups make up a part with about a fraction of every class.

  Groups are tried from the largest to the smallest, those of one size in an order drawn from the
  seed; one is taken where it brings the shares of the classes nearer to `fraction`. A class that
  the part lacks then gets its smallest group.

  Args:
    counts: images by group and class, of every class in at least `keep` + 1 groups.
    fraction: of the images.
    seed: see above.
    keep: groups of each class that must be left.
  """
  total = counts.sum(axis=0)
  shares = counts / np.maximum(total, 1)
  has, left = counts > 0, (counts > 0).sum(axis=0)
  taken, missing = np.zeros(len(counts), bool), np.full(len(total), fraction) * (total > 0)
  order = np.random.default_rng(seed).permutation(len(counts))
  order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")].tolist()

  def can_leave(group: int) -> bool:
    return not taken[group] and bool((left[has[group]] > keep).all())

  def take(group: int) -> None:
    nonlocal left, missing
    taken[group] = True
    left, missing = left - has[group], missing - shares[group]

  for group in order:
    nearer = ((missing - shares[group]) ** 2).sum() < (missing**2).sum()
    if nearer and can_leave(group):
      take(group)
  for c in np.flatnonzero(total):
    if not has[taken, c].any():
      group = next((g for g in order[::-1] if has[g, c] and can_leave(g)), None)
      if group is not None:
        take(group)
  return taken
