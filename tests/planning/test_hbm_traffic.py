import pytest

from meanet_jax.planning.hbm_traffic import hbm_traffic

FUSED = """HloModule step

%fused (p: f32[8,128]) -> f32[8,128] {
  %p = f32[8,128]{1,0:T(8)} parameter(0)
  %q = bf16[16]{0:T(128)} parameter(1)
  ROOT %square = (f32[8,128]{1,0:T(8)}, bf16[16]{0:T(128)}) tuple(%p, %q)
}

ENTRY %main (x: f32[8,128], y: bf16[16]) -> (f32[8,128], f32[]) {
  %x = f32[8,128]{1,0:T(8)} parameter(0), metadata={op_name="x"}
  %y = bf16[16]{0:T(128)} parameter(1)
  %both = (f32[8,128]{1,0:T(8)}, bf16[16]{0:T(128)S(6)}) fusion(%x, %y), calls=%fused
  %first = f32[8,128]{1,0:T(8)} get-tuple-element(%both), index=0
  %twice = f32[8,128]{1,0:T(8)} multiply(%first, %first)
  %part = ((f32[8,128]{1,0:T(8)}), f32[2,128]{1,0:T(8)S(1)}, s32[]{:S(2)}) slice-start(%x)
  %near = f32[2,128]{1,0:T(8)S(1)} slice-done(%part)
  %start = (f32[2,128]{1,0:T(8)}, f32[2,128]{1,0:T(8)S(1)}, u32[]{:S(2)}) copy-start(%near)
  %far = f32[2,128]{1,0:T(8)} copy-done(%start)
  ROOT %sum = f32[2,128]{1,0:T(8)} add(%far, %near)
}
"""


def test_operands_are_read_once_and_what_stays_on_the_chip_is_free():
  x, y, part = 8 * 128 * 4, 16 * 2, 2 * 128 * 4
  fusion, multiply, slice_in, copy_out, add = x + y + x, x + x, part, part, part + part
  assert hbm_traffic(FUSED) == fusion + multiply + slice_in + copy_out + add


TAKEN = """HloModule step

%inner (p.1: f32[1000,128]) -> f32[1,128] {
  %p.1 = f32[1000,128]{1,0} parameter(0)
  %i.1 = s32[] parameter(1)
  ROOT %row = f32[1,128]{1,0} dynamic-slice(%p.1, %i.1, %i.1), dynamic_slice_sizes={1,128}
}

%take (p: f32[1000,128], i: s32[4]) -> f32[4,128] {
  %p = f32[1000,128]{1,0} parameter(0)
  %i = s32[4]{0} parameter(1)
  %n = s32[] parameter(2)
  %flat = f32[1000,1,128]{2,1,0} bitcast(%p)
  %rows = f32[4,128]{1,0} gather(%flat, %i), offset_dims={1}
  %row = f32[1,128]{1,0} fusion(%p, %n), kind=kLoop, calls=%inner
  ROOT %sum = f32[4,128]{1,0} add(%rows, %row)
}

%put (p: f32[1000,128], u: f32[1,128], n: s32[]) -> f32[1000,128] {
  %p = f32[1000,128]{1,0} parameter(0)
  %u = f32[1,128]{1,0} parameter(1)
  %n = s32[] parameter(2)
  %double = f32[1,128]{1,0} add(%u, %u)
  %new = f32[1000,128]{1,0} dynamic-update-slice(%p, %double, %n, %n)
  ROOT %renamed = f32[1000,128]{1,0} bitcast(%new)
}

ENTRY %main (x: f32[1000,128], i: s32[4], n: s32[]) -> f32[1000,128] {
  %x = f32[1000,128]{1,0} parameter(0)
  %i = s32[4]{0} parameter(1)
  %n = s32[] parameter(2)
  %taken = f32[4,128]{1,0} fusion(%x, %i, %n), kind=kLoop, calls=%take
  %u = f32[1,128]{1,0} slice(%taken), slice={[0:1], [0:128]}
  ROOT %written = f32[1000,128]{1,0} fusion(%x, %u, %n), kind=kLoop, calls=%put
}
"""


def test_of_what_is_gathered_sliced_or_written_in_place_only_the_part_counts():
  row, indices, number = 128 * 4, 4 * 4, 4
  taken = (4 * row + row) + indices + number + 4 * row
  sliced = row + row
  written = row + number + row
  assert hbm_traffic(TAKEN) == taken + sliced + written


LOOP = """HloModule step

%body (s: (s32[], f32[256])) -> (s32[], f32[256]) {
  %s = (s32[]{:S(2)}, f32[256]{0}) parameter(0)
  %i = s32[]{:S(2)} get-tuple-element(%s), index=0
  %x = f32[256]{0} get-tuple-element(%s), index=1
  %y = f32[256]{0} negate(%x)
  ROOT %t = (s32[]{:S(2)}, f32[256]{0}) tuple(%i, %y)
}

%condition (s: (s32[], f32[256])) -> pred[] {
  %s = (s32[]{:S(2)}, f32[256]{0}) parameter(0)
  %i = s32[]{:S(2)} get-tuple-element(%s), index=0
  %limit = s32[]{:S(2)} constant(LIMIT)
  ROOT %less = pred[]{:S(2)} compare(%i, %limit), direction=LT
}

%cheap (x: f32[256]) -> f32[256] {
  ROOT %x = f32[256]{0} parameter(0)
}

%dear (x: f32[256]) -> f32[256] {
  %x = f32[256]{0} parameter(0)
  ROOT %y = f32[256]{0} negate(%x)
}

ENTRY %main (s: (s32[], f32[256])) -> f32[256] {
  %s = (s32[]{:S(2)}, f32[256]{0}) parameter(0)
  %w = (s32[]{:S(2)}, f32[256]{0}) while(%s), condition=%condition, body=%body, TRIPS
  %x = f32[256]{0} get-tuple-element(%w), index=1
  %p = pred[]{:S(2)} constant(true)
  ROOT %c = f32[256]{0} conditional(%p, %x, %x), branch_computations={%cheap, %dear}
}
"""


@pytest.mark.parametrize(
  ("text", "limit", "trips"),
  [
    ('backend_config={"known_trip_count":{"n":"7"}}', "9", 7),
    ("frontend_attributes={}", "9", 9),
    ("frontend_attributes={}", "-1", 1),
  ],
)
def test_loops_count_as_often_as_they_run_and_the_dearest_branch(text, limit, trips):
  negated = 2 * 256 * 4
  program = LOOP.replace("TRIPS", text).replace("LIMIT", limit)
  assert hbm_traffic(program) == trips * negated + negated


def test_nothing_is_left_out_in_silence():
  with pytest.raises(ValueError, match="not understood: ROOT %sum is add"):
    hbm_traffic(FUSED.replace("%sum = f32[2,128]{1,0:T(8)} add(", "%sum is add("))
