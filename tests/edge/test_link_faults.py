"""Networks that misbehave, through a proxy with real sockets: every image is answered, once."""

import datetime
import threading

import numpy as np
import pybreaker
import pytest

from meanet_jax.edge.decisions import Answer
from meanet_jax.edge.inputs import Item
from meanet_jax.edge.link.connection import Address
from meanet_jax.edge.link.offload import RetryPolicy
from meanet_jax.edge.link.replies import Fallback
from meanet_jax.edge.stream import Stream
from meanet_jax.routing.rules import CLOUD
from tests.edge.certificates import make_certificate
from tests.edge.faulty_proxy import faulty_proxy
from tests.edge.links import Ran, offloader_to, sending, stream, untimed
from tests.edge.oip_server import class_of, oip_server

QUICK = RetryPolicy(deadline=0.3, failures=3, reset_timeout=0.05)
# On a busy machine the server may be slower than the deadline, whatever the fault.
BROKEN = {Fallback.UNREACHABLE, Fallback.LATE, Fallback.CIRCUIT_OPEN}


@pytest.fixture(scope="module")
def images(source) -> np.ndarray:
  return source.dataset.test.images[:200]


@pytest.fixture(scope="module")
def alone(exported, images) -> list[Answer]:
  return sending(exported, 0.5, images).classify(images)


def check(ran: Ran, images: np.ndarray, alone: list[Answer], reasons: set[Fallback]) -> int:
  """Every image once, with the cloud's answer or the edge's own; how many had the cloud's."""
  for result in ran.by_number():
    place = result.item.number % len(images)
    if result.exit == CLOUD:
      assert result.answer.complex
      assert result.prediction == class_of(images[place])
    else:
      assert untimed(result.answer) == untimed(alone[place])
      assert (result.fallback in reasons) == result.answer.complex
  return sum(result.exit == CLOUD for result in ran.results)


FAULTS = {
  "drop": {"drop": True},
  "delay": {"delay": 0.02},
  "long_delay": {"delay": 5.0},
  "throttle": {"rate": 20_000},
  "truncate": {"truncate": 700},
  "reset": {"reset": True},
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_that_comes_and_goes(exported, images, alone, name):
  edge = sending(exported, 0.5, images)
  with oip_server() as server, faulty_proxy(server.port) as proxy:
    offloader = offloader_to(proxy.port, exported, retry_policy=QUICK)
    pause = threading.Event()

    def items():
      for number in range(2 * len(images)):
        if number == len(images) // 2:
          proxy.set(**FAULTS[name])
        yield Item(number, images[number % len(images)])
      proxy.set()
      # Recovered: an image goes to the cloud again, after however many tries.
      number = 2 * len(images)
      while True:
        for image in images:
          yield Item(number, image)
          number += 1
        if any(
          result.exit == CLOUD and result.item.number >= 2 * len(images) for result in answers
        ):
          return
        pause.wait(0.02)

    answers = []
    ran = stream(edge, items(), offloader, give=answers.append)
  assert check(ran, images, alone, BROKEN) > 0
  fallbacks = {result.fallback for result in ran.results} - {None}
  expected = {
    "drop": Fallback.LATE,
    "long_delay": Fallback.LATE,
    "reset": Fallback.UNREACHABLE,
  }.get(name)
  assert expected is None or expected in fallbacks


def test_bytes_that_change_under_way_are_noticed_with_tls(exported, images, alone, tmp_path):
  certificate = make_certificate()
  edge = sending(exported, 0.5, images)
  with (
    oip_server(tls=(certificate.key, certificate.chain)) as server,
    faulty_proxy(server.port) as proxy,
  ):
    address = Address(f"localhost:{proxy.port}", tls=True, roots=certificate.chain)
    retry_policy = RetryPolicy(deadline=20.0, failures=1000)
    offloader = offloader_to(proxy.port, exported, address=address, retry_policy=retry_policy)

    def items():
      for number, image in enumerate(images):
        if number == 20:
          proxy.set(corrupt=0.05)
        yield Item(number, image)

    ran = stream(edge, items(), offloader)
    connections = proxy.seen
  assert check(ran, images, alone, BROKEN) > 0
  assert connections > 1  # a record that does not verify ends its connection
  assert sum(result.reply.attempts - 1 for result in ran.results if result.reply) > 0


def test_bytes_that_change_under_way_lose_no_image_without_tls(exported, images):
  edge = sending(exported, 0.5, images)
  with oip_server() as server, faulty_proxy(server.port) as proxy:
    offloader = offloader_to(proxy.port, exported, retry_policy=QUICK)
    proxy.set(corrupt=0.1)
    ran = stream(edge, images, offloader)
  # Pixels and answers may be changed without a trace, which is what TLS is for.
  assert len(ran.by_number()) == len(images)
  assert {result.prediction for result in ran.results} <= set(range(10))


def test_a_peer_that_vanished_does_not_keep_the_old_connection(exported, images, alone):
  edge = sending(exported, 1.0, images)
  with oip_server() as server, faulty_proxy(server.port) as proxy:
    offloader = offloader_to(proxy.port, exported, retry_policy=QUICK, window=2)

    def items():
      yield from (Item(number, image) for number, image in enumerate(images[:50]))
      first = proxy.seen
      proxy.set(drop=True)  # and no RST: the connection looks alive
      yield from (Item(50 + number, image) for number, image in enumerate(images[:50]))
      while offloader.in_flight or not offloader.ready():
        threading.Event().wait(0.01)
        offloader_settle()
      assert offloader.opened
      proxy.set()
      yield Item(100, images[100])
      seen.append((first, proxy.seen))

    def offloader_settle():
      running._settle_finished()

    results, seen = [], []
    running = Stream(edge, results.append, offloader)
    try:
      running.run(items())
    finally:
      offloader.close()
    assert proxy.seen > seen[0][0] == 1
  assert sorted(one.item.number for one in results) == list(range(101))
  (last,) = [one for one in results if one.item.number == 100]
  assert last.exit == CLOUD


def test_a_clock_that_is_set_back_keeps_no_circuit_open(exported, images, monkeypatch):
  back = datetime.timedelta()

  class Clock:
    @staticmethod
    def now(zone):
      return datetime.datetime.now(zone) - back

  monkeypatch.setattr(pybreaker, "datetime", Clock)
  edge = sending(exported, 1.0, images)
  with oip_server() as server:
    offloader = offloader_to(
      server.port, exported, retry_policy=RetryPolicy(60.0, failures=1, reset_timeout=0.05)
    )

    def items():
      nonlocal back
      server.mode = "error"
      yield from (Item(number, image) for number, image in enumerate(images[:20]))
      while offloader.in_flight:
        running._settle_next()
      assert offloader.opened
      back, server.mode = datetime.timedelta(hours=1), "right"
      while not offloader.ready():
        threading.Event().wait(0.01)
      yield Item(20, images[20])

    results = []
    running = Stream(edge, results.append, offloader)
    try:
      running.run(items())
    finally:
      offloader.close()
  assert sorted(one.item.number for one in results) == list(range(21))
  (last,) = [one for one in results if one.item.number == 20]
  assert last.exit == CLOUD
