"""Kills runs at random moments, goes on with each, and compares it with one that was left alone.

Command: python benchmarks/kill_resume.py [--kills 20] [--seed 0]; writes benchmarks/kill_resume.md.

Kills are SIGKILL to the training process, which the same command starts again. A run that ends
before its next kill is compared and another begins, so that every kill hits one in training and
every run that was killed is compared. Moments are drawn from half the length of the undisturbed
run; every second kill then waits for the next checkpoint and comes at a moment drawn from the time
that one takes on average: during the save or soon after it. The comparison is of bits: every array
of every stage's last checkpoint (parameters, batch statistics, optimiser state), hard_classes.json
and metrics.jsonl. Stages are short, so that moments fall into starting, compiling (also into the
compilation cache, which the killed processes share), saving and going from stage to stage as well
as into steps.
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from absl import app, flags, logging

from meanet_jax.runs.checkpoints import finished_step, read_arrays
from meanet_jax.runs.environment import environment
from meanet_jax.runs.files import write_text

ROOT = Path(__file__).parent.parent
RUNS = ROOT / "runs" / "kill_resume"
STAGES = ("main", "edge", "cloud")
_KILLS = flags.DEFINE_integer("kills", 20, "Times that runs are killed.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Of the moments.")
_EPOCHS = flags.DEFINE_integer("epochs", 12, "Of every stage.", lower_bound=1)
_CONFIG = flags.DEFINE_string("config", "configs/digits.py", "The experiment.")


class Pace(NamedTuple):
  """Seconds that an undisturbed run takes, and that its checkpoints take on average."""

  run: float
  save: float


class Kill(NamedTuple):
  """run: which, from 1. where: its newest checkpoint. saving: whether it was writing one."""

  run: int
  where: str
  saving: bool


def main(_: list[str]) -> None:
  """Trains undisturbed and killed, compares, and writes the page; fails where a bit differs."""
  logging.set_verbosity(logging.WARNING)  # Orbax tells of every file it reads
  shutil.rmtree(RUNS, ignore_errors=True)
  whole = RUNS / "whole"
  pace = undisturbed(whole)
  rng = random.Random(_SEED.value)
  kills: list[Kill] = []
  arrays: list[int] = []  # compared, of every run that was killed
  while len(kills) < _KILLS.value:
    number = len(arrays) + 1
    workdir = RUNS / f"killed_{number}"
    hit = kill(workdir, number, rng, pace, len(kills) % 2 == 1)
    if hit is not None:
      kills.append(hit)
    elif kills and kills[-1].run == number:
      arrays.append(compare(whole, workdir))
    else:
      shutil.rmtree(workdir)  # it ended before its first kill
  last = RUNS / f"killed_{kills[-1].run}"
  if start(last).wait():
    raise RuntimeError(f"the killed run could not be resumed; see {log(last)}")
  arrays.append(compare(whole, last))
  text = report(kills, pace, arrays)
  write_text(ROOT / "benchmarks" / "kill_resume.md", text)
  print(text)


def undisturbed(workdir: Path) -> Pace:
  """Trains to the end."""
  begun = time.monotonic()
  seen: dict[Path, list[float]] = {}
  process = start(workdir)
  while process.poll() is None:
    for path in partial(workdir):
      seen.setdefault(path, []).append(time.monotonic())
    time.sleep(0.001)
  if process.returncode:
    raise RuntimeError(f"the undisturbed run failed; see {log(workdir)}")
  saves = [times[-1] - times[0] for times in seen.values()]
  return Pace(time.monotonic() - begun, sum(saves) / len(saves))


def log(workdir: Path) -> Path:
  """Where a run's output goes."""
  return workdir.with_name(f"{workdir.name}.log")


def start(workdir: Path) -> subprocess.Popen:
  """The training command, with a checkpoint after every epoch."""
  cache = workdir.with_name(f"{workdir.name.split('_')[0]}.compiled")  # one for all killed runs
  command = [
    sys.executable,
    "train.py",
    f"--config={_CONFIG.value}",
    *(f"--config.stages.{stage}.epochs={_EPOCHS.value}" for stage in STAGES),
    "--config.logging.checkpoint_every_epochs=1",
    "--config.logging.every_steps=5",
    f"--compilation_cache={cache}",
    f"--workdir={workdir}",
  ]
  workdir.parent.mkdir(parents=True, exist_ok=True)
  with log(workdir).open("a") as file:
    return subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file)


