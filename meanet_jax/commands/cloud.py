"""The cloud tier: serves a run's cloud model over gRPC.

Command: python -m meanet_jax.commands.cloud --workdir runs/digits [--grpc_port N]

What it speaks is in `protocol.py`, how it is run in docs/link.md. It needs the extra `cloud`.
"""

import asyncio
import gc
import math
import os

from absl import flags

from meanet_jax import log
from meanet_jax.commands import flags as cli
from meanet_jax.errors import UserError
from meanet_jax.log import logger

_WORKDIR = cli.define_path_flag("workdir", None, "A run whose cloud stage train.py finished.")
_HOST = flags.DEFINE_string(
  "host", "127.0.0.1", "Address to listen on; beyond loopback TLS and a token are demanded."
)
_GRPC_PORT = flags.DEFINE_integer(
  "grpc_port", 8081, "0 for any free one.", lower_bound=0, upper_bound=65535
)
_HEALTH_PORT = flags.DEFINE_integer(
  "health_port",
  None,
  "Of the health service alone, without TLS and token, for probes; none unless given.",
  lower_bound=0,
  upper_bound=65535,
)
_METRICS_PORT = flags.DEFINE_integer(
  "metrics_port",
  8082,
  "Of Prometheus' /metrics, on 127.0.0.1; 0 for any free one.",
  lower_bound=0,
  upper_bound=65535,
)
_CERTIFICATE = cli.define_path_flag("tls_certificate", None, "PEM file of the certificate chain.")
_KEY = cli.define_path_flag("tls_key", None, "PEM file of its private key.")
_TOKEN_FILE = cli.define_path_flag(
  "token_file", None, "File with the bearer token; or environment variable MEANET_CLOUD_TOKEN."
)
_MAX_BATCH = flags.DEFINE_integer(
  "max_batch",
  32,
  "Images per run of the model; 1 batches nothing.",
  lower_bound=1,
  upper_bound=4096,
)
_MAX_WAIT = flags.DEFINE_float(
  "max_wait_ms",
  5.0,
  "That a batch's first image waits for others.",
  lower_bound=0,
  upper_bound=60_000,
)
_MAX_QUEUE = flags.DEFINE_integer(
  "max_queue", 1024, "Images that may wait, and calls under way; more are refused.", lower_bound=1
)
_MAX_IMAGES = flags.DEFINE_integer("max_images", 64, "Images per request.", lower_bound=1)
_MAX_REQUEST = flags.DEFINE_float(
  "max_request_mb", 16.0, "Of a request, in 10^6 bytes.", lower_bound=0.001, upper_bound=2000
)
_GRACE = flags.DEFINE_float(
  "grace_seconds",
  30.0,
  "For accepted requests after a signal.",
  lower_bound=0,
  upper_bound=86_400,
)
# Not a number is beyond no bound.
for _flag in (_MAX_WAIT, _MAX_REQUEST, _GRACE):
  flags.register_validator(_flag, lambda value: not math.isnan(value), "accepted: a number")


def main() -> None:
  """Reads the flags, compiles, and serves until a signal."""
  workdir = cli.require(_WORKDIR.value, "workdir", "the directory of a run")
  # gRPC's own log would have a line for whatever a client sends. It is read when it starts.
  os.environ.setdefault("GRPC_VERBOSITY", "NONE")
  try:
    import grpc_health.v1  # noqa: F401
    import PIL  # noqa: F401
    import prometheus_client  # noqa: F401
    import tritonclient.grpc  # noqa: F401
  except ModuleNotFoundError as error:
    raise UserError(
      f"the cloud tier needs {error.name}, which is not installed; "
      "accepted: pip install 'meanet_jax[cloud]'"
    ) from error
  # Only now, because these import what has just been checked.
  from meanet_jax.cloud.access import Guard, Token
  from meanet_jax.cloud.batching import Batcher
  from meanet_jax.cloud.descriptors import raise_file_limit
  from meanet_jax.cloud.limits import Limits
  from meanet_jax.cloud.listen import Address, demand_protection, read_tls, read_token
  from meanet_jax.cloud.metrics import Metrics, serve_metrics
  from meanet_jax.cloud.model import CloudModel, read_run
  from meanet_jax.cloud.server import serve
  from meanet_jax.cloud.service import CloudService
  from meanet_jax.devices import check_devices

  log.to_console()
  check_devices()
  raise_file_limit()
  tls = read_tls(_CERTIFICATE.value, _KEY.value)
  token = read_token(_TOKEN_FILE.value)
  address = Address(_HOST.value, _GRPC_PORT.value, _HEALTH_PORT.value)
  demand_protection(address, tls, token)
  run = read_run(workdir)
  metrics_port = serve_metrics(_METRICS_PORT.value)
  logger.info(f"cloud of {workdir}: compiling; metrics at http://127.0.0.1:{metrics_port}/metrics")
  model = CloudModel(run, _MAX_BATCH.value)
  limits = Limits(
    max_batch=model.sizes[-1],
    max_wait=_MAX_WAIT.value / 1e3,
    max_queue=_MAX_QUEUE.value,
    max_images=_MAX_IMAGES.value,
    max_bytes=int(_MAX_REQUEST.value * 1e6),
    grace=_GRACE.value,
  )
  metrics = Metrics(model.sizes)
  batcher = Batcher(model, model.seconds, limits, metrics)
  service = CloudService(run, batcher, limits, metrics)
  # What is there stays; a full collection that looked at it would keep every request waiting.
  gc.collect()
  gc.freeze()
  asyncio.run(serve(service, Guard(Token(token), metrics), address, tls, limits))


if __name__ == "__main__":
  cli.run(main)
