"""Shape annotations: jaxtyping's where it is installed, and inert on a device, where it is not.

The rules in `routing/` run on training machines and on devices with NumPy alone. Their annotations
are jaxtyping's own wherever that is installed, so tests check shapes at run time as everywhere.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from jaxtyping import Bool, Float, Int, Shaped, UInt8
else:
  try:
    from jaxtyping import Bool, Float, Int, Shaped, UInt8
  except ModuleNotFoundError as error:
    if error.name != "jaxtyping":
      raise

    class _Unchecked:
      def __class_getitem__(cls, _: Any) -> Any:
        return Any

    Bool = Float = Int = Shaped = UInt8 = _Unchecked

__all__ = ["Bool", "Float", "Int", "Shaped", "UInt8"]
