"""torchvision's networks trained in PyTorch: channels last, bfloat16, `torch.compile`.

In a process without JAX, which would take most of the card's memory and other versions of its
libraries. Nothing of this project needs PyTorch: where it is not installed, a row says so.
"""

import importlib
import math
import statistics
import time
from typing import Any, NamedTuple

from benchmarks.accelerator.record import PartContext


class Work(NamedTuple):
  """network: as in `training`. model: torchvision's name. batch: images. dtype: of products."""

  network: str
  model: str
  batch: int
  dtype: str


WORKS = (
  Work("ResNet-18", "resnet18", 256, "bfloat16"),
  Work("MobileNetV2", "mobilenet_v2", 128, "bfloat16"),
  Work("ResNet-18", "resnet18", 256, "float32"),
)
MODULES = ("torch", "torchvision")


def run(context: PartContext) -> None:
  """Times every network, or says which module is missing."""
  for name in MODULES:
    try:
      importlib.import_module(name)
    except ImportError:
      context.record.add(kind="missing", module=name)
      return
  for work in WORKS[:1] if context.rehearsal else WORKS:
    work = work._replace(batch=2) if context.rehearsal else work
    context.record.add(**row(work, context.rehearsal))


def row(work: Work, rehearsal: bool) -> dict[str, Any]:
  """Images/s of a training step: uint8 images on the card, normalised there, SGD with momentum."""
  torch, torchvision = map(importlib.import_module, MODULES)

  device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
  torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
  torch.backends.cudnn.benchmark = True
  size = 32 if rehearsal else 224
  model: Any = getattr(torchvision.models, work.model)().to(device)
  model = model.to(memory_format=torch.channels_last)
  optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, weight_decay=1e-4)
  images = torch.randint(0, 256, (work.batch, 3, size, size), dtype=torch.uint8, device=device)
  images = images.to(memory_format=torch.channels_last)
  labels = torch.randint(0, 1000, (work.batch,), device=device)

  def loss_of(images: Any, labels: Any) -> Any:
    with torch.autocast(device.type, torch.bfloat16, enabled=work.dtype == "bfloat16"):
      logits = model((images.float() / 255 - 0.45) / 0.225)
    return torch.nn.functional.cross_entropy(logits.float(), labels)

  compiled = loss_of if rehearsal else torch.compile(loss_of)

  def seconds(steps: int) -> float:
    begun = time.perf_counter()
    for _ in range(steps):
      optimizer.zero_grad(set_to_none=True)
      compiled(images, labels).backward()
      optimizer.step()
    if device.type == "cuda":
      torch.cuda.synchronize()
    return (time.perf_counter() - begun) / steps

  begun = time.perf_counter()
  seconds(1)
  compile_seconds = time.perf_counter() - begun
  seconds(2)
  steps = 1 if rehearsal else max(1, math.ceil(0.5 / seconds(2)))
  median = statistics.median(seconds(steps) for _ in range(1 if rehearsal else 5))
  return {
    "kind": "step",
    "implementation": "PyTorch" if rehearsal else "PyTorch, compiled",
    "network": work.network,
    "stage": "main",
    "batch": work.batch,
    "dtype": work.dtype,
    "seconds": median,
    "images_per_second": work.batch / median,
    "compile_seconds": compile_seconds,
    "version": torch.__version__,
    "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
  }
