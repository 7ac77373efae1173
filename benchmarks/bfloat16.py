"""Twenty training steps of every network in float32 and bfloat16; writes benchmarks/bfloat16.md.

Command: python -m benchmarks.bfloat16
"""

import dataclasses
import statistics
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from benchmarks.measured_on import measured_on
from meanet_jax.config.parsing import default_config, resolve
from meanet_jax.config.schema import Config
from meanet_jax.files import write_text
from meanet_jax.models.variables import init_variables
from meanet_jax.models.zoo import STRUCTURES, build
from meanet_jax.training.optimizers import make_optimizer
from meanet_jax.training.stages import CLOUD
from meanet_jax.training.state import TrainState, create_state
from meanet_jax.training.steps import Recipe, make_train_step, stage_key

STEPS, BATCH = 20, 16
# Small enough that no network is thrown about by its first steps on made-up labels, which would
# measure chaos instead of arithmetic.
RATE = 2e-4
# Small images: what is compared is arithmetic, not accuracy.
SIZE = {"conv3": 16, "conv7_pool": 64, "conv3_stride2": 64}
# The smallest and the largest width multiplier of the MobileNetV2s that its authors published.
SCALED = (("mobilenet_v2", 0.35), ("mobilenet_v2", 1.4))


def experiment(name: str, dtype: str, multiplier: float = 1.0) -> Config:
  """The network in the cloud's place; the edge is as small as it gets."""
  config: ConfigDict = default_config()
  size = SIZE[STRUCTURES[name].stem]
  config.dataset.image_shape = (size, size, 3)
  for trunk in (config.model.main.structure, config.model.adaptive, config.model.extension):
    trunk.depths, trunk.widths, trunk.strides = (1,), (4,), (1,)
  config.model.cloud.name, config.model.cloud.width_multiplier = name, multiplier
  config.model.compute_dtype = dtype
  config.stages.cloud.learning_rate, config.stages.cloud.schedule = RATE, "constant"
  return resolve(config)


def losses(name: str, dtype: str, multiplier: float = 1.0) -> tuple[list[float], TrainState]:
  """The loss of every step on made-up images, the same for both types, and the last state."""
  config = experiment(name, dtype, multiplier)
  model = build(config)
  settings = dataclasses.replace(config.stages.cloud, batch_size=BATCH)
  tx = make_optimizer(settings, 10)
  variables = init_variables(model, 0, config.dataset.image_shape, ("cloud",))
  state = create_state(CLOUD, variables, tx)
  step = jax.jit(make_train_step(model, CLOUD, Recipe(settings, tx), config.dataset))
  rng = np.random.default_rng(0)
  found = []
  for _ in range(STEPS):
    batch = {
      "image": jnp.asarray(rng.integers(256, size=(BATCH, *config.dataset.image_shape)), jnp.uint8),
      "label": jnp.asarray(rng.integers(10, size=BATCH), jnp.int32),
      "position": jnp.arange(BATCH, dtype=jnp.int32),
    }
    state, sums = step(state, batch, stage_key(0, "cloud"))
    found.append(float(sums["loss"] / sums["count"]))
  return found, state


def main() -> None:
  """Measures every network and writes the table."""
  lines = [
    "# bfloat16 against float32",
    "",
    f"Mean loss of {STEPS} steps (SGD, momentum 0.9, learning rate {RATE}, batch {BATCH}, the same "
    "made-up batches). Made by `python -m benchmarks.bfloat16`.",
    "",
    "| network | image | float32 | bfloat16 | difference | largest in one step |",
    "|---|---|---|---|---|---|",
  ]
  for name, multiplier in [*((name, 1.0) for name in STRUCTURES), *SCALED]:
    full, half = (losses(name, dtype, multiplier)[0] for dtype in ("float32", "bfloat16"))
    mean = statistics.mean(half) / statistics.mean(full) - 1
    worst = max(abs(b / a - 1) for a, b in zip(full, half, strict=True))
    size = SIZE[STRUCTURES[name].stem]
    label = f"`{name}`" + ("" if multiplier == 1 else f" x {multiplier}")
    lines.append(
      f"| {label} | {size}x{size} | {statistics.mean(full):.4f} | {statistics.mean(half):.4f} | "
      f"{100 * mean:+.2f}% | {100 * worst:.2f}% |"
    )
    print(lines[-1], flush=True)
  lines += ["", *measured_on()]
  write_text(Path(__file__).with_suffix(".md"), "\n".join(lines))


if __name__ == "__main__":
  main()
