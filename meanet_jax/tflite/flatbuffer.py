"""What a TF Lite file holds, read from the flatbuffer itself."""

import collections
from typing import NamedTuple

from ai_edge_litert import schema_py_generated as schema

_BUILTINS = {
  number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)
}


class SignatureContents(NamedTuple):
  """operations: how often each occurs; `CUSTOM name` for one that is not builtin. constant_bytes:
  of the constants that they read. inputs, outputs: names.
  """

  operations: collections.Counter[str]
  constant_bytes: int
  inputs: tuple[str, ...]
  outputs: tuple[str, ...]


def read_signatures(data: bytes) -> dict[str, SignatureContents]:
  """Every signature's contents by its name.

  Raises:
    ValueError: a signature whose operations run other subgraphs, which would go uncounted.
  """
  model = schema.Model.GetRootAs(data, 0)
  found = {}
  for index in range(model.SignatureDefsLength()):
    signature = model.SignatureDefs(index)
    subgraph = model.Subgraphs(signature.SubgraphIndex())
    operations = collections.Counter(
      _operation_name(model, subgraph.Operators(i)) for i in range(subgraph.OperatorsLength())
    )
    nested = {"IF", "WHILE", "CALL", "CALL_ONCE", "STABLEHLO_COMPOSITE"} & set(operations)
    if nested:
      raise ValueError(f"signature {signature.SignatureKey()} has {nested}")
    buffers = {subgraph.Tensors(i).Buffer() for i in range(subgraph.TensorsLength())}
    found[signature.SignatureKey().decode()] = SignatureContents(
      operations,
      sum(_buffer_bytes(model.Buffers(buffer)) for buffer in buffers),
      tuple(signature.Inputs(i).Name().decode() for i in range(signature.InputsLength())),
      tuple(signature.Outputs(i).Name().decode() for i in range(signature.OutputsLength())),
    )
  return found


def _operation_name(model: schema.Model, operator: schema.Operator) -> str:
  code = model.OperatorCodes(operator.OpcodeIndex())
  # Numbers above 127 stand in the newer field alone, others in both or in the older one.
  name = _BUILTINS[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
  return f"CUSTOM {code.CustomCode().decode()}" if name == "CUSTOM" else name


def _buffer_bytes(buffer: schema.Buffer) -> int:
  return max(buffer.DataLength(), buffer.Size())  # the latter where data stand behind the model
