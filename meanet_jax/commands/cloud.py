"""The cloud tier: serves a run's cloud model over gRPC.

meanet cloud --workdir runs/digits [--grpc-port N]

What it speaks is in `protocol.py`, how it is run in docs/link.md. It needs the extra `cloud`.
"""

import argparse
import asyncio
import gc
import os

from meanet_jax import log
from meanet_jax.commands.flags import Parser, add_integer, add_number, add_path, require
from meanet_jax.config.ranges import Range
from meanet_jax.errors import UserError
from meanet_jax.log import logger


def add_flags(parser: Parser) -> None:
  """Adds the flags of this command."""
  add_path(parser, "--workdir", metavar="DIR", help="a run whose cloud stage has finished")
  parser.add_argument(
    "--host",
    default="127.0.0.1",
    help="address to listen on; beyond loopback TLS and a token are demanded",
  )
  add_integer(
    parser, "--grpc-port", Range(0, 65535), default=8081, help="of gRPC; 0 for any free one"
  )
  add_integer(
    parser,
    "--health-port",
    Range(0, 65535),
    help="of the health service alone, without TLS and token, for probes; none unless given",
  )
  add_integer(
    parser,
    "--metrics-port",
    Range(0, 65535),
    default=8082,
    help="of Prometheus' /metrics, on 127.0.0.1; 0 for any free one",
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
    parser,
    "--max-queue",
    Range(1),
    default=1024,
    help="images that may wait, and calls under way, at least --max-images; more are refused",
  )
  add_integer(parser, "--max-images", Range(1), default=64, help="images per request")
  add_number(
    parser, "--max-request-mb", Range(0.001, 2000), default=16.0, help="of a request, in 10^6 bytes"
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
  if given.max_queue < given.max_images:
    raise UserError(
      f"flag --max-queue is {given.max_queue} and --max-images {given.max_images}; accepted: "
      "--max-queue of at least --max-images, or a request of so many would never find room"
    )
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
  tls = read_tls(given.tls_certificate, given.tls_key)
  token = read_token(given.token_file)
  address = Address(given.host, given.grpc_port, given.health_port)
  demand_protection(address, tls, token)
  served = read_run(workdir)
  metrics_port = serve_metrics(given.metrics_port)
  logger.info(f"cloud of {workdir}: compiling; metrics at http://127.0.0.1:{metrics_port}/metrics")
  model = CloudModel(served, given.max_batch)
  limits = Limits(
    max_batch=model.sizes[-1],
    max_wait=given.max_wait_ms / 1e3,
    max_queue=given.max_queue,
    max_images=given.max_images,
    max_bytes=int(given.max_request_mb * 1e6),
    grace=given.grace_seconds,
  )
  metrics = Metrics(model.sizes)
  batcher = Batcher(model, model.seconds, limits, metrics)
  service = CloudService(served, batcher, limits, metrics)
  # What is there stays; a full collection that looked at it would keep every request waiting.
  gc.collect()
  gc.freeze()
  asyncio.run(serve(service, Guard(Token(token), metrics), address, tls, limits))
