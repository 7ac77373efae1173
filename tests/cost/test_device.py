import copy
import dataclasses
import json
import re

import numpy as np
import pytest

from meanet_jax.config.schema import CostConfig
from meanet_jax.cost.device import (
  check_export,
  check_network,
  check_networks,
  cost_basis,
  device_constants,
  modelled_blocks,
  other_export,
)
from meanet_jax.cost.device_file import parse_profile, read_profile, shipped_profiles
from meanet_jax.cost.energy import BlockMacs, CostModel, Shares
from meanet_jax.errors import UserError

MACS = BlockMacs(main=1_000_000, extension=3_000_000, cloud=785_000_000)
FIELDS = {
  "format": 1,
  "name": "raspberry",
  "source": "a power meter",
  "date": "2026-11-29",
  "export": "ab" * 32,
  "link": {"name": "office WiFi", "uplink_mbps": 40, "round_trip_ms": 5},
  "main": {"mean_ms": 12, "p95_ms": 13, "mean_mj": 30, "p95_mj": 33, "macs": 1_000_000},
  "extension": {"mean_ms": 4, "p95_ms": 5, "mean_mj": 10},
  "upload": {"mean_ms": 2, "p95_ms": 3, "mean_mj": None, "bytes_per_image": 700.4},
  "idle": {"mean_ms": 20, "p95_ms": 50, "mean_mj": 0.5},
}
PROFILE = parse_profile(FIELDS)


def changed(block, **fields):
  source = copy.deepcopy(FIELDS)
  source[block] = source[block] | fields
  return source


def test_a_profile_survives_its_file(tmp_path):
  path = tmp_path / "device.json"
  path.write_text(json.dumps(PROFILE.to_json()))
  assert read_profile(path) == PROFILE
  assert read_profile(path).digest == PROFILE.digest
  other = dataclasses.replace(PROFILE, name="another")
  assert other.digest != PROFILE.digest


@pytest.mark.parametrize("missing", ["main", "extension", "upload", "idle", "name", "date"])
def test_a_missing_part_is_named(missing):
  source = {name: value for name, value in FIELDS.items() if name != missing}
  with pytest.raises(ValueError, match=f"{missing} is missing"):
    parse_profile(source)


@pytest.mark.parametrize(
  ("source", "message"),
  [
    (changed("main", mean_ms=-1), r"main\.mean_ms is -1; expected a finite number, at least 0"),
    (changed("main", mean_mj=float("nan")), r"main\.mean_mj is nan"),
    (changed("idle", p95_ms=float("inf")), r"idle\.p95_ms is inf"),
    (changed("idle", p95_ms=10**400), r"idle\.p95_ms is 1000"),
    (changed("main", mean_ms=True), r"main\.mean_ms is True"),
    (changed("main", mean_ms="12 ms"), r"main\.mean_ms is '12 ms'"),
    (
      changed("main", mean_us=12000),
      r"unknown field main\.mean_us; times are in ms and energies in mJ; did you mean 'mean_m",
    ),
    (changed("idle", bytes_per_image=7), r"unknown field idle\.bytes_per_image"),
    (changed("main", p95_ms=241), r"main\.p95_ms is 241 at a mean_ms of 12; expected at most 20"),
    (changed("extension", p95_mj=1, mean_mj=None), r"p95_mj without extension\.mean_mj"),
    (changed("link", uplink_mbps=0), r"link\.uplink_mbps is 0; expected more than 0"),
    (changed("link", radio="5g"), r"link\.radio is '5g'; expected one of wifi, lte, 3g"),
    (FIELDS | {"idle": None}, "upload and idle belong together"),
    (FIELDS | {"upload": 3}, "upload is 3; expected an object"),
    (FIELDS | {"date": "yesterday"}, "date is 'yesterday'; expected YYYY-MM-DD"),
    (FIELDS | {"export": "ab"}, "export is 'ab'; expected the SHA-256 of an edge.tflite in hex"),
    (FIELDS | {"networks": 3}, "networks is 3; expected the SHA-256 of an export's networks in h"),
    (FIELDS | {"quantize": 8}, "quantize is 8; expected a line of text"),
    (FIELDS | {"format": 2}, "format is 2; expected 1"),
    (FIELDS | {"latency": 2}, "unknown field latency"),
    ([], "format is"),
  ],
)
def test_what_is_wrong_is_named(source, message):
  with pytest.raises(ValueError, match=message) as caught:
    parse_profile(source)
  assert len(str(caught.value).splitlines()) == 1


