"""What no single field of a configuration can know."""

from meanet_jax.config.constraints import check_constraints
from meanet_jax.config.schema import Config, DatasetConfig, RoutingConfig
from meanet_jax.config.stages import learning_rate_factors
from meanet_jax.errors import UserError


def validate(config: Config) -> None:
  """Checks what spans several fields.

  Raises:
    UserError: one line that names the field, what was found and what is accepted.
  """
  _validate_dataset(config.dataset)
  classes = config.dataset.num_classes
  if classes and not 1 <= config.num_hard < classes:
    raise UserError(
      f"hard_classes.count is {config.num_hard}; accepted: 1 to {classes - 1}, "
      f"for a dataset of {classes} classes"
    )
  _validate_routing(config.routing)
  check_constraints(config.evaluation.constraints)
  confidence = config.evaluation.constraints.confidence
  if confidence is not None and not config.evaluation.calibration_fraction:
    raise UserError(
      "evaluation.calibration_fraction is 0; accepted: above 0 with "
      "evaluation.constraints.confidence, which needs validation images that selected nothing else"
    )
  for name in config.stage_names:
    _validate_stage(config, name)
  main, static = config.model.main, config.baselines.static
  for field in ("pretrained", "module"):
    if static and getattr(main, field):
      raise UserError(
        f"baselines.static is {static:g} and model.main.{field} {getattr(main, field)!r}; "
        "accepted: 0 with it, because the widths of fresh structures alone can be changed"
      )


def _validate_dataset(dataset: DatasetConfig) -> None:
  if len(dataset.image_shape) != 3:
    raise UserError(
      f"dataset.image_shape is {dataset.image_shape}; accepted: (height, width, channels)"
    )
  own = dataset.name == "folder"
  for name in ("image_shape", "num_classes"):
    value = getattr(dataset, name)
    numbers = value if isinstance(value, tuple) else (value,)
    if not own and not all(numbers):
      raise UserError(
        f"dataset.{name} is {value}; accepted: above 0, or 0 with dataset.name = 'folder', which "
        "leaves it to the data"
      )
  height, width, _ = dataset.image_shape
  if bool(height) != bool(width):
    raise UserError(
      f"dataset.image_shape is {dataset.image_shape}; accepted: 0 for both height and width, which "
      "leaves them to the data, or for neither"
    )
  if dataset.num_classes == 1:
    raise UserError("dataset.num_classes is 1; accepted: at least 2")
  if dataset.path and not own:
    raise UserError(
      f"dataset.path is {dataset.path!r} and dataset.name {dataset.name!r}; accepted: "
      "dataset.name = 'folder', which reads own images there"
    )
  channels = dataset.image_shape[-1]
  for name, values in (("mean", dataset.mean), ("std", dataset.std)):
    if channels and len(values) not in (1, channels):
      raise UserError(f"dataset.{name} has {len(values)} values; accepted: 1 or {channels}")


def _validate_routing(routing: RoutingConfig) -> None:
  """Refuses rules that do not go together, or that nothing would read."""
  late = routing.offload == "late" and routing.edge_rule != "most_confident"
  if routing.criterion == "learned" and not late:
    raise UserError(
      f"routing.criterion is 'learned' with routing.offload {routing.offload!r} and "
      f"routing.edge_rule {routing.edge_rule!r}; accepted: offload 'late' with edge_rule "
      "'extension' or 'fused', or another criterion"
    )
  if routing.policy == "configured":
    return
  unread = ["hard_rule", "edge_rule", "offload", "cloud_rule", "criterion"]
  for name in [*unread, "calibrate"] if routing.policy == "auto" else unread:
    value, default = getattr(routing, name), getattr(RoutingConfig, name)
    if value != default:
      raise UserError(
        f"routing.{name} is {value!r} and routing.policy {routing.policy!r}, which does not read "
        f"it; accepted: routing.policy = 'configured', or routing.{name} = {default!r}"
      )


