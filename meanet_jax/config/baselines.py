"""Competitors that a run trains beside its MEANet: fields of the group `baselines`."""

import dataclasses

from meanet_jax.config.ranges import NonNegativeFloat


@dataclasses.dataclass(frozen=True)
class BaselinesConfig:
  """Networks that a MEANet has to beat."""

  static: NonNegativeFloat = 0.0
  """A plain network without exits: main's structure, its widths such that it costs so many
  times the MACs of `edge_only`'s average image; 0 trains none. It learns by main's recipe, in a
  stage `static` after the others, from as many images as the stages main and edge see together."""
