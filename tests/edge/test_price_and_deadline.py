"""Prices and deadlines on the running edge, with a server that answers at once or slowly."""

import dataclasses
import json

import numpy as np
import pytest

from meanet_jax.edge.classifier import EdgeClassifier
from meanet_jax.edge.deadline_gate import DeadlineGate, edge_seconds
from meanet_jax.edge.inputs import Item
from meanet_jax.edge.link.replies import NOT_ASKED, WITHHELD, CloudAnswer, Fallback, Reply
from meanet_jax.edge.manifest import Manifest, read_manifest
from meanet_jax.edge.online import OnlineAdaptation
from meanet_jax.edge.online_constraints import OnlineConstraints, PriceClock, make_budgets
from meanet_jax.edge.stream import Stream
from meanet_jax.edge.text import table
from meanet_jax.errors import UserError
from meanet_jax.routing.online.agreement import AgreementMonitor
from meanet_jax.routing.online.budget import Budget
from meanet_jax.routing.online.deadline import Deadline
from meanet_jax.routing.online.price import Pricing, guaranteed_excess
from meanet_jax.routing.policies import Policy, Thresholds
from meanet_jax.routing.rules import CLOUD
from tests.edge.edge_command import lines_of, one_line, run
from tests.edge.links import at_thresholds, offloader_to, sending, stream, untimed
from tests.edge.oip_server import class_of

COUNT = 1200


@pytest.fixture(scope="module")
def images(source) -> np.ndarray:
  return source.dataset.test.images


@pytest.fixture(scope="module")
def edge(exported, manifest) -> EdgeClassifier:
  return EdgeClassifier(exported, operating_point=manifest.operating_point)


@pytest.fixture(scope="module")
def manifest(exported) -> Manifest:
  limits = Thresholds(np.float32(0.5), np.float32(np.nan), np.float32(np.nan))
  found = read_manifest(exported)
  point = dataclasses.replace(found.operating_point, policy=Policy(), thresholds=limits)
  return dataclasses.replace(found, operating_point=point)


class Clock:
  """Counts images: the stream takes them one by one."""

  def __init__(self) -> None:
    self.time = -1.0

  def items(self, images: np.ndarray, count: int):
    for number in range(count):
      self.time += 1
      yield Item(number, images[number % len(images)])


def by_hundreds(time: float) -> float:
  return 1.0 if time // 100 % 2 else 3.0


PRICING = Pricing(by_hundreds, reference=2.0, least=1.0, largest=3.0)


def no_alarm(found) -> None:
  raise AssertionError(found)


def test_what_is_paid_keeps_the_budget_and_more_is_sent_when_it_is_cheap(
  server, exported, edge, manifest, images
):
  clock = Clock()
  price = PriceClock(PRICING, lambda: clock.time)
  constraints = OnlineConstraints(target_offload=0.3, price=price)
  adaptation = OnlineAdaptation(manifest, constraints, 124, no_alarm)
  offloader = offloader_to(server.port, exported)
  ran = stream(edge, clock.items(images, COUNT), offloader, adaptation)
  sent = np.array([result.reply is not None for result in ran.by_number()])
  prices = np.array([by_hundreds(number) for number in range(COUNT)])
  paid = (sent * prices).sum()
  assert paid / 2.0 / COUNT <= 0.3 + guaranteed_excess(Budget(0.3), PRICING, COUNT)
  assert paid / 2.0 / COUNT == pytest.approx(0.3, abs=0.03)
  assert sent[prices == 1].mean() > 1.5 * sent[prices == 3].mean()
  found = adaptation.figures()["budgets"]["target_offload"]
  assert found["price_paid"] == pytest.approx(paid)
  assert found["mean"] == pytest.approx(paid / 2.0 / COUNT)
  assert found["price_paid_per_unit"] == pytest.approx(paid / sent.sum())
  assert (found["mean_price"], found["images"]) == (2.0, COUNT)
  for result, price in zip(ran.by_number(), prices, strict=True):
    assert result.answer.complex == (result.reply is not None), price


def test_bytes_are_paid_at_the_price_of_the_time_when_they_are_sent(
  server, exported, edge, manifest, images
):
  clock = Clock()
  price = PriceClock(PRICING, lambda: clock.time)
  offloader = offloader_to(server.port, exported)
  constraints = OnlineConstraints(max_bytes=40.0, price=price)
  adaptation = OnlineAdaptation(manifest, constraints, offloader.message_bytes, no_alarm)
  ran = stream(edge, clock.items(images, COUNT), offloader, adaptation)
  up = [result.reply.bytes_up if result.reply else 0 for result in ran.by_number()]
  paid = sum(size * by_hundreds(number) for number, size in enumerate(up))
  found = adaptation.figures()["budgets"]["max_bytes_per_image"]
  assert found["price_paid"] == pytest.approx(paid)
  assert found["price_paid_per_unit"] == pytest.approx(paid / sum(up))
  assert found["mean"] == pytest.approx(40, rel=0.1)


