"""Bytes that a program compiled for a TPU reads from and writes to its chip's memory; see aot.py.

The compiler's own count of bytes takes a value once for every instruction that reads it, also where
several are fused and read it together, and takes what never leaves on-chip memory. Here, a fused
operation reads each operand once and writes each result once, where they lie in the chip's memory.
"""

import math
import re

SIZES = {"f32": 4, "s32": 4, "u32": 4, "bf16": 2, "u8": 1, "s8": 1, "pred": 1}
ARRAY = re.compile(rf"\b({'|'.join(SIZES)})\[([\d,]*)\](?:\{{([^}}]*)\}})?")
# One level of brackets within a tuple's own: layouts have them, and so has what a copy carries.
SHAPE = r"\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)|\S+"
INSTRUCTION = re.compile(rf"\s+(?:ROOT )?%([\w.-]+) = ({SHAPE}) ([\w-]+)\(([^)]*)\)")
NOTHING_MOVES = ("parameter", "constant", "tuple", "get-tuple-element", "bitcast")
ELSEWHERE = re.compile(r"S\(\d\)")  # a memory space that is not the chip's memory


def _arrays(shape: str) -> list[tuple[int, bool]]:
  """Bytes of each array of a shape, and whether it lies in the chip's memory."""
  return [
    (
      SIZES[kind] * math.prod(int(size) for size in sizes.split(",") if size),
      not ELSEWHERE.search(layout or ""),
    )
    for kind, sizes, layout in ARRAY.findall(shape)
  ]


def _bytes(shape: str) -> int:
  return sum(size for size, here in _arrays(shape) if here)


def hbm_traffic(program: str) -> int:
  """Bytes per run of a program that loops over no large array and gathers from none.

  Args:
    program: optimised HLO as text, layouts included.
  """
  shapes: dict[str, str] = {}
  total = 0
  for line in program[program.index("\nENTRY") :].splitlines():
    found = INSTRUCTION.match(line)
    if not found:
      continue
    name, shape, operation, operands = found.groups()
    shapes[name] = shape
    if operation in NOTHING_MOVES or operation.endswith("-done") or "ConcatBitcast" in line:
      continue
    if operation in ("copy-start", "slice-start"):
      # From one memory to another: the whole, or the part that is the second array.
      arrays = _arrays(shape)[:2]
      total += min(size for size, _ in arrays) * sum(here for _, here in arrays)
      continue
    read = re.findall(r"%([\w.-]+)", operands)
    total += _bytes(shape) + sum(_bytes(shapes[operand]) for operand in dict.fromkeys(read))
  return total
