"""The converter and the quantiser, each at one version: their formats and passes are not stable."""

import importlib.metadata

from meanet_jax.errors import UserError

# As in pyproject.toml's extras `export` and `runtime`.
CONVERTER, QUANTISER, RUNTIME = "litert-converter", "ai-edge-quantizer", "ai-edge-litert"
PINNED = {CONVERTER: "0.5.0", QUANTISER: "0.10.0", RUNTIME: "2.3.0"}
_RECORDED = ("meanet_jax", "jax", "jaxlib", "flax", "numpy", *PINNED)


def check_versions() -> None:
  """Refuses other versions than the pinned ones, before anything is imported from them.

  Raises:
    UserError: naming the package, what is installed and what is accepted.
  """
  for package, accepted in PINNED.items():
    found = installed(package)
    if found != accepted:
      state = "not installed" if found is None else f"of version {found}"
      raise UserError(
        f"{package} is {state}; accepted: {accepted} (pip install 'meanet_jax[export]')"
      )


def installed(package: str) -> str | None:
  """A package's version; None when it is not installed."""
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return None


def recorded_versions() -> dict[str, str | None]:
  """What edge.json says that its files were made with."""
  return {package: installed(package) for package in _RECORDED}
