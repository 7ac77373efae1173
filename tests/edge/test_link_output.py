"""Where the edge command's answers go, and what becomes of them at its end."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.edge.edge_command import lines_of, one_line, run
from tests.exports import ROOT
from tests.forked_commands import run_command

EDGE = [sys.executable, "-m", "meanet_jax", "edge"]
# A PNG whose colour profile is empty: Pillow raises IndexError.
DAMAGED = bytes.fromhex(
  "89504e470d0a1a0a0000000d4948445200000008000000080800000000e164e15700000012494441"
  "54789c63646084020e28cd42160300132f008b562aae8c0000000069434350a589193e0000000049"
  "454e44ae426082"
)


def test_a_decoder_may_stumble_over_anything(model, folder, tmp_path, capsys):
  images = tmp_path / "images"
  images.mkdir()
  (images / "1.png").write_bytes(DAMAGED)
  with pytest.raises(IndexError), Image.open(images / "1.png") as image:
    image.load()
  os.mkfifo(images / "2.png")  # which nobody writes to
  for name in ("0.png", "3.png", "\udcff.png"):
    (images / name).write_bytes((folder / "00.png").read_bytes())
  output = tmp_path / "answers.jsonl"
  assert run("--model", model, "--images", images / "*.png", "--output", output) == 0
  errors = [line["error"] for line in sorted(lines_of(output), key=lambda line: line["id"])]
  assert [error is None for error in errors] == [True, False, False, True, True]
  assert errors[2].endswith("cannot be read: it is no regular file; accepted: an image file")
  assert run("--model", model, "--images", images / "*.png") == 0
  assert "\\udcff.png: " in capsys.readouterr().out


def test_a_pattern_names_files_alone(model, folder, tmp_path, capsys):
  images, output = tmp_path / "images", tmp_path / "answers.jsonl"
  (images / "sub").mkdir(parents=True)
  line = one_line(capsys, "--model", model, "--images", images / "**")
  assert line.startswith(f"error: --images '{images}/**' matches no file; accepted: ")
  (images / "sub" / "a.png").write_bytes((folder / "00.png").read_bytes())
  assert run("--model", model, "--images", images / "**", "--output", output) == 0
  assert [line["path"] for line in lines_of(output)] == [str(images / "sub" / "a.png")]


def test_a_single_file_that_cannot_be_read_has_its_line(model, tmp_path, capsys):
  output = tmp_path / "answers.jsonl"
  line = one_line(capsys, "--model", model, tmp_path / "none.png", "--output", output)
  (found,) = lines_of(output)
  assert line == f"error: {found['error']}"
  assert found["class"] is None


def test_a_full_disk(model, folder, tmp_path, capsys):
  line = one_line(capsys, "--model", model, folder / "00.png", "--output", "/dev/full")
  assert "--output /dev/full cannot be written: No space left on device; accepted" in line
  # A limit on the size of files stands in for a disk: whole lines stay.
  output = tmp_path / "answers.jsonl"
  code = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
from meanet_jax.commands.app import main
sys.exit(main(["edge", "--model", {str(model)!r}, "--images", {str(folder / "*.png")!r},
  "--output", {str(output)!r}]))
"""
  result = run_command("-c", code)
  assert result.returncode == 2, result.stderr
  assert result.stderr.splitlines()[-1].startswith(f"error: --output {output} cannot be written: ")
  assert output.read_text().endswith("}\n")
  assert 1 <= len(lines_of(output)) < 41


@pytest.mark.parametrize("append", [False, True])
def test_what_stood_in_standard_output_before_stays(model, folder, tmp_path, append):
  """A limit on the size of files is reached within a line."""
  output = tmp_path / "answers.jsonl"
  output.write_text("mine\n" * 100)
  limit = 1200
  arguments = ["edge", "--model", str(model), "--images", str(folder / "*.png"), "--output", "-"]
  code = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
from meanet_jax.commands.app import main
sys.exit(main({arguments!r}))
"""
  with output.open("a" if append else "r+") as file:
    file.seek(0, os.SEEK_END)
    result = subprocess.run(
      [sys.executable, "-c", code],
      cwd=ROOT,
      stdout=file,
      stderr=subprocess.PIPE,
      text=True,
      check=False,
      env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
    )
  assert result.returncode == 2, result.stderr
  lines = output.read_text().splitlines(keepends=True)
  assert lines[:100] == ["mine\n"] * 100
  assert [json.loads(line)["id"] for line in lines[100:]] == list(range(len(lines) - 100))
  assert 1 <= len(lines) - 100 < 41


def test_a_standard_output_that_cannot_be_written(model, folder):
  for flags, stdout, status in (
    ((), "/dev/full", 2),
    (("--output", "/dev/null"), "/dev/full", 2),
  ):
    with Path(stdout).open("w") as file:
      result = subprocess.run(
        [*EDGE, "--model", model, "--images", folder / "0*.png", *flags],
        cwd=ROOT,
        stdout=file,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
      )
    assert result.returncode == status
    assert result.stderr.splitlines()[-1] == (
      "error: standard output cannot be written: No space left on device; accepted: one with space"
    )


@pytest.mark.parametrize("flags", [(), ("--output", "-")])
def test_standard_output_that_nobody_reads_any_longer(model, folder, flags):
  command = [*EDGE, "--model", model, "--images", folder / "*.png", *flags]
  with subprocess.Popen(
    command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
  ) as process:
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    told = [line for line in process.stderr if not line.startswith("INFO: ")]
  assert process.returncode == 128 + signal.SIGPIPE
  assert [line for line in told if not line.startswith("warning: ")] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_stream_and_loses_no_image(server, model, images, tmp_path, number):
  """Every image that was begun has its line, those under way the edge's own answer."""
  folder, output, summary = tmp_path / "images", tmp_path / "a.jsonl", tmp_path / "s.json"
  folder.mkdir()
  for place in range(2000):
    Image.fromarray(images[place % len(images)][..., 0]).save(folder / f"{place:04}.png")
  flags = ["--cloud", f"grpc://127.0.0.1:{server.port}", "--deadline-ms=1000", "--window=4"]
  flags += ["--images", folder / "*.png", "--output", output, "--summary", summary]
  with subprocess.Popen(
    [*EDGE, "--model", model, *flags], cwd=ROOT, stderr=subprocess.PIPE, text=True
  ) as process:
    while not output.exists() or output.read_text().count("\n") < 20:
      assert process.poll() is None
    server.open.clear()  # some images are under way, and stay so
    process.send_signal(number)
    error = process.communicate()[1]
  server.open.set()
  lines = lines_of(output)
  assert sorted(line["id"] for line in lines) == list(range(len(lines)))
  assert len(lines) < 2000
  assert process.returncode == 128 + number
  assert error.splitlines()[-1] == (
    f"error: stopped by {number.name} after {len(lines)} of 2000 images; "
    "every one that was begun has its answer"
  )
  assert json.loads(summary.read_text())["images"] == len(lines)
