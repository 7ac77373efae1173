"""The parts, in order of worth."""

from typing import NamedTuple


class Part(NamedTuple):
  """One part, a module of this package with `run(context)`.

  name: of the module and of the JSON file. title: on the page. seconds: its time limit on a card,
  compilation included. opens_jax: whether its own process uses the card through JAX.
  """

  name: str
  title: str
  seconds: int
  opens_jax: bool = True


# Together about the 480 s that one call on a card is given; what a part leaves, later ones have.
PARTS = (
  Part("answers", "Same answers as on CPU", 90),
  Part("resume", "Killed and resumed", 75, opens_jax=False),
  Part("training", "Training steps", 120),
  Part("pytorch", "The same networks in PyTorch", 60, opens_jax=False),
  Part("loop", "The loop against bare steps", 50),
  Part("edge", "The edge stage against its parts", 40),
  Part("grids", "Many trials on one card", 75),
  Part("sweeps", "Sweeps and policy selection", 60),
  Part("early_exit", "Early exit in a batch", 30),
  Part("demo", "The demo's training", 40),
)
BY_NAME = {part.name: part for part in PARTS}
# Rehearsals on CPU may take so many times a part's limit: their sizes are tiny, but cores may be
# shared and nothing is compiled by a fast compiler.
REHEARSAL_FACTOR = 10
