"""Bytes that a compiled program moves between a chip and its memory, read off its optimised HLO.

XLA's own count ("bytes accessed") takes a value once for every instruction that reads it, also
where several are fused and read it together, and takes what never leaves on-chip memory: for
ResNets on a TPU three to thirty times what is moved (benchmarks/aot.md). Here a fused operation
reads each operand once and writes each result once, where they lie in the chip's memory; what is
only sliced or gathered from counts for what is taken of it, as in XLA's
`HloCostAnalysis::FusionParameterReadBytes`. Neither counts what the tiles of a layout are padded
with.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

_BITS = {
  **dict.fromkeys(("pred", "s8", "u8", "f8e4m3fn", "f8e5m2"), 8),
  **dict.fromkeys(("s16", "u16", "f16", "bf16"), 16),
  **dict.fromkeys(("s32", "u32", "f32"), 32),
  **dict.fromkeys(("s64", "u64", "f64", "c64"), 64),
}
_ARRAY = re.compile(rf"\b({'|'.join(_BITS)})\[([\d,]*)\](?:\{{([^}}]*)\}})?")
# One level of brackets within a tuple's own: layouts have them, and so has what a copy carries.
_SHAPE = r"\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)|\S+"
_INSTRUCTION = re.compile(rf"\s+(ROOT )?%([\w.-]+) = ({_SHAPE}) ([\w-]+)\(([^)]*)\)(.*)")
_COMPUTATION = re.compile(r"(ENTRY )?%([\w.-]+) \(.*\{$")
_CALLED = re.compile(r"\b(?:calls|to_apply|body|condition)=%([\w.-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_CONDITION = re.compile(r"\bcondition=%([\w.-]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_ELSEWHERE = re.compile(r"S\(\d\)")  # a memory space that is not the chip's memory
_MOVE_NOTHING = ("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all")
_TAKE_A_PART = ("gather", "dynamic-slice", "slice")


class _Array(NamedTuple):
  """bytes: its size. is_here: whether it lies in the chip's memory."""

  bytes: int
  is_here: bool


class _Instruction(NamedTuple):
  """operands: names; of a parameter its number, of a constant its value. rest: of the line."""

  name: str
  arrays: tuple[_Array, ...]
  operation: str
  operands: tuple[str, ...]
  rest: str
  is_root: bool

  @property
  def size(self) -> int:
    """Bytes of all arrays."""
    return sum(array.bytes for array in self.arrays)

  @property
  def called(self) -> list[str]:
    """The computations that it runs."""
    return _CALLED.findall(self.rest)


_Computation = Mapping[str, _Instruction]


def hbm_traffic(program: str) -> int:
  """Bytes that one run of a program reads from and writes to its chip's memory.

  Args:
    program: optimised HLO as text, layouts included (`compiled.as_text()`). A loop counts as often
      as it is known to run, or as the one constant that its condition has says, or else once; of
      a conditional the dearest branch counts.

  Raises:
    ValueError: an instruction that is written in another way.
  """
  computations, entry = _parse(program)
  return _Traffic(computations).of(entry)


def _parse(program: str) -> tuple[dict[str, _Computation], str]:
  """The computations by name, and the entry's name."""
  computations: dict[str, dict[str, _Instruction]] = {}
  entry = ""
  current: dict[str, _Instruction] | None = None
  for line in program.splitlines():
    if opened := _COMPUTATION.match(line):
      current = computations[opened[2]] = {}
      entry = opened[2] if opened[1] else entry
    elif line.startswith("}"):
      current = None
    elif current is not None:
      found = _INSTRUCTION.match(line)
      if not found:  # left out, it would make the sum too small without a word
        raise ValueError(f"an HLO instruction that is not understood: {line.strip()[:200]}")
      root, name, shape, operation, operands, rest = found.groups()
      named = operation not in ("parameter", "constant")
      names = re.findall(r"%([\w.-]+)", operands) if named else (operands,)
      current[name] = _Instruction(
        name, _arrays(shape), operation, tuple(names), rest, root is not None
      )
  return dict(computations), entry


