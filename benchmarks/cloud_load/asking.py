"""Clients that ask a server, each again as soon as it is answered: h2load's."""

import os
import subprocess
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
from jaxtyping import Float, UInt8
from tritonclient.grpc import service_pb2 as protocol

from benchmarks.cloud_load.servers import Server
from meanet_jax.protocol import CLASS, IMAGE, MODEL, PROBABILITY

METHOD = "inference.GRPCInferenceService/ModelInfer"
_WARM_UP = 2  # seconds before the pass, in which the clients ask as well


class Asking(NamedTuple):
  """How a pass asks. clients: with a connection each. seconds: of the pass. directory: for files
  that h2load reads and writes.
  """

  clients: int
  seconds: int
  directory: Path


class Load(NamedTuple):
  """One pass: images per second; seconds of each request; CPU seconds per image of both sides."""

  rate: float
  latencies: Float[np.ndarray, " n"]
  server_cpu: float
  client_cpu: float


def load(asked: Server, images: UInt8[np.ndarray, "n h w c"], how: Asking) -> Load:
  """One pass of all clients, every request with the same `images`.

  h2load does not look into answers. gRPC's errors are answers without an image, which the server's
  own counts would show.
  """
  body, log = how.directory / "request", how.directory / "answers"
  body.write_bytes(message(images))
  log.unlink(missing_ok=True)
  before, cpu = asked.counts(), sum(asked.process.cpu_times()[:2])
  asking = psutil.Popen(
    [
      "h2load",
      f"--clients={how.clients}",
      f"--duration={how.seconds}",
      f"--warm-up-time={_WARM_UP}",
      f"--data={body}",
      f"--log-file={log}",
      "--header=content-type: application/grpc",
      "--header=te: trailers",
      f"http://{asked.address}/{METHOD}",
    ],
    stdout=subprocess.DEVNULL,
  )
  _, _, usage = os.wait4(asking.pid, 0)
  cpu = sum(asked.process.cpu_times()[:2]) - cpu
  rows = np.loadtxt(log, dtype=np.int64, ndmin=2)  # begun [us], HTTP status, took [us]
  assert (rows[:, 1] == 200).all()
  rate = len(rows) * len(images) / how.seconds
  answered = rate * (how.seconds + _WARM_UP)
  if asked.metrics:
    after = asked.counts()
    answered = after["cloud_images_total"] - before["cloud_images_total"]
    assert answered >= len(rows) * len(images), "answers without images"
    assert not [name for name in after if name.startswith("cloud_refused_total") and after[name]]
  client_cpu = usage.ru_utime + usage.ru_stime
  return Load(rate, rows[:, 2] / 1e6, cpu / answered, client_cpu / answered)


def message(images: UInt8[np.ndarray, "n h w c"]) -> bytes:
  """A request as a device sends it (`edge/link/messages.py`), in gRPC's frame."""
  request = protocol.ModelInferRequest(model_name=MODEL, id="1")
  request.inputs.add(name=IMAGE, datatype="UINT8", shape=images.shape)
  request.raw_input_contents.append(images.tobytes())
  for name in (CLASS, PROBABILITY):
    request.outputs.add(name=name)
  body = request.SerializeToString()
  return b"\0" + len(body).to_bytes(4, "big") + body
