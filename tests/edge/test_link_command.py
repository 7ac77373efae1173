"""`meanet edge` with a cloud: JSON lines out, and what it refuses."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from meanet_jax.edge.classifier import EdgeClassifier
from meanet_jax.edge.manifest import read_manifest
from tests.edge.edge_command import lines_of, run
from tests.edge.oip_server import class_of
from tests.exports import ROOT, python_without_packages
from tests.forked_commands import run_command

FIELDS = [
  *("id", "path", "class", "name", "exit", "probability", "uncertainty", "threshold", "complex"),
  *("bytes_up", "bytes_down", "ms", "fallback", "agreement", "audit", "label", "error"),
]


def test_a_line_for_every_image_exactly_once(server, model, folder, images, tmp_path, capsys):
  output, summary = tmp_path / "answers.jsonl", tmp_path / "summary.json"
  deadline = "--deadline-ms=60000"
  flags = ["--model", model, "--cloud", f"grpc://127.0.0.1:{server.port}", deadline]
  assert run(*flags, "--images", folder / "*.png", "--output", output, "--summary", summary) == 0
  lines = sorted(lines_of(output), key=lambda line: line["id"])
  assert [line["id"] for line in lines] == list(range(41))
  assert [Path(line["path"]).name for line in lines] == sorted(p.name for p in folder.iterdir())
  (unread,) = [line for line in lines if line["error"] is not None]
  assert unread["class"] is None
  assert "10a.png cannot be read" in unread["error"]
  alone = EdgeClassifier(model).classify(images)
  answered = [line for line in lines if line["error"] is None]
  for line, own, image in zip(answered, alone, images, strict=True):
    assert list(line) == FIELDS
    expected = class_of(image) if own.complex else own.prediction
    assert line["class"] == expected
    assert line["name"] == str(expected)
    assert line["exit"] == ("cloud" if own.complex else ("main", "extension")[own.exit])
    probability = 0.75 if own.complex else own.scores.max_prob
    assert line["probability"] == pytest.approx(probability, abs=1e-6)
    # By main alone, whether or not the extension ran and answered.
    assert np.float32(line["uncertainty"]) == own.main.entropy
    assert np.float32(line["threshold"]) == read_manifest(model).operating_point.thresholds.main
    assert line["complex"] == own.complex == (line["uncertainty"] > line["threshold"])
    assert (line["bytes_up"] > 64, line["bytes_down"] > 0) == (own.complex, own.complex)
    assert line["ms"]["total"] >= line["ms"]["edge"] > 0
    assert (line["ms"]["cloud"] > 0) == own.complex
    assert line["fallback"] is None
  out, err = capsys.readouterr()
  assert "warning: image" in err
  assert "1 files could not be read" in out
  figures = json.loads(summary.read_text())
  sent = sum(own.complex for own in alone) / len(alone)
  assert (figures["images"], figures["unreadable"]) == (40, 1)
  assert figures["sent"] == figures["fraction"]["cloud"] == sent
  total = sum(line["bytes_up"] for line in answered)
  assert figures["measured"]["bytes_up"] == pytest.approx(total / 40)
  assert figures["cost_model"]["bytes_up"] == pytest.approx(64 * sent)
  macs = read_manifest(model).files["edge.tflite"].signatures
  ran = sum(own.extension is not None and not own.complex for own in alone) / len(alone)
  assert figures["ran_extension"] == ran
  expected = macs["main"].macs + ran * macs["extension"].macs
  assert figures["cost_model"]["macs_edge"] == pytest.approx(expected)


def test_output_to_stdout_leaves_the_table_to_stderr(server, model, folder, capsys):
  url = f"grpc://127.0.0.1:{server.port}"
  flags = ["--model", model, "--cloud", url, "--deadline-ms=60000", "--output", "-"]
  files = sorted(folder.glob("*[0-9].png"))
  result = run_command("-m", "meanet_jax", "edge", *flags, *files)
  assert result.returncode == 0, result.stderr
  lines = [json.loads(line) for line in result.stdout.splitlines()]
  assert sorted(line["id"] for line in lines) == list(range(40))
  assert {line["exit"] for line in lines} >= {"cloud"}
  assert "cost model" in result.stderr


def test_the_device_needs_no_jax(server, model, folder, tmp_path):
  output = tmp_path / "answers.jsonl"
  code = f"""
from meanet_jax.commands.app import main
sys.exit(main(["edge", "--model", {str(model)!r}, "--images", {str(folder / "0*.png")!r},
  "--cloud", "grpc://127.0.0.1:{server.port}", "--output", {str(output)!r},
  "--deadline-ms", "60000", "--encoding", "png", "--target-offload", "0.5",
  "--monitor-agreement", "0.1"]))
"""
  litert = ("ai_edge_litert", "flatbuffers", "ml_dtypes", "backports")
  link = ("tritonclient", "grpc", "google", "rapidjson", "packaging", "tenacity", "pybreaker")
  allowed = (*litert, *link, "PIL", "typing_extensions")
  result = python_without_packages(code, allowed)
  assert result.returncode == 0, result.stderr
  assert len(lines_of(output)) == 10
  assert server.requests > 1
  without = python_without_packages(code, (*litert, "PIL"))
  assert without.returncode == 2
  assert "--cloud needs grpc, which is not installed" in without.stderr
  assert len(without.stderr.splitlines()) == 1


def test_a_data_set_without_jax(model, source, tmp_path):
  output = tmp_path / "answers.jsonl"
  code = f"""
