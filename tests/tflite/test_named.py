"""What is exported of a run that has several evaluations."""

import dataclasses
import json
import re
import shutil

import pytest

from meanet_jax.cost.changes import CostChanges
from meanet_jax.edge.manifest import read_manifest
from meanet_jax.errors import UnmetConstraintsError, UserError
from meanet_jax.files import read_json
from meanet_jax.report.write import evaluate_run
from meanet_jax.routing.operating_point import Temperatures
from meanet_jax.runs.directory import RunDirectory
from meanet_jax.tflite.export import Options, export
from meanet_jax.tflite.source import Selected, from_run
from tests.named import DEVICE


def test_the_chosen_evaluation_is_what_is_exported(named_run):
  for name in (None, "tight", "slow", "pi"):
    written = read_json(RunDirectory(named_run).evaluation_path(name) / "summary.json")
    source = from_run(named_run, selected=Selected(name))
    assert source.operating_point.to_json() == written["systems"]["meanet"]["operating_point"]
    assert source.evaluation is not None
    found = json.loads(json.dumps(source.evaluation.to_json()))
    assert found == {"name": name} | {key: written[key] for key in ("constraints", "expected")}
    assert source.profile == (DEVICE if name == "pi" else None)
  assert from_run(named_run, selected=Selected("slow")).config.cost.radio == "lte"


def test_other_costs_at_export_change_what_is_expected_and_may_break_a_limit(named_run, tmp_path):
  selected = Selected("slow", {"round_trip_ms": 0.0})
  source, before = (
    from_run(named_run, selected=selected),
    from_run(named_run, selected=Selected("slow")),
  )
  assert source.unmet is None
  now, then = (of.evaluation.expected["validation"] for of in (source, before))
  sent = then.fraction["cloud"]
  assert now.latency_ms == pytest.approx(then.latency_ms - 20 * sent)
  assert now.accuracy == then.accuracy
  assert source.operating_point == before.operating_point
  late = from_run(named_run, selected=Selected("slow", {"edge_gmacs_per_second": 1e-6}))
  assert re.fullmatch(
    r"at these costs the thresholds have max-latency-ms \S+, above 10", str(late.unmet)
  )
  with pytest.raises(UnmetConstraintsError, match="at these costs") as refused:
    export(late, tmp_path / "out", Options())
  assert refused.value.status == 3
  assert not (tmp_path / "out").exists()
  with pytest.raises(UserError, match=r"cost 'uplink' does not exist; did you mean 'uplink_mbps'"):
    from_run(named_run, selected=Selected("slow", {"uplink": 1.0}))


@pytest.fixture
def unconverted(exported, monkeypatch) -> None:
  """An export writes the networks of `exported`, whatever it is of."""
  models = {"edge.tflite": (exported / "edge.tflite").read_bytes()}
  monkeypatch.setattr("meanet_jax.tflite.export.convert_models", lambda *_: models)


@pytest.mark.usefixtures("unconverted")
def test_an_earlier_profile_of_another_export_is_exported_with_a_warning(named_run, tmp_path, said):
  source = from_run(named_run, selected=Selected("pi"))
  manifest = export(source, tmp_path / "own", Options())
  assert read_manifest(tmp_path / "own") == manifest
  assert (manifest.profile, manifest.evaluation) == (DEVICE, source.evaluation)
  assert not any("another export" in line for line in said)
  other = dataclasses.replace(DEVICE, export="0" * 64)
  export(dataclasses.replace(source, profile=other), tmp_path / "other", Options())
  assert any(
    line.startswith("device profile pi was measured on another export: its SHA-256 is 0000")
    for line in said
  )


@pytest.mark.usefixtures("unconverted")
def test_a_profile_goes_with_the_runs_networks_at_any_operating_point(
  named_run, exported, tmp_path, said
):
  """Measured on an export of other temperatures and numbers, whose file is another."""
  run = tmp_path / "run"
  shutil.copytree(named_run, run)
  networks = read_manifest(exported).networks
  device = dataclasses.replace(DEVICE, export="0" * 64, networks=networks, quantize="int8")
  evaluate_run(run, costs=CostChanges(device), name="int8")
  source = from_run(run, selected=Selected("int8"))
  assert source.profile == device
  point = dataclasses.replace(source.operating_point, temperatures=Temperatures(2.0, 2.0, 2.0))
  source = dataclasses.replace(source, operating_point=point)
  written = export(source, tmp_path / "out", Options("int8"))
  assert written.networks == networks
  assert read_manifest(tmp_path / "out") == written
  assert not any("another export" in line for line in said)
  with pytest.raises(UserError, match="with --quantize int8, and this one has --quantize none"):
    export(source, tmp_path / "float", Options())
  other = dataclasses.replace(device, networks="0" * 64)
  with pytest.raises(UserError, match="of other networks: their SHA-256 is 000000000000"):
    export(dataclasses.replace(source, profile=other), tmp_path / "other", Options("int8"))
  assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "run"]


def test_an_evaluation_that_is_not_there(named_run, finished_run):
  with pytest.raises(
    UserError,
    match=r"no evaluation 'tigth'; did you mean 'tight'\? those of this run are pi, slow, tight; "
    r"meanet eval --workdir \S+ --name tigth makes it$",
  ):
    from_run(named_run, selected=Selected("tigth"))
  with pytest.raises(UserError, match="no evaluation 'a'; this run has none with a name; meanet e"):
    from_run(finished_run.path, selected=Selected("a"))
