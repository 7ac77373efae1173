"""Weights as people keep them: in checkpoints, by wrappers, under other heads' names."""

import collections
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from meanet_jax.config.parsing import resolve
from meanet_jax.errors import UserError
from meanet_jax.models.torch_files import read_state_dict
from meanet_jax.models.torch_weights import load_pretrained
from meanet_jax.models.variables import abstract_variables
from meanet_jax.models.zoo import build
from tests.experiments import tiny_config
from tests.torch_pickles import Global, torch_save

WEIGHTS = Path(__file__).parent.parent / "data" / "weights" / "zip.pth"
FRESH = {"kernel": np.zeros((4, 10), np.float32), "bias": np.zeros(10, np.float32)}


@pytest.fixture(scope="module")
def state() -> dict[str, np.ndarray]:
  """The tiny main block's state dict, batch norms' counters included."""
  found = read_state_dict(str(WEIGHTS))
  assert "bn1.num_batches_tracked" in found
  return found


def same(read: dict[str, np.ndarray], state: dict[str, np.ndarray]) -> bool:
  return read.keys() == state.keys() and all(np.array_equal(read[n], state[n]) for n in state)


@pytest.fixture(scope="module")
def trunk() -> Callable[..., list[np.ndarray]]:
  """Reads a file as the tiny main block's weights; two variables of the trunk."""
  config = resolve(tiny_config())
  model = build(config)
  abstract = abstract_variables(model, config.dataset.image_shape)["main"]

  def read(path: str | Path, *, reset_head: bool = False) -> list[np.ndarray]:
    state = read_state_dict(str(path))
    head = FRESH if reset_head else None
    main = load_pretrained(state, model.main.structure, abstract, str(path), head)
    if reset_head:
      assert main["params"]["head"]["dense"] == FRESH
    block = main["params"]["trunk"]["stage1_block1"]
    return [block["conv2"]["conv"]["kernel"], main["batch_stats"]["trunk"]["stem"]["norm"]["var"]]

  return read


def check_same(ours: list[np.ndarray], theirs: list[np.ndarray]) -> None:
  for one, other in zip(ours, theirs, strict=True):
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.bin", "w.ckpt", "w.pth.tar", "W.PTH"])
@pytest.mark.parametrize("legacy", [False, True])
def test_endings_of_files_by_torch_save(tmp_path, state, name, legacy):
  assert same(read_state_dict(torch_save(state, tmp_path / name, legacy=legacy)), state)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict", "module"])
def test_a_checkpoint_holds_the_state_dict_beside_other_things(tmp_path, state, key, legacy):
  moments = {0: {"momentum_buffer": np.ones((3, 2))}, 1: {"step": np.ones(1, np.int64)}}
  checkpoint = {
    "epoch": 90,
    "arch": "resnet18",
    "best_acc1": np.array(71.5),
    "optimizer": {"state": moments, "param_groups": [{"lr": 0.1, "params": [0, 1]}]},
    "scheduler": {"milestones": collections.Counter({30: 1, 60: 1})},
    key: state,
    "input_size": None,
  }
  assert same(read_state_dict(torch_save(checkpoint, tmp_path / "c.pt", legacy=legacy)), state)


def test_a_name_and_its_weights_are_told_apart(tmp_path, state):
  checkpoint = {"model": "resnet18", "state_dict": state}
  assert same(read_state_dict(torch_save(checkpoint, tmp_path / "c.pt")), state)
  nested = {"state_dict": {"model": state, "epoch": 3}}
  assert same(read_state_dict(torch_save(nested, tmp_path / "n.pt")), state)


def test_a_checkpoint_without_a_state_dict_or_with_code_is_refused(tmp_path, state):
  path = torch_save({"epoch": 3, "weights_of_mine": state}, tmp_path / "c.pt")
  with pytest.raises(
    UserError, match=r"'epoch' is a int; accepted: tensors alone, or .*state_dict"
  ):
    read_state_dict(path)
  for name in (("argparse", "Namespace"), ("builtins", "eval"), ("collections", "defaultdict")):
    path = torch_save({"state_dict": state, "args": Global(*name)}, tmp_path / "c.pt")
    with pytest.raises(UserError, match=f"name {'.'.join(name)}, which could run code"):
      read_state_dict(path)


