"""Where the nodes of a flowchart are drawn: in layers, by few crossings and straight edges.

After Sugiyama, Tagawa, Toda: Methods for Visual Understanding of Hierarchical System Structures,
1981. `along` is the direction in which arrows point, `across` the other one. An edge over several
layers has a bend in each of those between.
"""

import itertools
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

Bend = tuple[int, int]  # number of the edge, layer
Item = str | Bend
SWEEPS = 12
APART = 18.0  # nodes of a layer
ASIDE = 44.0  # between a group and what is not in it


class Places(NamedTuple):
  """Layers from the first to the last, and where the middle of each item of them is across."""

  layers: list[list[Item]]
  across: dict[Item, float]


def place(
  edges: Sequence[tuple[str, str]], sizes: Mapping[str, float], group: Sequence[str]
) -> Places:
  """Places the nodes of a graph without circles.

  Args:
    edges: names of nodes.
    sizes: by name, across.
    group: nodes that stand together, with no other among them; may be empty.
  """
  ranks = _ranks(edges, list(sizes))
  layers: list[list[Item]] = [[] for _ in range(max(ranks.values()) + 1)]
  for name in sizes:
    layers[ranks[name]].append(name)
  links: list[tuple[Item, Item]] = []
  for number, (source, target) in enumerate(edges):
    bends: list[Item] = [(number, rank) for rank in range(ranks[source] + 1, ranks[target])]
    for rank, bend in enumerate(bends, ranks[source] + 1):
      layers[rank].append(bend)
    links += itertools.pairwise([source, *bends, target])
  layers = _ordered(layers, links, group)
  across = _straightened(layers, links, sizes)
  _set_aside(layers, across, sizes, (group, edges))
  return Places(layers, across)


def _ranks(edges: Sequence[tuple[str, str]], names: Sequence[str]) -> dict[str, int]:
  """The longest way to each node; one without edges to it stands just before the next."""
  ranks = dict.fromkeys(names, 0)
  for _ in names:
    for source, target in edges:
      ranks[target] = max(ranks[target], ranks[source] + 1)
  targets = {target for _, target in edges}
  for name in names:
    after = [ranks[target] for source, target in edges if source == name]
    if name not in targets and after:
      ranks[name] = min(after) - 1
  return ranks


def _neighbours(links: Sequence[tuple[Item, Item]], forwards: bool) -> dict[Item, list[Item]]:
  found: dict[Item, list[Item]] = {}
  for source, target in links:
    item, other = (target, source) if forwards else (source, target)
    found.setdefault(item, []).append(other)
  return found


def _ordered(
  layers: list[list[Item]], links: Sequence[tuple[Item, Item]], group: Sequence[str]
) -> list[list[Item]]:
  """The order within layers with the fewest crossings that some sweeps find."""
  best, fewest = layers, _crossings(layers, links)
  for sweep in range(SWEEPS):
    forwards = sweep % 2 == 0
    beside = _neighbours(links, forwards)
    layers = [list(layer) for layer in layers]
    at = {item: float(place) for layer in layers for place, item in enumerate(layer)}
    for layer in layers if forwards else reversed(layers):
      middle = {i: statistics.mean(at[o] for o in beside.get(i, [i])) for i in layer}
      inside = [middle[item] for item in layer if item in group]
      together = statistics.mean(inside) if inside else 0.0
      layer.sort(key=lambda i: (together, 1, middle[i]) if i in group else (middle[i], 0, 0.0))
      at |= {item: float(place) for place, item in enumerate(layer)}
    crossings = _crossings(layers, links)
    if crossings < fewest:
      best, fewest = layers, crossings
  return best


def _crossings(layers: list[list[Item]], links: Sequence[tuple[Item, Item]]) -> int:
  at = {
    item: (rank, place) for rank, layer in enumerate(layers) for place, item in enumerate(layer)
  }
  ends = [(at[source], at[target][1]) for source, target in links]
  return sum(
    first[0] == second[0] and (first[1] - second[1]) * (end - other) < 0
    for (first, end), (second, other) in itertools.combinations(ends, 2)
  )


def _straightened(
  layers: list[list[Item]], links: Sequence[tuple[Item, Item]], sizes: Mapping[str, float]
) -> dict[Item, float]:
  across: dict[Item, float] = {}
  for layer in layers:
    across |= zip(layer, _apart(layer, [0.0] * len(layer), sizes), strict=True)
  before, after = _neighbours(links, True), _neighbours(links, False)
  both = {item: before.get(item, []) + after.get(item, []) for layer in layers for item in layer}
  for sweep in range(SWEEPS):
    last = sweep >= SWEEPS - 2
    beside = both if last else (before, after)[sweep % 2]
    for layer in layers if sweep % 2 == 0 else reversed(layers):
      wanted = [statistics.mean(across[o] for o in beside.get(i) or [i]) for i in layer]
      across |= zip(layer, _apart(layer, wanted, sizes), strict=True)
  return across


def _apart(
  layer: Sequence[Item], wanted: Sequence[float], sizes: Mapping[str, float]
) -> list[float]:
  """The places nearest to those that are wanted at which no two items meet (least squares).

  Isotonic regression of what is left of each place without the least distance to the first.
  """
  offsets, blocks = [0.0], []
  for one, other in itertools.pairwise(layer):
    offsets.append(offsets[-1] + (_size(one, sizes) + _size(other, sizes)) / 2 + APART)
  for place, offset in zip(wanted, offsets[: len(layer)], strict=True):
    blocks.append([place - offset, 1])
    while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
      (mean, count), (other, more) = blocks[-2], blocks.pop()
      blocks[-1] = [(mean * count + other * more) / (count + more), count + more]
  means = [mean for mean, count in blocks for _ in range(count)]
  return [mean + offset for mean, offset in zip(means, offsets, strict=False)]


def _set_aside(
  layers: list[list[Item]],
  across: dict[Item, float],
  sizes: Mapping[str, float],
  graph: tuple[Sequence[str], Sequence[tuple[str, str]]],
) -> None:
  """Moves nodes out of the rectangle around a group, those that are linked to the same side."""
  group, edges = graph
  if not group:
    return
  low = min(across[name] - sizes[name] / 2 for name in group) - ASIDE
  high = max(across[name] + sizes[name] / 2 for name in group) + ASIDE
  held = [rank for rank, layer in enumerate(layers) if any(item in group for item in layer)]
  spanned = layers[min(held) : max(held) + 1]
  others = [i for layer in spanned for i in layer if isinstance(i, str) and i not in group]
  before = {
    n for part in _linked(others, edges) if _mean(part, across) < (low + high) / 2 for n in part
  }
  for layer in spanned:
    for sign, edge in ((-1, low), (1, high)):
      side = [name for name in others if name in layer and (name in before) == (sign < 0)]
      for name in sorted(side, key=lambda name: sign * across[name]):
        across[name] = sign * max(sign * across[name], sign * edge + sizes[name] / 2)
        edge = across[name] + sign * (sizes[name] / 2 + APART)


def _linked(names: Sequence[str], edges: Sequence[tuple[str, str]]) -> list[set[str]]:
  """The names in parts between which there is no edge."""
  parts = [{name} for name in names]
  for ends in edges:
    if set(ends) <= {*names}:
      met = [part for part in parts if part & {*ends}]
      parts = [part for part in parts if part not in met] + [set[str]().union(*met)]
  return parts


def _mean(names: set[str], across: Mapping[Item, float]) -> float:
  return statistics.mean(across[name] for name in names)


def _size(item: Item, sizes: Mapping[str, float]) -> float:
  return sizes[item] if isinstance(item, str) else 0.0
