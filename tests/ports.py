"""Ports of loopback for processes that are to listen there."""

import socket


def free_port() -> int:
  """One that nobody listens on."""
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    return free.getsockname()[1]


def free_address() -> str:
  """HOST:PORT."""
  return f"127.0.0.1:{free_port()}"
