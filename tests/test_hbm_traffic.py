from benchmarks.hbm_traffic import hbm_traffic

PROGRAM = """HloModule step

%fused (p: f32[8,128]) -> f32[8,128] {
  %p = f32[8,128]{1,0:T(8)} parameter(0)
  ROOT %square = f32[8,128]{1,0:T(8)} multiply(%p, %p)
}

ENTRY %main (x: f32[8,128], y: bf16[16]) -> (f32[8,128], f32[]) {
  %x = f32[8,128]{1,0:T(8)} parameter(0), metadata={op_name="x"}
  %y = bf16[16]{0:T(128)} parameter(1)
  %both = (f32[8,128]{1,0:T(8)}, f32[]{:T(128)S(6)}) fusion(%x, %y, %x), calls=%fused
  %first = f32[8,128]{1,0:T(8)} get-tuple-element(%both), index=0
  %part = ((f32[8,128]{1,0:T(8)}), f32[2,128]{1,0:T(8)S(1)}, s32[]{:S(2)}) slice-start(%x)
  %near = f32[2,128]{1,0:T(8)S(1)} slice-done(%part)
  %start = (f32[2,128]{1,0:T(8)}, f32[2,128]{1,0:T(8)S(1)}, u32[]{:S(2)}) copy-start(%near)
  %far = f32[2,128]{1,0:T(8)} copy-done(%start)
  ROOT %sum = f32[2,128]{1,0:T(8)} add(%far, %near)
}
"""


def test_operands_are_read_once_and_what_stays_on_the_chip_is_free():
  x, y, part = 8 * 128 * 4, 16 * 2, 2 * 128 * 4
  fusion, slice_in, copy_out, add = x + y + x, part, part, part + part
  assert hbm_traffic(PROGRAM) == fusion + slice_in + copy_out + add
