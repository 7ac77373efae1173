"""What a device imports: NumPy and LiteRT. Every other package is refused by name."""

import json

import numpy as np
from PIL import Image

from meanet_jax.edge.classifier import EdgeClassifier
from tests.exports import ROOT, python_without_packages
from tests.forked_commands import run_command

# The interpreter's own dependencies, which come with it.
LITERT = ("ai_edge_litert", "flatbuffers", "ml_dtypes", "backports")
# And what asking a cloud needs.
LINK = (
  "tritonclient",
  "grpc",
  "google",
  "rapidjson",
  "packaging",
  "tenacity",
  "pybreaker",
  "typing_extensions",
)
NEED_GRPC = {f"meanet_jax.edge.link.{name}" for name in ("connection", "messages", "offload")}


def output(code: str, extra: tuple[str, ...] = ()) -> str:
  result = python_without_packages(code, extra)
  assert result.returncode == 0, result.stderr
  return result.stdout


def test_the_blocker_blocks():
  for package in ("jax", "flax", "jaxtyping", "absl", "ml_collections", "optax", "orbax"):
    assert f"No module named '{package}'" in python_without_packages(f"import {package}").stderr


def test_every_module_of_a_device_imports_with_numpy_alone():
  """All of routing, edge and images, and what they stand on; the link needs gRPC beside."""
  root = ROOT / "meanet_jax"
  folders = [root / name for name in ("routing", "edge", "images")]
  files = [file for folder in folders for file in folder.rglob("*.py")]
  files += [root / name for name in ("protocol.py", "cost/device_file.py", "config/schema.py")]
  names = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files]
  names = [name.removesuffix(".__init__") for name in names]
  alone = [name for name in names if name not in NEED_GRPC]
  assert len(alone) == len(names) - len(NEED_GRPC)
  output("\n".join(f"import {name}" for name in alone))
  output("\n".join(f"import {name}" for name in names), (*LITERT, *LINK))


def test_the_rules_work_without_jaxtyping():
  code = """
import numpy as np
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.policies import Policy, Thresholds
from meanet_jax.routing.rules import Records, route
from meanet_jax.routing.scores import hard_probability, scores
rng = np.random.default_rng(0)
hard = HardClasses(np.array([1, 3]), 4).mask
main, cloud = rng.normal(size=(2, 9, 4)).astype(np.float32)
extension = rng.normal(size=(9, 2)).astype(np.float32)
records = Records(
  rng.integers(4, size=9).astype(np.int32), hard_probability(main, hard), scores(main),
  scores(extension, np.array([1, 3], np.int32)), scores(cloud))
taken = route(Policy(), Thresholds(np.float32(1.2), np.nan, np.nan), records, hard)
print(*taken.exit)
"""
  beside_jax = run_command("-c", code)
  assert output(code) == beside_jax.stdout
  assert set(beside_jax.stdout.split()) == {"0", "1", "2"}


def test_the_classifier_needs_numpy_and_litert_alone(exported, source):
  code = f"""
import json
import numpy as np
from meanet_jax.edge.classifier import EdgeClassifier
images = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1)).astype(np.uint8)
answers = EdgeClassifier({str(exported)!r}).classify(images)
print(json.dumps([[a.prediction, a.exit, a.complex, float(a.scores.entropy)] for a in answers]))
"""
  images = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1)).astype(np.uint8)
  expected = [
    [a.prediction, a.exit, a.complex, float(a.scores.entropy)]
    for a in EdgeClassifier(exported).classify(images)
  ]
  assert json.loads(output(code, LITERT)) == expected


def test_the_command_needs_pillow_as_well(exported, source, tmp_path):
  digit = tmp_path / "digit.png"
  Image.fromarray(source.dataset.test.images[0, ..., 0]).save(digit)
  code = f"""
from meanet_jax.commands.app import main
sys.exit(main(["edge", "--model", {str(exported)!r}, {str(digit)!r}]))
"""
  (answer,) = EdgeClassifier(exported).classify(source.dataset.test.images[:1])
  (line,) = output(code, (*LITERT, "PIL")).splitlines()
  name = source.class_names[answer.prediction]
  assert line.startswith(f"{digit}: {name}  exit {('main', 'extension')[answer.exit]}  ")
  assert ("  complex: for the cloud  " in line) == answer.complex

  without = python_without_packages(code, ("PIL",))
  assert without.returncode == 2
  assert without.stderr == (
    "error: the edge runs in LiteRT, and ai_edge_litert is not installed; "
    "accepted: pip install ai-edge-litert\n"
  )
  without = python_without_packages(code, LITERT)
  assert without.returncode == 2
  assert without.stderr == (
    "error: Pillow is not installed, and image files need it; accepted: pip install pillow\n"
  )
