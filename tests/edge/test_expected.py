"""edge.json's evaluation and profile: read back as they were written, or refused in one line."""

import dataclasses
import json

import pytest

from meanet_jax.cost.device import Block, DeviceProfile
from meanet_jax.cost.energy import CostModel, upload_bytes
from meanet_jax.cost.profile_json import named_profile
from meanet_jax.edge.expected import Evaluated
from meanet_jax.edge.manifest import read_manifest
from meanet_jax.errors import UserError
from meanet_jax.files import read_json
from tests.edge.edge_command import one_line, run
from tests.edge.rewritten import rewritten

DEVICE = DeviceProfile(
  "pi", "made up", "2026-01-01", Block(12.0, 15.0), Block(8.0, 10.0), upload=None, idle=None
)


def test_an_export_has_its_evaluation(exported, evaluated_run):
  manifest, summary = read_manifest(exported), read_json(evaluated_run / "eval/summary.json")
  evaluated = manifest.evaluation
  assert evaluated is not None
  assert evaluated.name is None
  assert evaluated.constraints.to_json() == summary["constraints"]
  for split, figures in evaluated.expected.items():
    assert json.loads(json.dumps(figures.to_json())) == summary["expected"][split]
    assert figures.shares.sent == figures.fraction["cloud"]
    image_bytes = upload_bytes(manifest.cost, manifest.dataset)
    costs = CostModel(manifest.cost, manifest.macs, image_bytes)
    assert figures.latency_p95_ms == costs.latency_p95_ms(figures.shares)
  assert manifest.profile is None
  assert json.loads(json.dumps(manifest.to_json())) == read_json(exported / "edge.json")


def test_a_profile_is_carried_with_its_name_and_digest(exported, tmp_path):
  manifest = dataclasses.replace(read_manifest(exported), profile=DEVICE)
  fields = json.loads(json.dumps(manifest.to_json()))
  assert (fields["profile"]["name"], fields["profile"]["digest"]) == ("pi", DEVICE.digest)
  directory = rewritten(exported, tmp_path / "pi", **fields)
  assert read_manifest(directory) == manifest
  fields["profile"]["digest"] = "0"
  wrong = rewritten(exported, tmp_path / "wrong", **fields)
  with pytest.raises(UserError, match=r"damaged: profile 'pi' has the name or digest of other val"):
    read_manifest(wrong)


def test_a_profile_of_another_export_is_refused_in_one_line(exported, folder, tmp_path, capsys):
  manifest = read_manifest(exported)
  own = dataclasses.replace(DEVICE, networks=manifest.networks, quantize="none", export="0" * 64)
  fields = {"own": named_profile(own)}
  for name, changes in (("networks", {"networks": "0" * 64}), ("numbers", {"quantize": "int8"})):
    fields[name] = named_profile(dataclasses.replace(own, **changes))
  model = {
    name: rewritten(exported, tmp_path / name, profile=profile) for name, profile in fields.items()
  }
  assert read_manifest(model["own"]).profile == own
  line = one_line(capsys, "--model", model["networks"], folder / "00.png")
  assert "device profile pi was measured on an export of other networks: their SHA-256 is" in line
  line = one_line(capsys, "--model", model["numbers"], folder / "00.png")
  assert "with --quantize int8, and this one has --quantize none" in line
  earlier = rewritten(model["networks"], tmp_path / "earlier", networks=None)
  assert read_manifest(earlier).networks is None


