"""What KServe calls: the model of its repository, and its data plane where REST needs mending."""

import asyncio
from typing import Any

import numpy as np
from kserve import InferInput, InferOutput, InferRequest, InferResponse, Model
from kserve.constants.constants import INFERENCE_CONTENT_LENGTH_HEADER
from kserve.errors import InvalidInput, ServerNotReady
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.infer_type import RequestedOutput
from kserve.protocol.rest.v2_datamodels import InferenceRequest

from meanet_jax.cloud.batching import Batcher, OverloadedError
from meanet_jax.cloud.body import parse_body
from meanet_jax.cloud.model import CloudRun
from meanet_jax.cloud.payload import RequestError, read_images, requested_outputs
from meanet_jax.protocol import (
  CLASS,
  CLASSES_PARAMETER,
  DATASET_PARAMETER,
  ENCODED,
  IMAGE,
  LOGITS,
  MODEL,
  PROBABILITY,
  classes_digest,
)

_TYPES = {CLASS: "INT32", PROBABILITY: "FP32", LOGITS: "FP32"}


class BusyError(ServerNotReady):
  """More images wait than may: REST's 503, gRPC's RESOURCE_EXHAUSTED."""

  def __init__(self, reason: str):
    super().__init__()
    self.error_msg = reason  # KServe would call the server not ready


class CloudEndpoint(Model):
  """Model `cloud`: from a request to an answer, by way of the batcher."""

  def __init__(self, run: CloudRun, batcher: Batcher, max_images: int):
    """Is ready at once: the batcher's model has been compiled.

    Args:
      run: whose cloud the batcher runs.
      batcher: its `work` is under way whenever this is called.
      max_images: per request.
    """
    super().__init__(MODEL)
    self._batcher, self._max_images = batcher, max_images
    self._shape = run.config.dataset.image_shape
    self._num_classes = len(run.class_names)
    self._parameters = {
      DATASET_PARAMETER: run.config.dataset.name,
      CLASSES_PARAMETER: classes_digest(run.class_names),
    }
    self.ready = True

  async def predict(
    self, payload: Any, headers: Any = None, response_headers: Any = None
  ) -> InferResponse:
    """An answer of the outputs that were asked for.

    Args:
      payload: an `InferRequest`; other protocols than V2 are not let in.
      headers, response_headers: not looked at.

    Raises:
      InvalidInput: a request that is wrong.
      BusyError: too many wait.
    """
    del headers, response_headers
    try:
      outputs = requested_outputs([output.name for output in payload.request_outputs or []])
      images = await self._read(payload)
      values = await self._batcher.submit(images)
    except RequestError as error:
      raise InvalidInput(str(error)) from error
    except OverloadedError as error:
      raise BusyError(str(error)) from error
    return InferResponse(
      payload.id or "",
      MODEL,
      [_output(name, values[name]) for name in outputs],
      parameters=self._parameters,
      use_binary_outputs=payload.use_binary_outputs,
      requested_outputs=payload.request_outputs,
    )

  def get_input_types(self) -> list[dict]:
    """For the model's metadata."""
    return [
      {"name": IMAGE, "datatype": "UINT8", "shape": [-1, *self._shape]},
      {"name": ENCODED, "datatype": "BYTES", "shape": [-1]},
    ]

  def get_output_types(self) -> list[dict]:
    """For the model's metadata."""
    shapes = {CLASS: [-1], PROBABILITY: [-1], LOGITS: [-1, self._num_classes]}
    return [{"name": n, "datatype": _TYPES[n], "shape": shape} for n, shape in shapes.items()]

  async def _read(self, payload: InferRequest) -> np.ndarray:
    if payload.inputs and payload.inputs[0].name == ENCODED:
      # Decoding takes long enough to keep other requests waiting.
      return await asyncio.to_thread(read_images, payload.inputs, self._shape, self._max_images)
    return read_images(payload.inputs, self._shape, self._max_images)


def _output(name: str, values: np.ndarray) -> InferOutput:
  output = InferOutput(name, list(values.shape), _TYPES[name])
  # As bytes: KServe's gRPC side asks an array for its truth.
  output.set_data_from_numpy(values, binary_data=True)
  return output


class CloudDataPlane(DataPlane):
  """KServe's, with our reader of REST requests."""

  def decode_inference_request(
    self, body: bytes | InferenceRequest, headers: dict, model_name: str
  ) -> InferRequest:
    """See KServe's. Raises InvalidInput for whatever is wrong with the body."""
    assert isinstance(body, bytes)  # the guard hides from FastAPI that any is JSON
    try:
      read = parse_body(body, headers.get(INFERENCE_CONTENT_LENGTH_HEADER))
    except RequestError as error:
      raise InvalidInput(str(error)) from error
    return InferRequest(
      model_name,
      [InferInput(given.name, given.shape, given.datatype, given.values) for given in read.inputs],
      request_id=read.id,
      raw_inputs=[given.data for given in read.inputs],
      parameters=read.parameters,
      request_outputs=[RequestedOutput(*output) for output in read.outputs] or None,
    )
