"""The static competitors of a MEANet: a plain network alone, and with the cloud behind it."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float

from meanet_jax.config.constraints import Constraints
from meanet_jax.evaluation.collect import Collected
from meanet_jax.evaluation.context import Context
from meanet_jax.evaluation.fitting import Fitted, selection_part
from meanet_jax.evaluation.records import LabelledLogits, make_records
from meanet_jax.evaluation.systems import Curve, System, sweep_system
from meanet_jax.routing.operating_point import Temperatures
from meanet_jax.selection.baselines import MAIN_ONLY, STATIC_CLOUD
from meanet_jax.selection.temperature import fit_temperature


def static_curves(
  context: Context,
  collected: Collected,
  selects: Bool[np.ndarray, " n"],
  constraints: Constraints,
) -> dict[str, Curve]:
  """The systems `static` and `static_cloud`; none for a run without a static network.

  The network stands in main's place, with its own cost and, as MEANet's exits, a temperature from
  the validation images that carry no guarantee. `static_cloud` sends an image to the run's cloud
  when the calibrated largest probability is low.

  Args:
    context: of the test split.
    collected: the logits of both splits.
    selects: the validation images on which thresholds are selected.
    constraints: under which they are selected.
  """
  static = collected.static
  if static is None:
    return {}
  validation = _in_mains_place(collected.validation, static.validation)
  test = _in_mains_place(collected.test, static.test)
  macs = dataclasses.replace(context.macs, main=static.macs)
  fitted = Fitted(_temperatures(selection_part(context.config, validation)))
  records = [
    make_records(*images, context.hard_classes, *fitted.of_logits)
    for images in (validation.of(selects), test)
  ]
  curves = {
    name: sweep_system(System(policy, fitted), context.costing(macs), *records, constraints)
    for name, policy in (("static", MAIN_ONLY), ("static_cloud", STATIC_CLOUD))
  }
  return {name: dataclasses.replace(curve, macs=macs) for name, curve in curves.items()}


def _in_mains_place(images: LabelledLogits, logits: Float[np.ndarray, "n c"]) -> LabelledLogits:
  return images._replace(outputs=images.outputs._replace(main=logits))


def _temperatures(images: LabelledLogits) -> Temperatures:
  if not len(images.labels):
    return Temperatures()
  main, _, cloud = images.outputs
  return Temperatures(
    main=fit_temperature(main, images.labels), cloud=fit_temperature(cloud, images.labels)
  )
