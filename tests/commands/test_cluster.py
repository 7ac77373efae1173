"""Flags of a cluster. That its processes connect: tests/training/test_distributed.py."""

import pytest

from meanet_jax.cluster import Cluster
from meanet_jax.commands.cluster import add_cluster_flags, read_cluster
from meanet_jax.commands.flags import Parser
from meanet_jax.errors import UserError


def cluster(*arguments: str) -> Cluster | None:
  parser = Parser("meanet train", None)
  add_cluster_flags(parser)
  return read_cluster(parser.parse(arguments))


@pytest.mark.parametrize(
  ("arguments", "words"),
  [
    (["--num-processes=2"], "--num-processes is 2; accepted: only with --distributed"),
    (["--process-id=0"], "--process-id is 0; accepted: only with --distributed"),
    (
      ["--distributed", "--num-processes=2"],
      "--coordinator is missing; accepted: --coordinator, --num-processes and --process-id",
    ),
    (
      ["--distributed", "--coordinator=a:1", "--num-processes=2"],
      "--process-id is missing; accepted: --coordinator, --num-processes and --process-id",
    ),
    (
      ["--distributed", "--coordinator=a", "--num-processes=2", "--process-id=1"],
      "--coordinator is 'a'; accepted: HOST:PORT or [IPV6]:PORT, with a port of 1 to 65535",
    ),
    *(
      (
        ["--distributed", f"--coordinator={address}", "--num-processes=2", "--process-id=1"],
        f"--coordinator is {address!r}; accepted: HOST:PORT or [IPV6]:PORT",
      )
      for address in ("127.0.0.1:99999", "a:0", "a:", ":1", "::1:80", "[::1]", "a b:80", "a:1:2")
    ),
    (
      ["--distributed", "--coordinator=a:1", "--num-processes=2", "--process-id=2"],
      "--process-id is 2; accepted: 0 to 1, for 2 processes",
    ),
  ],
)
def test_flags_that_do_not_go_together_are_named(arguments, words):
  with pytest.raises(UserError) as caught:
    cluster(*arguments)
  assert str(caught.value).startswith(f"flag {words}")


def test_a_cluster_is_given_completely_or_found():
  assert cluster() is None
  assert cluster("--distributed") == Cluster(None, None, None, 60, 300)
  given = ("--coordinator=[::1]:80", "--num-processes=3", "--process-id=0")
  assert cluster("--distributed", *given) == Cluster("[::1]:80", 3, 0, 60, 300)
