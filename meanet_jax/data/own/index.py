"""What one look at every image file finds, kept beside the files.

Each row of what is kept holds for the file of its size and times of last change; a file that is new
or has changed is read, and no other.
"""

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import PIL
from jaxtyping import Bool, Int, UInt8

from meanet_jax.data import decode
from meanet_jax.data.examples import read_all
from meanet_jax.data.kept_arrays import load_arrays, save_arrays
from meanet_jax.data.own.files import ImageFiles, shown
from meanet_jax.images.decoding import UndecodableImageError

_RULES = 2  # by which the columns are made
_COLUMNS = ("sizes", "grey", "deep", "digests")


@dataclasses.dataclass(frozen=True)
class FileIndex:
  """One row per file.

  sizes: int32 [n, 2], height and width upright; 0 where the file is no image. grey: whether red,
  green and blue are equal everywhere. deep: more than 8 bits per channel. digests: uint8 [n, 16],
  equal for files of the same bytes. errors: why a file is no image; "" for one that is.
  """

  sizes: Int[np.ndarray, "n 2"]
  grey: Bool[np.ndarray, " n"]
  deep: Bool[np.ndarray, " n"]
  digests: UInt8[np.ndarray, "n 16"]
  errors: tuple[str, ...]

  def select(self, chosen: Int[np.ndarray, " m"]) -> "FileIndex":
    """The rows of these files."""
    columns = {name: getattr(self, name)[chosen] for name in _COLUMNS}
    return FileIndex(**columns, errors=tuple(self.errors[number] for number in chosen))

  @classmethod
  def empty(cls, count: int) -> "FileIndex":
    """Rows to be filled."""
    sizes, digests = np.zeros((count, 2), np.int32), np.zeros((count, 16), np.uint8)
    return cls(sizes, np.zeros(count, bool), np.zeros(count, bool), digests, ("",) * count)


def index_files(files: ImageFiles) -> FileIndex:
  """The index, of which rows are read from the file beside the images where they still hold."""
  status = files.store.status(files.paths)
  kept = _load(files.index_path)
  if kept is not None and _holds_for_all(kept, files, status):
    columns = {name: kept[name] for name in _COLUMNS}
    return FileIndex(**columns, errors=("",) * len(files.paths))
  index = FileIndex.empty(len(files.paths))
  errors = list(index.errors)
  fresh = list(range(len(errors)))
  if kept is not None:
    fresh = _take_kept(kept, files, status, index, errors)

  def read(place: int) -> None:
    number = fresh[place]
    try:
      data = files.store.read(files.paths[number])
      index.digests[number] = digest(data)
      pixels, index.deep[number] = decode.read(data, 3)
    except OSError as error:
      errors[number] = f"cannot be read: {error.strerror or error}"
    except UndecodableImageError as error:
      errors[number] = f"cannot be decoded: {error}"
    else:
      index.sizes[number] = pixels.shape[:2]
      index.grey[number] = bool((pixels == pixels[..., :1]).all())

  if fresh:
    read_all(len(fresh), read, f"indexing {shown(files.source.name)}")
  index = dataclasses.replace(index, errors=tuple(errors))
  if fresh:
    _save(files, status, index)
  return index


def digest(data: bytes | memoryview) -> UInt8[np.ndarray, "16"]:
  """A hash of an image's bytes."""
  return np.frombuffer(hashlib.blake2b(data, digest_size=16).digest(), np.uint8)


def _load(path: Path) -> dict[str, np.ndarray] | None:
  """What is kept, or None: nothing yet, damaged, or made by other rules."""
  kept = load_arrays(path)
  expected = {*_COLUMNS, "rules", "pillow", "status", "paths", "errors"}
  if kept is None or not expected <= set(kept) or int(kept["rules"]) != _RULES:
    return None
  return kept


def _holds_for_all(
  kept: dict[str, np.ndarray], files: ImageFiles, status: Int[np.ndarray, "n 3"]
) -> bool:
  """Whether every kept row is that of the same file, unchanged and without an error."""
  same = np.array_equal(kept["status"], status) and bool((status[:, 0] >= 0).all())
  return same and not kept["errors"].any() and np.array_equal(kept["paths"], _bytes(files.paths))


def _take_kept(
  kept: dict[str, np.ndarray],
  files: ImageFiles,
  status: Int[np.ndarray, "n 3"],
  index: FileIndex,
  errors: list[str],
) -> list[int]:
  """Copies the kept rows that hold into `index` and `errors`; the numbers of all other files."""
  of_path = {path: row for row, path in enumerate(_texts(kept["paths"]))}
  rows = np.array([of_path.get(path, -1) for path in files.paths], np.int64)
  holds = (rows >= 0) & (status[:, 0] >= 0) & (kept["status"][rows] == status).all(axis=1)
  reasons = _texts(kept["errors"])
  if str(kept["pillow"]) != PIL.__version__:  # what one Pillow cannot decode, another may
    holds &= np.array([not reason for reason in reasons])[rows]
  places = np.flatnonzero(holds)
  for name in _COLUMNS:
    getattr(index, name)[places] = kept[name][rows[places]]
  for place in places:
    errors[place] = reasons[rows[place]]
  return np.flatnonzero(~holds).tolist()


def _save(files: ImageFiles, status: Int[np.ndarray, "n 3"], index: FileIndex) -> None:
  columns = {name: getattr(index, name) for name in _COLUMNS}
  texts = {"paths": _bytes(files.paths), "errors": _bytes(index.errors)}
  of_rules = {"rules": _RULES, "pillow": PIL.__version__, "status": status}
  save_arrays(files.index_path, columns | texts | of_rules)


def _bytes(texts: tuple[str, ...]) -> UInt8[np.ndarray, " n"]:
  """Texts without a null character as one array; paths need not be UTF-8."""
  return np.frombuffer("\0".join(texts).encode("utf-8", "surrogateescape"), np.uint8)


def _texts(array: UInt8[np.ndarray, " n"]) -> list[str]:
  return array.tobytes().decode("utf-8", "surrogateescape").split("\0")
