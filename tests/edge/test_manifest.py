"""The files of an export that EdgeClassifier refuses, and those of an earlier format."""

import dataclasses
import hashlib
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from meanet_jax.config.schema import CostConfig
from meanet_jax.edge.classifier import EdgeClassifier
from meanet_jax.edge.manifest import read_manifest
from meanet_jax.errors import UserError
from meanet_jax.routing.hard_classes import HardClasses
from meanet_jax.routing.operating_point import Temperatures
from meanet_jax.tflite.export import Options, export
from tests.forked_commands import run_command

COST = dataclasses.asdict(CostConfig())


def changed(exported: Path, directory: Path, **fields) -> Path:
  shutil.copytree(exported, directory)
  source = json.loads((directory / "edge.json").read_text())
  (directory / "edge.json").write_text(json.dumps(source | fields))
  return directory


def test_files_that_do_not_belong_together(exported, source, tmp_path):
  point = dataclasses.replace(source.operating_point, temperatures=Temperatures(main=2.0))
  other = dataclasses.replace(source, operating_point=point)
  export(other, tmp_path / "other", Options())
  mixed = changed(exported, tmp_path / "mixed")
  shutil.copy(tmp_path / "other" / "edge.tflite", mixed / "edge.tflite")
  with pytest.raises(UserError, match=r"edge\.tflite does not match edge\.json: its SHA-256 is"):
    EdgeClassifier(mixed)


@pytest.mark.parametrize("place", [0, 4, 1000, -1])
def test_a_corrupted_file(exported, tmp_path, place):
  directory = changed(exported, tmp_path / "bad")
  data = bytearray((directory / "edge.tflite").read_bytes())
  data[place] ^= 0xFF
  (directory / "edge.tflite").write_bytes(data)
  with pytest.raises(UserError, match="does not match"):
    EdgeClassifier(directory)
  (directory / "edge.tflite").write_bytes(data[:-100])
  with pytest.raises(UserError, match=r"bytes \(found"):
    EdgeClassifier(directory)
  (directory / "edge.tflite").unlink()
  with pytest.raises(UserError, match=r"edge\.tflite cannot be read: No such file"):
    EdgeClassifier(directory)


def test_a_file_that_is_no_model_though_edge_json_names_it(exported, tmp_path):
  directory = changed(exported, tmp_path / "bad")
  own = json.loads((exported / "edge.json").read_text())["files"]["edge.tflite"]
  for data in (b"not a model at all", (exported / "cloud.tflite").read_bytes()):
    entry = own | {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (directory / "edge.tflite").write_bytes(data)
    source = json.loads((exported / "edge.json").read_text())
    source["files"]["edge.tflite"] = entry
    (directory / "edge.json").write_text(json.dumps(source))
    with pytest.raises(UserError, match=r"cannot be run: .* accepted: signatures main and"):
      EdgeClassifier(directory)


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"format": 3}, "has format 3; accepted: 5, as this version's meanet export writes it, or 4$"),
    (
      {"preprocessing": {"crop": "centre"}},
      r"field 'preprocessing\.share' is missing",
    ),
    (
      {"operating_point": {}},
      "damaged: field 'operating_point.policy' is missing; expected policy, ",
    ),
    (
      {"operating_point": None},
      "damaged: operating_point is None; expected an object with policy, .*, gain; accepted",
    ),
    ({"class_names": ["a", "b"]}, "class_names are 2, and the operating point is of 10 classes"),
    (
      {"image_dtype": "int8"},
      r"field 'image_dtype' is 'int8'; did you mean 'uint8'\? accepted: uint8, float32",
    ),
    (
      {"quantize": "fp16"},
      "field 'quantize' is 'fp16'; accepted: none, float16, dynamic_int8, int8",
    ),
    ({"weights": "drawn"}, "field 'weights' is 'drawn'; accepted: trained, untrained"),
    ({"image_shape": [8, 8]}, "not enough values to unpack"),
    ({"image_shape": [-8, 8, 1]}, r"field 'image_shape' is \(-8, 8, 1\); accepted: at least 1"),
    (
      {"image_shape": [9, 8, 1]},
      r"takes images uint8 \[1, 8, 8, 1\]; accepted: uint8 \[1, 9, 8, 1",
    ),
    ({"batch_size": 2}, r"takes images uint8 \[1, 8, 8, 1\]; accepted: uint8 \[2, 8, 8, 1\]"),
    ({"files": {}}, "no field 'edge.tflite'"),
    (
      {"files": {"edge.tflite": {"signatures": {"main": {"macs": -1, "bytes": 0}}}}},
      r"field 'files\.edge\.tflite\.signatures\.main\.macs' is -1; accepted: at least 0",
    ),
    ({"dataset": "digits"}, "edge.json is damaged: "),
    ({"dataset": {"name": "digits", "path": ""}}, r"field 'dataset\.image_shape' is missing"),
    ({"cost": COST | {"radio": "5g"}}, r"field 'cost\.radio' is '5g'; accepted: wifi, lte, 3g"),
    ({"cost": COST | {"uplink_mbps": True}}, r"field 'cost\.uplink_mbps' is True; accepted: a num"),
    ({"batch_size": math.inf}, "field 'batch_size' is inf; accepted: an integer"),
    ({"batch_size": 0}, "field 'batch_size' is 0; accepted: at least 1"),
    ({"cloud_macs": math.inf}, "field 'cloud_macs' is inf; accepted: an integer"),
    ({"cloud_macs": -1}, "field 'cloud_macs' is -1; accepted: at least 0"),
    ({"unmet_constraint": 3}, "field 'unmet_constraint' is 3; accepted: a text"),
    ({"class_names": "ab"}, "field 'class_names' is 'ab'; accepted: a tuple of texts"),
    ({"cost": {"radio": "wifi", "watts": 1}}, r"field 'cost\.watts' is unknown; expected edge_pj"),
  ],
)
def test_a_manifest_that_is_wrong(exported, tmp_path, fields, message):
  with pytest.raises(UserError, match=message):
    EdgeClassifier(changed(exported, tmp_path / "bad", **fields))


