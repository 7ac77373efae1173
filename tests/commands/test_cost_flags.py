"""One list of constants: the configuration and the flags `--cost.FIELD` have the same fields."""

import dataclasses
import itertools
from typing import get_args

import pytest

from meanet_jax.commands.cost_flags import add_cost_flags, cost_changes
from meanet_jax.commands.flags import Parser
from meanet_jax.config.schema import CostConfig, DatasetConfig
from meanet_jax.cost.changes import CostChanges, changed_cost, unread_warning
from meanet_jax.cost.device import Block, DeviceProfile, Link, PerMac
from meanet_jax.cost.energy import BlockMacs, CostModel, Shares, upload_bytes
from meanet_jax.errors import UserError


def changes(*arguments: str) -> dict:
  parser = Parser("eval", None)
  add_cost_flags(parser, "those of the run")
  return cost_changes(parser.parse(arguments))


@pytest.mark.parametrize("field", dataclasses.fields(CostConfig), ids=lambda field: field.name)
def test_every_constant_has_a_flag_with_its_type_and_range(field):
  assert changes() == {}
  for name in (field.name, field.name.replace("_", "-")):
    value = "3g" if field.name == "radio" else 2
    found = changes(f"--cost.{name}={value}")
    assert found == {field.name: value}
    assert type(found[field.name]) in get_args(field.type) or value == "3g"
  wrong = "5g" if field.name == "radio" else -1
  with pytest.raises(UserError, match=rf"flag --cost\.{name} is '?{wrong}'?; .*"):
    changes(f"--cost.{name}={wrong}")
  with pytest.raises(UserError, match="has no value"):
    changes(f"--cost.{name}")


@pytest.mark.parametrize("measured", [*itertools.product((False, True), repeat=5)])
def test_a_constant_that_a_profile_leaves_without_effect_is_named(measured):
  """By what the cost model says before and after, of every constant and block."""
  *blocks, energy = measured
  block = Block(3.0, 4.0, 5.0 if energy else None, 6.0 if energy else None)
  profile = DeviceProfile(
    "pi", "made up", "2026-01-01", *(block if has else None for has in blocks)
  )
  own, shares = CostConfig(bytes_per_image=100), Shares(1.0, 0.5, 0.25, 0.125)
  macs = BlockMacs(1000, 2000, 3000)

  def figures(cost: CostConfig) -> tuple:
    found = CostModel(cost, macs, upload_bytes(cost, DatasetConfig()), profile).of(shares)
    return dataclasses.astuple(found)

  for field in dataclasses.fields(CostConfig):
    value = "lte" if field.name == "radio" else 7
    before, after = figures(own), figures(changed_cost(own, {field.name: value}))
    said = unread_warning({field.name: value}, own, profile)
    if before == after:
      assert said == (
        f"cost.{field.name} changes no figure: device profile pi was measured in its place"
      )
    else:
      assert said is None
    assert unread_warning({field.name: getattr(own, field.name)}, own, profile) is None
    assert unread_warning({field.name: value}, own, None) is None


def test_a_constant_that_does_not_exist():
  with pytest.raises(UserError, match=r"flag --cost\.uplink .*did you mean '--cost.uplink-mbps'"):
    changes("--cost.uplink=3")


def test_flags_go_before_the_profile_and_the_profile_before_the_run():
  link = Link("lab", uplink_mbps=5.0, round_trip_ms=7.0)
  nothing = dict.fromkeys(("main", "extension", "upload", "idle"))
  device = DeviceProfile(
    "pi", "made up", "2026-01-01", **nothing, link=link, per_mac=PerMac(1.0, 2.0)
  )
  own = CostConfig(edge_gmacs_per_second=9.0, cloud_gmacs_per_second=8.0, round_trip_ms=6.0)
  found = CostChanges(device, {"round_trip_ms": 3}).of(own)
  assert found == CostConfig(
    edge_pj_per_mac=1.0,
    edge_gmacs_per_second=2.0,
    cloud_gmacs_per_second=8.0,
    uplink_mbps=5.0,
    round_trip_ms=3.0,
  )
  assert CostChanges().of(own) == own
  for constants, words in (
    ({"watts": 1}, "cost 'watts' does not exist; "),
    ({"uplink_mbps": -1.0}, "cost 'uplink_mbps' is -1.0; accepted: above 0"),
    ({"radio": 3}, "cost 'radio' is 3; "),
  ):
    with pytest.raises(UserError, match=words):
      CostChanges(None, constants).of(own)
