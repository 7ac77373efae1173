"""Reading a PyTorch state dict from disk into NumPy arrays, without PyTorch.

A file by `torch.save` is a pickle, and a pickle can run code. Here it cannot: the only names that
it may look up are those below, which make tensors and dicts; anything else is refused by name.
"""

import collections
import pickle
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy

from meanet_jax.errors import UserError

StateDict = dict[str, np.ndarray]

# Endings of files by `torch.save`; `.tar` is that of `.pth.tar`, which is no archive of tar.
_BY_TORCH = (".pth", ".pt", ".bin", ".ckpt", ".tar")
_ACCEPTED = "a .npz, .safetensors or .pth file (or .pt, .bin, .ckpt, .pth.tar)"
# Where checkpoints keep the state dict beside epochs and optimisers, the likeliest first.
_WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "module", "net", "network")

# The marks at the beginning of a file by `torch.save` before PyTorch 1.6 (torch/serialization.py).
_LEGACY_MAGIC, _LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


class _Storage(NamedTuple):
  key: str
  dtype: np.dtype
  length: int


class _Tensor(NamedTuple):
  """A tensor before its storage has been read."""

  storage: _Storage
  offset: int
  shape: tuple[int, ...]
  stride: tuple[int, ...]


def read_state_dict(path: str) -> StateDict:
  """The arrays of a `.npz` or `.safetensors` file or one by `torch.save`, by parameter name.

  Of a checkpoint that holds a state dict beside other things (`{"state_dict": ..., "epoch": 3}`),
  that state dict.

  Raises:
    UserError: a file that is missing, truncated, of another format, or that names code.
  """
  readers = {".npz": _read_npz, ".safetensors": _read_safetensors}
  readers |= dict.fromkeys(_BY_TORCH, _read_torch)
  reader = readers.get(Path(path).suffix.lower())
  if reader is None:
    raise UserError(f"weights {path!r}; accepted: {_ACCEPTED}")
  if not Path(path).is_file():
    raise UserError(f"weights {path!r} is no file; accepted: {_ACCEPTED}")
  try:
    return reader(Path(path))
  except UserError:
    raise
  except Exception as error:  # whatever a damaged pickle or archive makes its reader raise
    raise UserError(
      f"weights {path!r} cannot be read ({type(error).__name__}: {error}); "
      f"accepted: a complete file, {_ACCEPTED}"
    ) from error


def _read_npz(path: Path) -> StateDict:
  # np.load leaves a damaged file open when it is given a path.
  with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
    return dict(arrays)


def _read_safetensors(path: Path) -> StateDict:
  return safetensors.numpy.load_file(path)


def _read_torch(path: Path) -> StateDict:
  if zipfile.is_zipfile(path):
    with zipfile.ZipFile(path) as archive:
      (index,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
      with archive.open(index) as file:
        tensors = _state_dict(_Unpickler(file, path).load(), path)
      folder = index.removesuffix("data.pkl")
      storages = {
        storage.key: np.frombuffer(archive.read(f"{folder}data/{storage.key}"), storage.dtype)
        for storage in {tensor.storage for tensor in tensors.values()}
      }
  else:
    with path.open("rb") as file:
      found, storages = _read_legacy(file, path)
      tensors = _state_dict(found, path)
  return {name: _materialise(tensor, storages, name) for name, tensor in tensors.items()}


def _read_legacy(file: BinaryIO, path: Path) -> tuple[Any, dict[str, np.ndarray]]:
  marks = [_Unpickler(file, path).load() for _ in range(3)]
  if marks[:2] != [_LEGACY_MAGIC, _LEGACY_PROTOCOL]:
    raise ValueError("no file by torch.save")
  unpickler = _Unpickler(file, path)
  found = unpickler.load()
  storages = {}
  for key in _Unpickler(file, path).load():
    length = int.from_bytes(_exactly(file, 8), "little")
    dtype = unpickler.dtypes[key]
    storages[key] = np.frombuffer(_exactly(file, length * dtype.itemsize), dtype)
  return found, storages


def _exactly(file: BinaryIO, size: int) -> bytes:
  data = file.read(size)
  if len(data) != size:
    raise EOFError(f"{size - len(data)} bytes are missing")
  return data


def _state_dict(found: Any, path: Path) -> dict[str, _Tensor]:
  """The state dict in what a file holds: all of it, or what one of `_WRAPPERS` names."""
  if not isinstance(found, dict):
    raise UserError(f"weights {str(path)!r} hold a {type(found).__name__}; accepted: a state dict")
  wrapped = [found[name] for name in _WRAPPERS if isinstance(found.get(name), dict)]
  if wrapped:
    return _state_dict(wrapped[0], path)
  for name, value in found.items():
    if not isinstance(name, str) or not isinstance(value, _Tensor):
      raise UserError(
        f"weights {str(path)!r}: entry {name!r} is a {type(value).__name__}; "
        f"accepted: tensors alone, or a dict of them under one of {', '.join(_WRAPPERS)}"
      )
  return found


def _materialise(tensor: _Tensor, storages: dict[str, np.ndarray], name: str) -> np.ndarray:
  data = storages[tensor.storage.key]
  last = tensor.offset + sum(
    (size - 1) * step for size, step in zip(tensor.shape, tensor.stride, strict=True)
  )
  if min((tensor.offset, *tensor.shape, *tensor.stride)) < 0 or last >= max(len(data), 1):
    raise ValueError(f"entry {name!r} reaches outside its storage")
  strides = [step * data.itemsize for step in tensor.stride]
  return np.lib.stride_tricks.as_strided(data[tensor.offset :], tensor.shape, strides).copy()


def _rebuild_tensor(
  storage: _Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> _Tensor:
  return _Tensor(storage, offset, tuple(shape), tuple(stride))


def _rebuild_parameter(data: _Tensor, *_: Any) -> _Tensor:
  return data


_ALLOWED: dict[tuple[str, str], Any] = {
  ("collections", "OrderedDict"): collections.OrderedDict,
  ("collections", "Counter"): collections.Counter,  # of a learning rate's schedule
  ("torch", "Size"): tuple,
  ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
  ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
  ("torch", "DoubleStorage"): np.dtype(np.float64),
  ("torch", "FloatStorage"): np.dtype(np.float32),
  ("torch", "HalfStorage"): np.dtype(np.float16),
  ("torch", "BFloat16Storage"): np.dtype(ml_dtypes.bfloat16),
  ("torch", "LongStorage"): np.dtype(np.int64),
  ("torch", "IntStorage"): np.dtype(np.int32),
  ("torch", "ShortStorage"): np.dtype(np.int16),
  ("torch", "CharStorage"): np.dtype(np.int8),
  ("torch", "BoolStorage"): np.dtype(np.bool_),
  ("torch", "ByteStorage"): np.dtype(np.uint8),
}


class _Unpickler(pickle.Unpickler):
  """dtypes: of every storage that has been named, by key."""

  def __init__(self, file: Any, path: Path):
    super().__init__(file)
    self._path = path
    self.dtypes: dict[str, np.dtype] = {}

  def find_class(self, module: str, name: str) -> Any:
    if (module, name) not in _ALLOWED:
      raise UserError(
        f"weights {str(self._path)!r} name {module}.{name}, which could run code; "
        "accepted: a state dict of tensors"
      )
    return _ALLOWED[module, name]

  def persistent_load(self, pid: Any) -> _Storage:
    _, dtype, key, _, length, *view = pid
    if view and view[0] is not None:
      raise ValueError("views of storages are not supported")
    self.dtypes[str(key)] = dtype
    return _Storage(str(key), dtype, int(length))
