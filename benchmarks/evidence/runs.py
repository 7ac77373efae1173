"""The runs that the evidence is read from, under runs/evidence/; what is missing is trained."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from meanet_jax.files import read_json
from meanet_jax.models.costs import block_macs
from meanet_jax.models.zoo import build
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.training.hard_classes import predicted_hard_share

ROOT = Path(__file__).parent.parent.parent
RUNS = ROOT / "runs" / "evidence"
# MACs of the static network that is in every table: what `meanet`'s edge is meant to cost.
STATIC = {"digits": 0.03e6, "fashion_mnist": 1.0e6}


def evaluated_run(config: str, seed: int, data: Sequence[str]) -> RunDirectory:
  """The run of a seed, with a static network of `STATIC` MACs, or of the edge's average.

  The commands go on where they were stopped, so this can be repeated until it is through.

  Args:
    config: the experiment's file.
    seed: of the run.
    data: flags that say where the images are.
  """
  workdir, static = RUNS / f"{Path(config).stem}-{seed}", STATIC.get(Path(config).stem)
  if not (workdir / "eval" / "summary.json").exists():
    factor = 1.0
    if static is not None:
      if not (workdir / "hard_classes.json").exists():
        trained(config, seed, workdir, [], data)
      factor = _static_factor(RunDirectory.existing(workdir), static)
    trained(config, seed, workdir, [f"--config.baselines.static={factor:.6f}"], data)
    _command("eval.py", f"--workdir={workdir}", *data)
  return RunDirectory.existing(workdir)


def trained(
  config: str, seed: int, workdir: Path, changes: Sequence[str], data: Sequence[str]
) -> RunDirectory:
  """A run whose stages are finished.

  Args:
    config, seed, data: as in `evaluated_run`.
    workdir: where it lies.
    changes: flags that set fields.
  """
  fields = [f"--config.seed={seed}", *changes]
  _command("train.py", f"--config={config}", *fields, f"--workdir={workdir}", *data)
  return RunDirectory.existing(workdir)


def with_static(
  run: RunDirectory, config: str, seed: int, macs: float, data: Sequence[str]
) -> RunDirectory:
  """The same run with a static network of so many MACs: a copy in which that stage alone is new.

  Args:
    run: of the configuration and seed.
    config, seed, data: as in `evaluated_run`.
    macs: multiply-accumulates for one image.
  """
  workdir = RUNS / f"{run.path.name}-static-{macs / 1e6:g}"
  copied(run, workdir, "static", "eval")
  factor = f"--config.baselines.static={_static_factor(run, macs):.6f}"
  return trained(config, seed, workdir, [factor], data)


def copied(run: RunDirectory, workdir: Path, *left_out: str) -> None:
  """Copies a run, unless that was done before; completely or not at all.

  Args:
    run: which.
    workdir: where to.
    left_out: names of files and directories that the copy is to be without.
  """
  if not workdir.exists():
    partial = workdir.with_name(f".{workdir.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(run.path, partial, ignore=shutil.ignore_patterns(*left_out))
    partial.rename(workdir)


def _static_factor(run: RunDirectory, macs: float) -> float:
  """`baselines.static` of a static network of so many MACs."""
  settings = run.config()
  costs = block_macs(build(settings), settings.dataset.image_shape)
  share = predicted_hard_share(read_json(run.hard_classes_path))
  return macs / (costs.main + share * costs.extension)


def minutes(run: RunDirectory) -> float:
  """That a run's steps took, compilation included, by its timing.jsonl."""
  total, before = 0.0, {}
  for line in map(json.loads, (run.path / "timing.jsonl").read_text().splitlines()):
    steps = line["step"] - before.get(line["stage"], 0)
    total += steps * line["step_seconds"] + line.get("first_step_seconds", 0.0)
    before[line["stage"]] = line["step"]
  return total / 60


def _command(*arguments: str) -> None:
  subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True)
