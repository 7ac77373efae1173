"""The guard around an application that answers when it is told, and the token."""

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable
from typing import Any

import prometheus_client
import pytest

from meanet_jax.cloud.access import Guard, Token
from meanet_jax.cloud.limits import Limits, Room
from meanet_jax.cloud.metrics import Metrics
from tests.cloud.asking import INFER

BINARY = {"content-type": "application/octet-stream"}
JSON = {"content-type": "application/json"}


class Application:
  """Keeps what it is asked, and answers 200 once it may."""

  def __init__(self):
    self.asked: list[tuple[dict[bytes, bytes], bytes]] = []
    self.may_answer = asyncio.Event()

  async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
    body = b"" if scope["path"].startswith("/v2/health") else (await receive())["body"]
    self.asked.append((dict(scope["headers"]), body))
    if scope["path"] == INFER:
      await self.may_answer.wait()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})


class Asking:
  """A guard, what is behind it, and a way to ask it."""

  def __init__(self, **limits: Any):
    self.registry = prometheus_client.CollectorRegistry()
    self.application = Application()
    defaults = {"max_queue": 2, "max_images": 1, "max_bytes": 100, "max_json": 50, "grace": 0.0}
    made = Limits(**{"max_batch": 1, "max_wait": 0.0} | defaults | limits)
    self.held = Room(made.held_bytes)
    metrics = Metrics([1], self.registry)
    self.guard = Guard(self.application, Token(None), made, self.held, metrics)

  async def __call__(
    self, *parts: bytes, path: str = INFER, headers: dict[str, str] = BINARY, ends: bool = True
  ) -> tuple[int, Any]:
    """Status and body of the answer; (0, None) for none. ends: else the client goes away."""
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    messages.append(
      {"type": "http.request", "body": b"", "more_body": False}
      if ends
      else {"type": "http.disconnect"}
    )
    said: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
      await asyncio.sleep(0)
      return messages.pop(0)

    async def send(message: Any) -> None:
      said.append(message)

    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await self.guard({"type": "http", "path": path, "headers": raw}, receive, send)
    return (said[0]["status"], json.loads(said[1]["body"])) if said else (0, None)

  async def begin(self, *parts: bytes) -> asyncio.Task:
    """A request that has got as far as the application."""
    before = len(self.application.asked)
    task = asyncio.create_task(self(*parts))
    while len(self.application.asked) == before:
      assert not task.done()
      await asyncio.sleep(0)
    return task

  def refused(self, reason: str) -> float | None:
    return self.registry.get_sample_value("cloud_refused_total", {"reason": reason})


def run(test: Callable[[], Awaitable[None]]) -> None:
  async def main() -> None:
    async with asyncio.timeout(60):
      await test()

  asyncio.run(main())


def test_so_many_requests_are_under_way_and_no_more_but_for_probes():
  async def test() -> None:
    ask = Asking()
    under_way = [await ask.begin(b"x"), await ask.begin(b"y")]
    assert await ask(b"z") == (503, {"error": "2 requests are under way; accepted: 2"})
    assert ask.refused("busy") == 1
    assert (await ask(path="/v2/health/live"))[0] == 200
    ask.application.may_answer.set()
    assert [status for status, _ in await asyncio.gather(*under_way)] == [200, 200]
    assert (await ask(b"z"))[0] == 200

  run(test)


def test_bodies_are_bounded_together_and_forgotten_afterwards():
  async def test() -> None:
    ask = Asking(held_bytes=100)
    first = await ask.begin(bytes(70))
    status, said = await ask(bytes(20), bytes(20))
    assert (status, said["error"]) == (503, "bodies of 100 bytes are under way; accepted: 100")
    ask.application.may_answer.set()
    assert (await ask(bytes(30)))[0] == 200
    await first
    assert await ask(bytes(80), ends=False) == (0, None)  # a client that went away
    assert (await ask(bytes(80), bytes(80)))[0] == 413
    assert (await ask(bytes(60), headers=JSON))[0] == 413
    assert ask.held.take(100)

  run(test)


def test_json_may_be_shorter_than_tensors():
  async def test() -> None:
    ask = Asking()
    ask.application.may_answer.set()
    assert (await ask(bytes(100)))[0] == 200
    assert (await ask(bytes(50), headers=JSON))[0] == 200
    for kind in ("application/json", "Application/JSON; charset=utf-8"):
      status, said = await ask(bytes(51), headers={"content-type": kind})
      assert (status, said["error"]) == (
        413,
        "the request is too large; accepted: 50 bytes of JSON, and tensors as bytes after it",
      )
    length = "inference-header-content-length"
    assert (await ask(bytes(90), headers=BINARY | {length: "50"}))[0] == 200
    assert (await ask(bytes(90), headers=BINARY | {length: "51"}))[0] == 413
    assert (await ask(bytes(90), headers=JSON | {length: "10"}))[0] == 200
    status, said = await ask(bytes(60), bytes(60))
    assert (status, said["error"]) == (413, "the request is too large; accepted: 100 bytes")
    assert ask.refused("large") == 4

  run(test)


def test_probes_come_between_long_json_requests():
  async def test() -> None:
    ask = Asking(max_queue=9, max_bytes=100_000, max_json=100_000)
    ask.application.may_answer.set()

    def are_long() -> list[bool]:
      return [bool(body) for _, body in ask.application.asked]

    async def probe() -> None:
      while sum(are_long()) < 4:
        await ask(path="/v2/health/live", headers={})
        await asyncio.sleep(0)

    await asyncio.gather(*(ask(bytes(60_000), headers=JSON) for _ in range(4)), probe())
    assert (True, True) not in itertools.pairwise(are_long())

  run(test)


def test_fastapi_sees_no_json():
  async def test() -> None:
    ask = Asking()
    ask.application.may_answer.set()
    await ask(b"{}", b" ", headers=JSON)
    assert ask.application.asked == [
      (
        {
          b"content-type": b"application/octet-stream",
          b"inference-header-content-length": b"3",
        },
        b"{} ",
      )
    ]

  run(test)


def test_what_else_is_refused():
  async def test() -> None:
    ask = Asking(body_seconds=0.01)
    status, said = await ask(b"{}", headers=JSON | {"ce-id": "1", "ce-type": "x"})
    assert (status, said["error"]) == (
      400,
      "header ce-id is a CloudEvent's; accepted: plain requests",
    )
    assert ask.refused("invalid") == 1
    assert (await ask(path="/v2/models/cloud/versions/1/infer"))[0] == 404
    said = []

    async def never() -> Any:
      await asyncio.Event().wait()

    async def send(message: Any) -> None:
      said.append(message)

    await ask.guard({"type": "http", "path": INFER, "headers": []}, never, send)
    assert said[0]["status"] == 408
    # Whoever needs no token is not waited for either.
    await ask.guard({"type": "http", "path": "/v2/health/live", "headers": []}, never, send)
    assert said[2]["status"] == 200

  run(test)


@pytest.mark.parametrize(
  ("given", "admitted"),
  [
    ("Bearer s3cret", True),
    (b"bearer s3cret", True),
    ("BEARER  s3cret", True),
    ("Bearer s3cre", False),
    ("Bearer S3CRET", False),
    ("Bearers3cret", False),
    ("Basic s3cret", False),
    ("s3cret", False),
    ("Bearer ", False),
    ("", False),
    (None, False),
    ("Bearer schlüssel", False),
  ],
)
def test_token(given, admitted):
  assert Token("s3cret").admits(given) is admitted
  assert Token(None).admits(given)
