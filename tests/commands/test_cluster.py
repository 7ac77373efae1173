"""Flags of a cluster. That its processes connect: tests/training/test_distributed.py."""

from collections.abc import Iterator

import pytest
from absl import flags
from absl.testing import flagsaver

from meanet_jax.commands.cluster import define_cluster_flags
from meanet_jax.errors import UserError
from meanet_jax.training.cluster import Cluster

cluster = define_cluster_flags()


@pytest.fixture(autouse=True)
def given_back() -> Iterator[None]:
  with flagsaver.flagsaver():
    yield


def parse(*arguments: str) -> None:
  flags.FLAGS(["train.py", *arguments])


@pytest.mark.parametrize(
  ("arguments", "words"),
  [
    (["--num_processes=2"], "--num_processes is 2; accepted: only with --distributed"),
    (["--process_id=0"], "--process_id is 0; accepted: only with --distributed"),
    (
      ["--distributed", "--num_processes=2"],
      "--coordinator is missing; accepted: --coordinator, --num_processes and --process_id",
    ),
    (
      ["--distributed", "--coordinator=a:1", "--num_processes=2"],
      "--process_id is missing; accepted: --coordinator, --num_processes and --process_id",
    ),
    (
      ["--distributed", "--coordinator=a", "--num_processes=2", "--process_id=1"],
      "--coordinator is 'a'; accepted: HOST:PORT or [IPV6]:PORT, with a port of 1 to 65535",
    ),
    *(
      (
        ["--distributed", f"--coordinator={address}", "--num_processes=2", "--process_id=1"],
        f"--coordinator is {address!r}; accepted: HOST:PORT or [IPV6]:PORT",
      )
      for address in ("127.0.0.1:99999", "a:0", "a:", ":1", "::1:80", "[::1]", "a b:80", "a:1:2")
    ),
    (
      ["--distributed", "--coordinator=a:1", "--num_processes=2", "--process_id=2"],
      "--process_id is 2; accepted: 0 to 1, for 2 processes",
    ),
  ],
)
def test_flags_that_do_not_go_together_are_named(arguments, words):
  parse(*arguments)
  with pytest.raises(UserError) as caught:
    cluster()
  assert str(caught.value).startswith(f"flag {words}")


def test_a_cluster_is_given_completely_or_found():
  parse()
  assert cluster() is None
  parse("--distributed")
  assert cluster() == Cluster(None, None, None, 60, 300)
  parse("--distributed", "--coordinator=[::1]:80", "--num_processes=3", "--process_id=0")
  assert cluster() == Cluster("[::1]:80", 3, 0, 60, 300)
