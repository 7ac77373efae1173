"""Commands as a user runs them: their status and what they print."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from meanet_jax import __version__
from meanet_jax.commands.app import COMMANDS, main
from tests.devices import forced_devices
from tests.forked_commands import ROOT, run_command

DIGITS = "configs/digits.py"


def command(script: str, *flags: str, env: dict[str, str] | None = None):
  return run_command(script, *flags, env=env)


def one_line_error(result: subprocess.CompletedProcess, status: int = 2) -> str:
  assert result.returncode == status, result.stderr
  lines = result.stderr.strip().splitlines()
  assert len(lines) == 1, result.stderr
  assert lines[0].startswith("error: ")
  return lines[0]


def write(path: Path, text: str) -> str:
  path.write_text(text)
  return str(path)


def test_wrong_flags_and_files(tmp_path: Path):
  workdir = f"--workdir={tmp_path / 'run'}"
  raising = write(tmp_path / "raising.py", "raise RuntimeError('no such luck')")
  in_function = write(tmp_path / "f.py", "def get_config():\n  raise ValueError('bad\\nvalue')\n")
  plain = write(tmp_path / "plain.py", "def get_config():\n  return 3\n")
  file = write(tmp_path / "file", "")
  cases = [
    ([workdir], "flag --config is missing"),
    (["--config", DIGITS], "flag --workdir is missing"),
    (["--config", "nowhere.py", workdir], "no file 'nowhere.py'"),
    (["--config", raising, workdir], "raising.py: RuntimeError: no such luck"),
    (["--config", in_function, workdir], "f.py: ValueError: bad value"),
    (["--config", plain, workdir], "get_config() returned 3; accepted: a ConfigDict"),
    (["--config", DIGITS, workdir, "--config.stages.edge.epoch=3"], "did you mean 'epochs'?"),
    (["--config", DIGITS, workdir, "--config.seed=one"], "--config.seed is 'one'"),
    (["--config", DIGITS, workdir, "--config.hard_classes.count=0"], "accepted: 1 to 9"),
    (["--config", DIGITS, workdir, "--wrokdir=x"], "wrokdir"),
    (["--config", DIGITS, workdir, "more"], "unexpected argument 'more'"),
    (["--config", DIGITS, f"--workdir={file}"], "cannot be written"),
    (["--config", DIGITS, f"--workdir={file}/run"], "cannot be written"),
  ]
  for flags, words in cases:
    assert words in one_line_error(command("train.py", *flags)), flags
  assert not (tmp_path / "run").exists()


def test_wrong_constraints(tmp_path: Path):
  run = f"--workdir={tmp_path}"
  assert "--max-offload" in one_line_error(command("eval.py", run, "--max-offload=1.5"))
  assert "--max-energy-mj" in one_line_error(command("eval.py", run, "--max-energy-mj=much"))


def test_eval_without_a_run(tmp_path: Path):
  message = one_line_error(command("eval.py", "--workdir", str(tmp_path / "nowhere")))
  assert "holds no run; accepted: a directory made by meanet train" in message
  assert not (tmp_path / "nowhere").exists()


def test_a_batch_that_the_devices_cannot_share(tmp_path: Path):
  result = command(
    "train.py", "--config", DIGITS, f"--workdir={tmp_path / 'run'}", env=forced_devices(3)
  )
  assert "is 128; accepted: a multiple of the 3 devices" in one_line_error(result)


LATE_ANSWER = """
import asyncio, threading, tensorstore
import sys
from meanet_jax.commands.app import run_script

def answer_after_the_loop(result):
  promise, future = tensorstore.Promise.new()
  async def ask():
    next(future.__await__())
  loop = asyncio.new_event_loop()
  loop.run_until_complete(ask())
  loop.close()
  thread = threading.Thread(target=lambda: promise.set_result(result))
  thread.start()
  thread.join()

class Raises:
  def __del__(self):
    raise RuntimeError("seen")

def main():
  answer_after_the_loop(3)
  Raises()

sys.exit(run_script(None, lambda _: None, lambda _: main()))
"""


def test_writes_that_end_after_their_loop_say_nothing_more(tmp_path: Path):
  """As when a disk is full; whatever else cannot be raised is still told."""
  result = command(write(tmp_path / "late.py", LATE_ANSWER), env={"PYTHONPATH": str(ROOT)})
  assert result.returncode == 0
  assert "Event loop is closed" not in result.stderr
  assert "RuntimeError: seen" in result.stderr


PRINTS = """
import sys
from meanet_jax.commands.app import guarded
sys.exit(guarded(lambda: print("x\\n" * %d)))
"""


def test_output_that_nobody_reads_ends_without_a_word(tmp_path: Path):
  for lines in (1, 100_000):  # what the last flush writes, and what leaves in the middle
    script = PRINTS % lines
    reading, writing = os.pipe()
    os.close(reading)
    result = subprocess.run(
      [sys.executable, write(tmp_path / "prints.py", script)],
      cwd=ROOT,
      env=os.environ | {"PYTHONPATH": str(ROOT)},
      stdout=writing,
      stderr=subprocess.PIPE,
      text=True,
      check=False,
    )
    os.close(writing)
    assert (result.returncode, result.stderr) == (141, "")


def test_the_overview_and_what_is_no_command(capsys):
  for arguments in ([], ["--help"], ["-h"]):
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {name:10}  {command.help}\n" in out for name, command in COMMANDS.items())
  assert main(["--version"]) == 0
  assert capsys.readouterr().out == f"{__version__}\n"
  assert main(["trian"]) == 2
  words = "error: command 'trian' does not exist; did you mean 'train'? accepted: demo, train, "
  assert capsys.readouterr().err.startswith(words)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_every_command(name, capsys):
  with pytest.raises(SystemExit) as ended:
    main([name, "--help"])
  assert ended.value.code == 0
  out = capsys.readouterr().out
  assert out.startswith(f"usage: meanet {name} ")
  assert "--help" in out
  assert "_" not in "".join(re.findall(r"--[\w-]+", out))
  if name in ("train", "eval", "export", "edge", "prepare"):
    assert "--data-dir DIR" in out
  if name in ("train", "export", "plan", "summary"):
    assert "--config FILE_OR_NAME" in out
    assert "`meanet config NAME`" in out


def test_help_needs_no_jax():
  """So that it is there at once. What `summary` counts is imported with it."""
  code = """
import sys
from meanet_jax.commands.app import COMMANDS, main
for name in sorted({*COMMANDS} - {"summary"}):
  try:
    main([name, "--help"])
  except SystemExit:
    pass
assert "jax" not in sys.modules and "tensorflow_datasets" not in sys.modules
"""
  ended = subprocess.run(
    [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
  )
  assert ended.returncode == 0, ended.stderr
