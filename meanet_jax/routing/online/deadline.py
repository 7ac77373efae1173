"""Sending an image only if the cloud's answer can be expected by the image's deadline.

The round trip of the next image is bounded by an order statistic of the newest ones: of n round
trips the k-th smallest, k = ceil(quantile x (n + 1)). If the next and the n are exchangeable, it is
at most that with a probability of at least `quantile` (Angelopoulos and Bates 2021, "A gentle
introduction to conformal prediction", arXiv 2107.07511, section 1). While k > n, that is for fewer
than quantile / (1 - quantile) round trips (9 at 0.9), there is no such bound and the rule is
optimistic: it sends.

A round trip that was given up at its deadline counts as infinite. An image that is withheld shows
nothing, so one slow hour would stop sending for ever: after `window` images withheld in a row
all round trips are forgotten, and the rule is optimistic again.
"""

import math
from typing import NamedTuple

from meanet_jax.errors import UserError

_ROUNDING = 1e-9  # 0.9 x 10 is 9 round trips, whatever floating point makes of it


class Deadline(NamedTuple):
  """seconds: from taking an image up to its answer. quantile: in (0, 1), of round trips. window:
  newest round trips that count, and images withheld in a row after which they are forgotten.
  """

  seconds: float
  quantile: float = 0.9
  window: int = 50


class RoundTrips(NamedTuple):
  """The state. seconds: of the newest round trips, oldest first. withheld: images in a row."""

  seconds: tuple[float, ...] = ()
  withheld: int = 0


def check_deadline(name: str, deadline: Deadline, edge_seconds: float) -> None:
  """Refuses a deadline that no image can meet, or numbers out of range.

  Args:
    name: of the flag.
    deadline: as given.
    edge_seconds: that the edge takes for an image by itself.

  Raises:
    UserError: naming what is wrong.
  """
  if not 0 < deadline.quantile < 1:
    raise UserError(f"{name}: quantile is {deadline.quantile:g}; accepted: between 0 and 1")
  if deadline.window < least_round_trips(deadline):
    raise UserError(
      f"{name}: window is {deadline.window}; accepted: at least {least_round_trips(deadline)} "
      f"round trips for quantile {deadline.quantile:g}"
    )
  if not edge_seconds <= deadline.seconds < math.inf:
    raise UserError(
      f"{name} is {1e3 * deadline.seconds:g}, and the edge alone takes {1e3 * edge_seconds:.3g}; "
      "accepted: more milliseconds than that"
    )


def least_round_trips(deadline: Deadline) -> int:
  """How many round trips have to be known for a bound."""
  return math.ceil(deadline.quantile / (1 - deadline.quantile) - _ROUNDING)


def upper_round_trip(deadline: Deadline, state: RoundTrips) -> float | None:
  """Seconds within which the next answer is expected; None while too few are known."""
  count = len(state.seconds)
  rank = math.ceil(deadline.quantile * (count + 1) - _ROUNDING)
  return sorted(state.seconds)[rank - 1] if rank <= count else None


def may_send(deadline: Deadline, state: RoundTrips, elapsed: float) -> bool:
  """Whether an image may be sent.

  Args:
    deadline: of every image.
    state: round trips so far.
    elapsed: seconds since the image was taken up.
  """
  left = deadline.seconds - elapsed
  expected = upper_round_trip(deadline, state)
  return left > 0 and (expected is None or expected <= left)


def record_round_trip(deadline: Deadline, state: RoundTrips, seconds: float) -> RoundTrips:
  """The state after a round trip; `math.inf` for one without an answer by its deadline."""
  return RoundTrips((*state.seconds, seconds)[-deadline.window :])


def record_withheld(deadline: Deadline, state: RoundTrips) -> RoundTrips:
  """The state after an image that was to be sent and was not."""
  if state.withheld + 1 >= deadline.window:
    return RoundTrips()
  return state._replace(withheld=state.withheld + 1)
