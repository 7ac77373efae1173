"""Counts and times of a server, for Prometheus, on loopback."""

from collections.abc import Sequence

import prometheus_client

from meanet_jax.errors import UserError

HOST = "127.0.0.1"


class Metrics:
  """One server's. Made once: a registry takes a name only once."""

  def __init__(
    self,
    batch_sizes: Sequence[int],
    registry: prometheus_client.CollectorRegistry = prometheus_client.REGISTRY,
  ):
    self.images = prometheus_client.Counter("cloud_images", "Images answered.", registry=registry)
    self.refused = prometheus_client.Counter(
      "cloud_refused", "Requests refused, by reason.", ["reason"], registry=registry
    )
    self.waiting = prometheus_client.Gauge(
      "cloud_waiting_images", "Images that wait for a batch.", registry=registry
    )
    self.batch = prometheus_client.Histogram(
      "cloud_batch_images",
      "Images per batch, without padding.",
      buckets=batch_sizes,
      registry=registry,
    )
    self.wait = prometheus_client.Histogram(
      "cloud_wait_seconds",
      "From a request's arrival to the start of each batch that it shares.",
      registry=registry,
    )
    self.run = prometheus_client.Histogram(
      "cloud_batch_seconds", "Running the model on a batch.", registry=registry
    )


def serve_metrics(port: int) -> int:
  """Answers `/metrics` on loopback in a thread from now on; the port.

  Args:
    port: 0 for any free one.

  Raises:
    UserError: the port is taken or not allowed.
  """
  try:
    server, _ = prometheus_client.start_http_server(port, addr=HOST)
  except OSError as error:
    raise UserError(
      f"--metrics-port {port} of {HOST} cannot be had: {error.strerror}; "
      "accepted: a free port, or 0 for any"
    ) from error
  return server.server_port
