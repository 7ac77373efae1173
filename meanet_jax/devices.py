"""The devices that JAX finds, looked for before a command does anything with them."""

import jax

from meanet_jax.errors import UserError


def check_devices() -> None:
  """Has JAX find its devices; to be called once processes that train together are connected.

  Raises:
    UserError: there are none of the platform that was asked for.
  """
  try:
    jax.devices()
  except Exception as error:  # a RuntimeError, or an assertion of JAX's where a plug-in is missing
    asked = jax.config.jax_platforms
    # Without JAX's own advice, which the line's end gives.
    reason = (
      str(error).partition(" (set JAX_PLATFORMS")[0].rstrip(".") or "JAX finds no device of it"
    )
    raise UserError(
      f"JAX_PLATFORMS is {asked or 'not set'}: {reason}; accepted: a platform whose devices and "
      "JAX plug-in are on this machine, such as cpu, or JAX_PLATFORMS unset"
    ) from error
