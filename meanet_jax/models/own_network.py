"""A user's Linen module as main block or cloud; docs/own_networks.md has its contract."""

import dataclasses
import hashlib
import importlib
import inspect
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax.core import FrozenDict
from jaxtyping import Array, Float

from meanet_jax.config.networks import NetworkConfig
from meanet_jax.config.schema import Config
from meanet_jax.errors import UserError, nearest
from meanet_jax.models.layers import Dtype
from meanet_jax.models.own_contract import Place, check_contract, in_one_line

# Fields of a module that the configuration sets, where the module has them.
_CONFIGURED = ("num_classes", "dtype", "axis_name")
_RESERVED = (*_CONFIGURED, "parent", "name")


class OwnNetwork(nn.Module):
  """A user's module in the place of a `Network`, with the same variables as the module alone.

  plain: whether it has no `features` and `classify`, but `__call__` alone; a cloud may.
  """

  network: nn.Module
  plain: bool = False
  dtype: Dtype = jnp.float32

  def setup(self):
    nn.share_scope(self, self.network)

  @property
  def axis_name(self) -> str | None:
    """The mapped axis that its batch norms average over; None where it knows of none."""
    return getattr(self.network, "axis_name", None)

  def features(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h2 w2 d"]:
    """The module's features, in the compute dtype."""
    return self.network.features(x, train).astype(self.dtype)

  def classify(self, features: Float[Array, "b h w c"], train: bool) -> Float[Array, "b c2"]:
    """Logits of its features, float32."""
    return self.network.classify(features, train).astype(jnp.float32)

  def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b c2"]:
    if self.plain:
      return self.network(x, train).astype(jnp.float32)
    return self.classify(self.features(x, train), train)


def own_network(config: Config, block: str, dtype: Dtype, axis_name: str | None) -> OwnNetwork:
  """The module that the configuration names, checked by its shapes; nothing is compiled.

  Args:
    config: the experiment.
    block: `main` or `cloud`.
    dtype: of activations.
    axis_name: the mapped axis of synchronised batch norm; None for one device.

  Raises:
    UserError: a module that cannot be imported or made, or does not keep the contract.
  """
  settings: NetworkConfig = getattr(config.model, block)
  _check_settings(settings, f"model.{block}")
  place = Place(block, settings.module, config.dataset.image_shape, config.dataset.num_classes)
  cls = _module_class(place)
  given = {"num_classes": place.num_classes, "dtype": dtype, "axis_name": axis_name}
  fields = {field.name for field in dataclasses.fields(cls)}
  arguments = _arguments(settings, f"model.{block}")
  arguments |= {name: given[name] for name in _CONFIGURED if name in fields}
  try:
    network = cls(**arguments)
    hash(network)  # as an argument of what is compiled once
  except Exception as error:
    accepted = sorted(fields - set(_RESERVED))
    raise place.refusal(
      f"cannot be made ({in_one_line(error)})",
      f"model.{block}.arguments for its fields {', '.join(accepted) or '(none)'}",
    ) from error
  plain = not (_defines(cls, "features") and _defines(cls, "classify"))
  if plain and (block == "main" or not _defines(cls, "__call__")):
    call = "" if block == "main" else ", or __call__(images, train)"
    raise place.refusal(
      "lacks a method", f"methods features(images, train) and classify(features, train){call}"
    )
  check_contract(network, plain, place)
  return OwnNetwork(network, plain, dtype)


def own_modules(config: Config) -> dict[str, dict[str, str]]:
  """By block that has one: the module's name, and the SHA-256 of the file that it is defined in.

  Raises:
    UserError: a module that cannot be imported.
  """
  found = {}
  for block in ("main", "cloud"):
    settings: NetworkConfig = getattr(config.model, block)
    if settings.module:
      place = Place(block, settings.module, (), 0)
      source = inspect.getsourcefile(_module_class(place)) or ""
      data = Path(source).read_bytes() if Path(source).is_file() else b""
      digest = hashlib.sha256(data).hexdigest()
      found[block] = {"module": settings.module, "sha256": digest}
  return found


def _check_settings(settings: NetworkConfig, path: str) -> None:
  """Refuses fields of the configuration that no module would read."""
  left = dataclasses.replace(
    settings,
    module="",
    arguments="",
    pretrained="",
    reset_head=False,
  )
  for field in dataclasses.fields(left):
    value, default = getattr(left, field.name), getattr(NetworkConfig(), field.name)
    if value != default:
      found = "set" if dataclasses.is_dataclass(value) else repr(value)
      raise UserError(
        f"{path}.{field.name} is {found} beside {path}.module, which does not read it; accepted: "
        f"one of them (what the module needs stands in {path}.arguments)"
      )


def _module_class(place: Place) -> type[nn.Module]:
  file, colon, name = place.module.partition(":")
  if not (colon and file and name):
    raise place.refusal("is no name of a class", "package.module:Class")
  module = _imported(file, place)
  cls = getattr(module, name, None)
  if cls is None:
    classes = [key for key, value in vars(module).items() if _is_linen(value)]
    raise UserError(
      f"{place.label} is not in {module.__file__}; {nearest(name, classes or ['a Linen module'])}"
    )
  if not _is_linen(cls):
    raise place.refusal(f"is {type(cls).__name__} {name}", "a class that inherits from nn.Module")
  return cls


def _imported(name: str, place: Place) -> ModuleType:
  here = os.getcwd()
  if here not in sys.path and "" not in sys.path:
    sys.path.insert(0, here)  # as `python -m` does; the console command does not
  try:
    return importlib.import_module(name)
  except (Exception, SystemExit) as error:  # of a script that parses its arguments, for one
    raise place.refusal(
      f"cannot be imported ({in_one_line(error)})",
      f"a module below {here} or on PYTHONPATH",
    ) from error


def _is_linen(value: Any) -> bool:
  return inspect.isclass(value) and issubclass(value, nn.Module)


def _defines(cls: type, method: str) -> bool:
  return any(callable(vars(base).get(method)) for base in cls.__mro__)


def _arguments(settings: NetworkConfig, path: str) -> dict[str, Any]:
  if not settings.arguments:
    return {}
  try:
    found = json.loads(settings.arguments)
  except (ValueError, RecursionError) as error:
    raise UserError(
      f"{path}.arguments is {settings.arguments!r}, which is no JSON ({error}); "
      'accepted: a JSON object such as {"width": 16}'
    ) from error
  if not isinstance(found, dict):
    raise UserError(
      f'{path}.arguments is {found!r}; accepted: a JSON object such as {{"width": 16}}'
    )
  for name in found:
    if name in _RESERVED:
      raise UserError(
        f"{path}.arguments has {name!r}, which the configuration sets; accepted: other fields"
      )
  return {name: _hashable(value) for name, value in found.items()}


def _hashable(value: Any) -> Any:
  """JSON's lists as tuples and its objects as frozen ones, as Linen's fields have to be."""
  if isinstance(value, list):
    return tuple(_hashable(item) for item in value)
  if isinstance(value, Mapping):
    return FrozenDict({name: _hashable(item) for name, item in value.items()})
  return value
