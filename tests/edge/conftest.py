"""An export, image files and a cloud for the edge's command."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.edge.links import sending
from tests.edge.oip_server import oip_server


@pytest.fixture(scope="module")
def images(source) -> np.ndarray:
  return source.dataset.test.images[:40]


@pytest.fixture(scope="module")
def model(exported, images, tmp_path_factory) -> Path:
  """The export at a threshold that sends about half of the images."""
  directory = tmp_path_factory.mktemp("half")
  fields = json.loads((exported / "edge.json").read_text())
  half = sending(exported, 0.5, images)
  fields["operating_point"] = half.operating_point.to_json()
  (directory / "edge.json").write_text(json.dumps(fields))
  (directory / "edge.tflite").symlink_to(exported / "edge.tflite")
  return directory


@pytest.fixture(scope="module")
def folder(images, tmp_path_factory) -> Path:
  """Image files 00.png .. 39.png, and among them one that is none."""
  directory = tmp_path_factory.mktemp("images")
  for number, image in enumerate(images):
    Image.fromarray(image[..., 0]).save(directory / f"{number:02}.png")
  (directory / "10a.png").write_text("no image")
  return directory


@pytest.fixture
def server():
  with oip_server() as running:
    yield running