def test_a_budget_is_refused_by_what_monitoring_costs_at_the_mean_price(manifest):
  """And not at the highest, at which a fiftieth of the images would be more than the budget."""
  pricing = Pricing(by_hundreds, reference=0.5, least=0.1, largest=3.0)
  price = PriceClock(pricing, lambda: 0.0)

  def budgets(share: float) -> dict:
    monitor = AgreementMonitor(share)
    return make_budgets(
      manifest, OnlineConstraints(target_offload=0.1, agreement=monitor, price=price), 124
    )

  assert budgets(0.09).keys() == {"target_offload"}
  with pytest.raises(UserError, match=r"--target-offload is 0.1; .* that is not sent \(0.11\)"):
    budgets(0.11)


@pytest.mark.parametrize(
  "constraints",
  [
    OnlineConstraints(),
    OnlineConstraints(max_energy_mj=1.0),
    OnlineConstraints(target_offload=0.1, max_energy_mj=1.0),
    OnlineConstraints(bandit=0.1),
    OnlineConstraints(agreement=AgreementMonitor(0.1)),
  ],
)
def test_prices_apply_to_what_is_sent(manifest, constraints):
  constraints = constraints._replace(price=PriceClock(PRICING, lambda: 0.0))
  with pytest.raises(UserError, match="--price-file without a budget of what is sent alone; acc"):
    OnlineAdaptation(manifest, constraints, 124, no_alarm)


def reply(seconds: float = 0.0, fallback: Fallback | None = None) -> Reply:
  answer = None if fallback else CloudAnswer(1, 0.5)
  return Reply(answer, fallback, 100, 10, 1, seconds / 4, 3 * seconds / 4)


def test_a_gate_by_hand():
  gate = DeadlineGate(Deadline(0.1, window=20), edge_seconds=0.01)
  assert gate.may_send()
  assert not gate.may_send(0.1)
  assert gate.left(0.03) == pytest.approx(0.07)
  for _ in range(9):
    gate.record_reply(reply(0.08))
  assert gate.may_send(0.02)
  assert not gate.may_send(0.03)
  # What is no round trip shows nothing.
  for fallback in (Fallback.UNREACHABLE, Fallback.CIRCUIT_OPEN, Fallback.FULL, Fallback.REFUSED):
    gate.record_reply(reply(fallback=fallback))
  gate.record_reply(NOT_ASKED)
  assert gate.figures()["deadline"]["round_trips"] == 9
  gate.record_reply(reply(fallback=Fallback.LATE))
  assert not gate.may_send()
  assert gate.figures()["deadline"]["round_trip_ms"] is None
  for _ in range(20):
    gate.record_reply(WITHHELD)
  assert gate.may_send()
  assert gate.figures()["deadline"] == {
    "ms": 100.0,
    "edge_ms": 10.0,
    "withheld": 20,
    "quantile": 0.9,
    "round_trips": 0,
    "round_trip_ms": None,
  }


def test_a_gate_is_refused_that_the_edge_alone_cannot_pass():
  with pytest.raises(UserError, match="--deadline-ms is 5, and the edge alone takes 10; accepted"):
    DeadlineGate(Deadline(0.005), edge_seconds=0.01)


def test_the_edges_own_time_is_measured(edge):
  assert 0 < edge_seconds(edge) < 5


def gated(edge, items, offloader, gate, adaptation=None) -> list:
  """The results by the images' numbers."""
  results = []
  try:
    Stream(edge, results.append, offloader, adaptation, gate).run(items)
  finally:
    offloader.close()
  return sorted(results, key=lambda result: result.item.number)


@pytest.mark.parametrize("offload", ["early", "late"])
def test_a_slow_cloud_is_asked_less_and_every_image_has_its_answer(
  server, exported, images, offload
):
  """Round trips of 100 ms and more under a deadline of 50: late ones, then images withheld."""
  server.slow = 0.1
  edge = (
    sending(exported, 1.0, images)
    if offload == "early"
    else EdgeClassifier(
      exported,
      operating_point=at_thresholds(exported, Policy(offload="late"), Thresholds(-1, -1, np.nan)),
    )
  )
  alone = edge.classify(images[:60])
  gate = DeadlineGate(Deadline(0.05), edge_seconds=0.001)
  offloader = offloader_to(server.port, exported, window=2)
  # The circuit breaker would open after five in a row.
  offloader._breaker.fail_max = 1000
  found = gated(edge, (Item(n, image) for n, image in enumerate(images[:60])), offloader, gate)
  reasons = [result.fallback for result in found]
  assert len(found) == 60
  assert set(reasons) <= {Fallback.LATE, Fallback.WITHHELD}
  withheld = reasons.count(Fallback.WITHHELD)
  assert withheld >= 20
  assert gate.figures()["deadline"]["withheld"] == withheld
  assert server.requests <= 60 - withheld
  for result, own in zip(found, alone, strict=True):
    assert untimed(result.answer) == untimed(own)  # the extension has run after all
    if result.fallback is Fallback.WITHHELD:
      assert (result.reply.attempts, result.reply.bytes_up) == (0, 0)


