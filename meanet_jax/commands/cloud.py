"""The cloud tier: serves a run's cloud model over REST and gRPC.

meanet cloud --workdir runs/digits [--http-port N] [--grpc-port N]

What it speaks is in `runtime/protocol.py`, how it is run in docs/link.md. It needs the extra
`cloud` (KServe's SDK).
"""

import argparse
import asyncio
import gc
import logging
import os
import warnings

from meanet_jax import log
from meanet_jax.commands.flags import Parser, add_integer, add_number, add_path, require
from meanet_jax.config.ranges import Range
from meanet_jax.errors import UserError
from meanet_jax.log import logger


def add_flags(parser: Parser) -> None:
  """Adds the flags of this command."""
  add_path(parser, "--workdir", metavar="DIR", help="a run whose cloud stage train.py finished")
  parser.add_argument(
    "--host",
    default="127.0.0.1",
    help="address to listen on; beyond loopback TLS and a token are demanded",
  )
  add_integer(
    parser, "--http-port", Range(0, 65535), default=8080, help="of REST; 0 for any free one"
  )
  add_integer(
    parser, "--grpc-port", Range(0, 65535), default=8081, help="of gRPC; 0 for any free one"
  )
  add_path(parser, "--tls-certificate", metavar="FILE", help="PEM file of the certificate chain")
  add_path(parser, "--tls-key", metavar="FILE", help="PEM file of its private key")
  add_path(
    parser,
    "--token-file",
    metavar="FILE",
    help="file with the bearer token; or environment variable MEANET_CLOUD_TOKEN",
  )
  add_integer(
    parser,
    "--max-batch",
    Range(1, 4096),
    default=32,
    help="images per run of the model; 1 batches nothing",
  )
  add_number(
    parser,
    "--max-wait-ms",
    Range(0, 60000),
    default=5.0,
    help="that a batch's first image waits for others",
  )
  add_integer(
    parser, "--max-queue", Range(1), default=1024, help="images that may wait; more are refused"
  )
  add_integer(parser, "--max-images", Range(1), default=64, help="images per request")
  add_number(
    parser, "--max-request-mb", Range(0.001, 2000), default=16.0, help="of a request, in 10^6 bytes"
  )
  add_number(
    parser, "--max-json-mb", Range(0.001, 2000), default=4.0, help="of its JSON, over REST"
  )
  add_number(
    parser,
    "--grace-seconds",
    Range(0, 86400),
    default=30.0,
    help="for accepted requests after a signal",
  )


def run(given: argparse.Namespace) -> None:
  """Compiles, and serves until a signal."""
  workdir = require(given.workdir, "--workdir", "the directory of a run")
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
    max_batch=given.max_batch,
    max_wait=given.max_wait_ms / 1e3,
    max_queue=given.max_queue,
    max_images=given.max_images,
    max_bytes=int(given.max_request_mb * 1e6),
    max_json=int(given.max_json_mb * 1e6),
    grace=given.grace_seconds,
  )
  check_devices()
  raise_file_limit()
  tls = read_tls(given.tls_certificate, given.tls_key)
  token = read_token(given.token_file)
  address = Address(given.host, given.http_port, given.grpc_port)
  demand_protection(address, tls, token)
  served = read_run(workdir)
  logger.info(f"cloud of {workdir}: compiling")
  model = CloudModel(served, limits.max_batch)
  metrics = Metrics(model.sizes)
  batcher = Batcher(model, model.sizes[-1], limits.max_wait, limits.max_queue, metrics)
  endpoint = CloudEndpoint(served, batcher, limits.max_images)
  warnings.filterwarnings("ignore", "ORJSONResponse is deprecated")  # KServe's use of FastAPI
  for handler in logging.getLogger().handlers:
    handler.addFilter(ClientErrorFilter())
  # JAX and KServe are 400,000 objects that stay: a full collection that looks at them all would
  # keep every request waiting for a fifth of a second.
  gc.collect()
  gc.freeze()
  asyncio.run(serve(endpoint, batcher, address, Token(token), tls, limits, metrics))
