"""What edge.json records of an evaluation's preprocessing is what the edge's command does."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from meanet_jax.commands.app import main
from meanet_jax.edge.classifier import EdgeClassifier
from meanet_jax.edge.link.encoding import check_channels, parse_encoding
from meanet_jax.edge.manifest import read_manifest
from meanet_jax.errors import UserError, VerificationError
from meanet_jax.images.preprocessing import CENTRE, WHOLE, Preprocessing
from meanet_jax.tflite.export import Options, make_manifest
from meanet_jax.tflite.verify import verify
from tests.data.sets import picture
from tests.images.files import RAMP


def changed(exported: Path, directory: Path, **fields) -> Path:
  """The export with other fields in its edge.json; None takes one out."""
  directory.mkdir()
  (directory / "edge.tflite").symlink_to(exported / "edge.tflite")
  source = json.loads((exported / "edge.json").read_text()) | fields
  for name in [name for name, value in fields.items() if value is None]:
    del source[name]
  (directory / "edge.json").write_text(json.dumps(source))
  return directory


def probability(model: Path, pixels: np.ndarray) -> float:
  (answer,) = EdgeClassifier(model).classify(pixels[None])
  return float(answer.scores.max_prob)


def answered(model: Path, image: Path, output: Path) -> float:
  assert main(["edge", "--model", str(model), str(image), "--output", str(output)]) == 0
  return json.loads(output.read_text())["probability"]


@pytest.mark.parametrize("preprocessing", [WHOLE, CENTRE, Preprocessing("centre", 0.5)])
def test_the_command_does_what_edge_json_records(exported, tmp_path, preprocessing, capsys):
  recorded = dataclasses.asdict(preprocessing)
  model = changed(exported, tmp_path / "model", preprocessing=recorded)
  assert read_manifest(model).preprocessing == preprocessing
  pixels = picture(5, (40, 24), "L")
  Image.fromarray(pixels).save(tmp_path / "image.png")
  found = answered(model, tmp_path / "image.png", tmp_path / "answers")
  expected = probability(model, preprocessing(pixels[..., None], (8, 8, 1)))
  assert found == pytest.approx(expected, abs=1e-6)
  assert capsys.readouterr().err == ""


def test_an_export_records_how_its_set_is_evaluated(source, exported):
  assert read_manifest(exported).preprocessing == WHOLE  # digits are of one size
  files = read_manifest(exported).files
  dataset = dataclasses.replace(source.dataset, preprocessing=CENTRE)
  made = make_manifest(dataclasses.replace(source, dataset=dataset), Options(), files, 1)
  assert made.to_json()["preprocessing"] == {
    "crop": "centre",
    "share": 0.875,
    "orientation": "exif",
    "filter": "bilinear",
  }


def test_an_export_that_records_something_else_is_not_verified(source, exported, tmp_path):
  other = dataclasses.asdict(CENTRE)
  directory = changed(exported, tmp_path / "model", preprocessing=other)
  with pytest.raises(VerificationError, match=r"edge.json records .*'centre'.* as digits is eval"):
    verify(source, directory)


@pytest.mark.parametrize(
  ("recorded", "words"),
  [
    ({"crop": "left"}, "'preprocessing.crop' is 'left'; accepted: whole, centre"),
    ({"orientation": "none"}, "'preprocessing.orientation' is 'none'; accepted: exif"),
    ({"filter": "nearest"}, "'preprocessing.filter' is 'nearest'; accepted: bilinear"),
    ({"share": 0.0}, "'preprocessing.share' is 0.0; accepted: "),
    ({"share": 1.5}, "'preprocessing.share' is 1.5; accepted: "),
    ({"share": "all"}, "'preprocessing.share' is 'all'; accepted: a number"),
    ({"size": 256}, "'preprocessing.size' is unknown; expected crop, "),
  ],
)
def test_preprocessing_that_this_version_does_not_know_is_refused(
  exported, tmp_path, recorded, words
):
  fields = dataclasses.asdict(CENTRE) | recorded
  with pytest.raises(UserError, match=words):
    read_manifest(changed(exported, tmp_path / "bad", preprocessing=fields))


def test_files_of_16_bits_are_converted_and_said_once(exported, tmp_path, capsys):
  paths = [tmp_path / f"{number}.png" for number in range(3)]
  Image.fromarray((RAMP >> 8).astype(np.uint8)).save(paths[0])
  for path in paths[1:]:
    Image.fromarray(RAMP).save(path)
  output = tmp_path / "answers"
  assert main(["edge", "--model", str(exported), *map(str, paths), "--output", str(output)]) == 0
  answers = [json.loads(line) for line in output.read_text().splitlines()]
  assert len({answer["probability"] for answer in answers}) == 1  # the same 8 bits
  (line,) = capsys.readouterr().err.splitlines()
  assert line == (
    f"warning: image {paths[1]} has more than 8 bits per channel; the upper 8 are used, of this "
    "and all such files"
  )


def test_an_alpha_channel_does_not_travel_as_jpeg():
  for text, channels in [("raw", 7), ("png", 4), ("png", 2), ("jpeg", 3), ("jpeg:5", 1)]:
    check_channels(parse_encoding(text), channels)
  words = "--encoding is 'jpeg:90', and the network's images have 4 channels; accepted: raw, png"
  with pytest.raises(UserError, match=f"^{words}$"):
    check_channels(parse_encoding("jpeg"), 4)
  with pytest.raises(UserError, match=r"have 7 channels; accepted: raw$"):
    check_channels(parse_encoding("png"), 7)
