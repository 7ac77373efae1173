"""The completion that bash loads knows commands, flags and files."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from meanet_jax.commands.app import COMMANDS, main


def completed(script: Path, *words: str) -> set[str]:
  """What bash offers for the last of the words, in the folder of the script."""
  line = " ".join(f"'{word}'" for word in words)
  code = (
    f"source {script.name}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; "
    '_shtab_meanet 2>/dev/null; printf "%s\\n" "${COMPREPLY[@]}"'
  )
  done = subprocess.run(
    ["bash", "-c", code], cwd=script.parent, capture_output=True, text=True, check=True
  )
  return set(done.stdout.split())


@pytest.fixture
def script(tmp_path: Path, capsys) -> Path:
  pytest.importorskip("shtab")
  if shutil.which("bash") is None:
    pytest.skip("no bash")
  assert main(["completion", "bash"]) == 0
  path = tmp_path / "completion.bash"
  path.write_text(capsys.readouterr().out)
  return path


def test_commands_flags_and_files_are_completed(script):
  (script.parent / "profile.json").touch()
  assert completed(script, "meanet", "") >= {*COMMANDS}
  assert completed(script, "meanet", "tr") == {"train"}
  assert {"--max-offload", "--max-bytes"} <= completed(script, "meanet", "eval", "--max")
  assert completed(script, "meanet", "eval", "--device", "pro") == {"profile.json"}
  assert completed(script, "meanet", "completion", "z") == {"zsh"}


def test_zsh(capsys):
  pytest.importorskip("shtab")
  assert main(["completion", "zsh"]) == 0
  out = capsys.readouterr().out
  assert out.startswith("#compdef meanet\n")
  assert "--max-offload" in out


def test_an_unknown_shell_and_an_absent_package(capsys, monkeypatch):
  assert main(["completion", "fish"]) == 2
  assert capsys.readouterr().err == "error: shell 'fish'; accepted: bash, zsh\n"
  monkeypatch.setitem(sys.modules, "shtab", None)
  assert main(["completion", "bash"]) == 2
  error = capsys.readouterr().err
  assert "pip install 'meanet_jax[completion]'" in error
  assert error.count("\n") == 1