import sys
class NoJax:
  def find_spec(self, name, path=None, target=None):
    if name.partition(".")[0] in ("jax", "jaxlib", "flax", "optax", "orbax"):
      raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, NoJax())
from meanet_jax.commands.app import main
model, output = {str(model)!r}, {str(output)!r}
sys.exit(main(["edge", "--model", model, "--dataset", "digits", "--output", output]))
"""
  result = subprocess.run(
    [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
  )
  assert result.returncode == 0, result.stderr
  lines = lines_of(output)
  test = source.dataset.test
  assert [line["id"] for line in lines] == list(range(len(test)))
  assert [line["label"] for line in lines] == test.labels.tolist()
  answers = EdgeClassifier(model).classify(test.images)
  assert [line["class"] for line in lines] == [answer.prediction for answer in answers]
  accuracy = np.mean([line["class"] == line["label"] for line in lines])
  assert f"accuracy {100 * accuracy:.2f}%" in result.stdout


@pytest.mark.parametrize(
  ("arguments", "words"),
  [
    (["--images", "none/*.png"], "--images 'none/*.png' matches no file; accepted: a pattern"),
    ([], "0 of image files, --images and --dataset given; accepted: one of them"),
    (["a.png", "--dataset", "digits"], "2 of image files, --images and --dataset given"),
    (["a.png", "--cloud", "host:1"], "--cloud is 'host:1'; accepted: grpc://HOST:PORT or grpcs"),
    (["a.png", "--cloud", "grpc://host"], "--cloud is 'grpc://host'; accepted"),
    (["a.png", "--cloud", "grpc://h:99999"], "--cloud is 'grpc://h:99999'; accepted"),
    (["a.png", "--cloud", "http://h:1"], "--cloud is 'http://h:1'; accepted"),
    (["a.png", "--cloud", "grpc://h:1", "--encoding", "gif"], "--encoding is 'gif'; accepted: raw"),
    (["a.png", "--cloud", "grpc://h:1", "--encoding", "jpeg:0"], "--encoding is 'jpeg:0'"),
    (["a.png", "--cloud", "grpc://h:1", "--encoding", "png:9"], "--encoding is 'png:9'"),
    (
      ["a.png", "--cloud", "grpc://h:1", "--window", "0"],
      "--window is 0; accepted: an integer, 1",
    ),
    (["a.png", "--deadline-ms", "0"], "--deadline-ms is 0; accepted: 0.001 to 1e+07"),
    (["a.png", "--deadline-ms", "nan"], "--deadline-ms is nan; accepted: 0.001 to"),
    (["a.png", "--attempts", "0"], "--attempts is 0; accepted: an integer, 1 to 1000"),
    (["a.png", "--token-file", "t"], "--token-file without --cloud; accepted: with --cloud"),
    (["a.png", "--encoding", "png"], "--encoding without --cloud; accepted: with --cloud"),
    (["a.png", "--deadline-ms", "20"], "--deadline-ms without --cloud; accepted: with --cloud"),
    (["a.png", "--window", "2"], "--window without --cloud; accepted: with --cloud"),
    (["a.png", "--summary", "none/s.json"], "--summary none/s.json cannot be written; accepted"),
    (["--check", "--output", "-"], "--check with --output; accepted: --check alone"),
    (["--check", "--cloud", "grpc://h:1"], "--check with --cloud; accepted: --check alone"),
    (["--check", "--cost.radio", "lte"], "--check with --cost.radio; accepted: --check alone"),
    (["a.png", "--cloud", "grpc://[::1"], "--cloud is 'grpc://[::1'; accepted: grpc://HOST:PORT"),
    (
      ["a.png", "--cloud", "grpc://127.0.0.1:1", "--token-file", ""],
      "--token-file cannot be read",
    ),
    (["a.png", "--threads", "99999"], "--threads is 99999; accepted: an integer, 1 to 128"),
    (["a.png", "--out", "b"], "flag --out does not exist"),
    (["a.png", "--data-dir", "b"], "--data-dir without --dataset; accepted: with"),
    (["a.png", "--output", "b", "--summary", "./b"], "--output and --summary are both b; accepted"),
    # The older name.
    (["a.png", "--audit", "0.1"], "--monitor-agreement without --cloud; accepted: with --cloud"),
    (["a.png", "--agreement-floor", "0.5"], "--agreement-floor without --monitor-agreement"),
    (
      ["a.png", "--monitor-agreement", "0.1"],
      "--monitor-agreement without --cloud; accepted: with --cloud",
    ),
    (
      ["a.png", "--cloud", "grpc://127.0.0.1:1", "--ca-file", "ca.pem"],
      "--ca-file with --cloud grpc://127.0.0.1:1; accepted: with grpcs",
    ),
    (
      ["a.png", "--cloud", "grpcs://127.0.0.1:1", "--ca-file", "none.pem"],
      "--ca-file none.pem cannot be read: No such file",
    ),
    (["--dataset", "no_such_set"], "no_such_set"),
    (["--dataset", "mnist"], "mnist"),
    (["a.png", "--output", "none/a.jsonl"], "--output none/a.jsonl cannot be written: No such"),
    (["a.png"], "image a.png cannot be read: "),
    (["a.png", "b.png"], "none of 2 files could be read; accepted: image files"),
  ],
)
def test_wrong_arguments(model, capsys, arguments, words):
  assert run("--model", model, *arguments) == 2
  out, err = capsys.readouterr()
  assert words in err.splitlines()[-1]
  assert err.splitlines()[-1].startswith("error: ")
  assert out == ""
