"""Early exit in batches of 256 against every block on every image."""

import dataclasses

from benchmarks.accelerator.record import PartContext
from benchmarks.early_exit import measure, untrained_cases
from configs import cifar100_resnet32_b
from meanet_jax.config.parsing import resolve
from tests.experiments import tiny_config

SHARES = (0.25, 0.5)


def run(context: PartContext) -> None:
  """At two shares of images that need the extension."""
  if context.rehearsal:
    config, batch, images, runs = resolve(tiny_config()), 16, 64, 1
  else:
    config, batch, images, runs = resolve(cifar100_resnet32_b.get_config()), 256, 20_480, 5
  config = dataclasses.replace(
    config, evaluation=dataclasses.replace(config.evaluation, batch_size=batch)
  )
  network = "tiny network" if context.rehearsal else "ResNet-32"
  for case in untrained_cases(network, config, SHARES, images):
    found = measure(case, runs)
    context.record.add(
      kind="early_exit",
      network=network,
      images=images,
      batch=batch,
      share=found.share,
      everything_per_second=images / found.seconds["everything"],
      early_exit_per_second=images / found.seconds["early"],
      speed_up=found.reached,
      allowed=found.allowed,
      reached_over_allowed=found.reached / found.allowed,
      differing=found.differing,
    )
