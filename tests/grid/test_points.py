import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meanet_jax.config.parsing import to_json
from meanet_jax.errors import UserError
from meanet_jax.grid.compilation_groups import compilation_groups, program
from meanet_jax.grid.points import expand, split_axes
from meanet_jax.grid.ray import parse_resources


def settings(axes, config):
  return [point.settings for point in expand(axes, config, 100)]


def test_a_product_has_its_last_axis_fastest(tiny):
  axes = split_axes("stages.main.learning_rate=0.05, 0.1;seed=0,1,2")
  assert settings(axes, tiny) == [
    {"stages.main.learning_rate": rate, "seed": seed} for rate in (0.05, 0.1) for seed in (0, 1, 2)
  ]


def test_fields_that_move_together_and_lists_are_axes_like_any_other(tiny):
  axes = (
    "stages.main.epochs=3,4 & stages.main.schedule=constant,cosine",
    "{seed=3, model.join='sum'}, {seed=4}",
  )
  found = expand(axes, tiny, 100)
  assert [point.settings for point in found] == [
    {
      "stages.main.epochs": epochs,
      "stages.main.schedule": schedule,
      "seed": seed,
      "model.join": join,
    }
    for epochs, schedule in ((3, "constant"), (4, "cosine"))
    for seed, join in ((3, "sum"), (4, "concat"))
  ]
  assert [point.number for point in found] == [0, 1, 2, 3]
  assert found[2].config.stages.main.epochs == 4
  assert found[2].config.model.join == "sum"


def test_values_are_literals_of_their_fields_type(tiny):
  axes = (
    "stages.main.step_epochs=(1,),(1, 2)",
    "stages.cloud_first=true,False",
    "hard_classes.count=None,3",
    "stages.cloud.learning_rate=1",
  )
  found = settings(axes, tiny)
  assert found[0] == {
    "stages.main.step_epochs": (1,),
    "stages.cloud_first": True,
    "hard_classes.count": None,
    "stages.cloud.learning_rate": 1.0,
  }
  assert isinstance(found[0]["stages.cloud.learning_rate"], float)
  assert found[-1]["stages.main.step_epochs"] == (1, 2)


@pytest.mark.parametrize(
  ("axes", "message"),
  [
    (["stages.main.rate=1"], "'stages.main.rate' does not exist; accepted: epochs, batch_size"),
    (["seed=0,x"], "'seed' is 'x'; accepted: an integer"),
    (["stages.main.momentum=2"], "'stages.main.momentum' is 2.0; accepted: 0 to 1"),
    (["seed="], "grid axis 'seed=' is empty; accepted: at least one value"),
    (["seed"], "grid axis 'seed' has 'seed'; accepted: FIELD=VALUE,VALUE"),
    (["{seed=1}, {}"], "has an empty point; accepted: at least one field"),
    (["{seed=1}, 3"], r"has '3'; accepted: \{FIELD=VALUE, \.\.\.\}"),
    (["seed=0", "seed=1"], "'seed' stands on two axes; accepted: one axis for a field"),
    (["seed=0 & seed=1"], "has a field twice"),
    (["seed=0,1 & model.join=sum"], "has 2 of seed, 1 of model.join values; accepted: as many"),
    (["dataset.name=digits"], "'dataset.name' must be the same for all points"),
    (["workdir=a,b"], "'workdir' must be the same for all points"),
    (["grid.per_device=1"], "'grid.per_device' must be the same for all points"),
    (["seed=1,1"], r"grid points 0 and 1 are the same \(seed=1\)"),
    (["stages.main=1"], "'stages.main' is a group of fields; accepted: one of them"),
    (["stages.main.augment={'flip': True}"], "'stages.main.augment' is a group of fields"),
    ([" "], "grid axis ' ' is empty; accepted: FIELD=VALUE,VALUE"),
    (["&"], "grid axis '&' is empty"),
    (["seed=" + ",".join(map(str, range(101)))], "has 101 points; accepted: at most 100"),
  ],
)
def test_what_is_wrong_is_one_line(tiny, axes, message):
  with pytest.raises(UserError, match=message) as caught:
    expand(axes, tiny, 100)
  assert "\n" not in str(caught.value)


def test_groups_differ_in_programs_and_members_in_numbers(tiny):
  numbers = (
    "seed=0,1",
    "stages.main.learning_rate=0.1,0.2 & stages.main.schedule=constant,cosine",
    "stages.edge.weight_decay=0.0,0.1",
    "model.cloud.dropout=0,0.5",
    "stages.cloud.label_smoothing=0,0.1",
    "stages.cloud.loss_weights=(),(2,)",
  )
  (group,) = compilation_groups(expand(numbers, tiny, 100))
  assert len(group.points) == 64
  programs = (
    "model.main.structure.widths=(4,),(8,)",
    "stages.main.momentum=0.9,0.5,0.0",
    "stages.main.ema_decay=0.0,0.5,0.9",
  )
  groups = compilation_groups(expand(programs, tiny, 100))
  assert sorted(len(group.points) for group in groups) == [1, 1, 2, 2, 2, 2, 4, 4]
  assert sorted(p.number for group in groups for p in group.points) == list(range(18))


def test_levers_are_numbers_where_a_step_computes_the_same(tiny):
  stages = dataclasses.replace(tiny.stages, training="joint", cloud_first=True)
  model = dataclasses.replace(tiny.model, extension_classes="all")
  config = dataclasses.replace(tiny, stages=stages, model=model)
  numbers = (
    "stages.main.distillation.weight=0.5,0.9",
    "stages.main.distillation.temperature=2,4",
    "stages.edge.easy_weight=0.1,1",
    "stages.edge.weigh_exits_by_share=true,false",
    "{stages.edge.class_weights=balanced}, {stages.edge.class_weights=(1,1,1,1,1,1,1,1,1,2)}",
  )
  assert len(compilation_groups(expand(numbers, config, 100))) == 1
  programs = (
    "stages.main.distillation.weight=0,0.9",
    "stages.edge.class_weights=balanced,none",
    "stages.training=joint,blockwise",
  )
  assert len(compilation_groups(expand(programs, config, 100))) == 8


@given(st.integers(0, 99), st.floats(1e-6, 10), st.floats(0.01, 0.99))
def test_a_program_is_its_own_and_knows_no_number(seed, rate, momentum):
  from meanet_jax.config.parsing import resolve
  from tests.experiments import tiny_config

  fields = tiny_config()
  fields.seed, fields.stages.main.learning_rate, fields.stages.edge.momentum = seed, rate, momentum
  changed = resolve(fields)
  assert program(changed) == program(resolve(tiny_config())) == program(program(changed))
  assert to_json(program(changed))["model"] == to_json(changed)["model"]


def test_resources_are_named_amounts():
  assert parse_resources(("TPU=4", "big = 0.5")) == {"TPU": 4.0, "big": 0.5}
  for wrong in ("TPU", "=4", "TPU=many"):
    with pytest.raises(UserError, match="accepted: NAME=AMOUNT, as in TPU=4"):
      parse_resources((wrong,))


def test_networks_beside_a_trials_meanet_are_refused(tiny):
  with pytest.raises(UserError, match=r"^baselines\.static is 1 in a grid, whose trials train no "):
    expand(["baselines.static=0,1"], tiny, 10)


def test_as_many_points_as_are_allowed_are_a_grid(tiny):
  assert len(expand(("seed=0,1,2",), tiny, 3)) == 3
  with pytest.raises(UserError, match=r"the grid has 3 points; accepted: at most 2 "):
    expand(("seed=0,1,2",), tiny, 2)
