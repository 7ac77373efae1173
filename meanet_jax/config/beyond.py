"""Our recipe around an experiment of the paper: networks, data and stages' own recipes stay."""

from ml_collections import ConfigDict

from meanet_jax.config.parsing import default_config


def beyond_paper(config: ConfigDict) -> ConfigDict:
  """The experiment with the levers of docs/training.md, changed in place.

  The cloud trains first and teaches the stages that learn (Hinton et al. 2015; weight 0.9,
  temperature 4). After the blockwise stages all blocks of the edge are
  trained together for a tenth of the stage edge's epochs, at a tenth of its rate, falling to 0.
  The policy is selected on validation.
  """
  config.routing.update(default_config().routing)  # `auto` reads no other rule
  config.routing.policy = "auto"
  stages = config.stages
  stages.cloud_first, stages.training = True, "mixed"
  for stage in [stage for stage in (stages.main, stages.edge) if stage.epochs]:
    stage.distillation.weight, stage.distillation.temperature = 0.9, 4.0
  stages.finetune.update(stages.edge)
  finetune = stages.finetune
  finetune.epochs = max(1, stages.edge.epochs // 10)
  finetune.learning_rate = stages.edge.learning_rate / 10
  finetune.schedule, finetune.step_epochs, finetune.warmup_epochs = "cosine", (), 0
  return config