def test_other_constants_change_what_is_expected(exported):
  manifest = read_manifest(exported)
  assert manifest.at_costs({}) == manifest
  slow = manifest.at_costs({"uplink_mbps": manifest.cost.uplink_mbps / 2})
  for split in ("validation", "test"):
    before, after = (of.evaluation.expected[split] for of in (manifest, slow))
    assert (after.accuracy, after.fraction) == (before.accuracy, before.fraction)
    sending = before.bytes_up * 8 / (manifest.cost.uplink_mbps * 1e3)
    assert after.latency_ms == pytest.approx(before.latency_ms + sending, rel=1e-12)
  with pytest.raises(UserError, match=r"cost 'uplink_mbps' is 0\.0; accepted: above 0"):
    manifest.at_costs({"uplink_mbps": 0})


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (lambda _: 3, "evaluation is 3; expected an object"),
    (lambda e: e | {"name": 3}, "evaluation.name is 3"),
    (lambda e: e | {"expected": {}}, r"evaluation.expected is \{\}; expected validation, test"),
    (lambda e: e | {"constraints": {"max": 1}}, "field 'evaluation.constraints.max' is unknown; "),
    (lambda e: e | {"constraints": None}, "evaluation.constraints is None"),
    (
      lambda e: e | {"constraints": {"max_offload": 2}},
      "field 'evaluation.constraints.max_offload' is 2.0; ",
    ),
    (lambda _: {"name": None, "constraints": {}}, "no field 'expected'"),
    (lambda e: with_figures(e, accuracy=None), r"field '.*\.accuracy' is None; accepted: a number"),
    (
      lambda e: with_figures(e, latency_ms=float("inf")),
      r"\.latency_ms' is inf; ",
    ),
    (lambda e: with_figures(e, accuracy=1.5), r"\.accuracy' is 1\.5; accepted: 0 to 1"),
    (lambda e: with_figures(e, num_images=1.5), r"\.num_images' is 1\.5; accepted: an integer"),
    (
      lambda e: with_figures(e, fraction={"main": 1.0}),
      r"fraction\.extension' is missing",
    ),
    (lambda e: with_figures(e, accuracy_interval=[0.1]), "expected two shares"),
    (lambda e: with_figures(e, watts=1.0), r"\.watts' is unknown; expected num_images, "),
  ],
)
def test_an_evaluation_that_is_wrong(exported, tmp_path, change, message):
  evaluation = read_json(exported / "edge.json")["evaluation"]
  with pytest.raises(UserError, match=rf"edge\.json is damaged: .*{message}"):
    read_manifest(rewritten(exported, tmp_path / "bad", evaluation=change(evaluation)))


def with_figures(evaluation: dict, **changes) -> dict:
  expected = evaluation["expected"]
  return evaluation | {"expected": expected | {"test": expected["test"] | changes}}


def test_the_command_says_what_was_not_as_expected(model, folder, tmp_path, capsys):
  """The fixture's export sends half of the images; its evaluation expects fewer."""
  fields, summary = read_json(model / "edge.json"), tmp_path / "summary.json"
  expected = Evaluated.from_json(fields["evaluation"]).expected["validation"]
  assert expected.fraction["cloud"] < 0.25
  flags = ["--model", model, "--images", folder / "*.png", "--output", tmp_path / "answers"]
  assert run(*flags, "--summary", summary, "--cost.edge-gmacs-per-second=1e-9") == 0
  lines = capsys.readouterr().out.splitlines()
  (line,) = [line for line in lines if "as expected" in line]
  assert line.startswith("not as expected: images are harder than validation's: 50.0% of 40 images")
  figures = read_json(summary)
  assert [check["assumption"] for check in figures["checks"] if check["failed"]] == ["images"]
  assert figures["complex"] == 0.5
  assert figures["expected"]["constraints"] == fields["evaluation"]["constraints"]
  validation = figures["expected"]["expected"]["validation"]
  assert validation["latency_ms"] > 1e6 > expected.latency_ms
  measured = figures["measured"]
  assert measured["service_p95_ms"] > 0
  assert measured["latency_p95_ms"] > 0


def test_the_command_says_that_all_was_as_expected(exported, folder, tmp_path, capsys):
  """At constants so slow that no device takes longer."""
  flags = ["--model", exported, "--images", folder / "*.png", "--output", tmp_path / "answers"]
  assert run(*flags, "--cost.edge-gmacs-per-second=1e-9") == 0
  (line,) = [line for line in capsys.readouterr().out.splitlines() if "as expected" in line]
  assert line.startswith("as expected: ")
  assert "of 40 images are for the cloud" in line


def test_an_export_without_an_evaluation_compares_nothing(exported, folder, tmp_path, capsys):
  directory = rewritten(exported, tmp_path / "earlier", evaluation=None)
  summary = tmp_path / "summary.json"
  flags = ["--model", directory, "--images", folder / "*.png", "--output", tmp_path / "answers"]
  assert run(*flags, "--summary", summary) == 0
  assert "as expected" not in capsys.readouterr().out
  figures = read_json(summary)
  assert (figures["expected"], figures["checks"]) == (None, None)
