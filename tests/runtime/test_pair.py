"""The running pair: an exported edge and the real cloud tier, as two processes."""

import contextlib
import json
import threading
from collections import Counter

import pytest

from meanet_jax.evaluation.records_file import load_records
from meanet_jax.routing.classes import is_hard
from meanet_jax.routing.policies import route
from meanet_jax.runtime import command
from meanet_jax.runtime.answers import Output, to_line
from meanet_jax.runtime.edge import EdgeClassifier
from meanet_jax.runtime.inputs import Item
from meanet_jax.runtime.offload import Patience
from meanet_jax.runtime.stream import Stream
from tests.runtime.links import offloader_to, sending
from tests.servers import cloud_server_process

IMAGES, WINDOW = 100_000, 16
# Images at which the server is killed, begins to start again, and is waited for.
KILLED, STARTED, READY = 30_000, 50_000, 70_000


@pytest.fixture(scope="module")
def records(evaluated_run):
  return load_records(evaluated_run / "eval" / "records.npz", None).records


def test_the_pair_is_what_evaluation_said_image_for_image(
  evaluated_run, source, exported, records, cloud_server, tmp_path
):
  output, summary = tmp_path / "answers.jsonl", tmp_path / "summary.json"
  status = command.main(
    [
      *("--model", str(exported), "--dataset", "digits", "--deadline_ms", "60000"),
      *("--cloud", f"grpc://127.0.0.1:{cloud_server.grpc_port}", "--encoding", "png"),
      *("--output", str(output), "--summary", str(summary)),
    ]
  )
  assert status == 0
  lines = sorted(map(json.loads, output.read_text().splitlines()), key=lambda line: line["id"])
  expected = route(source.policy, source.thresholds, records, is_hard(source.hard_classes, 10))
  names = ("main", "extension", "cloud")
  assert [line["exit"] for line in lines] == [names[exit] for exit in expected.exit]
  assert [line["class"] for line in lines] == expected.prediction.tolist()
  assert [line["label"] for line in lines] == records.label.tolist()
  assert all(line["fallback"] is None for line in lines)
  figures = json.loads(summary.read_text())
  evaluated = json.loads((evaluated_run / "eval" / "summary.json").read_text())
  meanet = evaluated["systems"]["meanet"]
  assert 0 < meanet["fraction"]["cloud"] < 1
  assert figures["accuracy"] == pytest.approx(meanet["accuracy"])
  assert figures["fraction"] == pytest.approx(meanet["fraction"])
  for name in ("macs_edge", "macs_cloud", "bytes_up", "energy_mj", "latency_ms"):
    assert figures["cost_model"][name] == pytest.approx(meanet[name]), name


def test_a_server_that_is_killed_and_started_again_loses_no_image(
  evaluated_run, source, exported, records, tmp_path
):
  images = source.dataset.test.images
  edge = sending(exported, 0.04, images)
  manifest = edge.manifest
  alone = EdgeClassifier(exported, policy=edge._policy, thresholds=edge._thresholds)
  own = alone.classify(images)
  with contextlib.ExitStack() as stack:
    server = stack.enter_context(cloud_server_process(evaluated_run))
    patience = Patience(deadline=5.0, failures=5, rest=0.2)
    offloader = offloader_to(server.grpc_port, exported, patience=patience, window=WINDOW)

    def start_again() -> None:
      flag = f"--grpc_port={server.grpc_port}"
      stack.enter_context(cloud_server_process(evaluated_run, flag))

    def items():
      starting = threading.Thread(target=start_again)
      for number in range(IMAGES):
        if number == KILLED:
          server.process.kill()
          server.process.wait()
        if number == STARTED:
          starting.start()
        if number == READY:
          starting.join()
        yield Item(number, images[number % len(images)])

    output = tmp_path / "answers.jsonl"
    with Output(str(output)) as out:
      stream = Stream(edge, lambda given: out.write(to_line(given, manifest)), offloader)
      try:
        stream.run(items())
      finally:
        offloader.close()
  with output.open() as file:
    lines = [json.loads(line) for line in file]
  assert Counter(line["id"] for line in lines) == Counter(range(IMAGES))
  for line in lines:
    place = line["id"] % len(images)
    expected = records.cloud if line["exit"] == "cloud" else None
    prediction = own[place].prediction if expected is None else expected.prediction[place]
    assert line["class"] == prediction
    assert line["complex"] == own[place].complex
    assert (line["fallback"] is not None) == (line["complex"] and line["exit"] != "cloud")
  assert reasons(lines, 0, KILLED)[None] > 0.95 * reasons(lines, 0, KILLED).total()
  dead = reasons(lines, KILLED, STARTED)
  assert dead[None] <= WINDOW  # answered before the end
  assert set(dead) <= {None, "unreachable", "circuit_open"}
  assert dead["circuit_open"] > 0.5 * dead.total()
  # One image finds out that it is back, and the others follow.
  assert reasons(lines, READY, IMAGES)[None] > 0.5 * reasons(lines, READY, IMAGES).total()
  assert set(reasons(lines, IMAGES - 5000, IMAGES)) == {None}


def reasons(lines: list[dict], begin: int, end: int) -> Counter:
  """How often complex images of these numbers had which fallback; None is the cloud's answer."""
  return Counter(
    line["fallback"] for line in lines if line["complex"] and begin <= line["id"] < end
  )
