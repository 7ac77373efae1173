"""Which networks a digest tells apart, and what it leaves out."""

import jax
import numpy as np

from meanet_jax.models.digests import digest, edge_digest

SHAPE = (8, 8, 1)
VARIABLES = {
  block: {"params": {"kernel": np.arange(6, dtype=np.float32)}, "batch_stats": {}}
  for block in ("main", "adaptive", "extension", "cloud")
}


def changed(block: str):
  found = jax.tree.map(np.copy, VARIABLES)
  kernel = found[block]["params"]["kernel"]
  kernel[-1] = np.nextafter(kernel[-1], np.float32(9))
  return found


def test_the_networks_of_an_edge_are_known_by_every_number_but_the_clouds():
  own = edge_digest(VARIABLES, SHAPE)
  assert len(own) == 64
  assert edge_digest(dict(reversed(VARIABLES.items())), SHAPE) == own
  assert edge_digest(changed("cloud"), SHAPE) == own
  assert edge_digest({name: VARIABLES[name] for name in VARIABLES if name != "cloud"}, SHAPE) == own
  others = [edge_digest(changed(block), SHAPE) for block in ("main", "adaptive", "extension")]
  others.append(edge_digest(VARIABLES, (16, 16, 1)))
  others.append(edge_digest({name: VARIABLES[name] for name in ("main", "extension")}, SHAPE))
  assert len({own, *others}) == 6


def test_a_digest_is_of_places_types_and_shapes_too():
  array = np.zeros(4, np.float32)
  of = [("", {"a": array}), ("b", {"a": array}), ("", {"b": array}), ("", {"a": array[None]})]
  of.append(("", {"a": array.view(np.int32)}))
  assert len({digest(*one) for one in of}) == 5
  assert digest("", {"a": jax.numpy.zeros(4)}) == digest("", {"a": array})