def test_a_fast_cloud_is_asked_about_every_complex_image(server, exported, images):
  edge = sending(exported, 1.0, images)
  gate = DeadlineGate(Deadline(60.0), edge_seconds=0.001)
  offloader = offloader_to(server.port, exported)
  found = gated(edge, (Item(n, image) for n, image in enumerate(images[:80])), offloader, gate)
  for result, image in zip(found, images, strict=False):
    assert (result.exit, result.prediction) == (CLOUD, class_of(image))
  figures = gate.figures()["deadline"]
  assert (figures["withheld"], figures["round_trips"]) == (0, 50)
  assert 0 < figures["round_trip_ms"] < 60_000


def test_a_closed_gate_leaves_budgets_as_they_are(server, exported, edge, manifest, images):
  gate = DeadlineGate(Deadline(1.0), edge_seconds=0.001)
  for _ in range(50):
    gate.record_reply(reply(2.0))
  constraints = OnlineConstraints(target_offload=0.3)
  adaptation = OnlineAdaptation(manifest, constraints, 124, no_alarm)
  before = adaptation.figures()["budgets"]["target_offload"]
  items = (Item(n, image) for n, image in enumerate(images[:40]))
  found = gated(edge, items, offloader_to(server.port, exported), gate, adaptation)
  assert adaptation.figures()["budgets"]["target_offload"] == before
  for result in found:
    assert (result.fallback is Fallback.WITHHELD) == result.answer.complex
  assert any(result.answer.complex for result in found)
  assert server.requests == 0


def test_the_command_says_what_was_paid_and_withheld(server, model, folder, tmp_path, capsys):
  prices = tmp_path / "prices.csv"
  prices.write_text("time,price\n0,2\n3600,4\n")
  output, summary = tmp_path / "answers.jsonl", tmp_path / "summary.json"
  flags = ["--model", model, "--cloud", f"grpc://127.0.0.1:{server.port}", "--images"]
  flags += [folder / "[0-9][0-9].png", "--output", output, "--summary", summary]
  flags += ["--deadline-ms=60000", "--price-file", prices, "--target-offload=0.5"]
  assert run(*flags) == 0
  figures = json.loads(summary.read_text())
  sent = sum(line["bytes_up"] > 0 for line in lines_of(output))
  budget = figures["budgets"]["target_offload"]
  assert budget["mean_price"] == 3
  assert budget["price_paid"] == pytest.approx(2 * sent)  # of the first hour
  assert budget["price_paid_per_unit"] == pytest.approx(2)
  assert figures["deadline"]["withheld"] == 0
  assert figures["deadline"]["ms"] == 60_000
  out = capsys.readouterr().out
  assert f"target_offload: paid {2 * sent:.4g} in all, mean price 3\n" in out
  assert "withheld for the deadline of 60000 ms: 0\n" in out
  assert list(table(figures))


@pytest.mark.parametrize(
  ("rows", "flags", "message"),
  [
    ("0,1\n1,-2\n", ("--target-offload=0.1",), "row 2: price is '-2'; accepted: a finite number"),
    ("5,1\n", ("--target-offload=0.1",), "begins 5 s from now; accepted: a first row before it"),
    ("2000-01-01,1\n", ("--target-offload=0.1",), "s ago; accepted: a last row at most 86400 s"),
    ("0,1\n", (), "--price-file without a budget of what is sent alone; accepted: with"),
    ("0,1\n", ("--max-energy-mj=9",), "--price-file without a budget of what is sent alone"),
  ],
)
def test_prices_that_the_command_refuses(
  server, model, folder, tmp_path, capsys, rows, flags, message
):
  prices = tmp_path / "prices.csv"
  prices.write_text(rows)
  cloud = f"grpc://127.0.0.1:{server.port}"
  image = folder / "00.png"
  line = one_line(capsys, "--model", model, image, "--cloud", cloud, "--price-file", prices, *flags)
  assert message in line


def test_a_deadline_that_the_command_refuses(server, model, folder, capfd):
  cloud = f"grpc://127.0.0.1:{server.port}"
  arguments = ["--model", model, folder / "00.png", "--cloud", cloud, "--deadline-ms=0.001"]
  assert run(*arguments) == 2
  last = capfd.readouterr().err.splitlines()[-1]
  assert last.startswith("error: --deadline-ms is 0.001, and the edge alone takes ")
  assert last.endswith("; accepted: more milliseconds than that")
