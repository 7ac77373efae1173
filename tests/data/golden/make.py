"""Makes a golden file of a torchvision network; needs torch and torchvision.

python tests/data/golden/make.py mobilenet_v3_small mobilenet_v3_large efficientnet_b0

The weights are those of tests/golden.py, made from each parameter's name; the file holds the names,
the shapes and the float64 logits of two images.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import torchvision

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent.parent))

from tests import golden  # noqa: E402


def make(name: str) -> None:
  """Writes torchvision_<name>.npz."""
  network = torchvision.models.get_model(name, weights=None).eval()
  spec = json.dumps([[key, list(value.shape)] for key, value in network.state_dict().items()])
  state = {key: torch.from_numpy(value) for key, value in golden.state_dict(spec).items()}
  network.load_state_dict(state)
  with torch.no_grad():
    logits = network.double()(torch.from_numpy(golden.images(224)).double()).numpy()
  parameters = sum(value.numel() for value in network.parameters())
  np.savez_compressed(HERE / f"torchvision_{name}.npz", spec=np.array(spec), logits=logits)
  print(f"{name}: {parameters:,} parameters, logits with a spread of {logits.std():.3g}")


if __name__ == "__main__":
  for argument in sys.argv[1:]:
    make(argument)
