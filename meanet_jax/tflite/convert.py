"""JAX functions to one TF Lite file, through StableHLO and litert_converter. No TensorFlow."""

from collections.abc import Sequence

import jax

from meanet_jax.tflite.signatures import Outputs, Signature


def convert(signatures: Sequence[Signature]) -> bytes:
  """A TF Lite file with one signature per function.

  A batch norm's multiplication and addition become part of its convolution's constants, and an
  activation part of its operation. The bytes are a function of the signatures and of the versions
  of JAX and the converter.
  """
  # Here, because importing it logs to stderr, which a refused flag should not have to.
  from litert_converter import converter_api_ext as converter
  from litert_converter.mlir import ir, passmanager
  from litert_converter.mlir.dialects import stablehlo

  context = ir.Context()
  converter.prepare_mlir_context(context)
  with context, ir.Location.unknown(context):
    modules = []
    for signature in signatures:
      artifact, outputs = _portable_artifact(signature)
      module = stablehlo.deserialize_portable_artifact(context, artifact)
      converter.set_signature(module.operation, signature.name, list(signature.arguments), outputs)
      for function in module.body.operations:
        if function.attributes["sym_name"].value == "main":
          function.attributes["sym_name"] = ir.StringAttr.get(signature.name)
      modules.append(module)
    merged = converter.merge_modules(modules)
    converter.run_convert_to_tfl_passes(
      merged, passmanager.PassManager(), converter.ConvertToTFLConfig()
    )
    return converter.export_flatbuffer_to_bytes(merged.operation)


def _portable_artifact(signature: Signature) -> tuple[bytes, list[str]]:
  """The function as serialised StableHLO, and its outputs' names in their order."""

  def named(*arguments: jax.Array) -> Outputs:
    return signature.function(*arguments)

  # Tensors are named after the function, and the quantiser tells tensors apart by their names.
  named.__name__ = signature.name
  # Arguments that nothing reads stay, so that a signature's inputs do not depend on its rules.
  compiled = jax.jit(named, keep_unused=True)
  exported = jax.export.export(compiled, platforms=["cpu"])(*signature.arguments.values())
  names = jax.tree.unflatten(exported.out_tree, range(len(exported.out_avals)))
  return exported.mlir_module_serialized, sorted(names, key=names.__getitem__)
