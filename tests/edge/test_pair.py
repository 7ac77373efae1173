"""The running pair: an exported edge and the real cloud tier, as two processes."""

import contextlib
import itertools
import json
import math
import threading
from collections import Counter

import pytest

from meanet_jax.commands.app import main
from meanet_jax.edge.inputs import Item
from meanet_jax.edge.link.connection import Address
from meanet_jax.edge.link.encoding import Encoding
from meanet_jax.edge.link.messages import make_request
from meanet_jax.edge.link.offload import RetryPolicy
from meanet_jax.edge.output import Output, to_line
from meanet_jax.edge.results import Result
from meanet_jax.edge.stream import Stream
from meanet_jax.evaluation.records_file import load_records
from meanet_jax.routing.rules import CLOUD, route
from tests.edge.certificates import make_certificate
from tests.edge.faulty_proxy import faulty_proxy
from tests.edge.links import offloader_to, sending
from tests.servers import cloud_server_process

WINDOW = 16
FAULTS = {
  "delay": {"delay": 0.005},
  "throttle": {"rate": 50_000},
  "corrupt": {"corrupt": 0.02},
  "truncate": {"truncate": 6000},
  "reset": {"reset": True},
  "drop": {"drop": True},
}


@pytest.fixture(scope="module")
def records(evaluated_run):
  return load_records(evaluated_run / "eval" / "records.npz", None).records()


@pytest.mark.parametrize("encoding", ["raw", "png"])
def test_the_pair_is_what_evaluation_said_image_for_image(
  evaluated_run, source, exported, records, cloud_server, tmp_path, encoding
):
  output, summary = tmp_path / "answers.jsonl", tmp_path / "summary.json"
  status = main(
    [
      "edge",
      *("--model", str(exported), "--dataset", "digits", "--deadline-ms", "60000"),
      *("--cloud", f"grpc://127.0.0.1:{cloud_server.grpc_port}", "--encoding", encoding),
      *("--output", str(output), "--summary", str(summary)),
    ]
  )
  assert status == 0
  lines = sorted(map(json.loads, output.read_text().splitlines()), key=lambda line: line["id"])
  point = source.operating_point
  expected = route(point.policy, point.thresholds, records, point.hard_classes.mask)
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
  if encoding == "raw":
    # The table counts pixels; a message has its names and numbers beside them.
    shape = source.config.dataset.image_shape
    pixels = math.prod(shape)
    for line in lines:
      message = make_request(line["id"], bytes(pixels), shape, Encoding()).ByteSize()
      line["pixels"] = line["bytes_up"] - (message - pixels) if line["exit"] == "cloud" else 0
      assert line["pixels"] == pixels * (line["exit"] == "cloud")
    sent = sum(line["pixels"] for line in lines) / len(lines)
    assert sent == pytest.approx(meanet["bytes_up"])


@pytest.mark.parametrize(
  ("count", "some", "share", "deadline"),
  [(4_000, 200, 0.3, 1.0), pytest.param(100_000, 5000, 0.04, 5.0, marks=pytest.mark.full)],
)
def test_no_fault_loses_an_image_nor_answers_one_twice(
  evaluated_run, source, exported, records, tmp_path, count, some, share, deadline
):
  """The proxy's faults one after another, then the server killed and started, in one stream.

  Of `count` images, `some` are under each fault; a `share` of them is sent.
  """
  images = source.dataset.test.images
  edge = sending(exported, share, images)
  own = sending(exported, share, images).classify(images)
  short = 100 / count  # s, in which not as many images pass as there could be
  made, paths = make_certificate(), {name: tmp_path / name for name in ("chain", "key", "token")}
  for name, data in (("chain", made.chain), ("key", made.key), ("token", b"t0ken")):
    paths[name].write_bytes(data)
  flags = [f"--tls-certificate={paths['chain']}", f"--tls-key={paths['key']}"]
  flags += [f"--token-file={paths['token']}"]
  output, pause = tmp_path / "answers.jsonl", threading.Event()
  newest = [-1]  # image that the cloud answered
  during: list[str | None] = []  # by image, what was wrong when it was taken up
  with contextlib.ExitStack() as stack:
    server = stack.enter_context(cloud_server_process(evaluated_run, *flags))
    proxy = stack.enter_context(faulty_proxy(server.grpc_port))
    address = Address(f"127.0.0.1:{proxy.port}", True, made.chain, "t0ken")
    retry_policy = RetryPolicy(deadline=deadline, failures=5, reset_timeout=0.2)
    offloader = offloader_to(
      proxy.port, exported, retry_policy=retry_policy, window=WINDOW, address=address
    )

    def start_again() -> None:
      port = f"--grpc-port={server.grpc_port}"
      stack.enter_context(cloud_server_process(evaluated_run, *flags, port))

    def recovery():
      """Until the cloud answers an image of these."""
      since = len(during)
      while newest[0] < since:
        pause.wait(short)
        yield "recovery"

    def events():
      """What is wrong, image by image."""
      yield from itertools.repeat(None, some)
      for name, faults in FAULTS.items():
        proxy.set(**faults)
        yield from itertools.repeat(name, some)
        proxy.set()
        yield from recovery()
      server.process.kill()
      server.process.wait()
      yield from itertools.repeat("killed", some)
      starting = threading.Thread(target=start_again)
      starting.start()
      while starting.is_alive():
        pause.wait(short)
        yield "starting"
      yield from recovery()
      yield from itertools.repeat("back")

    def items():
      for number, event in zip(range(count), events()):
        during.append(event)
        yield Item(number, images[number % len(images)])

    with Output(str(output)) as out:

      def give(result: Result) -> None:
        out.write(to_line(result, edge.manifest))
        if result.exit == CLOUD:
          newest[0] = max(newest[0], result.item.number)

      try:
        Stream(edge, give, offloader).run(items())
      finally:
        offloader.close()
    connections = proxy.seen
  with output.open() as file:
    lines = [json.loads(line) for line in file]
  assert Counter(line["id"] for line in lines) == Counter(range(count))
  for line in lines:
    place = line["id"] % len(images)
    expected = records.cloud if line["exit"] == "cloud" else None
    prediction = own[place].prediction if expected is None else expected.prediction[place]
    assert line["class"] == prediction
    assert line["complex"] == own[place].complex
    assert (line["fallback"] is not None) == (line["complex"] and line["exit"] != "cloud")
  assert {line["fallback"] for line in lines} <= {None, "late", "unreachable", "circuit_open"}
  reasons = {name: Counter() for name in (*FAULTS, "killed", "back")}
  for line in lines:
    if line["complex"] and during[line["id"]] in reasons:
      reasons[during[line["id"]]][line["fallback"]] += 1
  for name in ("delay", "throttle", "back"):
    assert reasons[name][None] > 0.5 * reasons[name].total(), reasons
  for name in ("corrupt", "truncate"):
    assert reasons[name][None], reasons
  # The first few find out, and the others are not sent.
  for name in ("drop", "reset", "killed"):
    assert reasons[name][None] <= WINDOW, reasons  # answered before the fault
    assert reasons[name]["circuit_open"] > 0.5 * reasons[name].total(), reasons
  assert reasons["drop"]["late"]
  assert reasons["reset"]["unreachable"]
  assert connections > len(FAULTS)  # broken ones are made anew
  last = [line["fallback"] for line in lines if line["complex"] and line["id"] >= count - some]
  assert set(last) == {None}
