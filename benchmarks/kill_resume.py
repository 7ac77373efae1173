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

import argparse
import contextlib
import functools
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from meanet_jax.commands.app import run_script
from meanet_jax.commands.flags import Parser, add_integer, add_path
from meanet_jax.config.ranges import Range
from meanet_jax.files import write_text
from meanet_jax.runs.checkpoints import finished_step, read_arrays
from meanet_jax.runs.environment import environment

ROOT = Path(__file__).parent.parent
RUNS = ROOT / "runs" / "kill_resume"
STAGES = ("main", "edge", "cloud")


class Experiment(NamedTuple):
  """What is trained. config: a file or name. epochs: of every stage. flags: XLA's, as well."""

  config: str
  epochs: int
  flags: str = ""


class Pace(NamedTuple):
  """Seconds that an undisturbed run takes, and that its checkpoints take on average."""

  run: float
  save: float


class Kill(NamedTuple):
  """run: which, from 1. where: its newest checkpoint. saving: whether it was writing one."""

  run: int
  where: str
  saving: bool


def add_flags(parser: Parser) -> None:
  """The benchmark's flags."""
  add_integer(parser, "--kills", Range(1), default=20, help="times that runs are killed")
  add_integer(parser, "--seed", Range(0), default=0, help="of the moments")
  add_integer(parser, "--epochs", Range(1), default=12, help="of every stage")
  add_path(parser, "--config", default="configs/digits.py", help="the experiment")


def run(given: argparse.Namespace) -> None:
  """Trains undisturbed and killed, compares, and writes the page; fails where a bit differs."""
  experiment = Experiment(given.config, given.epochs)
  shutil.rmtree(RUNS, ignore_errors=True)
  whole = RUNS / "whole"
  pace = undisturbed(experiment, whole)
  rng = random.Random(given.seed)
  kills: list[Kill] = []
  arrays: list[int] = []  # compared, of every run that was killed
  while len(kills) < given.kills:
    number = len(arrays) + 1
    workdir = RUNS / f"killed_{number}"
    process = functools.partial(start, experiment, workdir)
    killed = kill(process, workdir, Moment.drawn(rng, pace, len(kills) % 2 == 1))
    hit = None if killed is None else Kill(number, *killed)
    if hit is not None:
      kills.append(hit)
    elif kills and kills[-1].run == number:
      arrays.append(compare(whole, workdir))
    else:
      shutil.rmtree(workdir)  # it ended before its first kill
  last = RUNS / f"killed_{kills[-1].run}"
  if start(experiment, last).wait():
    raise RuntimeError(f"the killed run could not be resumed; see {log(last)}")
  arrays.append(compare(whole, last))
  text = report(given, kills, pace, arrays)
  write_text(ROOT / "benchmarks" / "kill_resume.md", text)
  print(text)


def undisturbed(experiment: Experiment, workdir: Path) -> Pace:
  """Trains to the end."""
  begun = time.monotonic()
  seen: dict[Path, list[float]] = {}
  process = start(experiment, workdir)
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


def start(experiment: Experiment, workdir: Path) -> subprocess.Popen:
  """The training command, with a checkpoint after every epoch."""
  cache = workdir.with_name(f"{workdir.name.split('_')[0]}.compiled")  # one for all killed runs
  command = [
    sys.executable,
    "train.py",
    f"--config={experiment.config}",
    *(f"--config.stages.{stage}.epochs={experiment.epochs}" for stage in STAGES),
    "--config.logging.checkpoint_every_epochs=1",
    "--config.logging.every_steps=5",
    f"--compilation_cache={cache}",
    f"--workdir={workdir}",
  ]
  workdir.parent.mkdir(parents=True, exist_ok=True)
  with log(workdir).open("a") as file:
    # XLA takes a text that does not begin with a dash, as a blank, for the name of a file.
    flags = f"{os.environ.get('XLA_FLAGS', '')} {experiment.flags}".strip()
    env = os.environ | ({"XLA_FLAGS": flags} if flags else {})
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=file, stderr=file)


class Moment(NamedTuple):
  """When to kill. after: seconds from the start. saving: seconds into the next save, if any."""

  after: float
  saving: float | None

  @classmethod
  def drawn(cls, rng: random.Random, pace: Pace, saving: bool) -> "Moment":
    """At random; with `saving` during the next checkpoint or soon after it."""
    after, into = rng.uniform(0, pace.run / 2), rng.uniform(0, pace.save)
    return cls(after, into if saving else None)


def kill(
  launch: Callable[[], subprocess.Popen], workdir: Path, moment: Moment
) -> tuple[str, bool] | None:
  """Starts or resumes a run and kills it; None where it ended before its moment.

  Args:
    launch: starts the process.
    workdir: of the run.
    moment: when.

  Returns:
    Where it was killed, and whether during a save.
  """
  with left_over(workdir) as old:
    process = launch()
    begun = time.monotonic()
    while process.poll() is None and time.monotonic() < begun + moment.after:
      time.sleep(0.001)
    if moment.saving is not None:
      while process.poll() is None and not is_writing(workdir, old):
        time.sleep(0.0002)
      time.sleep(moment.saving)
    process.kill()
    if process.wait() == -signal.SIGKILL:
      return position(workdir), is_writing(workdir, old)
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


def report(given: argparse.Namespace, kills: list[Kill], pace: Pace, arrays: list[int]) -> str:
  """The page as Markdown.

  Args:
    given: the flags.
    kills: in order.
    pace: of an undisturbed run.
    arrays: how many were compared, of every run.
  """
  found = environment()
  saving = sum(kill.saving for kill in kills)
  lines = [
    f"# {len(arrays)} runs killed {len(kills)} times, {saving} times during a save",
    "",
    f"`python benchmarks/kill_resume.py --kills {len(kills)} --seed {given.seed}`, "
    f"`{given.config}` with {given.epochs} epochs a stage and a checkpoint after each; "
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
  sys.exit(run_script(__doc__, add_flags, run))
