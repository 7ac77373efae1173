"""A run's further evaluations, each with a name and asked something else."""

from pathlib import Path

import pytest

from meanet_jax.config.constraints import Constraints
from meanet_jax.cost.changes import CostChanges
from meanet_jax.cost.device import Block, DeviceProfile
from meanet_jax.evaluation import collect
from meanet_jax.report.write import evaluate_run

DEVICE = DeviceProfile(
  "pi",
  "made up",
  "2026-01-01",
  main=Block(12.0, 15.0, 30.0, 35.0),
  extension=Block(8.0, 10.0, 20.0, 25.0),
  upload=None,
  idle=None,
)


def add_named(run: Path) -> None:
  """Evaluates a run as `tight`, `slow` and `pi`, from its records: no network runs."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(collect, "ForwardPass", None)
    evaluate_run(run, Constraints(max_offload=0.05), name="tight")
    changes = CostChanges(constants={"uplink_mbps": 1.0, "radio": "lte"})
    evaluate_run(run, Constraints(max_latency_ms=10.0), costs=changes, name="slow")
    evaluate_run(run, costs=CostChanges(DEVICE), name="pi")
