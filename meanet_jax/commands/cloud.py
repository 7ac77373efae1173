"""The cloud tier: serves a run's cloud model over REST and gRPC.

Command: python -m meanet_jax.commands.cloud --workdir runs/digits [--http_port N] [--grpc_port N]

What it speaks is in `runtime/protocol.py`, how it is run in docs/link.md. It needs the extra
`cloud` (KServe's SDK).
"""

import asyncio
import gc
import logging
import math
import os
import warnings

from absl import flags

from meanet_jax import log
from meanet_jax.commands import flags as cli
from meanet_jax.errors import UserError
from meanet_jax.log import logger

_WORKDIR = cli.define_path_flag("workdir", None, "A run whose cloud stage train.py finished.")
_HOST = flags.DEFINE_string(
  "host", "127.0.0.1", "Address to listen on; beyond loopback TLS and a token are demanded."
)
_HTTP_PORT = flags.DEFINE_integer(
  "http_port", 8080, "Of REST; 0 for any free one.", lower_bound=0, upper_bound=65535
)
_GRPC_PORT = flags.DEFINE_integer(
  "grpc_port", 8081, "Of gRPC; 0 for any free one.", lower_bound=0, upper_bound=65535
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
  "max_queue", 1024, "Images that may wait; more are refused.", lower_bound=1
)
_MAX_IMAGES = flags.DEFINE_integer("max_images", 64, "Images per request.", lower_bound=1)
_MAX_REQUEST = flags.DEFINE_float(
  "max_request_mb", 16.0, "Of a request, in 10^6 bytes.", lower_bound=0.001, upper_bound=2000
)
_MAX_JSON = flags.DEFINE_float(
  "max_json_mb", 4.0, "Of its JSON, over REST.", lower_bound=0.001, upper_bound=2000
)
_GRACE = flags.DEFINE_float(
  "grace_seconds",
  30.0,
  "For accepted requests after a signal.",
  lower_bound=0,
  upper_bound=86_400,
)
# Not a number is beyond no bound.
for _flag in (_MAX_WAIT, _MAX_REQUEST, _MAX_JSON, _GRACE):
  flags.register_validator(_flag, lambda value: not math.isnan(value), "accepted: a number")


def main() -> None:
  """Reads the flags, compiles, and serves until a signal."""
  workdir = cli.require(_WORKDIR.value, "workdir", "the directory of a run")
  # gRPC's own log would have a line for whatever a client sends. It is read when it starts.
  os.environ.setdefault("GRPC_VERBOSITY", "NONE")
  try:
    import kserve  # noqa: F401
  except ModuleNotFoundError as error:
    raise UserError(
      f"the cloud tier needs KServe, and {error.name} is not installed; "
      "accepted: pip install 'meanet_jax[cloud]'"
    ) from error
  # Only now, because these import what has just been checked.
  from meanet_jax.cloud.access import Token
  from meanet_jax.cloud.batching import Batcher
  from meanet_jax.cloud.connections import raise_file_limit
  from meanet_jax.cloud.endpoint import CloudEndpoint
  from meanet_jax.cloud.limits import Limits
  from meanet_jax.cloud.listen import Address, demand_protection, read_tls, read_token
  from meanet_jax.cloud.metrics import Metrics
  from meanet_jax.cloud.model import CloudModel, read_run
  from meanet_jax.cloud.server import ClientErrorFilter, serve
  from meanet_jax.devices import check_devices

  log.to_console()
  limits = Limits(
    max_batch=_MAX_BATCH.value,
    max_wait=_MAX_WAIT.value / 1e3,
    max_queue=_MAX_QUEUE.value,
    max_images=_MAX_IMAGES.value,
    max_bytes=int(_MAX_REQUEST.value * 1e6),
    max_json=int(_MAX_JSON.value * 1e6),
    grace=_GRACE.value,
  )
  check_devices()
  raise_file_limit()
  tls = read_tls(_CERTIFICATE.value, _KEY.value)
  token = read_token(_TOKEN_FILE.value)
  address = Address(_HOST.value, _HTTP_PORT.value, _GRPC_PORT.value)
  demand_protection(address, tls, token)
  run = read_run(workdir)
  logger.info(f"cloud of {workdir}: compiling")
  model = CloudModel(run, limits.max_batch)
  metrics = Metrics(model.sizes)
  batcher = Batcher(model, model.sizes[-1], limits.max_wait, limits.max_queue, metrics)
  endpoint = CloudEndpoint(run, batcher, limits.max_images)
  warnings.filterwarnings("ignore", "ORJSONResponse is deprecated")  # KServe's use of FastAPI
  for handler in logging.getLogger().handlers:
    handler.addFilter(ClientErrorFilter())
  # JAX and KServe are 400,000 objects that stay: a full collection that looks at them all would
  # keep every request waiting for a fifth of a second.
  gc.collect()
  gc.freeze()
  asyncio.run(serve(endpoint, batcher, address, Token(token), tls, limits, metrics))


if __name__ == "__main__":
  cli.run(main)
