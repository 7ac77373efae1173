"""Smaller numbers: weights in half precision or 8 bits, and whole networks in 8 bits.

Only the networks are quantised. Normalisation before them and the scores after them stay float32,
because thresholds were selected on float32 scores.
"""

import contextlib
import io
import warnings
from collections.abc import Iterator

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import calibrator, qtyping, quantizer, recipe_manager
from ai_edge_quantizer.algorithm_manager import AlgorithmName
from ai_edge_quantizer.utils import qsv_utils

from meanet_jax.edge.manifest import Quantize

Samples = dict[str, list[dict[str, np.ndarray]]]

_Operation = qtyping.TFLOperationName
_WEIGHTED = (_Operation.CONV_2D, _Operation.DEPTHWISE_CONV_2D, _Operation.FULLY_CONNECTED)
# LiteRT has no fast kernel for a depthwise convolution whose activations are quantised on the fly:
# MobileNetV2 would take ten times as long, to save the few bytes of its depthwise kernels.
_DYNAMIC = (_Operation.CONV_2D, _Operation.FULLY_CONNECTED)
# What stands between convolutions; quantised with them, so that activations stay in 8 bits.
_BETWEEN = (
  _Operation.ADD,
  _Operation.CONCATENATION,
  _Operation.PAD,
  _Operation.PADV2,
  _Operation.MAX_POOL_2D,
  _Operation.AVERAGE_POOL_2D,
  _Operation.MEAN,
)


def quantized(model: bytes, quantize: Quantize, samples: Samples | None = None) -> bytes:
  """A TF Lite file in smaller numbers.

  `float16` stores weights in half precision and computes in float32. `dynamic_int8` stores them in
  8 bits per channel, those of depthwise convolutions excepted, and quantises activations on the
  fly. `int8` computes everything between the normalised image and the pooled features in 8 bits,
  with ranges that hold every value seen in calibration; its dense heads are as in `dynamic_int8`,
  so that logits are not rounded to 256 values.

  Args:
    model: float32.
    quantize: `none` gives the model itself.
    samples: per signature, arguments by name; used by `int8` alone, which needs them.
  """
  if quantize == "none":
    return model
  recipe = _recipe(quantize)
  with _quiet():
    performer = quantizer.Quantizer(model, recipe.get_quantization_recipe())
    ranges = None
    if performer.need_calibration:
      # Not the library's moving average over samples, which forgets the first of them.
      ranges_of = calibrator.Calibrator(
        model, num_threads=1, qsv_update_func=qsv_utils.min_max_update
      )
      ranges_of.calibrate(samples, recipe)
      ranges = ranges_of.get_model_qsvs()
    result = performer.quantize(ranges, enable_progress_report=False)
  return bytes(result.quantized_model)


def edge_samples(model: bytes, images: np.ndarray, of_extension: np.ndarray) -> Samples:
  """Calibration samples of the two signatures of an edge.

  Args:
    model: float32; its main signature makes the extension's features.
    images: [n, h, w, c] with n at least 1, in the type that the model takes; main is calibrated on
      them.
    of_extension: likewise, those that the extension is calibrated on.
  """
  main = Interpreter(model_content=model, num_threads=1).get_signature_runner("main")
  size = int(main.get_input_details()["image"]["shape"][0])
  extension = [
    {"image": batch, "features": main(image=batch)["features"]}
    for batch in _batches(of_extension, size)
  ]
  return {"main": [{"image": batch} for batch in _batches(images, size)], "extension": extension}


def cloud_samples(images: np.ndarray, batch_size: int) -> Samples:
  """Calibration samples of the cloud's signature."""
  return {"cloud": [{"image": batch} for batch in _batches(images, batch_size)]}


def _batches(images: np.ndarray, size: int) -> Iterator[np.ndarray]:
  # Whole batches; an image too few is filled up with the first ones again, not with black.
  count = -(-len(images) // size) * size
  order = np.arange(count) % len(images)
  for start in range(0, count, size):
    yield images[order[start : start + size]]


def _recipe(quantize: Quantize) -> recipe_manager.RecipeManager:
  recipe = recipe_manager.RecipeManager()
  if quantize == "float16":
    weights = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
    config = qtyping.OpQuantizationConfig(
      weight_tensor_config=weights,
      compute_precision=qtyping.ComputePrecision.FLOAT,
      explicit_dequantize=True,
    )
    for operation in _WEIGHTED:
      recipe.add_quantization_config(".*", operation, config, AlgorithmName.FLOAT_CASTING)
    return recipe
  static = (*_WEIGHTED[:2], *_BETWEEN) if quantize == "int8" else ()
  for operation in static:
    recipe.add_static_config(".*", operation, activation_num_bits=8, weight_num_bits=8)
  for operation in _DYNAMIC:
    if operation not in static:
      recipe.add_dynamic_config(".*", operation, num_bits=8)
  return recipe


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Without the library's progress bars, and its warning that calibration keeps every tensor."""
  with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
    warnings.simplefilter("ignore", UserWarning)
    yield
