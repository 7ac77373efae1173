"""Small prepared sets in TFDS's own layout, written without TensorFlow."""

import io
import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from PIL import Image
from tensorflow_datasets.proto import tf_example_pb2

Example = tuple[bytes, int]  # an encoded image and its label


def picture(number: int, size: tuple[int, int], mode: str = "RGB") -> np.ndarray:
  """A smooth image of (height, width), another for every number."""
  rng = np.random.default_rng(number)
  channels = len(mode) if mode != "L" else 1
  small = rng.integers(256, size=(4, 4, channels), dtype=np.uint8)
  large = Image.fromarray(small.squeeze(), mode=None).resize(size[::-1], Image.Resampling.BILINEAR)
  return np.asarray(large)


def encoded(pixels: np.ndarray, form: str = "JPEG", mode: str | None = None) -> bytes:
  """The image as JPEG or PNG; `mode` says how four channels are to be read."""
  buffer = io.BytesIO()
  image = Image.fromarray(pixels)
  (image.convert(mode) if mode else image).save(buffer, form)
  return buffer.getvalue()


def write_set(
  root: Path,
  name: str,
  splits: dict[str, Sequence[Example]],
  *,
  classes: Sequence[str] = ("cat", "dog"),
  shape: tuple[int | None, int | None, int] = (None, None, 3),
  version: str = "1.0.0",
  shards: int = 1,
  file_format: str = "array_record",
  dtype: type[np.generic] = np.uint8,
) -> Path:
  """Writes the splits as `NAME/VERSION` under `root` and returns that directory."""
  directory = root / name / version
  directory.mkdir(parents=True)
  described = []
  for split, examples in splits.items():
    bounds = np.linspace(0, len(examples), shards + 1).astype(int)
    for shard, (start, stop) in enumerate(itertools.pairwise(bounds)):
      path = directory / f"{name}-{split}.{file_format}-{shard:05d}-of-{shards:05d}"
      writer = ArrayRecordWriter(str(path), "group_size:1")
      for number in range(start, stop):
        writer.write(_record(f"{split}_{number}.img", *examples[number]))
      writer.close()
    described.append(
      {
        "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
        "name": split,
        "numBytes": "1",
        "shardLengths": [str(n) for n in np.diff(bounds)],
      }
    )
  features = tfds.features.FeaturesDict(
    {
      "image": tfds.features.Image(shape=shape, dtype=dtype),
      "label": tfds.features.ClassLabel(names=list(classes)),
      "file_name": tfds.features.Text(),
    }
  )
  features.save_config(directory)
  info = {"name": name, "version": version, "fileFormat": file_format, "splits": described}
  (directory / "dataset_info.json").write_text(json.dumps(info))
  return directory


def _record(file_name: str, image: bytes, label: int) -> bytes:
  example = tf_example_pb2.Example()
  example.features.feature["image"].bytes_list.value.append(image)
  example.features.feature["label"].int64_list.value.append(label)
  example.features.feature["file_name"].bytes_list.value.append(file_name.encode())
  return example.SerializeToString()