def _validate_stage(config: Config, name: str) -> None:
  stage = config.stage(name)
  both = name == "finetune" or (name == "edge" and config.stages.training == "joint")
  exits = 2 if both else 1
  if stage.loss_weights and (len(stage.loss_weights) != exits or not any(stage.loss_weights)):
    raise UserError(
      f"stages.{name}.loss_weights is {stage.loss_weights}; accepted: (), or "
      f"{exits} number(s) of which one is above 0"
    )
  _validate_levers(config, name, both)
  _validate_parts(config, name)
  pretrained = {"main": config.model.main.pretrained, "cloud": config.model.cloud.pretrained}
  if stage.epochs == 0:
    if not pretrained.get(name):
      also = ", or 0 with pretrained weights" if name in pretrained else ""
      raise UserError(f"stages.{name}.epochs is 0; accepted: at least 1{also}")
    return  # no step is taken, whatever the schedule
  if stage.schedule == "step" and list(stage.step_epochs) != sorted(set(stage.step_epochs)):
    raise UserError(
      f"stages.{name}.step_epochs is {stage.step_epochs}; accepted: strictly increasing epochs"
    )
  if stage.warmup_epochs >= stage.epochs:
    raise UserError(
      f"stages.{name}.warmup_epochs is {stage.warmup_epochs}; "
      f"accepted: fewer than the stage's {stage.epochs} epochs"
    )
  early = [epoch for epoch in stage.step_epochs if epoch <= stage.warmup_epochs]
  if stage.schedule == "step" and stage.warmup_epochs and early:
    raise UserError(
      f"stages.{name}.step_epochs has {early[0]}; accepted: epochs after the "
      f"{stage.warmup_epochs} of warm-up"
    )


def _validate_levers(config: Config, name: str, both: bool) -> None:
  """Refuses ways of training that contradict each other, or that nothing would read.

  Args:
    config: the experiment.
    name: of a stage.
    both: whether the stage trains main and extension together.
  """
  stage, classes = config.stage(name), config.dataset.num_classes
  if stage.weigh_exits_by_share and (not both or stage.loss_weights):
    raise UserError(
      f"stages.{name}.weigh_exits_by_share is True; accepted: True in a stage that trains main and "
      "extension together (finetune, or a joint stage edge), with loss_weights = ()"
    )
  if stage.class_weights == "balanced" == stage.sampling:
    raise UserError(
      f"stages.{name}.class_weights and sampling are both 'balanced'; accepted: one of them, for "
      "each makes up for classes of different size"
    )
  given = isinstance(stage.class_weights, tuple)
  if given and classes and len(stage.class_weights) != classes:
    raise UserError(
      f"stages.{name}.class_weights has {len(stage.class_weights)} numbers; accepted: {classes}, "
      "one for each class"
    )
  extends = both or name == "edge"
  if stage.easy_weight != 1 and not (extends and config.model.extension_classes == "all"):
    raise UserError(
      f"stages.{name}.easy_weight is {stage.easy_weight}; accepted: 1, or another one in a stage "
      "that trains the extension, with model.extension_classes = 'all'"
    )
  weight = stage.distillation.weight
  if not weight:
    return
  if name == "cloud":
    raise UserError(
      f"stages.cloud.distillation.weight is {weight}; accepted: 0, because the cloud is the teacher"
    )
  if not config.stages.cloud_first:
    raise UserError(
      f"stages.{name}.distillation.weight is {weight} and stages.cloud_first False; accepted: "
      "cloud_first True, which trains the teacher first, or weight 0"
    )
  if config.stages.cloud.epochs == 0 and config.model.cloud.reset_head:
    raise UserError(
      f"stages.{name}.distillation.weight is {weight} and stages.cloud.epochs 0 with "
      "model.cloud.reset_head; accepted: a teacher whose head has learned"
    )


def _validate_parts(config: Config, name: str) -> None:
  stage, path = config.stage(name), f"stages.{name}"
  try:
    learning_rate_factors(stage)
  except ValueError as error:
    raise UserError(
      f"{path}.learning_rate_factors is {stage.learning_rate_factors}; accepted: NAME=FACTOR, each "
      "name once, factors of at least 0"
    ) from error
  for field in ("freeze", "head_epochs"):
    value = getattr(stage, field)
    if value and name in ("edge", "finetune"):
      raise UserError(f"{path}.{field} is {value}; accepted: 0 (stages main and cloud have it)")
  training = config.stages.training
  if stage.freeze and name == "main" and training != "blockwise":
    raise UserError(
      f"{path}.freeze is {stage.freeze} and stages.training {training!r}, which trains all of the "
      "main block; accepted: one of them"
    )
  if stage.epochs and stage.head_epochs >= stage.epochs:
    raise UserError(
      f"{path}.head_epochs is {stage.head_epochs}; accepted: fewer than the stage's "
      f"{stage.epochs} epochs"
    )
