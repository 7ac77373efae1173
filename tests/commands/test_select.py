"""`meanet select`: an operating point from files that any framework can write."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from meanet_jax.commands.app import main
from meanet_jax.config.constraints import Constraints
from meanet_jax.config.schema import CostConfig
from meanet_jax.cost.energy import BlockMacs
from meanet_jax.evaluation.from_logits import Costs, SelectOptions, select
from meanet_jax.evaluation.logit_files import read_costs
from meanet_jax.routing.operating_point import OperatingPoint
from meanet_jax.routing.policies import PRESETS, Policy
from tests.experiments import random_logits
from tests.forked_commands import ROOT

HARD = np.array([0, 2, 3, 5, 8])
LABELS, OUTPUTS = random_logits(np.random.default_rng(0), 400, 10, HARD)
PAIR = {"labels": LABELS, "main": OUTPUTS.main, "cloud": OUTPUTS.cloud}
ALL = PAIR | {"extension": OUTPUTS.extension, "extension_classes": HARD}
COSTS = {"macs": {"main": 1000, "extension": 5000, "cloud": 1e5}, "image_bytes": 192}


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch, printed):
  """Commands print on the console of `printed`, for `to_console` would take it away."""
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr("meanet_jax.log.to_console", lambda: None)


def write(arrays: dict[str, Any] = ALL, costs: Any = COSTS) -> list[str]:
  np.savez("validation.npz", **arrays)
  Path("costs.json").write_text(costs if isinstance(costs, str) else json.dumps(costs))
  return ["select", "--logits", "validation.npz", "--costs", "costs.json"]


def test_it_selects_what_the_function_selects(printed):
  np.savez("test.npz", **{name: values[:200] for name, values in PAIR.items()})
  flags = [*write(PAIR), "--test", "test.npz", "--max-offload=0.2", "--output", "a/b"]
  assert main(flags) == 0
  test = {exit: PAIR[exit][:200] for exit in ("main", "cloud")}
  costs = Costs(BlockMacs(1000, 5000, 100_000), 192)
  expected = select(
    {"main": PAIR["main"], "cloud": PAIR["cloud"]},
    LABELS,
    costs,
    Constraints(max_offload=0.2),
    (test, LABELS[:200]),
  )
  out = Path("a/b")
  drawn = ("accuracy_vs_energy", "accuracy_vs_offload", "confusion_matrix", "entropies")
  files = sorted(
    ["operating_point.json", "operating_points.csv", "summary.json", "report.html"]
    + [f"{name}.{form}" for name in drawn for form in ("pdf", "png", "svg")]
  )
  assert sorted(path.name for path in out.iterdir()) == files
  point = json.loads((out / "operating_point.json").read_text())
  assert point == expected.operating_point.to_json()
  assert OperatingPoint.from_json(point).policy == Policy(hard_rule="never")
  summary = json.loads((out / "summary.json").read_text())
  assert (summary["validation"], summary["test"]) == (expected.validation, expected.test)
  assert (summary["unmet"], summary["constraints"]["max_offload"]) == (None, 0.2)
  assert summary["costs"]["macs"] == {"main": 1000, "extension": 5000, "cloud": 100_000}
  with (out / "operating_points.csv").open() as file:
    rows = list(csv.DictReader(file))
  assert len(rows) == 2 * 1001
  chosen = {row["split"]: float(row["accuracy"]) for row in rows if row["chosen"] == "1"}
  assert chosen == {part: summary[part]["accuracy"] for part in ("validation", "test")}
  # Nothing is hard without an extension.
  assert summary["test"]["hard_accuracy"] is None
  assert {row["easy_accuracy"] for row in rows} == {"nan"}
  assert "hard [%]" not in printed()
  (line,) = [line for line in printed().splitlines() if "cloud [%]" in line]
  cells = [cell.strip() for cell in line.strip("│").split("│")]
  shares = [f"{100 * summary[part]['fraction']['cloud']:.2f}" for part in ("validation", "test")]
  assert cells == ["cloud [%]", "at most 20.00", *shares]
  assert f"thresholds: main {point['thresholds']['main']:.6g}" in printed()


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("name", [None, *PRESETS])
def test_policies_by_name(name):
  flags = [*write(), "--min-accuracy=0.3", "--test-fraction=0.25", "--seed=3", "--output=out"]
  assert main(flags + ([f"--policy={name}"] if name else [])) == 0
  point = OperatingPoint.from_json(json.loads(Path("out/operating_point.json").read_text()))
  policy = PRESETS[name or "paper"]
  logits = {"main": ALL["main"], "cloud": ALL["cloud"], "extension": (ALL["extension"], HARD)}
  costs = Costs(BlockMacs(1000, 5000, 100_000), 192)
  options = SelectOptions(policy=policy, test_fraction=0.25, seed=3)
  expected = select(logits, LABELS, costs, Constraints(min_accuracy=0.3), options=options)
  assert point.to_json() == expected.operating_point.to_json()
  assert point.policy == policy
  assert json.loads(Path("out/summary.json").read_text())["test"]["num_examples"] == 100


def test_constraints_that_nothing_keeps_end_with_a_warning_and_status_3(printed):
  assert main([*write(), "--max-energy-mj=1e-9", "--output=out", "--test-fraction=0"]) == 3
  assert "warning: no threshold keeps max-energy-mj 1e-09; the nearest has" in printed()
  summary = json.loads(Path("out/summary.json").read_text())
  assert summary["unmet"].startswith("no threshold keeps max-energy-mj 1e-09")
  assert summary["test"] is None


def test_a_confidence_is_said_of_limits_that_are_kept_alone(printed):
  data = write()
  assert main([*data, "--min-accuracy=0.97", "--confidence=0.9", "--output=out"]) == 3
  assert "warning: no threshold keeps min-accuracy 0.97 with confidence 0.9" in printed()
  assert "limits hold" not in printed()
  assert main([*data, "--min-accuracy=0.1", "--confidence=0.9", "--output=out"]) == 0
  assert "limits hold on new images with confidence 0.9" in printed()


def test_a_class_without_an_image_is_named(printed):
  labels = np.where(LABELS == 7, 6, LABELS)
  assert main([*write(PAIR | {"labels": labels}), "--offload-penalty=0.1"]) == 0
  assert "warning: no image of class 7 to select on" in printed()
  assert "offload penalty: 0.1" in printed()


def test_the_constants_of_the_cost_model():
  write(costs=COSTS | {"constants": {"uplink_mbps": 5, "radio": "lte"}})
  found = read_costs(Path("costs.json"))
  assert found.constants == CostConfig(uplink_mbps=5.0, radio="lte")
  assert found.macs == BlockMacs(1000, 5000, 100_000)


def refused(flags: list[str], capsys) -> str:
  """The one line of a command that must fail, and must leave nothing."""
  before = sorted(Path().rglob("*"))
  assert main([*flags, "--output=never"]) == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert sorted(Path().rglob("*")) == before
  return line


def without(name: str) -> dict[str, Any]:
  return {key: values for key, values in ALL.items() if key != name}


@pytest.mark.parametrize(
  ("arrays", "message"),
  [
    (without("labels"), "array 'labels' is missing; accepted: labels, main and cloud"),
    (without("cloud"), "array 'cloud' is missing"),
    (without("extension"), "array 'extension' is missing; accepted: extension_classes with"),
    (without("extension_classes"), "array 'extension_classes' is missing; accepted: extension"),
    (PAIR | {"extention": OUTPUTS.extension}, "'extention' is unknown; did you mean 'extension'?"),
    (ALL | {"main": OUTPUTS.main[1:]}, "logits of exit cloud are (400, 10); accepted: (399, 10)"),
    (ALL | {"main": OUTPUTS.main[..., None]}, "logits of exit main are float32 (400, 10, 1)"),
    (ALL | {"main": np.full_like(OUTPUTS.main, np.nan)}, "exit main has NaN or infinite logits"),
    (ALL | {"labels": LABELS + 1}, "labels are 1 to 10; accepted: 0 to 9; subtract 1 from"),
    (ALL | {"labels": LABELS + 2}, "labels have "),
    (ALL | {"labels": LABELS[1:]}, "labels are int32 (399,); accepted: integers (400,)"),
    (ALL | {"labels": LABELS.astype(str)}, "labels are <U"),
    (ALL | {"labels": LABELS.astype(object)}, "validation.npz cannot be read: Object arrays"),
    (ALL | {"extension_classes": HARD[1:]}, "exit extension are (400, 5); accepted: (400, 4)"),
    (ALL | {"extension_classes": HARD + 2}, "class numbers of exit extension: hard_classes is"),
    (ALL | {"extension_classes": HARD[::-1]}, "expected increasing numbers"),
  ],
)
def test_wrong_arrays(arrays, message, capsys):
  line = refused([*write(arrays), "--max-offload=0.1"], capsys)
  assert line.startswith("error: validation.npz")
  assert message in line


def costs(**changes: Any) -> str:
  return json.dumps(COSTS | changes)


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("{", "is no JSON: Expecting"),
    ("[" * 100_000, "is no JSON: maximum recursion depth exceeded"),
    ("[]", "the file is []; expected an object with macs, image_bytes, constants"),
    (json.dumps({"image_bytes": 1}), "field 'macs' is missing; expected macs, image_bytes"),
    (costs(image_byte=3), "'image_byte' is unknown; did you mean 'image_bytes'?"),
    (costs(macs=3), "macs is 3; expected an object with main, extension, cloud"),
    (costs(macs={"main": 1, "cloud": 2}), "field 'macs.extension' is missing; expected main, ext"),
    (costs(macs=COSTS["macs"] | {"edge": 1}), "field 'macs.edge' is unknown; expected main"),
    (costs(macs=COSTS["macs"] | {"main": -1}), "field 'macs.main' is -1; accepted: 0 to 1e+15"),
    (costs(macs=COSTS["macs"] | {"main": 1.5}), "'macs.main' is 1.5; accepted: an integer"),
    (costs(macs=COSTS["macs"] | {"main": True}), "'macs.main' is True; accepted: an integer"),
    (costs(image_bytes=0), "field 'image_bytes' is 0; accepted: 1 to 1e+15"),
    (costs(image_bytes=float("nan")), "'image_bytes' is nan; accepted: a number up to 1e+15"),
    (costs(constants={"uplink_mbps": float("inf")}), "'constants.uplink_mbps' is inf; accepted"),
    (costs(constants={"uplink_mbps": 10**400}), "accepted: a number up to 1e+15"),
    (costs(constants={"uplink_mbps": 0}), "'constants.uplink_mbps' is 0.0; accepted: above 0"),
    (costs(constants={"radio": "5g"}), "'constants.radio' is '5g'; accepted: wifi, lte, 3g"),
    (costs(constants={"uplink": 1}), "'constants.uplink' is unknown; did you mean 'uplink_mbps'?"),
    (costs(constants={"bytes_per_image": 1}), "'constants.bytes_per_image' is unknown"),
  ],
)
def test_wrong_costs(text, message, capsys):
  line = refused([*write(costs=text), "--max-offload=0.1"], capsys)
  assert line.startswith("error: costs.json")
  assert message in line


def test_wrong_files_and_flags(capsys):
  flags = write()
  np.savez("other.npz", **PAIR)
  np.save("single.npy", LABELS)
  Path("text").write_text("labels")
  whole = Path("validation.npz").read_bytes()
  Path("cut.npz").write_bytes(whole[:-100])
  Path("flipped.npz").write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
  limit = "--max-offload=0.1"
  cases = [
    (["select", "--costs=costs.json", limit], "flag --logits is missing; accepted: an .npz file"),
    (["select", "--logits=text", limit], "flag --costs is missing; accepted: a JSON file"),
    ([*flags], "no constraint was given; expected an offload penalty, or a limit"),
    ([*flags, limit, "--policy=papr"], "flag --policy is 'papr'; did you mean 'paper'?"),
    ([*flags, "--max-offload=2"], "flag --max-offload is 2; accepted: 0 to 1"),
    ([*flags, limit, "--logits=none.npz"], "none.npz cannot be read: No such file or directory"),
    ([*flags, limit, "--logits=text"], "text cannot be read: "),
    ([*flags, limit, "--logits=cut.npz"], "cut.npz cannot be read: "),
    ([*flags, limit, "--logits=flipped.npz"], "flipped.npz cannot be read: Bad CRC-32"),
    ([*flags, limit, "--logits=single.npy"], "single.npy holds a single array; accepted: an .npz"),
    ([*flags, limit, "--costs=none.json"], "none.json: cannot be read: No such file"),
    ([*flags, limit, "--test=other.npz"], "the test part has 10 classes, extension "),
    ([*flags, limit, "--test=text"], "text cannot be read: "),
    ([*flags, limit, "--test=other.npz", "--test-fraction=0.1"], "were both given; accepted: one"),
    ([*flags, limit, "--test=other.npz", "--seed=1"], "--seed and --test were both given"),
    ([*flags, limit, "--policy=gated", "--confidence=0.9"], "or no confidence"),
    ([*flags, limit, "--logits=other.npz", "--policy=late"], "exit extension has no logits"),
  ]
  for arguments, message in cases:
    assert message in refused(arguments, capsys), arguments
  assert main([*flags, limit, "--output=text"]) == 2
  assert "--output text cannot be written: File exists" in capsys.readouterr().err


def test_the_command_needs_no_data_and_no_training():
  code = """
import sys
from meanet_jax.commands import select
assert "jax" not in sys.modules
import meanet_jax.evaluation.logit_files, meanet_jax.report.selection
wrong = ("meanet_jax.training", "meanet_jax.data.", "orbax", "optax", "grain", "PIL")
found = {name for name in sys.modules if name.startswith(wrong)}
print(sorted(found - {"meanet_jax.data.calibration_part"}))  # which no image is read by
"""
  ended = subprocess.run(
    [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
  )
  assert ended.stdout == "[]\n"


def test_the_example_of_the_documentation():
  text = (ROOT / "docs/own_logits.md").read_text()
  with_torch, with_numpy = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
  compile(with_torch, "docs/own_logits.md", "exec")
  assert "torch" not in with_numpy
  exec(compile(with_numpy, "docs/own_logits.md", "exec"), {})
  (document,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
  Path("costs.json").write_text(document)
  commands = re.sub(r" \\\n +", " ", text)
  (line,) = re.findall(r"^    meanet (select --logits .*)$", commands, re.MULTILINE)
  assert main(line.split()) == 0
  assert Path("selected/operating_point.json").is_file()
