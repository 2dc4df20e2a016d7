"""The dispatch from operation number to handler: written by ``generate.py``, not by hand.

LLVM makes a jump table of each chain. What is hot is inlined into the first, all else is in the second, out of line;
more than some 350 branches in one function are too much for numba's analysis, which recurses.
"""

from __future__ import annotations

from . import op_alu, op_alu32, op_data, op_flow, op_jump, op_pair, op_shift, op_stack, op_system
from .dispatch_more import dispatch_more
from .inline import inlined, kernel
from .operands import OP


@inlined
@kernel(OP)
def dispatch(c, k, ram, e):
    op = e.op
    if op == 1:
        return op_flow.fall(c, k, ram, e)
    elif op == 3:
        return op_pair.cmp_rr32_jcc(c, k, ram, e)
    elif op == 4:
        return op_pair.cmp_ri32_jcc(c, k, ram, e)
    elif op == 5:
        return op_pair.cmp_mr32_jcc(c, k, ram, e)
    elif op == 6:
        return op_pair.cmp_rm32_jcc(c, k, ram, e)
    elif op == 7:
        return op_pair.cmp_mi32_jcc(c, k, ram, e)
    elif op == 8:
        return op_pair.cmp_mi8_jcc(c, k, ram, e)
    elif op == 9:
        return op_pair.cmp_mr8_jcc(c, k, ram, e)
    elif op == 10:
        return op_pair.cmp_rm8_jcc(c, k, ram, e)
    elif op == 11:
        return op_pair.cmp_ri8_jcc(c, k, ram, e)
    elif op == 12:
        return op_pair.test_rr32_jcc(c, k, ram, e)
    elif op == 13:
        return op_pair.test_rr8_jcc(c, k, ram, e)
    elif op == 14:
        return op_pair.test_ri8_jcc(c, k, ram, e)
    elif op == 15:
        return op_data.mov_rr8(c, k, ram, e)
    elif op == 16:
        return op_data.mov_mr8(c, k, ram, e)
    elif op == 17:
        return op_data.mov_rr16(c, k, ram, e)
    elif op == 18:
        return op_data.mov_mr16(c, k, ram, e)
    elif op == 19:
        return op_data.mov_rr32(c, k, ram, e)
    elif op == 20:
        return op_data.mov_mr32(c, k, ram, e)
    elif op == 21:
        return op_data.mov_rm8(c, k, ram, e)
    elif op == 22:
        return op_data.mov_rm16(c, k, ram, e)
    elif op == 23:
        return op_data.mov_rm32(c, k, ram, e)
    elif op == 24:
        return op_data.mov_ri8(c, k, ram, e)
    elif op == 25:
        return op_data.mov_mi8(c, k, ram, e)
    elif op == 27:
        return op_data.mov_mi16(c, k, ram, e)
    elif op == 28:
        return op_data.mov_ri32(c, k, ram, e)
    elif op == 29:
        return op_data.mov_mi32(c, k, ram, e)
    elif op == 31:
        return op_stack.push_r32(c, k, ram, e)
    elif op == 33:
        return op_stack.pop_r32(c, k, ram, e)
    elif op == 34:
        return op_data.bswap16(c, k, ram, e)
    elif op == 35:
        return op_data.bswap(c, k, ram, e)
    elif op == 36:
        return op_system.nop(c, k, ram, e)
    elif op == 38:
        return op_data.xchg_rr32(c, k, ram, e)
    elif op == 41:
        return op_data.lea32(c, k, ram, e)
    elif op == 44:
        return op_data.movzx_r8(c, k, ram, e)
    elif op == 45:
        return op_data.movzx_m8(c, k, ram, e)
    elif op == 46:
        return op_data.movzx_r16(c, k, ram, e)
    elif op == 47:
        return op_data.movzx_m16(c, k, ram, e)
    elif op == 48:
        return op_data.movsx_r8(c, k, ram, e)
    elif op == 49:
        return op_data.movsx_m8(c, k, ram, e)
    elif op == 50:
        return op_data.movsx_r16(c, k, ram, e)
    elif op == 51:
        return op_data.movsx_m16(c, k, ram, e)
    elif op == 52:
        return op_data.cmov_rr(c, k, ram, e)
    elif op == 53:
        return op_data.cmov_rm(c, k, ram, e)
    elif op == 54:
        return op_data.set_r(c, k, ram, e)
    elif op == 57:
        return op_data.cwd(c, k, ram, e)
    elif op == 62:
        return op_stack.push_i32(c, k, ram, e)
    elif op == 65:
        return op_stack.push_m32(c, k, ram, e)
    elif op == 68:
        return op_stack.leave32(c, k, ram, e)
    elif op == 93:
        return op_jump.jo(c, k, ram, e)
    elif op == 94:
        return op_jump.jno(c, k, ram, e)
    elif op == 95:
        return op_jump.jb(c, k, ram, e)
    elif op == 96:
        return op_jump.jae(c, k, ram, e)
    elif op == 97:
        return op_jump.je(c, k, ram, e)
    elif op == 98:
        return op_jump.jne(c, k, ram, e)
    elif op == 99:
        return op_jump.jbe(c, k, ram, e)
    elif op == 100:
        return op_jump.ja(c, k, ram, e)
    elif op == 101:
        return op_jump.js(c, k, ram, e)
    elif op == 102:
        return op_jump.jns(c, k, ram, e)
    elif op == 103:
        return op_jump.jp(c, k, ram, e)
    elif op == 104:
        return op_jump.jnp(c, k, ram, e)
    elif op == 105:
        return op_jump.jl(c, k, ram, e)
    elif op == 106:
        return op_jump.jge(c, k, ram, e)
    elif op == 107:
        return op_jump.jle(c, k, ram, e)
    elif op == 108:
        return op_jump.jg(c, k, ram, e)
    elif op == 110:
        return op_flow.call32(c, k, ram, e)
    elif op == 112:
        return op_flow.jmp32(c, k, ram, e)
    elif op == 115:
        return op_flow.call_r32(c, k, ram, e)
    elif op == 116:
        return op_flow.call_m32(c, k, ram, e)
    elif op == 119:
        return op_flow.jmp_r32(c, k, ram, e)
    elif op == 120:
        return op_flow.jmp_m32(c, k, ram, e)
    elif op == 123:
        return op_flow.ret32(c, k, ram, e)
    elif op == 134:
        return op_alu.add_rr8(c, k, ram, e)
    elif op == 135:
        return op_alu.add_mr8(c, k, ram, e)
    elif op == 138:
        return op_alu32.add_rr32(c, k, ram, e)
    elif op == 139:
        return op_alu32.add_mr32(c, k, ram, e)
    elif op == 140:
        return op_alu.add_rm8(c, k, ram, e)
    elif op == 142:
        return op_alu32.add_rm32(c, k, ram, e)
    elif op == 143:
        return op_alu.add_ri8(c, k, ram, e)
    elif op == 145:
        return op_alu32.add_ri32(c, k, ram, e)
    elif op == 146:
        return op_alu.add_mi8(c, k, ram, e)
    elif op == 148:
        return op_alu32.add_mi32(c, k, ram, e)
    elif op == 149:
        return op_alu.or_rr8(c, k, ram, e)
    elif op == 150:
        return op_alu.or_mr8(c, k, ram, e)
    elif op == 151:
        return op_alu32.or_rr32(c, k, ram, e)
    elif op == 152:
        return op_alu32.or_mr32(c, k, ram, e)
    elif op == 153:
        return op_alu.or_rm8(c, k, ram, e)
    elif op == 154:
        return op_alu32.or_rm32(c, k, ram, e)
    elif op == 155:
        return op_alu.or_ri8(c, k, ram, e)
    elif op == 156:
        return op_alu32.or_ri32(c, k, ram, e)
    elif op == 157:
        return op_alu.or_mi8(c, k, ram, e)
    elif op == 158:
        return op_alu32.or_mi32(c, k, ram, e)
    elif op == 161:
        return op_alu32.adc_rr32(c, k, ram, e)
    elif op == 162:
        return op_alu32.adc_mr32(c, k, ram, e)
    elif op == 164:
        return op_alu32.adc_rm32(c, k, ram, e)
    elif op == 166:
        return op_alu32.adc_ri32(c, k, ram, e)
    elif op == 168:
        return op_alu32.adc_mi32(c, k, ram, e)
    elif op == 169:
        return op_alu32.sbb_rr32(c, k, ram, e)
    elif op == 170:
        return op_alu32.sbb_mr32(c, k, ram, e)
    elif op == 171:
        return op_alu32.sbb_rm32(c, k, ram, e)
    elif op == 172:
        return op_alu32.sbb_ri32(c, k, ram, e)
    elif op == 173:
        return op_alu32.sbb_mi32(c, k, ram, e)
    elif op == 174:
        return op_alu.and_rr8(c, k, ram, e)
    elif op == 175:
        return op_alu.and_mr8(c, k, ram, e)
    elif op == 176:
        return op_alu32.and_rr32(c, k, ram, e)
    elif op == 177:
        return op_alu32.and_mr32(c, k, ram, e)
    elif op == 178:
        return op_alu.and_rm8(c, k, ram, e)
    elif op == 179:
        return op_alu32.and_rm32(c, k, ram, e)
    elif op == 180:
        return op_alu.and_ri8(c, k, ram, e)
    elif op == 181:
        return op_alu32.and_ri32(c, k, ram, e)
    elif op == 182:
        return op_alu.and_mi8(c, k, ram, e)
    elif op == 183:
        return op_alu32.and_mi32(c, k, ram, e)
    elif op == 184:
        return op_alu.sub_rr8(c, k, ram, e)
    elif op == 185:
        return op_alu.sub_mr8(c, k, ram, e)
    elif op == 186:
        return op_alu32.sub_rr32(c, k, ram, e)
    elif op == 187:
        return op_alu32.sub_mr32(c, k, ram, e)
    elif op == 188:
        return op_alu.sub_rm8(c, k, ram, e)
    elif op == 189:
        return op_alu32.sub_rm32(c, k, ram, e)
    elif op == 190:
        return op_alu.sub_ri8(c, k, ram, e)
    elif op == 191:
        return op_alu32.sub_ri32(c, k, ram, e)
    elif op == 192:
        return op_alu.sub_mi8(c, k, ram, e)
    elif op == 193:
        return op_alu32.sub_mi32(c, k, ram, e)
    elif op == 194:
        return op_alu.xor_rr8(c, k, ram, e)
    elif op == 195:
        return op_alu.xor_mr8(c, k, ram, e)
    elif op == 196:
        return op_alu32.xor_rr32(c, k, ram, e)
    elif op == 197:
        return op_alu32.xor_mr32(c, k, ram, e)
    elif op == 198:
        return op_alu.xor_rm8(c, k, ram, e)
    elif op == 199:
        return op_alu32.xor_rm32(c, k, ram, e)
    elif op == 200:
        return op_alu.xor_ri8(c, k, ram, e)
    elif op == 201:
        return op_alu32.xor_ri32(c, k, ram, e)
    elif op == 202:
        return op_alu.xor_mi8(c, k, ram, e)
    elif op == 203:
        return op_alu32.xor_mi32(c, k, ram, e)
    elif op == 204:
        return op_alu.cmp_rr8(c, k, ram, e)
    elif op == 205:
        return op_alu.cmp_mr8(c, k, ram, e)
    elif op == 206:
        return op_alu32.cmp_rr32(c, k, ram, e)
    elif op == 207:
        return op_alu32.cmp_mr32(c, k, ram, e)
    elif op == 208:
        return op_alu.cmp_rm8(c, k, ram, e)
    elif op == 209:
        return op_alu32.cmp_rm32(c, k, ram, e)
    elif op == 210:
        return op_alu.cmp_ri8(c, k, ram, e)
    elif op == 211:
        return op_alu32.cmp_ri32(c, k, ram, e)
    elif op == 212:
        return op_alu.cmp_mi8(c, k, ram, e)
    elif op == 213:
        return op_alu32.cmp_mi32(c, k, ram, e)
    elif op == 214:
        return op_alu.test_rr8(c, k, ram, e)
    elif op == 215:
        return op_alu.test_mr8(c, k, ram, e)
    elif op == 216:
        return op_alu32.test_rr32(c, k, ram, e)
    elif op == 217:
        return op_alu32.test_mr32(c, k, ram, e)
    elif op == 218:
        return op_alu.test_ri8(c, k, ram, e)
    elif op == 219:
        return op_alu32.test_ri32(c, k, ram, e)
    elif op == 220:
        return op_alu.test_mi8(c, k, ram, e)
    elif op == 221:
        return op_alu32.test_mi32(c, k, ram, e)
    elif op == 222:
        return op_alu.inc_r16(c, k, ram, e)
    elif op == 223:
        return op_alu32.inc_r32(c, k, ram, e)
    elif op == 224:
        return op_alu.dec_r16(c, k, ram, e)
    elif op == 225:
        return op_alu32.dec_r32(c, k, ram, e)
    elif op == 226:
        return op_alu.inc_r8(c, k, ram, e)
    elif op == 227:
        return op_alu.inc_m8(c, k, ram, e)
    elif op == 228:
        return op_alu.inc_m16(c, k, ram, e)
    elif op == 229:
        return op_alu32.inc_m32(c, k, ram, e)
    elif op == 230:
        return op_alu.dec_r8(c, k, ram, e)
    elif op == 231:
        return op_alu.dec_m8(c, k, ram, e)
    elif op == 232:
        return op_alu.dec_m16(c, k, ram, e)
    elif op == 233:
        return op_alu32.dec_m32(c, k, ram, e)
    elif op == 234:
        return op_alu.not_r8(c, k, ram, e)
    elif op == 235:
        return op_alu.not_m8(c, k, ram, e)
    elif op == 236:
        return op_alu.not_r16(c, k, ram, e)
    elif op == 237:
        return op_alu.not_m16(c, k, ram, e)
    elif op == 238:
        return op_alu32.not_r32(c, k, ram, e)
    elif op == 239:
        return op_alu32.not_m32(c, k, ram, e)
    elif op == 240:
        return op_alu.neg_r8(c, k, ram, e)
    elif op == 241:
        return op_alu.neg_m8(c, k, ram, e)
    elif op == 242:
        return op_alu.neg_r16(c, k, ram, e)
    elif op == 243:
        return op_alu.neg_m16(c, k, ram, e)
    elif op == 244:
        return op_alu32.neg_r32(c, k, ram, e)
    elif op == 245:
        return op_alu32.neg_m32(c, k, ram, e)
    elif op == 259:
        return op_shift.rol_ri32(c, k, ram, e)
    elif op == 262:
        return op_shift.ror_ri32(c, k, ram, e)
    elif op == 263:
        return op_shift.shl_ri32(c, k, ram, e)
    elif op == 264:
        return op_shift.shl_rc32(c, k, ram, e)
    elif op == 265:
        return op_shift.shr_ri32(c, k, ram, e)
    elif op == 266:
        return op_shift.shr_rc32(c, k, ram, e)
    elif op == 267:
        return op_shift.sar_ri32(c, k, ram, e)
    return dispatch_more(c, k, ram, e)
