"""The card's answers against the CPU's: parameters after 20 steps, and torchvision's logits."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.accelerator.record import PartContext
from benchmarks.accelerator.twenty_steps import STAGES, Arrays, learned
from meanet_jax.models.meanet import Network
from meanet_jax.models.torch_weights import load_pretrained
from meanet_jax.models.zoo import STRUCTURES
from tests import golden

# JAX's names for products of float32 as they are, and rounded to TF32's 10 bits; on CPU both are
# the former.
PRECISIONS = ("float32", "tensorfloat32")
# Of the distance that the parameters have moved. On CPU, first parameters changed at random by at
# most 2^-24 of themselves, as float32 rounds, end at most 1.2e-6 of it away, and by 2^-11, as TF32
# rounds, 8.6e-4. The tolerances leave 20 and more times that, for all that is rounded on the way.
STEP_TOLERANCE = {"float32": 1e-4, "tensorfloat32": 2e-2}
# Of the logits' standard deviation; float32's is that of the test of these networks on CPU.
LOGIT_TOLERANCE = {"float32": 1e-4, "tensorfloat32": 1e-2}
GOLDEN = Path(golden.__file__).parent / "data" / "golden"


def run(context: PartContext) -> None:
  """Steps first, for they need both devices' processes."""
  reference = cpu_reference(context.scratch / "reference.npz")
  for precision in PRECISIONS:
    with jax.default_matmul_precision(precision):
      for stage in STAGES:
        context.record.add(**steps_row(stage, precision, reference))
  for name in ("mobilenet_v2",) if context.rehearsal else ("resnet18", "mobilenet_v2"):
    for row in logits_rows(name):
      context.record.add(**row)


def cpu_reference(path: Path) -> Arrays:
  """What `twenty_steps` writes in a process that sees the CPU alone."""
  command = [sys.executable, "-m", "benchmarks.accelerator.twenty_steps", str(path)]
  subprocess.run(command, env={**os.environ, "JAX_PLATFORMS": "cpu"}, check=True)
  with np.load(path) as file:
    return dict(file)


def steps_row(stage: str, precision: str, reference: Arrays) -> dict[str, object]:
  """How far a stage's arrays are from the CPU's, as a share of how far those have moved."""

  def of(prefix: str) -> Arrays:
    start = f"{prefix} "
    return {k.removeprefix(start): v for k, v in reference.items() if k.startswith(start)}

  start, expected = of("fresh"), of(stage)
  found = learned(stage, start)
  apart = distance(found, expected) / distance(expected, {n: start[n] for n in expected})
  return {
    "kind": "steps",
    "stage": stage,
    "precision": precision,
    "apart": apart,
    "tolerance": STEP_TOLERANCE[precision],
    "within": apart <= STEP_TOLERANCE[precision],
  }


def distance(ours: Arrays, theirs: Arrays) -> float:
  """The Euclidean distance of all values."""
  squares = [np.sum((ours[name].astype(np.float64) - theirs[name]) ** 2) for name in theirs]
  return float(np.sqrt(sum(squares)))


def logits_rows(name: str) -> Iterator[dict[str, object]]:
  """A network's logits against torchvision's in float64, in standard deviations of those."""
  with np.load(GOLDEN / f"torchvision_{name}.npz") as file:
    spec, expected = str(file["spec"]), file["logits"]
  network = Network(STRUCTURES[name], 1000)
  shape = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
  abstract = jax.eval_shape(lambda x: network.init(jax.random.key(0), x, False), shape)
  variables = load_pretrained(golden.state_dict(spec), STRUCTURES[name], abstract, name)
  images = jnp.asarray(golden.images(224).transpose(0, 2, 3, 1))
  for precision in PRECISIONS:
    with jax.default_matmul_precision(precision):
      logits = jax.jit(network.apply, static_argnums=2)(variables, images, False)
    apart = float(np.max(np.abs(np.asarray(logits, np.float64) - expected)) / expected.std())
    yield {
      "kind": "logits",
      "network": name,
      "precision": precision,
      "apart": apart,
      "tolerance": LOGIT_TOLERANCE[precision],
      "within": apart <= LOGIT_TOLERANCE[precision],
    }
