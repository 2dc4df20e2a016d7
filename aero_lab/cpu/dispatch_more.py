"""The dispatch from operation number to handler: written by ``generate.py``, not by hand.

LLVM makes a jump table of each chain. What is hot is inlined into the first, all else is in the second, out of line;
more than some 350 branches in one function are too much for numba's analysis, which recurses.
"""

from __future__ import annotations

from . import op_alu, op_data, op_descriptor, op_far, op_flow, op_shift, op_stack, op_string, op_system, x87
from .inline import kernel, out_of_line
from .operands import OP


@kernel(OP)
def dispatch_more(c, k, ram, e):
    out_of_line()
    op = e.op
    if op == 0:
        return op_system.undefined(c, k, ram, e)
    elif op == 2:
        return op_system.too_long(c, k, ram, e)
    elif op == 14:
        return op_data.mov_ri16(c, k, ram, e)
    elif op == 18:
        return op_stack.push_r16(c, k, ram, e)
    elif op == 20:
        return op_stack.pop_r16(c, k, ram, e)
    elif op == 25:
        return op_data.xchg_rr(c, k, ram, e)
    elif op == 27:
        return op_data.xchg_mr(c, k, ram, e)
    elif op == 28:
        return op_data.lea16(c, k, ram, e)
    elif op == 30:
        return op_data.extend_r(c, k, ram, e)
    elif op == 31:
        return op_data.extend_m(c, k, ram, e)
    elif op == 43:
        return op_data.set_m(c, k, ram, e)
    elif op == 44:
        return op_data.cbw(c, k, ram, e)
    elif op == 46:
        return op_data.xlat(c, k, ram, e)
    elif op == 47:
        return op_stack.pusha(c, k, ram, e)
    elif op == 48:
        return op_stack.popa(c, k, ram, e)
    elif op == 49:
        return op_stack.push_i(c, k, ram, e)
    elif op == 51:
        return op_stack.pop_m(c, k, ram, e)
    elif op == 52:
        return op_stack.push_m(c, k, ram, e)
    elif op == 54:
        return op_stack.enter(c, k, ram, e)
    elif op == 55:
        return op_stack.leave(c, k, ram, e)
    elif op == 57:
        return op_far.pushf(c, k, ram, e)
    elif op == 58:
        return op_far.popf(c, k, ram, e)
    elif op == 59:
        return op_system.sahf(c, k, ram, e)
    elif op == 60:
        return op_system.lahf(c, k, ram, e)
    elif op == 61:
        return op_stack.mov_from_seg_r(c, k, ram, e)
    elif op == 62:
        return op_stack.mov_from_seg_m(c, k, ram, e)
    elif op == 63:
        return op_stack.mov_to_seg_r(c, k, ram, e)
    elif op == 64:
        return op_stack.mov_to_seg_m(c, k, ram, e)
    elif op == 65:
        return op_stack.push_seg(c, k, ram, e)
    elif op == 66:
        return op_stack.pop_seg(c, k, ram, e)
    elif op == 67:
        return op_stack.load_far_pointer(c, k, ram, e)
    elif op == 68:
        return op_data.cmpxchg_r(c, k, ram, e)
    elif op == 69:
        return op_data.cmpxchg_m(c, k, ram, e)
    elif op == 70:
        return op_data.xadd_r(c, k, ram, e)
    elif op == 71:
        return op_data.xadd_m(c, k, ram, e)
    elif op == 72:
        return op_data.cmpxchg8b(c, k, ram, e)
    elif op == 73:
        return op_string.movs(c, k, ram, e)
    elif op == 74:
        return op_string.cmps(c, k, ram, e)
    elif op == 75:
        return op_string.stos(c, k, ram, e)
    elif op == 76:
        return op_string.lods(c, k, ram, e)
    elif op == 77:
        return op_string.scas(c, k, ram, e)
    elif op == 78:
        return op_string.ins(c, k, ram, e)
    elif op == 79:
        return op_string.outs(c, k, ram, e)
    elif op == 80:
        return op_flow.jcc(c, k, ram, e)
    elif op == 97:
        return op_flow.call16(c, k, ram, e)
    elif op == 99:
        return op_flow.jmp16(c, k, ram, e)
    elif op == 101:
        return op_flow.call_r(c, k, ram, e)
    elif op == 102:
        return op_flow.call_m(c, k, ram, e)
    elif op == 105:
        return op_flow.jmp_r(c, k, ram, e)
    elif op == 106:
        return op_flow.jmp_m(c, k, ram, e)
    elif op == 109:
        return op_far.far_m(c, k, ram, e)
    elif op == 110:
        return op_flow.ret16(c, k, ram, e)
    elif op == 112:
        return op_far.ret_far(c, k, ram, e)
    elif op == 113:
        return op_far.call_far(c, k, ram, e)
    elif op == 114:
        return op_far.jmp_far(c, k, ram, e)
    elif op == 115:
        return op_far.int3(c, k, ram, e)
    elif op == 116:
        return op_far.int_n(c, k, ram, e)
    elif op == 117:
        return op_far.into(c, k, ram, e)
    elif op == 118:
        return op_far.iret(c, k, ram, e)
    elif op == 119:
        return op_far.int1(c, k, ram, e)
    elif op == 120:
        return op_flow.loop(c, k, ram, e)
    elif op == 121:
        return op_system.bound(c, k, ram, e)
    elif op == 124:
        return op_alu.alu_rr16(c, k, ram, e)
    elif op == 125:
        return op_alu.alu_mr16(c, k, ram, e)
    elif op == 129:
        return op_alu.alu_rm16(c, k, ram, e)
    elif op == 132:
        return op_alu.alu_ri16(c, k, ram, e)
    elif op == 135:
        return op_alu.alu_mi16(c, k, ram, e)
    elif op == 147:
        return op_alu.alu_rr8(c, k, ram, e)
    elif op == 148:
        return op_alu.alu_mr8(c, k, ram, e)
    elif op == 151:
        return op_alu.alu_rm8(c, k, ram, e)
    elif op == 153:
        return op_alu.alu_ri8(c, k, ram, e)
    elif op == 155:
        return op_alu.alu_mi8(c, k, ram, e)
    elif op == 234:
        return op_shift.mul_div_r(c, k, ram, e)
    elif op == 235:
        return op_shift.mul_div_m(c, k, ram, e)
    elif op == 236:
        return op_shift.imul_rri(c, k, ram, e)
    elif op == 237:
        return op_shift.imul_rmi(c, k, ram, e)
    elif op == 238:
        return op_shift.imul_rr(c, k, ram, e)
    elif op == 239:
        return op_shift.imul_rm(c, k, ram, e)
    elif op == 240:
        return op_shift.daa(c, k, ram, e)
    elif op == 241:
        return op_shift.aaa(c, k, ram, e)
    elif op == 242:
        return op_shift.salc(c, k, ram, e)
    elif op == 243:
        return op_shift.aam(c, k, ram, e)
    elif op == 244:
        return op_shift.aad(c, k, ram, e)
    elif op == 245:
        return op_shift.shift_ri(c, k, ram, e)
    elif op == 246:
        return op_shift.shift_mi(c, k, ram, e)
    elif op == 248:
        return op_shift.shift_rc(c, k, ram, e)
    elif op == 249:
        return op_shift.shift_mc(c, k, ram, e)
    elif op == 256:
        return op_shift.double_shift_r(c, k, ram, e)
    elif op == 257:
        return op_shift.double_shift_m(c, k, ram, e)
    elif op == 258:
        return op_shift.bit_rr(c, k, ram, e)
    elif op == 259:
        return op_shift.bit_mr(c, k, ram, e)
    elif op == 260:
        return op_shift.bit_ri(c, k, ram, e)
    elif op == 261:
        return op_shift.bit_mi(c, k, ram, e)
    elif op == 262:
        return op_shift.scan_r(c, k, ram, e)
    elif op == 263:
        return op_shift.scan_m(c, k, ram, e)
    elif op == 264:
        return op_descriptor.arpl_r(c, k, ram, e)
    elif op == 265:
        return op_descriptor.arpl_m(c, k, ram, e)
    elif op == 266:
        return op_string.in_(c, k, ram, e)
    elif op == 267:
        return op_string.out(c, k, ram, e)
    elif op == 268:
        return op_system.flag_op(c, k, ram, e)
    elif op == 269:
        return op_system.hlt(c, k, ram, e)
    elif op == 270:
        return op_system.cli(c, k, ram, e)
    elif op == 271:
        return op_system.sti(c, k, ram, e)
    elif op == 272:
        return op_system.store_selector_r(c, k, ram, e)
    elif op == 273:
        return op_system.store_selector_m(c, k, ram, e)
    elif op == 274:
        return op_descriptor.load_system_r(c, k, ram, e)
    elif op == 275:
        return op_descriptor.load_system_m(c, k, ram, e)
    elif op == 276:
        return op_descriptor.verify_r(c, k, ram, e)
    elif op == 277:
        return op_descriptor.verify_m(c, k, ram, e)
    elif op == 278:
        return op_system.store_table(c, k, ram, e)
    elif op == 279:
        return op_system.load_table(c, k, ram, e)
    elif op == 280:
        return op_system.smsw_r(c, k, ram, e)
    elif op == 281:
        return op_system.smsw_m(c, k, ram, e)
    elif op == 282:
        return op_system.lmsw_r(c, k, ram, e)
    elif op == 283:
        return op_system.lmsw_m(c, k, ram, e)
    elif op == 284:
        return op_system.invlpg(c, k, ram, e)
    elif op == 285:
        return op_descriptor.rights_r(c, k, ram, e)
    elif op == 286:
        return op_descriptor.rights_m(c, k, ram, e)
    elif op == 287:
        return op_system.clts(c, k, ram, e)
    elif op == 288:
        return op_system.privileged_nop(c, k, ram, e)
    elif op == 289:
        return op_system.mov_from_cr(c, k, ram, e)
    elif op == 290:
        return op_system.mov_from_dr(c, k, ram, e)
    elif op == 291:
        return op_system.mov_to_cr(c, k, ram, e)
    elif op == 292:
        return op_system.mov_to_dr(c, k, ram, e)
    elif op == 293:
        return op_system.wrmsr(c, k, ram, e)
    elif op == 294:
        return op_system.rdtsc(c, k, ram, e)
    elif op == 295:
        return op_system.rdmsr(c, k, ram, e)
    elif op == 296:
        return op_system.rdpmc(c, k, ram, e)
    elif op == 297:
        return op_system.cpuid(c, k, ram, e)
    elif op == 298:
        return x87.x87_r(c, k, ram, e)
    elif op == 299:
        return x87.x87_m(c, k, ram, e)
    elif op == 300:
        return x87.fwait(c, k, ram, e)
    elif op == 301:
        return x87.fxsave(c, k, ram, e)
    return x87.fxrstor(c, k, ram, e)
