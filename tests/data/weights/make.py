"""Made the .pth files beside it, with PyTorch 2.13: python tests/data/weights/make.py.

They hold the main block of `tests.experiments.tiny_config` with the values of `tests.golden`. Not
run by the tests, which must not need PyTorch.
"""

import sys
from collections import OrderedDict
from pathlib import Path

import torch

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent))
from golden import parameter  # noqa: E402


def norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
  leaves = ("weight", "bias", "running_mean", "running_var")
  return {f"{name}.{leaf}": (width,) for leaf in leaves} | {f"{name}.num_batches_tracked": ()}


shapes = {"conv1.weight": (4, 1, 3, 3), **norm("bn1", 4)}
for number in (1, 2):
  shapes |= {f"layer1.0.conv{number}.weight": (4, 4, 3, 3), **norm(f"layer1.0.bn{number}", 4)}
shapes |= {"layer1.0.downsample.0.weight": (4, 4, 1, 1), **norm("layer1.0.downsample.1", 4)}
shapes |= {"fc.weight": (10, 4), "fc.bias": (10,)}
state = OrderedDict((n, torch.from_numpy(parameter(n, s))) for n, s in shapes.items())

torch.save(state, HERE / "zip.pth")
torch.save(state, HERE / "legacy.pth", _use_new_zipfile_serialization=False)
torch.save({n: t.double() for n, t in state.items()}, HERE / "float64.pth")
torch.save({n: t.bfloat16() for n, t in state.items()}, HERE / "bfloat16.pth")
# As a module that was trained holds them: parameters, a transposed view, one shared storage.
shared = torch.arange(20.0)
torch.save(
  {"p": torch.nn.Parameter(shared[3:15].view(3, 4).t()), "q": shared[::2]}, HERE / "views.pth"
)
