import dataclasses
import json

import pytest

from meanet_jax.config.parsing import (
  default_config,
  differences,
  field_type,
  resolve,
  to_json,
)
from meanet_jax.config.schema import Config, RoutingConfig
from meanet_jax.errors import UserError
from tests.experiments import tiny_config


def test_a_configuration_survives_json(tiny):
  assert resolve(json.loads(json.dumps(to_json(tiny)))) == tiny


def test_every_default_is_of_its_declared_type_and_range():
  # `epochs` etc. are examples; the structures are empty and refused later, by the zoo.
  assert resolve(default_config()) == Config()


@pytest.mark.parametrize(
  ("path", "value", "words"),
  [
    ("stages.edge.epochs", 2.5, "'stages.edge.epochs' is 2.5; accepted: an integer"),
    ("stages.edge.epochs", True, "'stages.edge.epochs' is True; accepted: an integer"),
    ("stages.edge.epochs", -1, "'stages.edge.epochs' is -1; accepted: at least 0"),
    ("stages.edge.optimizer", "sdg", "is 'sdg'; did you mean 'sgd'? accepted: sgd, adamw"),
    ("stages.main.learning_rate", "fast", "is 'fast'; accepted: a number"),
    ("stages.main.learning_rate", float("nan"), "'stages.main.learning_rate' is nan"),
    ("stages.main.learning_rate", float("inf"), "is inf; accepted: a finite number"),
    ("stages.main.learning_rate", 10**400, "; accepted: a finite number"),
    ("evaluation.constraints.max_latency_ms", float("inf"), "is inf; accepted: a finite number"),
    ("dataset.mean", (float("inf"),), "'dataset.mean' is inf; accepted: a finite number"),
    ("cost.uplink_mbps", float("inf"), "is inf; accepted: a finite number"),
    ("stages.main.augment", 3, "'stages.main.augment.' is 3; accepted: a group of fields"),
    ("model.main.structure.widths", 8, "is 8; accepted: a tuple"),
    ("model.main.structure.widths", (8, "x"), "is 'x'; accepted: an integer"),
    ("dataset.std", (0.0,), "'dataset.std' is (0.0,); accepted: at least 1e-06"),
    ("dataset.std", (0.5, 0.5), "dataset.std has 2 values; accepted: 1 or 1"),
    ("dataset.image_shape", (8, 8), "dataset.image_shape is (8, 8); accepted: (height, width"),
    ("hard_classes.count", 0, "hard_classes.count is 0; accepted: 1 to 9, for a dataset of 10"),
    ("hard_classes.count", 10, "hard_classes.count is 10; accepted: 1 to 9"),
    ("hard_classes.count", "all", "'hard_classes.count' is 'all'; accepted: an integer"),
    ("stages.main.epochs", 0, "stages.main.epochs is 0; accepted: at least 1, or 0 with pretr"),
    ("stages.main.step_epochs", (3, 2), "step_epochs is (3, 2); accepted: strictly increasing"),
    ("stages.main.accumulate", 0, "'stages.main.accumulate' is 0; accepted: at least 1"),
    ("stages.main.ema_decay", 1.0, "'stages.main.ema_decay' is 1.0; accepted: 0 to 0.999999"),
    ("stages.main.loss_weights", (1.0, 2.0), "is (1.0, 2.0); accepted: (), or 1 number(s) of"),
    ("stages.edge.loss_weights", (0.0,), "is (0.0,); accepted: (), or 1 number(s) of which one"),
    (
      "stages.edge.loss_weights",
      (-1.0,),
      "is (-1.0,); accepted: at least 0",
    ),
    ("stages.main.schedule", "onecycle", "is 'onecycle'; did you mean 'one_cycle'?"),
    ("model.batch_norm", "per-device", "is 'per-device'; did you mean 'per_device'?"),
    ("stages.main.warmup_epochs", 2, "warmup_epochs is 2; accepted: fewer than the stage's 2"),
    ("model.colour", "red", "'model.colour' does not exist; "),
    ("stages.main.learning_rat", 1.0, "did you mean 'learning_rate'?"),
  ],
)
def test_refusals(tiny, path, value, words):
  fields = to_json(tiny)
  *parents, name = path.split(".")
  group = fields
  for parent in parents:
    group = group[parent]
  group[name] = value
  with pytest.raises(UserError) as caught:
    resolve(fields)
  assert words in str(caught.value)
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
  ("fields", "words"),
  [
    (
      {"stages.main.distillation.weight": 0.9},
      "stages.main.distillation.weight is 0.9 and stages.cloud_first False; accepted: clo",
    ),
    (
      {"stages.cloud.distillation.weight": 0.9, "stages.cloud_first": True},
      "stages.cloud.distillation.weight is 0.9; accepted: 0, because the cloud is the teacher",
    ),
    (
      {
        "stages.edge.distillation.weight": 0.9,
        "stages.cloud_first": True,
        "stages.cloud.epochs": 0,
        "model.cloud.pretrained": "x.pth",
        "model.cloud.reset_head": True,
      },
      "stages.cloud.epochs 0 with model.cloud.reset_head; accepted: a teacher whose head has",
    ),
    ({"stages.main.distillation.temperature": 0.0}, "temperature' is 0.0; accepted: above 0"),
    (
      {"stages.edge.weigh_exits_by_share": True},
      "stages.edge.weigh_exits_by_share is True; accepted: True in a stage that trains main and",
    ),
    (
      {
        "stages.training": "joint",
        "stages.edge.weigh_exits_by_share": True,
        "stages.edge.loss_weights": (1.0, 2.0),
      },
      "with loss_weights = ()",
    ),
    (
      {"stages.main.class_weights": (1.0, 2.0)},
      "stages.main.class_weights has 2 numbers; accepted: 10, one for each class",
    ),
    (
      {"stages.edge.sampling": "balanced", "stages.edge.class_weights": "balanced"},
      "stages.edge.class_weights and sampling are both 'balanced'; accepted: one of them",
    ),
    (
      {"stages.main.class_weights": "even"},
      "'stages.main.class_weights' is 'even'; accepted: none, balanced; or a tuple of numbers",
    ),
    ({"stages.main.class_weights": (-1.0,) * 10}, "accepted: at least 0"),
    ({"stages.edge.easy_weight": 0.5}, "stages.edge.easy_weight is 0.5; accepted: 1, or another"),
    (
      {"stages.main.easy_weight": 0.5, "model.extension_classes": "all"},
      "stages.main.easy_weight is 0.5; accepted: 1, or another",
    ),
    (
      {"stages.training": "mixed", "stages.finetune.epochs": 0},
      "stages.finetune.epochs is 0; accepted: at least 1",
    ),
    (
      {"stages.training": "mixed", "stages.finetune.loss_weights": (1.0,)},
      "stages.finetune.loss_weights is (1.0,); accepted: (), or 2 number(s)",
    ),
  ],
)
def test_levers_of_training_that_contradict_each_other_are_refused(tiny, fields, words):
  changed = to_json(tiny)
  for path, value in fields.items():
    *parents, name = path.split(".")
    group = changed
    for parent in parents:
      group = group[parent]
    group[name] = value
  with pytest.raises(UserError) as caught:
    resolve(changed)
  assert words in str(caught.value)
  assert "\n" not in str(caught.value)


