"""Flops and bytes of a grid's step compiled for a TPU v5e that is not there; a part of grid.py.

Command: python -m benchmarks.grid_tpu [MEMBERS:BATCHING ...]
"""

import sys
from pathlib import Path
from typing import Any

import jax

from benchmarks.trials_step import trials_step
from meanet_jax.config.parsing import resolve
from meanet_jax.files import read_json, write_json
from meanet_jax.grid.step import Batching
from meanet_jax.planning.hbm_traffic import hbm_traffic
from meanet_jax.planning.topology import open_slice

ROOT = Path(__file__).parent.parent
TOPOLOGY = "v5e:2x2"
MEMBERS = (1, 4, 16, 64)


def compiled_cost(members: int, batching: Batching) -> dict[str, float]:
  """Of one step of so many ResNet-32 on one device: flops, bytes moved, and peak bytes."""
  from configs.cifar100_resnet32_b import get_config

  _, (device, *_) = open_slice(TOPOLOGY)
  sharding = jax.sharding.SingleDeviceSharding(device)
  step, arguments = trials_step(resolve(get_config()), members, batching)
  placed: Any = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), arguments
  )
  compiled = jax.jit(step, donate_argnums=(0,)).lower(*placed).compile()
  cost, memory = compiled.cost_analysis(), compiled.memory_analysis()
  return {
    "members": members,
    "flops": cost["flops"],
    "bytes": hbm_traffic(compiled.as_text()),
    "temporaries": memory.temp_size_in_bytes,
  }


def report_tpu(results: Path) -> list[str]:
  """The part of the page, of what was compiled."""
  found = {}
  for path in sorted(results.glob("tpu-*.json")):
    _, batching, members = path.stem.split("-")
    found[batching, int(members)] = read_json(path)
  if not found:
    return []
  lines = [
    "## ResNet-32 on a TPU, compiled ahead of time",
    "",
    f"Stage main of CIFAR-100 (batch 128), trials with seeds of their own on one of the "
    f"devices of {TOPOLOGY}. Flops as XLA's cost analysis counts them; bytes between the chip and "
    "its memory, read off the compiled program (`meanet_jax/planning/hbm_traffic.py`). Made by "
    "`python -m benchmarks.grid_tpu`. Nothing ran on a TPU.",
    "",
    "| batching | trials | Gflop a trial | GB moved a trial | temporaries a trial [MB] | "
    "flops / single | bytes / single |",
    "|---|---|---|---|---|---|---|",
  ]
  for batching, members in sorted(found, key=lambda key: (key[0] != "vmap", key[1])):
    one = found[batching, members]
    single = found.get((batching, 1), found.get(("vmap", 1)))
    ratios = [one[name] / members / single[name] for name in ("flops", "bytes")]
    lines.append(
      f"| {batching} | {members} | {one['flops'] / members / 1e9:.2f} | "
      f"{one['bytes'] / members / 1e9:.3f} | {one['temporaries'] / members / 1e6:.1f} | "
      f"{ratios[0]:.3f} | {ratios[1]:.3f} |"
    )
  return [*lines, ""]


def main(chosen: list[str]) -> None:
  """Compiles what is asked for, or everything."""
  results = ROOT / "runs" / "grid_benchmark"
  results.mkdir(parents=True, exist_ok=True)
  for text in chosen or [f"{members}:vmap" for members in MEMBERS] + ["16:unroll"]:
    members, batching = text.split(":")
    cost = compiled_cost(int(members), "vmap" if batching == "vmap" else "unroll")
    write_json(results / f"tpu-{batching}-{members}.json", cost)
    print(text, cost, flush=True)


if __name__ == "__main__":
  main(sys.argv[1:])
