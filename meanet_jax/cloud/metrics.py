"""What Prometheus is told beside KServe's own latencies of each request."""

from collections.abc import Sequence

import prometheus_client


class Metrics:
  """Counts of this server. Made once: a registry takes a name only once."""

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
