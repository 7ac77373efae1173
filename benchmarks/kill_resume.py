"""Kills a run at random moments, resumes it, and compares it with one that was left alone.

Command: python benchmarks/kill_resume.py [--kills 20] [--seed 0]; writes benchmarks/kill_resume.md.

Kills are SIGKILL to the training process. Every second one waits for a checkpoint that is being
written, so that saves are hit for certain; the others come at a moment drawn from the length of the
undisturbed run. The comparison is of bits: every array of every stage's last checkpoint
(parameters, batch statistics, optimiser state), hard_classes.json and metrics.jsonl. Stages are
short, so that moments fall into starting, compiling (also into the compilation cache, which the
killed processes share), saving and going from stage to stage as well as into steps.
"""

import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

from absl import app, flags, logging

from meanet_jax.runs.checkpoints import finished_step, read_arrays
from meanet_jax.runs.directory import environment, write_text

ROOT = Path(__file__).parent.parent
RUNS = ROOT / "runs" / "kill_resume"
STAGES = ("main", "edge", "cloud")
_KILLS = flags.DEFINE_integer("kills", 20, "Times that the run is killed.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Of the moments.")
_EPOCHS = flags.DEFINE_integer("epochs", 12, "Of every stage.", lower_bound=1)
_CONFIG = flags.DEFINE_string("config", "configs/digits.py", "The experiment.")


def main(_: list[str]) -> None:
  """Trains twice, compares, and writes the page; fails where a bit differs."""
  logging.set_verbosity(logging.WARNING)  # Orbax tells of every file it reads
  shutil.rmtree(RUNS, ignore_errors=True)
  whole, killed = RUNS / "whole", RUNS / "killed"
  begun = time.monotonic()
  if start(whole).wait():
    raise RuntimeError(f"the undisturbed run failed; see {log(whole)}")
  seconds = time.monotonic() - begun
  rng = random.Random(_SEED.value)
  kills = [kill(killed, rng, seconds, number % 2 == 1) for number in range(_KILLS.value)]
  if start(killed).wait():
    raise RuntimeError(f"the killed run could not be resumed; see {log(killed)}")
  arrays = compare(whole, killed)
  text = report(kills, seconds, arrays)
  write_text(ROOT / "benchmarks" / "kill_resume.md", text)
  print(text)


def log(workdir: Path) -> Path:
  """Where a run's output goes."""
  return workdir.with_name(f"{workdir.name}.log")


def start(workdir: Path) -> subprocess.Popen:
  """The training command, with a checkpoint after every epoch."""
  command = [
    sys.executable,
    "train.py",
    f"--config={_CONFIG.value}",
    *(f"--config.stages.{stage}.epochs={_EPOCHS.value}" for stage in STAGES),
    "--config.logging.checkpoint_every_epochs=1",
    "--config.logging.every_steps=5",
    f"--compilation_cache={workdir}.compiled",
    f"--workdir={workdir}",
  ]
  workdir.parent.mkdir(parents=True, exist_ok=True)
  with log(workdir).open("a") as file:
    return subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file)


def kill(workdir: Path, rng: random.Random, seconds: float, saving: bool) -> tuple[str, bool]:
  """Starts or resumes the run and kills it; where it was, and whether it was writing.

  A run that ended before its moment begins anew, so that every kill hits one in training.

  Args:
    workdir: of the run.
    rng: draws the moment.
    seconds: length of an undisturbed run.
    saving: wait for a checkpoint that is being written.
  """
  while True:
    moment = rng.uniform(0, seconds / 2)
    process = start(workdir)
    begun = time.monotonic()
    while process.poll() is None and time.monotonic() < begun + moment:
      time.sleep(0.001)
    while process.poll() is None and saving and not partial(workdir):
      time.sleep(0.0002)
    if process.poll() is None:
      process.kill()
      process.wait()
      return position(workdir), bool(partial(workdir))
    if process.returncode:
      raise RuntimeError(f"the run failed by itself; see {log(workdir)}")
    shutil.rmtree(workdir)


def partial(workdir: Path) -> list[Path]:
  """Checkpoints that are being written, or were when the process died."""
  return list(workdir.glob("checkpoints/*/*.orbax-checkpoint-tmp*"))


def position(workdir: Path) -> str:
  """The newest stage and its newest checkpoint."""
  for stage in reversed(STAGES):
    step = finished_step(workdir / "checkpoints" / stage)
    if step is not None:
      return f"after step {step} of {stage}"
  return "before the first checkpoint"


def compare(whole: Path, killed: Path) -> int:
  """The number of arrays compared, all equal.

  Raises:
    RuntimeError: an array or a file differs.
  """
  count = 0
  for stage in STAGES:
    steps = [finished_step(run / "checkpoints" / stage) for run in (whole, killed)]
    if steps[0] != steps[1]:
      raise RuntimeError(f"stage {stage} ended after {steps[0]} steps, and {steps[1]} when killed")
    ours, theirs = (
      read_arrays(run / "checkpoints" / stage / str(steps[0])) for run in (whole, killed)
    )
    if ours.keys() != theirs.keys():
      raise RuntimeError(f"stage {stage}: other arrays")
    for name, value in ours.items():
      if value.dtype != theirs[name].dtype or value.tobytes() != theirs[name].tobytes():
        raise RuntimeError(f"stage {stage}: {name} differs")
    count += len(ours)
  for name in ("metrics.jsonl", "hard_classes.json"):
    if (whole / name).read_bytes() != (killed / name).read_bytes():
      raise RuntimeError(f"{name} differs")
  return count


def report(kills: list[tuple[str, bool]], seconds: float, arrays: int) -> str:
  """The page as Markdown."""
  found = environment()
  lines = [
    f"# A run killed {len(kills)} times",
    "",
    f"`python benchmarks/kill_resume.py --kills {len(kills)} --seed {_SEED.value}`, "
    f"`{_CONFIG.value}` with {_EPOCHS.value} epochs a stage and a checkpoint after each; "
    f"undisturbed {seconds:.0f} s.",
    "",
    f"All {arrays} arrays of the last checkpoints, metrics.jsonl and hard_classes.json are bit for "
    f"bit those of the undisturbed run. {sum(writing for _, writing in kills)} of {len(kills)} "
    "kills hit a checkpoint that was being written.",
    "",
    "| killed | while saving |",
    "|---|---|",
    *(f"| {where} | {'yes' if writing else 'no'} |" for where, writing in kills),
    "",
    f"Python {found['python']}, jax {found['packages']['jax']}, orbax-checkpoint "
    f"{found['packages']['orbax-checkpoint']}, {', '.join(found['devices'])}.",
  ]
  return "\n".join(lines) + "\n"


if __name__ == "__main__":
  app.run(main)
