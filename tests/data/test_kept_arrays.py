"""Arrays that are kept beside a data set."""

import io

import numpy as np
import pytest

from meanet_jax.data.kept_arrays import load_arrays, save_arrays

ARRAYS = {"sizes": np.arange(40).reshape(20, 2), "names": np.array(["a", "b"])}


def test_what_was_saved_is_loaded(tmp_path):
  assert load_arrays(tmp_path / "x.npz") is None
  assert save_arrays(tmp_path / "x.npz", ARRAYS)
  found = load_arrays(tmp_path / "x.npz")
  assert found is not None
  assert found.keys() == ARRAYS.keys()
  for name, array in ARRAYS.items():
    np.testing.assert_array_equal(found[name], array)
  assert (load_arrays(tmp_path / "x.npz", ["sizes"]) or {}).keys() == {"sizes"}
  assert load_arrays(tmp_path / "x.npz", ["others"]) is None


def a_single_array() -> bytes:
  file = io.BytesIO()
  np.save(file, ARRAYS["sizes"])
  return file.getvalue()


@pytest.mark.parametrize("data", [b"", b"PK", b"no archive", a_single_array()])
def test_another_file_is_none(tmp_path, data):
  (tmp_path / "x.npz").write_bytes(data)
  assert load_arrays(tmp_path / "x.npz") is None


def test_a_damaged_file_is_none_or_what_it_was(tmp_path):
  path, rng = tmp_path / "x.npz", np.random.default_rng(0)
  save_arrays(path, ARRAYS)
  data, refused = path.read_bytes(), 0
  for _ in range(100):
    damaged = bytearray(data)
    for place in rng.integers(len(data), size=3):
      damaged[int(place)] ^= int(rng.integers(1, 256))
    path.write_bytes(damaged)
    refused += load_arrays(path) is None
  assert refused > 30
