"""What `tests.forked_commands` imports once; importing takes most of a command's time."""

import contextlib
import importlib
import warnings

# JAX and Python 3.12 warn of forks beside threads; here, nothing has been computed before them.
warnings.filterwarnings("ignore", message=r"os\.fork\(\) was called", category=RuntimeWarning)
warnings.filterwarnings("ignore", message=".*use of fork", category=DeprecationWarning)

for _module in (
  "meanet_jax.report.write",
  "meanet_jax.tflite.export",
  "meanet_jax.tflite.verify",
  "meanet_jax.grid.run",
  "meanet_jax.commands.edge",
  "meanet_jax.commands.process",
  "meanet_jax.training.train",
):
  with contextlib.suppress(ImportError):  # extras that are not installed
    importlib.import_module(_module)