def test_files_that_are_no_profile_end_in_one_line(tmp_path):
  path = tmp_path / "device.json"
  with pytest.raises(UserError, match=r"cannot be read: No such file .* horowitz_45nm_pixel1"):
    read_profile(path)
  with pytest.raises(UserError, match="did you mean 'horowitz_45nm_pixel1'"):
    read_profile("horowitz_45nm")
  path.write_text("{")
  with pytest.raises(UserError, match="is no JSON"):
    read_profile(path)
  path.write_bytes(b"\xff")
  with pytest.raises(UserError, match="is no JSON"):
    read_profile(path)
  path.write_text(json.dumps(changed("main", mean_ms=-1)))
  with pytest.raises(UserError, match=r"device\.json: main\.mean_ms is -1"):
    read_profile(path)


def test_a_profile_without_networks_is_as_earlier_versions_wrote_it():
  assert not {"networks", "quantize"} & set(PROFILE.to_json())
  assert PROFILE.digest == "a9cd59277b48a6b76f549a4c83a2b6270122ae58bf8ee30bd67d26c96d5c43e2"
  newer = parse_profile(FIELDS | {"networks": "cd" * 32, "quantize": "int8"})
  assert parse_profile(newer.to_json()) == newer
  assert newer.digest != PROFILE.digest


def test_a_profile_that_names_no_networks_is_compared_by_its_file():
  assert other_export(PROFILE, "ab" * 32) is None
  assert other_export(dataclasses.replace(PROFILE, export=None), "cd" * 32) is None
  assert other_export(dataclasses.replace(PROFILE, networks="ee" * 32), "cd" * 32) is None
  found = other_export(PROFILE, "cd" * 32)
  assert found is not None
  assert re.search(r"another export: its SHA-256 is abab.*expected cdcd", found)
  check_export(PROFILE, "ee" * 32, "int8")
  check_networks(PROFILE, "ee" * 32)


def test_other_networks_and_other_numbers_are_refused():
  profile = dataclasses.replace(PROFILE, networks="ab" * 32, quantize="int8")
  check_networks(profile, "ab" * 32)
  check_export(profile, "ab" * 32, "int8")
  check_export(profile, None, "int8")  # an export that does not say which its networks are
  with pytest.raises(
    UserError,
    match=r"of other networks: their SHA-256 is abab.*expected cdcd.*meanet measure$",
  ):
    check_networks(profile, "cd" * 32)
  with pytest.raises(UserError, match="of other networks"):
    check_export(profile, "cd" * 32, "int8")
  with pytest.raises(
    UserError, match="with --quantize int8, and this one has --quantize none; export with --quan"
  ):
    check_export(profile, "ab" * 32, "none")


def test_networks_of_other_macs_are_refused():
  check_network(PROFILE, 1_000_000, 5)  # the extension does not say which it was
  with pytest.raises(UserError, match="main has 1000000 MACs per image, expected 7"):
    check_network(PROFILE, 7, 5)


def test_measured_blocks_replace_the_model_and_the_model_speaks_for_the_rest():
  cost = device_constants(CostConfig(), PROFILE)
  assert (cost.uplink_mbps, cost.round_trip_ms, cost.bytes_per_image) == (40, 5, 700)
  found = CostModel(cost, MACS, 700, PROFILE).of(Shares(1.0, 0.5, 0.25, 0.125))
  assert found.latency_ms == pytest.approx(12 + 0.5 * 4 + 0.25 * (2 + 20), rel=1e-12)
  radio_mj = 0.25 * (283.17 * 40 + 132.86) * (700 * 8 / 40e6)
  assert found.energy_mj == pytest.approx(30 + 0.5 * 10 + 0.25 * 0.5 + radio_mj, rel=1e-12)
  assert found.macs_edge == 2_500_000
  assert modelled_blocks(PROFILE) == {"energy": ("upload",), "latency": ()}
  assert cost_basis(PROFILE) == {"energy": "estimated", "latency": "measured"}
  assert cost_basis(None) == {"energy": "estimated", "latency": "estimated"}


@pytest.mark.parametrize("name", shipped_profiles())
def test_shipped_profiles_are_read_by_name_and_cite_a_source(name):
  profile = read_profile(name)
  assert profile.name == name
  assert len(profile.source) > 40


def test_the_default_is_a_shipped_profile_digit_for_digit():
  profile = read_profile("horowitz_45nm_pixel1")
  assert device_constants(CostConfig(), profile) == CostConfig()
  shares = Shares(1.0, np.linspace(0, 1, 11), np.linspace(1, 0, 11), np.zeros(11))
  with_profile = CostModel(CostConfig(), MACS, 3072, profile).of(shares)
  without = CostModel(CostConfig(), MACS, 3072).of(shares)
  for field in dataclasses.fields(without):
    np.testing.assert_array_equal(getattr(with_profile, field.name), getattr(without, field.name))
