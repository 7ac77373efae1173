"""NumPy arrays of images and labels, in an .npz file or as .npy files in one folder."""

import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from meanet_jax.data.own.files import check_classes, shown, sorted_names, split_place
from meanet_jax.errors import UserError

_ACCEPTED = (
  "accepted: images (uint8 [n, h, w, c] or [n, h, w]) and labels ([n], whole numbers or texts), "
  "and perhaps class_names, split and group"
)
_NAMES = ("images", "labels", "class_names", "split", "group")


class ImageArrays(NamedTuple):
  """images: uint8 [n, h, w, c]. labels: int32 [n]. splits: int8 [n] into `SPLITS`, or None.
  groups: [n], names of what belongs into one split, or None.
  """

  images: UInt8[np.ndarray, "n h w c"]
  labels: Int[np.ndarray, " n"]
  class_names: tuple[str, ...]
  splits: Int[np.ndarray, " n"] | None
  groups: np.ndarray | None


def read_arrays(source: Path) -> ImageArrays:
  """The images of an .npz file, or of a folder of .npy files.

  Arrays: `images`; `labels`, class numbers or names; `class_names`, by class number, where labels
  are numbers; `split` and `group`, a name or number for each image.

  Raises:
    UserError: a file that cannot be read, arrays that are missing, or of a wrong type or shape,
      labels that are no class, or fewer than two classes.
  """
  try:
    arrays = _load(source)
  except Exception as error:  # damaged files raise whatever NumPy and its decoders run into
    raise UserError(f"{shown(source)} cannot be read: {shown(str(error))}; {_ACCEPTED}") from error
  if not {"images", "labels"} <= set(arrays):
    raise UserError(f"{shown(source)} has the arrays {', '.join(arrays) or 'none'}; {_ACCEPTED}")
  images, labels = arrays["images"], arrays["labels"]
  images = images[..., None] if images.ndim == 3 else images
  if images.dtype != np.uint8 or images.ndim != 4 or not all(images.shape[1:]):
    raise UserError(
      f"images in {shown(source)} are {images.dtype} {list(arrays['images'].shape)}; {_ACCEPTED}"
    )
  for name in ("labels", "split", "group"):
    if name in arrays and arrays[name].shape != (len(images),):
      raise UserError(
        f"{name} in {shown(source)} has shape {list(arrays[name].shape)} beside {len(images)} "
        f"images; {_ACCEPTED}"
      )
  numbers, class_names = _labels(labels, arrays.get("class_names"), source)
  counts = np.bincount(numbers, minlength=len(class_names))
  check_classes({class_names[c]: int(counts[c]) for c in np.flatnonzero(counts)}, source)
  splits = _splits(arrays["split"], source) if "split" in arrays else None
  groups = arrays["group"].astype(str) if "group" in arrays else None
  return ImageArrays(images, numbers, class_names, splits, groups)


def _load(source: Path) -> dict[str, np.ndarray]:
  if not source.is_dir():
    # The first, because NumPy takes a single array for what it is.
    with zipfile.ZipFile(source), np.load(source, allow_pickle=False) as file:
      return dict(file)
  paths = {name: source / f"{name}.npy" for name in _NAMES}
  return {name: np.load(path, allow_pickle=False) for name, path in paths.items() if path.exists()}


def _labels(
  labels: np.ndarray, names: np.ndarray | None, source: Path
) -> tuple[Int[np.ndarray, " n"], tuple[str, ...]]:
  """Class numbers from 0, and the names of the classes."""
  if labels.dtype.kind not in "iuU":
    raise UserError(f"labels in {shown(source)} are {labels.dtype}; {_ACCEPTED}")
  if labels.dtype.kind == "U" or names is None:
    texts = labels.astype(str)
    class_names = sorted_names(set(texts.tolist()))
    number = {name: place for place, name in enumerate(class_names)}
    return np.array([number[text] for text in texts.tolist()], np.int32), class_names
  class_names = tuple(map(str, names.reshape(-1)))
  if sorted(class_names) != sorted(sorted_names(set(class_names))):
    raise UserError(f"class_names in {shown(source)} has a name twice; accepted: each once")
  wrong = np.flatnonzero((labels < 0) | (labels >= len(class_names)))
  if len(wrong):
    raise UserError(
      f"label {wrong[0]} in {shown(source)} is {labels[wrong[0]]}, and there are "
      f"{len(class_names)} class_names; accepted: 0 to {len(class_names) - 1}"
    )
  return labels.astype(np.int32), class_names


def _splits(names: np.ndarray, source: Path) -> Int[np.ndarray, " n"]:
  found, number = np.unique(names.astype(str), return_inverse=True)
  places = [split_place(str(name), f"split in {shown(source)} has") for name in found]
  return np.array(places, np.int8)[number]
