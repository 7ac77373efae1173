"""MEANet in JAX: networks split between an edge device and the cloud. docs/api.md has examples.

    import meanet_jax as mea
    run = mea.train(mea.load_config("digits"), "runs/digits")

Every name is imported when it is first used, so that `import meanet_jax` takes no time, and a
device without JAX has `EdgeClassifier`.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from meanet_jax.api import Run, evaluate, export, train, train_grid
  from meanet_jax.config.constraints import Constraints
  from meanet_jax.config.load import load_config
  from meanet_jax.cost.energy import BlockMacs
  from meanet_jax.edge.classifier import EdgeClassifier
  from meanet_jax.evaluation.from_logits import Costs, SelectOptions, select
  from meanet_jax.evaluation.predictor import Predictor

__version__ = "0.2.0"
__all__ = [
  "BlockMacs",
  "Constraints",
  "Costs",
  "EdgeClassifier",
  "Predictor",
  "Run",
  "SelectOptions",
  "evaluate",
  "export",
  "load_config",
  "select",
  "train",
  "train_grid",
]

_MODULES = {
  "BlockMacs": "cost.energy",
  "Constraints": "config.constraints",
  "Costs": "evaluation.from_logits",
  "EdgeClassifier": "edge.classifier",
  "Predictor": "evaluation.predictor",
  "Run": "api",
  "SelectOptions": "evaluation.from_logits",
  "evaluate": "api",
  "export": "api",
  "load_config": "config.load",
  "select": "evaluation.from_logits",
  "train": "api",
  "train_grid": "api",
}


def __getattr__(name: str) -> Any:
  if name not in _MODULES:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
  value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
  globals()[name] = value
  return value


def __dir__() -> list[str]:
  return sorted({*globals(), *__all__})