def _arrays(shape: str) -> tuple[_Array, ...]:
  return tuple(
    _Array(
      _BITS[kind] // 8 * math.prod(int(size) for size in sizes.split(",") if size),
      not _ELSEWHERE.search(layout or ""),
    )
    for kind, sizes, layout in _ARRAY.findall(shape)
  )


class _Traffic:
  """Sums over the computations of a program."""

  def __init__(self, computations: Mapping[str, _Computation]):
    self._computations = computations

  def of(self, name: str) -> int:
    """Bytes of one run of a computation that is not fused."""
    computation = self._computations[name]
    return sum(self._moved(one, computation) for one in computation.values())

  def _moved(self, one: _Instruction, computation: _Computation) -> int:
    if one.operation in _MOVE_NOTHING or one.operation.endswith("-done"):
      return 0
    if "ConcatBitcast" in one.rest:  # a TPU's custom call that only renames
      return 0
    if one.operation in ("copy-start", "slice-start"):
      # From one memory to another: the whole, or the part that is the second array.
      ends = one.arrays[:2]
      return min(array.bytes for array in ends) * sum(array.is_here for array in ends)
    if one.operation == "while":
      return self._trips(one) * sum(map(self.of, one.called))
    if one.operation == "conditional":
      branches = _BRANCHES.search(one.rest)
      names = re.findall(r"%([\w.-]+)", branches[1] if branches else one.rest)
      return max(self.of(name) for name in names if name in self._computations)
    if one.operation in ("call", "async-start"):
      return sum(map(self.of, one.called))
    read = 0
    for operand in dict.fromkeys(one.operands):
      places = [place for place, name in enumerate(one.operands) if name == operand]
      here = sum(array.bytes for array in computation[operand].arrays if array.is_here)
      read += min(here, sum(self._read(one, place, computation) for place in places))
    written = zip(self._written(one, computation), one.arrays, strict=True)
    return read + sum(bytes for bytes, array in written if array.is_here)

  def _trips(self, loop: _Instruction) -> int:
    """What is known of how often a loop runs, or the one constant that its condition has."""
    if known := _TRIPS.search(loop.rest):
      return int(known[1])
    condition = self._computations[_CONDITION.findall(loop.rest)[0]]
    limits = [one.operands[0] for one in condition.values() if one.operation == "constant"]
    return int(limits[0]) if len(limits) == 1 and limits[0].isdecimal() else 1

  def _read(self, one: _Instruction, place: int, computation: _Computation) -> int:
    """Bytes of an operand that an instruction needs."""
    whole = computation[one.operands[place]].size
    if place == 0 and one.operation in _TAKE_A_PART:
      return one.size
    if place == 0 and one.operation == "dynamic-update-slice":
      return 0  # in place
    if one.operation != "fusion":
      return whole
    inner = self._computations[one.called[0]]
    parameter = next(
      name
      for name, given in inner.items()
      if given.operation == "parameter" and given.operands == (str(place),)
    )
    return min(whole, self._read_by_all(parameter, inner))

  def _read_by_all(self, name: str, inner: _Computation) -> int:
    """Bytes of a value that the instructions of a fused computation need."""
    total = 0
    for user in inner.values():
      if user.operation == "parameter" or name not in user.operands:
        continue
      if user.operation == "bitcast":
        total += self._read_by_all(user.name, inner)
      else:
        total += sum(
          self._read(user, place, inner)
          for place, operand in enumerate(user.operands)
          if operand == name
        )
    return total

  def _written(self, one: _Instruction, computation: _Computation) -> Sequence[int]:
    """Bytes that are written of each array of an instruction's result, in place where it can be."""
    if one.operation == "dynamic-update-slice":
      return [computation[one.operands[1]].size]
    if one.operation == "bitcast":
      return self._written(computation[one.operands[0]], computation)
    if one.operation != "fusion":
      return [array.bytes for array in one.arrays]
    inner = self._computations[one.called[0]]
    root = next(given for given in inner.values() if given.is_root)
    results = [inner[name] for name in root.operands] if root.operation == "tuple" else [root]
    sizes = [self._written(result, inner) for result in results]
    return [size for written in sizes for size in written]