@pytest.mark.parametrize(
  "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model.", "net.x."]
)
def test_prefixes_of_wrappers(tmp_path, state, trunk, prefix):
  wrapped = {"state_dict": {f"{prefix}{name}": array for name, array in state.items()}}
  check_same(trunk(torch_save(wrapped, tmp_path / "w.pth")), trunk(WEIGHTS))


def test_a_wrapper_in_the_middle_of_names(tmp_path, state, trunk):
  wrapped = {name.replace("layer1.", "layer1._orig_mod."): array for name, array in state.items()}
  np.savez(tmp_path / "w.npz", **wrapped)
  check_same(trunk(tmp_path / "w.npz"), trunk(WEIGHTS))


def test_two_networks_under_two_prefixes_are_refused(tmp_path, state, trunk):
  both = {f"{p}.{name}": array for p in ("query", "key") for name, array in state.items()}
  np.savez(tmp_path / "w.npz", **both)
  with pytest.raises(UserError, match=r"misses entry 'bn1\.bias' and"):
    trunk(tmp_path / "w.npz")
  # Of two copies that differ in their wrapper alone neither is taken for the other.
  np.savez(tmp_path / "w.npz", **state, **{f"module.{name}": state[name] for name in state})
  with pytest.raises(UserError, match=r"has the extra entry 'module\.bn1\.bias' and"):
    trunk(tmp_path / "w.npz")


def with_head(state: dict[str, np.ndarray], **head: np.ndarray) -> dict[str, np.ndarray]:
  return {n: a for n, a in state.items() if not n.startswith("fc.")} | head


HEADS = {
  "classifier": {"classifier.weight": (12, 4), "classifier.bias": (12,)},
  "head.fc": {"head.fc.weight": (12, 4), "head.fc.bias": (12,)},
  "without bias": {"last_linear.weight": (12, 4)},
  "two layers": {"fc.0.weight": (6, 4), "fc.0.bias": (6,), "fc.2.weight": (12, 6)},
  "none": {},
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS.keys())
def test_a_head_of_another_name_with_reset_head(tmp_path, state, trunk, head):
  arrays = {name: np.ones(shape, np.float32) for name, shape in head.items()}
  np.savez(tmp_path / "w.npz", **with_head(state, **arrays))
  check_same(trunk(tmp_path / "w.npz", reset_head=True), trunk(WEIGHTS))
  with pytest.raises(UserError, match=r"misses entry 'fc.bias'.*reset_head=true"):
    trunk(tmp_path / "w.npz")


@pytest.mark.parametrize(
  ("name", "shape"),
  [
    ("layer2.0.conv1.weight", (8, 4, 3, 3)),  # a longer trunk
    ("bn9.weight", (4,)),  # a batch norm
    ("aux.weight", (12, 4)),  # beside fc: which one is the head?
  ],
)
def test_reset_head_takes_nothing_else_for_a_head(tmp_path, state, trunk, name, shape):
  np.savez(tmp_path / "w.npz", **state, **{name: np.ones(shape, np.float32)})
  with pytest.raises(UserError, match="has the extra entry"):
    trunk(tmp_path / "w.npz", reset_head=True)


def test_what_is_not_read_need_not_be_float32(said, tmp_path, state, trunk):
  """No word of a conversion for a head that is left out."""
  np.savez(tmp_path / "w.npz", **with_head(state, **{"classifier.weight": np.ones((12, 4))}))
  trunk(tmp_path / "w.npz", reset_head=True)
  assert said == []


def test_the_endings_are_named(tmp_path):
  with pytest.raises(UserError, match=r"\.pth file \(or \.pt, \.bin, \.ckpt, \.pth\.tar\)"):
    read_state_dict(str(tmp_path / "w.onnx"))
  (tmp_path / "w.tar").write_bytes(Path(__file__).read_bytes())
  with pytest.raises(UserError, match="cannot be read"):
    read_state_dict(str(tmp_path / "w.tar"))