def test_a_joint_stage_has_two_loss_weights():
  fields = tiny_config()
  fields.stages.training = "joint"
  for accepted in ((), (1, 0), (0.5, 2.0)):
    fields.stages.edge.loss_weights = accepted
    assert resolve(fields).stages.edge.loss_weights == accepted
  for refused in ((1.0,), (0.0, 0.0)):
    fields.stages.edge.loss_weights = refused
    with pytest.raises(
      UserError, match=r"accepted: \(\), or 2 number\(s\) of which one is above 0"
    ):
      resolve(fields)


@pytest.mark.parametrize(
  ("policy", "name", "value"),
  [("auto", "calibrate", True), ("late", "offload", "late"), ("gated", "criterion", "margin")],
)
def test_rules_that_the_policy_does_not_read_are_refused(policy, name, value):
  config = default_config()
  config.dataset.test_fraction = 0.4
  config.routing.update({"policy": "configured", name: value})
  assert getattr(resolve(config).routing, name) == value
  config.routing.policy = policy
  default = getattr(RoutingConfig, name)
  accepted = rf"accepted: routing\.policy = 'configured', or routing\.{name} = {default!r}$"
  with pytest.raises(UserError, match=rf"routing\.{name} is .* '{policy}', .*; {accepted}"):
    resolve(config)
  config.routing.update({name: getattr(RoutingConfig, name), "run_share": 0.3})
  assert resolve(config).routing.policy == policy


def test_a_missing_field_is_named(tiny):
  fields = to_json(tiny)
  del fields["cost"]["radio"]
  with pytest.raises(UserError, match=r"'cost\.radio' is missing"):
    resolve(fields)


def test_a_stage_that_keeps_pretrained_weights_asks_nothing_of_its_schedule():
  fields = tiny_config()
  fields.stages.main.update(epochs=0, warmup_epochs=1)
  with pytest.raises(UserError, match="epochs is 0; accepted: at least 1, or 0 with pretrained"):
    resolve(fields)
  fields.model.main.pretrained = "w.pth"
  assert resolve(fields).stages.main.epochs == 0


def test_differences_name_fields_and_values(tiny):
  assert differences(tiny, tiny) == []
  other = tiny_config()
  other.stages.edge.epochs = 9
  other.seed = 4
  assert differences(tiny, resolve(other)) == ["seed (0 -> 4)", "stages.edge.epochs (2 -> 9)"]


def test_unset_count_is_half_the_classes(tiny):
  assert tiny.num_hard == 5
  odd = dataclasses.replace(tiny, dataset=dataclasses.replace(tiny.dataset, num_classes=7))
  assert odd.num_hard == 3


def test_field_names_are_checked_at_every_depth():
  assert field_type("stages.edge.augment.flip") is bool
  for path, words in (
    ("stagse.edge", "'stagse' does not exist; did you mean 'stages'?"),
    ("stages.edge.epoch", "'stages.edge.epoch' does not exist; did you mean 'epochs'?"),
    ("seed.value", "'seed.value' does not exist; accepted: no field below this one"),
  ):
    with pytest.raises(UserError) as caught:
      field_type(path)
    assert words in str(caught.value)
