"""A server of the Open Inference Protocol v2 over gRPC that misbehaves on demand.

It stands in for the cloud tier where that would have to be broken to be tested. A right answer is
`class_of` the pixels, so that a test knows whose answer an image has been given.
"""

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2 as protocol
from tritonclient.grpc import service_pb2_grpc

from meanet_jax.protocol import classes_digest

SHAPE, CLASS_NAMES = (8, 8, 1), tuple("0123456789")


def logits_of(image: np.ndarray) -> np.ndarray:
  """Those of an image, largest at its class."""
  classes = np.arange(len(CLASS_NAMES))
  return np.cos(classes - class_of(image)).astype(np.float32)


def class_of(image: np.ndarray) -> int:
  return int(image.astype(np.int64).sum()) % len(CLASS_NAMES)


class OipServer(service_pb2_grpc.GRPCInferenceServiceServicer):
  """mode: how it answers from now on, of `MODES`; requests: how many inferences it was asked for.

  slow: seconds that an answer takes. open: clear it to hold answers back. gives_logits: False for a
  server that knows no such output and refuses a request for it.
  """

  MODES = (
    "right",
    "typed",  # numbers in fields instead of raw bytes
    "error",
    "full",
    "invalid",
    "no_outputs",
    "two_answers",
    "cut",
    "float_class",
    "no_class",
    "negative_class",
    "no_probability",
    "other_classes",
    "other_id",
    "few_logits",
    "infinite_logits",
  )

  def __init__(self) -> None:
    self.mode, self.token, self.model = "right", None, "cloud"
    self.shape, self.num_classes = SHAPE, len(CLASS_NAMES)
    self.requests, self.port = 0, 0
    self.gives_logits = True
    self.slow = 0.0
    self.open = threading.Event()
    self.open.set()

  def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
    self._admit(request.name, context)
    response = protocol.ModelMetadataResponse(name="cloud")
    response.inputs.add(name="image", datatype="UINT8", shape=[-1, *self.shape])
    response.inputs.add(name="encoded", datatype="BYTES", shape=[-1])
    response.outputs.add(name="class", datatype="INT32", shape=[-1])
    response.outputs.add(name="probability", datatype="FP32", shape=[-1])
    if self.gives_logits:
      response.outputs.add(name="logits", datatype="FP32", shape=[-1, self.num_classes])
    return response

  def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
    self._admit(request.model_name, context)
    self.requests += 1
    while not self.open.wait(0.05):
      if not context.is_active():
        return protocol.ModelInferResponse()
    if self.slow:
      time.sleep(self.slow)
    mode = self.mode
    if mode == "error":
      context.abort(grpc.StatusCode.DATA_LOSS, "gone")
    if mode == "full":
      context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no room")
    if mode == "invalid":
      context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not that")
    asks_logits = any(output.name == "logits" for output in request.outputs)
    if asks_logits and not self.gives_logits:
      context.abort(grpc.StatusCode.INVALID_ARGUMENT, "output 'logits' is unknown")
    pixels = np.frombuffer(request.raw_input_contents[0], np.uint8)
    answer, logits = class_of(pixels), logits_of(pixels)
    response = protocol.ModelInferResponse(model_name="cloud", id=request.id)
    names = CLASS_NAMES[::-1] if mode == "other_classes" else CLASS_NAMES
    response.parameters["classes_sha256"].string_param = classes_digest(names)
    if mode == "other_id":
      response.id = request.id + "1"
    if mode == "no_outputs":
      return response
    answer = {"no_class": len(CLASS_NAMES), "negative_class": -1}.get(mode, answer)
    probability = 1.5 if mode == "no_probability" else 0.75
    size = 2 if mode == "two_answers" else 1
    dtype = "FP32" if mode == "float_class" else "INT32"
    first = response.outputs.add(name="class", datatype=dtype, shape=[size])
    second = response.outputs.add(name="probability", datatype="FP32", shape=[1])
    if mode == "few_logits":
      logits = logits[1:]
    if mode == "infinite_logits":
      logits[3] = np.inf
    if asks_logits:
      third = response.outputs.add(name="logits", datatype="FP32", shape=[1, len(logits)])
      if mode == "typed":
        third.contents.fp32_contents.extend(logits)
    if mode == "typed":
      first.contents.int_contents.append(answer)
      second.contents.fp32_contents.append(probability)
      return response
    response.raw_output_contents.append(np.full(size, answer, "<i4").tobytes())
    response.raw_output_contents.append(np.array([probability], "<f4").tobytes())
    if asks_logits:
      response.raw_output_contents.append(logits.astype("<f4").tobytes())
    if mode == "cut":
      response.raw_output_contents[1] = response.raw_output_contents[1][:3]
    return response

  def _admit(self, model: str, context: Any) -> None:
    sent = dict(context.invocation_metadata()).get("authorization")
    if self.token is not None and sent != f"Bearer {self.token}":
      context.abort(grpc.StatusCode.UNAUTHENTICATED, "the bearer token is missing or wrong")
    if model != self.model:
      context.abort(grpc.StatusCode.NOT_FOUND, f"no model {model}")


@contextlib.contextmanager
def oip_server(
  port: int = 0, tls: tuple[bytes, bytes] | None = None, host: str = "127.0.0.1"
) -> Iterator[OipServer]:
  """Listens on a host's address. tls: private key and certificate, PEM."""
  servicer = OipServer()
  server = grpc.server(futures.ThreadPoolExecutor(32), options=[("grpc.so_reuseport", 0)])
  service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
  address = f"{host}:{port}"
  if tls is None:
    servicer.port = server.add_insecure_port(address)
  else:
    servicer.port = server.add_secure_port(address, grpc.ssl_server_credentials([tls]))
  server.start()
  try:
    yield servicer
  finally:
    servicer.open.set()
    server.stop(None).wait()
