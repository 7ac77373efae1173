"""The commands of README and tutorial run from top to bottom, with few epochs."""

import contextlib
import re
import textwrap
from pathlib import Path

import jax
import pytest
from PIL import Image

from tests.commands.test_documented_commands import commands
from tests.data.own.folders import write, write_folder
from tests.data.sets import picture
from tests.forked_commands import run_command
from tests.images.files import saved
from tests.servers import cloud_server_process

ROOT = Path(__file__).parent.parent.parent
README, TUTORIAL = (ROOT / "README.md").read_text(), (ROOT / "docs" / "tutorial.md").read_text()
PORT = "127.0.0.1:8081"  # the tutorial's; a free one here
SHORT = [f"--config.stages.{stage}.epochs=2" for stage in ("main", "edge", "cloud")]


def value(flag: str, arguments: list[str]) -> str | None:
  return arguments[arguments.index(flag) + 1] if flag in arguments else None


def test_the_tutorial_ends_on_a_device_with_the_point_that_it_selected_last():
  given = list(commands(TUTORIAL))
  selected = [value("--name", arguments) for name, arguments in given if name == "eval"]
  exports = [arguments for name, arguments in given if name == "export"]
  edges = [value("--model", arguments) for name, arguments in given if name == "edge"]
  assert value("--operating-point", exports[-1]) == selected[-1] is not None
  assert value("--out", exports[-1]) == edges[-1]
  assert len({value("--quantize", arguments) for arguments in exports}) == 1  # as was measured
  assert "(phone.md)" in TUTORIAL


@pytest.mark.full
def test_the_tutorials_commands_run(tmp_path):
  script = re.search(r"python - <<'END'\n(.*?)\n +END\n", TUTORIAL, re.DOTALL)
  assert script
  done = run_command("-c", textwrap.dedent(script[1]), cwd=tmp_path)
  assert done.returncode == 0, done.stderr
  port, names = PORT, []
  with contextlib.ExitStack() as servers:
    for name, arguments in commands(TUTORIAL):
      names.append(name)
      if name == "cloud":
        server = servers.enter_context(cloud_server_process(tmp_path / "runs" / "tutorial"))
        port = f"127.0.0.1:{server.grpc_port}"
        continue
      rest = [argument.replace(PORT, port) for argument in arguments]
      rest += SHORT if name == "train" else []
      done = run_command("-m", "meanet_jax", name, *rest, cwd=tmp_path)
      assert done.returncode == 0, (name, done.stdout, done.stderr)
  assert names[:2] == ["train", "eval"]
  assert {"export", "measure", "cloud"} <= {*names}
  assert names[-1] == "edge"
  assert (tmp_path / "runs" / "tutorial" / "eval" / "report.html").is_file()


@pytest.mark.full
def test_the_readmes_commands_run(tmp_path):
  write_folder(tmp_path / "DIR", 40)
  write(tmp_path / "image.jpg", saved(Image.fromarray(picture(0, (24, 36))), "JPEG"))
  names = []
  for name, arguments in commands(README):
    names.append(name)
    rest = [*arguments, *(SHORT if name == "train" else [])]
    done = run_command("-m", "meanet_jax", name, *rest, cwd=tmp_path)
    assert done.returncode == 0, (name, done.stdout, done.stderr)
  assert names == ["train", "eval", "export", "edge", "eval", "eval", "export"]


@pytest.mark.full
def test_the_readmes_example_in_python_runs(tmp_path, monkeypatch):
  (example,) = re.findall(r"## From Python\n\n((?:    .*\n|\n)+)", README)
  few = "".join(f'"stages.{stage}.epochs": 2, ' for stage in ("main", "edge", "cloud"))
  shortened = re.sub(r"\{.*?\}", f"{{{few}}}", textwrap.dedent(example), count=1)
  assert few in shortened
  monkeypatch.chdir(tmp_path)
  with jax.numpy_dtype_promotion("standard"):
    exec(compile(shortened, "README.md", "exec"), {})
  assert (tmp_path / "runs" / "short" / "eval" / "report.html").is_file()