def test_no_manifest_at_all(exported, tmp_path):
  with pytest.raises(UserError, match=r"edge\.json cannot be read: .*accepted: a directory that"):
    EdgeClassifier(tmp_path)
  for text in ("{", "[]", "3"):
    (tmp_path / "edge.json").write_text(text)
    with pytest.raises(UserError, match=r"cannot be read|has format"):
      EdgeClassifier(tmp_path)
  source = json.loads((exported / "edge.json").read_text())
  for name in source.keys() - {"networks"}:  # which exports of format 5 may lack
    less = {key: value for key, value in source.items() if key != name}
    (tmp_path / "edge.json").write_text(json.dumps(less))
    with pytest.raises(UserError, match=f"no field '{name}'|has format None"):
      EdgeClassifier(tmp_path)


def test_an_operating_point_of_another_export(exported):
  own = read_manifest(exported).operating_point
  for name, value, words in (
    ("temperatures", Temperatures(main=2.0), "has temperatures Temperatures"),
    ("hard_classes", HardClasses(np.array([1, 2]), 10), "has hard_classes HardClasses"),
  ):
    with pytest.raises(UserError, match=f"the operating point {words}.*; expected the export's, "):
      EdgeClassifier(exported, operating_point=dataclasses.replace(own, **{name: value}))


def test_hard_classes_that_are_not_the_networks(exported, tmp_path):
  point = json.loads((exported / "edge.json").read_text())["operating_point"]
  for classes, words in (
    ([1, 2], "has 5 classes at exit extension; accepted: 2, as edge.json says"),
    ([3, 10], r"damaged: hard_classes is \[3, 10\] with 10 classes; expected numbers from 0 to 9"),
    ([], r"damaged: hard_classes is \[\] with 10 classes; expected at least 1 class number"),
  ):
    other = changed(
      exported,
      tmp_path / f"of{len(classes)}{max(classes, default=0)}",
      operating_point=point | {"hard_classes": classes},
    )
    with pytest.raises(UserError, match=words):
      EdgeClassifier(other)


def test_a_file_of_format_4_is_read(exported, tmp_path):
  """As the version before wrote it: nothing of the evaluation and the device."""
  fields = json.loads((exported / "edge.json").read_text())
  del fields["evaluation"], fields["profile"], fields["networks"], fields["dataset"]["path"]
  del fields["operating_point"]["extension_classes"]
  directory = changed(exported, tmp_path / "earlier")
  (directory / "edge.json").write_text(json.dumps(fields | {"format": 4}))
  found = EdgeClassifier(directory).manifest
  expected = read_manifest(exported)
  assert found == dataclasses.replace(expected, evaluation=None, profile=None, networks=None)


def test_the_command_refuses_in_one_line(exported, tmp_path):
  text = tmp_path / "text.png"
  text.write_text("no image")
  for arguments, status, words in (
    ([], 2, "flag --model is missing; accepted: a directory that"),
    (["--model", str(tmp_path), str(text)], 2, "edge.json cannot be read"),
    (["--model", str(exported), str(text)], 2, "text.png cannot be read"),
    (["--model", str(exported), str(tmp_path / "none.png")], 2, "No such file"),
    (["--model", str(exported), "--threads", "0", str(text)], 2, "--threads is 0"),
    (
      ["--model", str(exported), "--threads", "many", str(text)],
      2,
      "--threads is many; accepted: an integer",
    ),
  ):
    result = run_command("-m", "meanet_jax", "edge", *arguments)
    assert result.returncode == status
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert words in line
    assert result.stdout == ""
