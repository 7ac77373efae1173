"""Every command started from nothing; the other tests fork theirs (tests/forked_commands.py)."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.experiments import TINY_FILE
from tests.forked_commands import ROOT

COMMANDS = {
  "train": (["train.py"], "flag --config is missing"),
  "eval": (["eval.py"], "flag --workdir is missing"),
  "export": (["-m", "meanet_jax", "export"], "flag --out is missing"),
  "edge": (["-m", "meanet_jax", "edge"], "flag --model is missing"),
  "cloud": (["-m", "meanet_jax", "cloud"], "flag --workdir is missing"),
  "summary": (["-m", "meanet_jax", "summary"], "flag --config is missing"),
  "prepare": (["-m", "meanet_jax", "prepare"], "argument NAME is missing"),
  "plan": (["-m", "meanet_jax", "plan"], "flag --topology is missing"),
}


def python(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
  return subprocess.run(
    [sys.executable, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False
  )


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_without_flags_ends_with_one_line(name):
  arguments, words = COMMANDS[name]
  ended = python(*arguments)
  assert (ended.returncode, ended.stdout) == (2, "")
  (line,) = ended.stderr.splitlines()
  assert line.startswith(f"error: {words}")


@pytest.mark.full
def test_from_a_configuration_to_a_classified_image(source, tmp_path):
  config, run, out = tmp_path / "tiny.py", tmp_path / "run", tmp_path / "out"
  config.write_text(TINY_FILE)
  Image.fromarray(source.dataset.test.images[0, ..., 0]).save(tmp_path / "digit.png")
  for arguments in (
    ("train.py", f"--config={config}", f"--workdir={run}"),
    ("eval.py", f"--workdir={run}"),
    ("-m", "meanet_jax", "export", f"--workdir={run}", f"--out={out}", "--verify"),
    ("-m", "meanet_jax", "edge", "--model", out, tmp_path / "digit.png"),
  ):
    ended = python(*arguments)
    assert ended.returncode == 0, ended.stderr
  assert ended.stdout.startswith(f"{tmp_path / 'digit.png'}: ")
