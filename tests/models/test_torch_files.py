import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from meanet_jax.errors import UserError
from meanet_jax.models.torch_files import read_state_dict
from tests.golden import parameter

WEIGHTS = Path(__file__).parent.parent / "data" / "weights"


@pytest.mark.parametrize("file", ["zip", "legacy"])
def test_both_of_pytorchs_formats_are_read_bit_for_bit(file):
  state = read_state_dict(str(WEIGHTS / f"{file}.pth"))
  assert len(state) == 1 + 3 + 4 * 5 + 2
  for name, array in state.items():
    expected = parameter(name, array.shape)
    assert array.dtype == expected.dtype
    np.testing.assert_array_equal(array, expected)


def test_parameters_views_and_shared_storages():
  state = read_state_dict(str(WEIGHTS / "views.pth"))
  np.testing.assert_array_equal(state["p"], np.arange(3.0, 15.0).reshape(3, 4).T)
  np.testing.assert_array_equal(state["q"], np.arange(0.0, 20.0, 2))


def test_npz_and_safetensors(tmp_path):
  state = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(2, np.float16)}
  np.savez(tmp_path / "w.npz", **state)
  safetensors.numpy.save_file(state, tmp_path / "w.safetensors")
  for file in ("w.npz", "w.safetensors"):
    read = read_state_dict(str(tmp_path / file))
    assert read.keys() == state.keys()
    for name in state:
      assert read[name].dtype == state[name].dtype
      np.testing.assert_array_equal(read[name], state[name])


class Payload:
  def __init__(self, marker: Path):
    self.marker = marker

  def __reduce__(self):
    return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("legacy", [True, False])
def test_code_in_a_pickle_is_named_and_not_run(tmp_path, legacy):
  marker, path = tmp_path / "ran", tmp_path / "w.pth"
  evil = pickle.dumps({"conv1.weight": Payload(marker)}, protocol=2)
  if legacy:
    path.write_bytes(
      b"".join(pickle.dumps(x, 2) for x in (0x1950A86A20F9469CFC6C, 1001, {})) + evil
    )
  else:
    with zipfile.ZipFile(path, "w") as archive:
      archive.writestr("w/data.pkl", evil)
  with pytest.raises(UserError, match=r"name \w+\.mkdir, which could run code; accepted"):
    read_state_dict(str(path))
  assert not marker.exists()


def test_an_npz_with_a_pickle_is_refused(tmp_path):
  np.savez(tmp_path / "w.npz", a=np.array([Payload(tmp_path / "ran")], object))
  with pytest.raises(UserError, match="cannot be read"):
    read_state_dict(str(tmp_path / "w.npz"))
  assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("file", ["zip.pth", "legacy.pth", "w.npz", "w.safetensors"])
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.7, 0.98])
def test_a_truncated_file_is_refused(tmp_path, file, kept):
  state = read_state_dict(str(WEIGHTS / "zip.pth"))
  np.savez(tmp_path / "w.npz", **state)
  safetensors.numpy.save_file(state, tmp_path / "w.safetensors")
  whole = (WEIGHTS if file.endswith("pth") else tmp_path) / file
  data = whole.read_bytes()
  (tmp_path / file).write_bytes(data[: int(kept * len(data))])
  with pytest.raises(UserError, match="cannot be read") as caught:
    read_state_dict(str(tmp_path / file))
  assert "\n" not in str(caught.value)


# A string of 2^62 bytes, a value that was never stored, lists 10,000 deep without an end.
@pytest.mark.parametrize(
  "damage", [b"\x8e" + (1 << 62).to_bytes(8, "little"), b"h\x05.", b"]" * 10_000 + b"."]
)
def test_a_damaged_pickle_is_refused(tmp_path, damage):
  (tmp_path / "w.pth").write_bytes(b"\x80\x04" + damage)
  with pytest.raises(UserError, match="cannot be read"):
    read_state_dict(str(tmp_path / "w.pth"))


def test_a_tensor_outside_its_storage_is_refused(tmp_path):
  """Strides in a file are not to be trusted: they could reach any memory of the process."""
  with zipfile.ZipFile(WEIGHTS / "views.pth") as source:
    (index,) = (name for name in source.namelist() if name.endswith("data.pkl"))
    folder = index.removesuffix("data.pkl")
    entries = {name: source.read(name) for name in source.namelist()}
  for name in entries:
    if name.startswith(f"{folder}data/"):
      entries[name] = entries[name][:16]
  with zipfile.ZipFile(tmp_path / "w.pth", "w") as target:
    for name, data in entries.items():
      target.writestr(name, data)
  with pytest.raises(UserError, match="reaches outside its storage"):
    read_state_dict(str(tmp_path / "w.pth"))


@pytest.mark.parametrize(
  ("content", "words"),
  [({"epoch": 3}, "entry 'epoch' is a int; accepted: tensors alone"), ([1], "hold a list")],
)
def test_other_contents_are_refused(tmp_path, content, words):
  with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
    archive.writestr("w/data.pkl", pickle.dumps(content, 2))
  with pytest.raises(UserError, match=words):
    read_state_dict(str(tmp_path / "w.pth"))


def test_missing_and_unknown_files(tmp_path):
  with pytest.raises(UserError, match="is no file; accepted"):
    read_state_dict(str(tmp_path / "w.pth"))
  with pytest.raises(UserError, match=r"w\.h5'; accepted: a \.npz, \.safetensors or \.pth file"):
    read_state_dict(str(tmp_path / "w.h5"))
