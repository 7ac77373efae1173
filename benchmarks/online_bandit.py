"""The bandit of benchmarks/online_budget.py on its stream: rewards, regret, and its picture."""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.online_stream import Stream, accuracy
from meanet_jax.routing.normalised_threshold import NOTHING_SENT
from meanet_jax.routing.online.bandit import Bandit, choose_arm, observe, start

ARMS = (*np.linspace(0, 1, 10).tolist(), NOTHING_SENT)
OFFLOAD_COST = 0.1  # in units of confidence
RULES = {
  "played arm only (SplitEE)": Bandit(ARMS, OFFLOAD_COST, side_observations=False),
  "side observations (SplitEE-S)": Bandit(ARMS, OFFLOAD_COST),
  "side observations, exploration 0.3": Bandit(ARMS, OFFLOAD_COST, exploration=0.3),
  "the same, discount 0.999": Bandit(ARMS, OFFLOAD_COST, exploration=0.3, discount=0.999),
}
TITLES = ("rule", "regret", "at the change", "sent [%]", "then", "accuracy [%]", "then")


def rewards(stream: Stream) -> np.ndarray:
  """[n, k]: what every arm gets for every image."""
  sends = stream.uncertainty[:, None] > np.array(ARMS)
  sent = stream.cloud_confidence - OFFLOAD_COST
  return np.where(sends, sent[:, None], stream.edge_confidence[:, None])


def played(stream: Stream, bandit: Bandit) -> np.ndarray:
  """The arm that the bandit plays for every image."""
  state, arms = start(bandit), []
  columns = (stream.uncertainty, stream.edge_confidence, stream.cloud_confidence)
  for uncertainty, edge, cloud in zip(*(values.tolist() for values in columns)):
    arm = choose_arm(bandit, state)
    arms.append(arm)
    answer = cloud if uncertainty > bandit.thresholds[arm] else None
    state = observe(bandit, state, arm, uncertainty, edge, answer)
  return np.array(arms)


def shuffled(stream: Stream, order: int) -> Stream:
  """Each half in another order."""
  rng, half = np.random.default_rng(order), len(stream.uncertainty) // 2
  return stream.at(np.concatenate([rng.permutation(half), half + rng.permutation(half)]))


def compare(stream: Stream, orders: int) -> tuple[list[str], dict[str, np.ndarray]]:
  """Lines of the table; cumulative regret of every rule against the best fixed arm, by order."""
  half = len(stream.uncertainty) // 2
  every = np.arange(2 * half)
  each = rewards(stream)
  best = int(each.mean(axis=0).argmax())
  of_halves = [int(part.mean(axis=0).argmax()) for part in np.split(each, 2)]
  knowing = np.repeat(of_halves, half)
  fixed = np.full(2 * half, best)
  rows, curves = [], {}
  regret = np.cumsum(each[:, best] - each[every, knowing])
  for name, arms, lost in (
    (f"best fixed threshold, {ARMS[best]:.2f}", fixed, np.zeros((1, 2 * half))),
    (f"best of each half, {' and '.join(f'{ARMS[a]:.2f}' for a in of_halves)}", knowing, [regret]),
  ):
    rows.append(_row(name, np.asarray(lost), [(stream, arms)]))
  curves["best of each half"] = regret[None]
  for name, bandit in RULES.items():
    places, lost = [], []
    for order in range(orders):
      there = shuffled(stream, order)
      arms, got = played(there, bandit), rewards(there)
      places.append((there, arms))
      lost.append(np.cumsum(got[:, best] - got[every, arms]))
    curves[name] = np.array(lost)
    rows.append(_row(name, curves[name], places))
  return rows, curves


def _row(name: str, lost: np.ndarray, places: list[tuple[Stream, np.ndarray]]) -> str:
  shares, right = [], []
  for stream, arms in places:
    goes = stream.uncertainty > np.array(ARMS)[arms]
    parts = list(zip(stream.halves, np.split(goes, 2), strict=True))
    shares.append([100 * float(gone.mean()) for _, gone in parts])
    right.append([100 * accuracy(part, gone) for part, gone in parts])
  ends = lost[:, -1]
  spread = f" ± {ends.std(ddof=1):.0f}" if len(ends) > 1 else ""
  cells = [name, f"{ends.mean():.0f}{spread}", f"{lost[:, lost.shape[1] // 2 - 1].mean():.0f}"]
  cells += [f"{share:.1f}" for share in np.mean(shares, axis=0)]
  cells += [f"{share:.2f}" for share in np.mean(right, axis=0)]
  return f"| {' | '.join(cells)} |"


def draw(path: Path, curves: dict[str, dict[str, np.ndarray]]) -> None:
  """Regret over images, one panel per run."""
  figure = Figure(figsize=(7 * len(curves), 5), layout="constrained")
  FigureCanvasAgg(figure)
  for axes, (run, lines) in zip(np.ravel(figure.subplots(1, len(curves))), curves.items()):
    for name, lost in lines.items():
      (line,) = axes.plot(lost.mean(axis=0), label=name)
      low, high, colour = lost.min(axis=0), lost.max(axis=0), line.get_color()
      axes.fill_between(np.arange(len(low)), low, high, color=colour, alpha=0.2)
    change = lines["best of each half"].shape[1] // 2
    axes.axvline(change, color="black", linewidth=0.8, linestyle=":")
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xlabel("images (dotted: they become noisier and blurrier)")
    axes.set_ylabel("cumulative regret against the best fixed threshold")
    axes.set_title(f"{run}: mean and range over orders of the stream")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left")
  figure.savefig(path, dpi=100)
