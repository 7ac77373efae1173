"""The functions that a device calls, as JAX functions of images: networks, then their scores."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from meanet_jax.data.augment import normalise
from meanet_jax.models.variables import by_collection
from meanet_jax.routing.scores import hard_probability, scores
from meanet_jax.tflite.source import Source

Outputs = dict[str, Array]


class Signature(NamedTuple):
  """A named function and the shapes of its arguments by name, in the order it takes them."""

  name: str
  function: Callable[..., Outputs]
  arguments: dict[str, jax.ShapeDtypeStruct]


def edge_signatures(source: Source, batch_size: int, image_dtype: str) -> list[Signature]:
  """`main`: image to logits, scores, hard-class probability and features; `extension`: image and
  features to logits and scores, its prediction in original class numbers.

  Images are [batch_size, h, w, c] in 0 .. 255 and normalised inside. Logits are the network's own;
  scores and hard-class probability are of logits / temperature.
  """
  variables = _constants(source, ("main", "adaptive", "extension"))
  model, dataset = source.model, source.config.dataset
  point = source.operating_point
  hard_classes, temperatures = point.hard_classes, point.temperatures

  def main(image: Array) -> Outputs:
    image = normalise(image, dataset.mean, dataset.std)
    logits, features = model.apply(variables, image, method="main_exit")
    mass = hard_probability(logits / np.float32(temperatures.main), hard_classes.mask)
    taken = _scores(logits, temperatures.main)
    return taken | {"hard_probability": mass, "features": features}

  def extension(image: Array, features: Array) -> Outputs:
    image = normalise(image, dataset.mean, dataset.std)
    logits = model.apply(variables, image, features, method="extend")
    taken = _scores(logits, temperatures.extension)
    original = jnp.asarray(hard_classes.known)
    # The index is an argmax over as many logits as the extension has classes.
    named = original.at[taken["prediction"]].get(
      mode="promise_in_bounds", wrap_negative_indices=False
    )
    return taken | {"prediction": named}

  image = _image(source, batch_size, image_dtype)
  features = jax.eval_shape(main, image)["features"]
  return [
    Signature("main", main, {"image": image}),
    Signature("extension", extension, {"image": image, "features": features}),
  ]


def cloud_signature(source: Source, batch_size: int, image_dtype: str) -> Signature:
  """`cloud`: image to logits and scores."""
  variables = _constants(source, ("cloud",))
  model, dataset = source.model, source.config.dataset

  def cloud(image: Array) -> Outputs:
    image = normalise(image, dataset.mean, dataset.std)
    logits = model.apply(variables, image, method="classify_on_cloud")
    return _scores(logits, source.operating_point.temperatures.cloud)

  return Signature("cloud", cloud, {"image": _image(source, batch_size, image_dtype)})


def _scores(logits: Array, temperature: float) -> Outputs:
  found = scores(logits / np.float32(temperature))._asdict()
  del found["gain"]  # which the classifier works out, from both exits
  return {"logits": logits} | found


def _constants(source: Source, blocks: tuple[str, ...]) -> Any:
  chosen = {block: value for block, value in source.variables.items() if block in blocks}
  return jax.device_get(by_collection(chosen))


def _image(source: Source, batch_size: int, dtype: str) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct((batch_size, *source.config.dataset.image_shape), np.dtype(dtype))
