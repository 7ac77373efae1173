"""The real training loop against bare calls of its step, and JPEGs against the step's demand."""

import dataclasses
import os
import statistics

from benchmarks.accelerator.measure import rounds
from benchmarks.accelerator.record import PartContext
from benchmarks.accelerator.training import REHEARSED, WORKS, experiment, noise
from benchmarks.bare_step import BareStep, Case
from benchmarks.input_pipeline import StreamSize, measure_streaming
from benchmarks.train_step import loop_seconds, short
from configs import imagenet_resnet18_b
from meanet_jax.config.parsing import resolve
from meanet_jax.training import stages


def run(context: PartContext) -> None:
  """In memory, then streamed."""
  context.record.add(**in_memory(context.rehearsal))
  for row in streamed(context.rehearsal):
    context.record.add(**row)


def in_memory(rehearsal: bool) -> dict[str, object]:
  """Seconds of the main stage's steps in the loop and bare."""
  work = REHEARSED[0]._replace(batch=64) if rehearsal else WORKS[1]
  batch, (steps, repeats) = work.batch, (4, 1) if rehearsal else (300, 3)
  config = short(resolve(work.config()), epochs=1, batch_size=batch)
  # The loop reports after so many steps.
  every = dataclasses.replace(config.logging, every_steps=2 if rehearsal else 50)
  config = dataclasses.replace(config, logging=every)
  case = Case("loop", config, noise(config, batch * steps))
  bare = BareStep(case, stages.MAIN)
  bare.seconds(2)
  loop_seconds(case)  # fills the cache of compiled programs
  found = [(loop_seconds(case), bare.seconds(steps)) for _ in range(repeats)]
  loop, alone = (statistics.median(column) for column in zip(*found, strict=True))
  return {
    "kind": "loop",
    "network": work.network,
    "batch": batch,
    "steps": steps,
    "loop_seconds": loop,
    "bare_seconds": alone,
    "loop_over_bare": statistics.median(a / b for a, b in found),
  }


def streamed(rehearsal: bool) -> list[dict[str, object]]:
  """What worker processes decode, and what ResNet-18's edge and main stages ask for."""
  work = (REHEARSED if rehearsal else WORKS)[0]._replace(stage=stages.EDGE)
  config = experiment(work, "bfloat16")
  size = StreamSize(120, 2, 2, 1) if rehearsal else StreamSize(2048, 64, 60, 3)
  supply = measure_streaming(resolve(imagenet_resnet18_b.get_config()), size)
  rows: list[dict[str, object]] = [
    {
      "kind": "stream",
      "cores": os.cpu_count(),
      "images_per_second": supply.streamed,
      "decoded_per_second": supply.decoded,
      "jpeg_bytes": supply.jpeg_bytes,
    }
  ]
  step = BareStep(Case("edge", config, noise(config, 2 * work.batch, config.num_hard)), work.stage)
  timed = rounds({"edge": step.seconds}, 0.01 if rehearsal else 0.5, 1 if rehearsal else 3)
  rows.append(
    {
      "kind": "demand",
      "network": work.network,
      "stage": "edge",
      "batch": work.batch,
      "images_per_second": work.batch / timed["edge"],
      "supply_over_demand": supply.streamed * timed["edge"] / work.batch,
    }
  )
  return rows
