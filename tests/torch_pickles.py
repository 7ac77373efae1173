"""Files as `torch.save` writes them, without PyTorch: NumPy arrays in them become tensors."""

import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

_STORAGES = {"float32": "FloatStorage", "float64": "DoubleStorage", "int64": "LongStorage"}


class Global:
  """A name that a pickle looks up: `Global("torch", "Size")`."""

  def __init__(self, module: str, name: str):
    self.line = f"{module}\n{name}\n".encode()

  def __call__(self) -> None:
    """pickle wants what it calls to be callable."""

  def __reduce__(self) -> str:
    return "Global"


class _Storage:
  def __init__(self, key: str, array: np.ndarray):
    self.key, self.array = key, np.asarray(array, order="C")  # which leaves scalars scalars


class _Tensor:
  def __init__(self, storage: _Storage):
    self.storage = storage

  def __reduce__(self) -> tuple[Any, ...]:
    array = self.storage.array
    strides = tuple(step // array.itemsize for step in array.strides)
    arguments = (self.storage, 0, array.shape, strides, False, OrderedDict())
    return Global("torch._utils", "_rebuild_tensor_v2"), arguments


class _Pickler(pickle._Pickler):  # type: ignore[name-defined]
  def persistent_id(self, obj: Any) -> Any:
    if not isinstance(obj, _Storage):
      return None
    kind = Global("torch", _STORAGES[str(obj.array.dtype)])
    return ("storage", kind, obj.key, "cuda:0", obj.array.size, None)

  def save_global(self, obj: Any, name: str | None = None) -> None:
    if isinstance(obj, Global):
      self.write(pickle.GLOBAL + obj.line)
    else:
      super().save_global(obj, name)


def torch_save(contents: Any, path: Path, *, legacy: bool = False) -> str:
  """Writes a file in today's format, or in that before PyTorch 1.6; its path."""
  storages: list[_Storage] = []

  def tensors(value: Any) -> Any:
    if isinstance(value, np.ndarray):
      storages.append(_Storage(str(len(storages)), value))
      return _Tensor(storages[-1])
    if isinstance(value, dict):
      return {name: tensors(item) for name, item in value.items()}
    return [tensors(item) for item in value] if isinstance(value, list) else value

  def pickled(value: Any) -> bytes:
    data = io.BytesIO()
    _Pickler(data, 2).dump(value)
    return data.getvalue()

  body = pickled(tensors(contents))
  if legacy:
    head = [pickled(mark) for mark in (0x1950A86A20F9469CFC6C, 1001, {})]
    parts = [*head, body, pickled([storage.key for storage in storages])]
    for storage in storages:
      parts += [storage.array.size.to_bytes(8, "little"), storage.array.tobytes()]
    path.write_bytes(b"".join(parts))
    return str(path)
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("archive/data.pkl", body)
    for storage in storages:
      archive.writestr(f"archive/data/{storage.key}", storage.array.tobytes())
  return str(path)
