"""Exports a run's edge for TF Lite.

Command: python -m meanet_jax.export --workdir runs/digits --out runs/digits/export [--verify]
"""

from absl import flags

from meanet_jax import log
from meanet_jax.commands import flags as cli
from meanet_jax.devices import check_devices
from meanet_jax.errors import UserError
from meanet_jax.log import logger
from meanet_jax.tflite.versions import check_versions

_WORKDIR = cli.define_path_flag(
  "workdir", None, "A run that train.py finished and eval.py evaluated."
)
_config = cli.define_config_flag()
_read_options = cli.define_read_flags()
_OUT = cli.define_path_flag("out", None, "The directory to write.")
_QUANTIZE = flags.DEFINE_enum(
  "quantize",
  "none",
  ["none", "float16", "dynamic_int8", "int8"],
  "Numbers to store and compute in; int8 is calibrated on training images.",
)
_BATCH = flags.DEFINE_integer("batch", 1, "Images per call of a signature.", lower_bound=1)
_INPUT = flags.DEFINE_enum(
  "input", "uint8", ["uint8", "float32"], "Type of the pixels 0 .. 255 that the signatures take."
)
_CLOUD = flags.DEFINE_bool("cloud", False, "Export the cloud model as well, as cloud.tflite.")
_ALLOW_UNMET = flags.DEFINE_bool(
  "allow_unmet", False, "Export thresholds that do not meet the constraints of the evaluation."
)
_VERIFY = flags.DEFINE_bool(
  "verify", False, "Run the files in LiteRT over the test split and compare with JAX."
)


def main() -> None:
  """Reads the flags, exports, and verifies on demand."""
  out = cli.require(_OUT.value, "out", "a directory to write")
  if bool(_WORKDIR.value) == flags.FLAGS["config"].present:
    raise UserError(
      f"{'both' if _WORKDIR.value else 'none'} of --workdir and --config given; accepted: one; "
      "--config exports untrained weights, for size and speed"
    )
  if _VERIFY.value and not _WORKDIR.value:
    raise UserError("--verify with --config; accepted: --workdir, a run with a test split")
  check_versions()
  check_devices()
  # Only now, because these import what has just been checked.
  from meanet_jax.tflite.export import Options, export
  from meanet_jax.tflite.source import from_run, untrained
  from meanet_jax.tflite.verify import verify

  log.to_console()
  if _WORKDIR.value:
    source = from_run(_WORKDIR.value, _read_options())
  else:
    source = untrained(_config(), _CLOUD.value)
  options = Options(_QUANTIZE.value, _BATCH.value, _INPUT.value, _CLOUD.value, _ALLOW_UNMET.value)
  export(source, out, options)
  if source.unmet is not None:
    logger.warning(f"edge.json has thresholds that do not meet: {source.unmet}")
  if _VERIFY.value:
    verify(source, out)


if __name__ == "__main__":
  cli.run(main)
