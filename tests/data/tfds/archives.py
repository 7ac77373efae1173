"""Small archives of the genuine layout: CIFAR-100's binary one, ImageNet's tars, IDX files."""

import gzip
import hashlib
import io
import struct
import tarfile
from pathlib import Path

import numpy as np

from tests.data.sets import encoded, picture

# As in TFDS's list: the builder converts this one itself. The other CMYK image is left to reading.
KNOWN_CMYK = "n01739381_1309.JPEG"
SYNSETS = ("n01440764", "n01739381", "n02105855")


def cifar100(directory: Path, train: int, test: int) -> np.ndarray:
  """Writes cifar-100-binary.tar.gz; gives the test images [test, 32, 32, 3]."""
  files = {}
  for name, count, first in (("train.bin", train, 0), ("test.bin", test, 1000)):
    images = np.stack([picture(first + i, (32, 32)) for i in range(count)])
    # Per image: coarse label, fine label, then 1,024 bytes each of red, green and blue.
    planes = images.transpose(0, 3, 1, 2).reshape(count, -1)
    fine = np.arange(count, dtype=np.uint8)[:, None] % 100
    files[name] = np.concatenate([fine // 5, fine, planes], axis=1).tobytes()
  files["fine_label_names.txt"] = "".join(f"class{c}\n" for c in range(100)).encode()
  files["coarse_label_names.txt"] = "".join(f"coarse{c}\n" for c in range(20)).encode()
  with tarfile.open(directory / "cifar-100-binary.tar.gz", "w:gz") as tar:
    for name, contents in files.items():
      _add(tar, f"cifar-100-binary/{name}", contents)
  return images


def imagenet(directory: Path) -> None:
  """Writes the tars of training (a tar per class inside) and validation images."""
  with tarfile.open(directory / "ILSVRC2012_img_train.tar", "w") as tar:
    for place, synset in enumerate(SYNSETS):
      inner = io.BytesIO()
      with tarfile.open(fileobj=inner, mode="w") as images:
        for number in range(8):
          name = KNOWN_CMYK if (place, number) == (1, 0) else f"{synset}_{number}.JPEG"
          _add(images, name, _jpeg(10 * place + number, name))
      _add(tar, f"{synset}.tar", inner.getvalue())
  with tarfile.open(directory / "ILSVRC2012_img_val.tar", "w") as tar:
    for number in range(1, 7):
      _add(tar, f"ILSVRC2012_val_{number:08d}.JPEG", _jpeg(100 + number, ""))


def fashion_mnist(directory: Path) -> None:
  """Writes the four IDX files: 60,000 and 10,000 images, most of them black."""
  for prefix, count in (("train", 60_000), ("t10k", 10_000)):
    images = np.zeros((count, 28, 28), np.uint8)
    images[:50] = np.arange(50, dtype=np.uint8)[:, None, None]
    labels = (np.arange(count) % 10).astype(np.uint8)
    head = struct.pack(">IIII", 2051, count, 28, 28)
    _gzip(directory / f"{prefix}-images-idx3-ubyte.gz", head + images.tobytes())
    _gzip(
      directory / f"{prefix}-labels-idx1-ubyte.gz",
      struct.pack(">II", 2049, count) + labels.tobytes(),
    )


def checksums(directory: Path) -> list[str]:
  """sha256 of every file, as --accept-checksum flags."""
  digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(directory.iterdir())]
  return [f"--accept-checksum={digest}" for digest in digests]


def _jpeg(number: int, name: str) -> bytes:
  size = (24 + number % 7, 40)
  if name == KNOWN_CMYK or name.endswith("_1.JPEG"):
    return encoded(picture(number, size), mode="CMYK")
  if name.endswith("_2.JPEG"):
    return encoded(picture(number, size, "L"))
  return encoded(picture(number, size))


def _gzip(path: Path, contents: bytes) -> None:
  path.write_bytes(gzip.compress(contents, compresslevel=1, mtime=0))


def _add(tar: tarfile.TarFile, name: str, contents: bytes) -> None:
  info = tarfile.TarInfo(name)
  info.size = len(contents)
  tar.addfile(info, io.BytesIO(contents))
