"""Requests to the cloud tier, right and wrong ones."""

import struct
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc


def tensor_request(
  values: bytes, shape: tuple[int, ...], name: str = "image", datatype: str = "UINT8"
) -> service_pb2.ModelInferRequest:
  """A gRPC request of one input, whatever it says."""
  request = service_pb2.ModelInferRequest(model_name="cloud", id="7")
  request.inputs.add(name=name, datatype=datatype, shape=shape)
  request.raw_input_contents.append(values)
  return request


def image_request(images: np.ndarray) -> service_pb2.ModelInferRequest:
  return tensor_request(images.tobytes(), images.shape)


def bytes_tensor(files: list[bytes]) -> bytes:
  return b"".join(struct.pack("<I", len(file)) + file for file in files)


def infer(channel: grpc.Channel, request: Any, **options: Any) -> Any:
  """The answer, or grpc.RpcError."""
  return service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(
    request, timeout=60, **options
  )


def output(answer: Any, name: str) -> np.ndarray:
  """One of a gRPC answer's outputs."""
  index = [given.name for given in answer.outputs].index(name)
  given = answer.outputs[index]
  dtype = {"INT32": np.int32, "FP32": np.float32}[given.datatype]
  return np.frombuffer(answer.raw_output_contents[index], dtype).reshape(given.shape)
