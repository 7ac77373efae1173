"""Many trials in one program: vmapped, unrolled, and one after another."""

import dataclasses
from typing import Any, NamedTuple

import jax

from benchmarks.accelerator.measure import Calls, rounds
from benchmarks.accelerator.record import PartContext
from benchmarks.trials_step import trials_step
from configs import cifar100_resnet32_b
from meanet_jax.config.parsing import resolve
from meanet_jax.config.schema import Config
from meanet_jax.grid.step import Batching
from tests.experiments import tiny_config

NETWORKS = ("resnet20", "resnet32")


class Size(NamedTuple):
  """trials: in one program. batching: how."""

  trials: int
  batching: Batching


# What the target needs first; 64 unrolled would compile for longer than all of this may take.
SIZES = (
  Size(16, "vmap"),
  Size(64, "vmap"),
  Size(4, "vmap"),
  Size(4, "unroll"),
  Size(16, "unroll"),
)
RESIDENT = 45_000


def run(context: PartContext) -> None:
  """One trial, then several in one program, network by network."""
  rehearsal = context.rehearsal
  for network in ("tiny network",) if rehearsal else NETWORKS:
    config = resolve(tiny_config()) if rehearsal else experiment(network)
    alone = Trials(config, Size(1, "vmap"), 256 if rehearsal else RESIDENT)
    found = rounds({"one": alone.seconds}, *length(rehearsal))["one"]
    # One after another, as many take as much longer.
    context.record.add(**row(network, alone, "one after another", found))
    for size in (Size(2, "vmap"), Size(2, "unroll")) if rehearsal else SIZES:
      together = Trials(config, size, 256 if rehearsal else RESIDENT)
      timed = {"together": together.seconds, "one": alone.seconds}
      found = rounds(timed, *length(rehearsal))
      gain = size.trials * found["one"] / found["together"]
      context.record.add(
        **row(network, together, size.batching, found["together"]), over_one_after_another=gain
      )


def experiment(network: str) -> Config:
  """CIFAR-100's stage main with another main block."""
  config = resolve(cifar100_resnet32_b.get_config())
  main = dataclasses.replace(config.model.main, name=network)
  return dataclasses.replace(config, model=dataclasses.replace(config.model, main=main))


class Trials(Calls):
  """The compiled step of some trials, with states and images. size: how many. batch: of each."""

  def __init__(self, config: Config, size: Size, resident: int):
    step, arguments = trials_step(config, size.trials, size.batching, resident)
    super().__init__(jax.jit(step, donate_argnums=(0,)).lower(*arguments))
    self.size, self.batch = size, config.stages.main.batch_size


def length(rehearsal: bool) -> tuple[float, int]:
  """Seconds of one measurement, and how many."""
  return (0.01, 1) if rehearsal else (0.3, 5)


def row(network: str, trials: Trials, how: str, seconds: float) -> dict[str, Any]:
  """Images/s of all trials together."""
  return {
    "kind": "grid",
    "network": network,
    "trials": trials.size.trials,
    "batching": how,
    "batch": trials.batch,
    "seconds": seconds,
    "images_per_second": trials.size.trials * trials.batch / seconds,
    "compile_seconds": trials.compile_seconds,
  }
