"""Our recipe around an experiment of the paper: networks, data and stages' own recipes stay."""

from ml_collections import ConfigDict

from meanet_jax.config.parsing import default_config


def beyond_paper(config: ConfigDict) -> ConfigDict:
  """The experiment with what has won over seeds (benchmarks/evidence.md), changed in place.

  The extension has all classes and learns from half of the images without main's features, so that
  the adaptive block learns. The policy is selected on validation.
  """
  config.routing.update(default_config().routing)  # whose policy, `auto`, reads no other rule
  config.model.extension_classes, config.model.join_dropout = "all", 0.5
  return config