def kill(workdir: Path, run: int, rng: random.Random, pace: Pace, saving: bool) -> Kill | None:
  """Starts or resumes a run and kills it; None where it ended before its moment.

  Args:
    workdir: of the run.
    run: its number.
    rng: draws the moment.
    pace: of an undisturbed run.
    saving: wait for a checkpoint that is being written.
  """
  moment, into = rng.uniform(0, pace.run / 2), rng.uniform(0, pace.save)
  with left_over(workdir) as old:
    process = start(workdir)
    begun = time.monotonic()
    while process.poll() is None and time.monotonic() < begun + moment:
      time.sleep(0.001)
    if saving:
      while process.poll() is None and not is_writing(workdir, old):
        time.sleep(0.0002)
      time.sleep(into)
    process.kill()
    if process.wait() == -signal.SIGKILL:
      return Kill(run, position(workdir), is_writing(workdir, old))
  if process.returncode:
    raise RuntimeError(f"the run failed by itself; see {log(workdir)}")
  return None


def partial(workdir: Path) -> list[Path]:
  """Checkpoints that are being written, or were when a process died."""
  return list(workdir.glob("checkpoints/*/*.orbax-checkpoint-tmp*"))


@contextlib.contextmanager
def left_over(workdir: Path) -> Iterator[set[tuple[int, int]]]:
  """Device and inode of what earlier processes were writing when they died.

  The directories are held open, so that no new one of the same name is given the same inode.
  """
  with contextlib.ExitStack() as stack:
    identities = set()
    for path in partial(workdir):
      descriptor = os.open(path, os.O_RDONLY)
      stack.callback(os.close, descriptor)
      identities.add(_identity(os.fstat(descriptor)))
    yield identities


def is_writing(workdir: Path, old: set[tuple[int, int]]) -> bool:
  """Whether a checkpoint is being written, or was when the process died, beside those left over."""
  for path in partial(workdir):
    with contextlib.suppress(FileNotFoundError):  # it has got its name in the meantime
      if _identity(path.stat()) not in old:
        return True
  return False


def _identity(stat: os.stat_result) -> tuple[int, int]:
  return stat.st_dev, stat.st_ino


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


def report(kills: list[Kill], pace: Pace, arrays: list[int]) -> str:
  """The page as Markdown.

  Args:
    kills: in order.
    pace: of an undisturbed run.
    arrays: how many were compared, of every run.
  """
  found = environment()
  saving = sum(kill.saving for kill in kills)
  lines = [
    f"# {len(arrays)} runs killed {len(kills)} times, {saving} times during a save",
    "",
    f"`python benchmarks/kill_resume.py --kills {len(kills)} --seed {_SEED.value}`, "
    f"`{_CONFIG.value}` with {_EPOCHS.value} epochs a stage and a checkpoint after each; "
    f"undisturbed {pace.run:.0f} s, of which a save takes {1000 * pace.save:.0f} ms beside the "
    "training.",
    "",
    "Every run that was killed went on to its end. All arrays of its last checkpoints (parameters, "
    "batch statistics, optimiser state), metrics.jsonl and hard_classes.json are bit for bit those "
    "of the undisturbed run.",
    "",
    "| run | kills | during a save | arrays compared, all equal |",
    "|---|---|---|---|",
  ]
  for run, compared in enumerate(arrays, 1):
    own = [kill for kill in kills if kill.run == run]
    lines.append(f"| {run} | {len(own)} | {sum(kill.saving for kill in own)} | {compared} |")
  lines += [
    "",
    "A kill is during a save where the process that was killed had begun to write a checkpoint and "
    "not finished.",
    "",
    "| run | killed | during a save |",
    "|---|---|---|",
    *(f"| {kill.run} | {kill.where} | {'yes' if kill.saving else 'no'} |" for kill in kills),
    "",
    f"Python {found['python']}, jax {found['packages']['jax']}, orbax-checkpoint "
    f"{found['packages']['orbax-checkpoint']}, {', '.join(found['devices'])}.",
  ]
  return "\n".join(lines) + "\n"


if __name__ == "__main__":
  app.run(main)
