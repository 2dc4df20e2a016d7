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
    elif op == 26:
        return op_data.mov_ri16(c, k, ram, e)
    elif op == 30:
        return op_stack.push_r16(c, k, ram, e)
    elif op == 32:
        return op_stack.pop_r16(c, k, ram, e)
    elif op == 37:
        return op_data.xchg_rr(c, k, ram, e)
    elif op == 39:
        return op_data.xchg_mr(c, k, ram, e)
    elif op == 40:
        return op_data.lea16(c, k, ram, e)
    elif op == 42:
        return op_data.extend_r(c, k, ram, e)
    elif op == 43:
        return op_data.extend_m(c, k, ram, e)
    elif op == 55:
        return op_data.set_m(c, k, ram, e)
    elif op == 56:
        return op_data.cbw(c, k, ram, e)
    elif op == 58:
        return op_data.xlat(c, k, ram, e)
    elif op == 59:
        return op_stack.pusha(c, k, ram, e)
    elif op == 60:
        return op_stack.popa(c, k, ram, e)
    elif op == 61:
        return op_stack.push_i(c, k, ram, e)
    elif op == 63:
        return op_stack.pop_m(c, k, ram, e)
    elif op == 64:
        return op_stack.push_m(c, k, ram, e)
    elif op == 66:
        return op_stack.enter(c, k, ram, e)
    elif op == 67:
        return op_stack.leave(c, k, ram, e)
    elif op == 69:
        return op_far.pushf(c, k, ram, e)
    elif op == 70:
        return op_far.popf(c, k, ram, e)
    elif op == 71:
        return op_system.sahf(c, k, ram, e)
    elif op == 72:
        return op_system.lahf(c, k, ram, e)
    elif op == 73:
        return op_stack.mov_from_seg_r(c, k, ram, e)
    elif op == 74:
        return op_stack.mov_from_seg_m(c, k, ram, e)
    elif op == 75:
        return op_stack.mov_to_seg_r(c, k, ram, e)
    elif op == 76:
        return op_stack.mov_to_seg_m(c, k, ram, e)
    elif op == 77:
        return op_stack.push_seg(c, k, ram, e)
    elif op == 78:
        return op_stack.pop_seg(c, k, ram, e)
    elif op == 79:
        return op_stack.load_far_pointer(c, k, ram, e)
    elif op == 80:
        return op_data.cmpxchg_r(c, k, ram, e)
    elif op == 81:
        return op_data.cmpxchg_m(c, k, ram, e)
    elif op == 82:
        return op_data.xadd_r(c, k, ram, e)
    elif op == 83:
        return op_data.xadd_m(c, k, ram, e)
    elif op == 84:
        return op_data.cmpxchg8b(c, k, ram, e)
    elif op == 85:
        return op_string.movs(c, k, ram, e)
    elif op == 86:
        return op_string.cmps(c, k, ram, e)
    elif op == 87:
        return op_string.stos(c, k, ram, e)
    elif op == 88:
        return op_string.lods(c, k, ram, e)
    elif op == 89:
        return op_string.scas(c, k, ram, e)
    elif op == 90:
        return op_string.ins(c, k, ram, e)
    elif op == 91:
        return op_string.outs(c, k, ram, e)
    elif op == 92:
        return op_flow.jcc(c, k, ram, e)
    elif op == 109:
        return op_flow.call16(c, k, ram, e)
    elif op == 111:
        return op_flow.jmp16(c, k, ram, e)
    elif op == 113:
        return op_flow.call_r(c, k, ram, e)
    elif op == 114:
        return op_flow.call_m(c, k, ram, e)
    elif op == 117:
        return op_flow.jmp_r(c, k, ram, e)
    elif op == 118:
        return op_flow.jmp_m(c, k, ram, e)
    elif op == 121:
        return op_far.far_m(c, k, ram, e)
    elif op == 122:
        return op_flow.ret16(c, k, ram, e)
    elif op == 124:
        return op_far.ret_far(c, k, ram, e)
    elif op == 125:
        return op_far.call_far(c, k, ram, e)
    elif op == 126:
        return op_far.jmp_far(c, k, ram, e)
    elif op == 127:
        return op_far.int3(c, k, ram, e)
    elif op == 128:
        return op_far.int_n(c, k, ram, e)
    elif op == 129:
        return op_far.into(c, k, ram, e)
    elif op == 130:
        return op_far.iret(c, k, ram, e)
    elif op == 131:
        return op_far.int1(c, k, ram, e)
    elif op == 132:
        return op_flow.loop(c, k, ram, e)
    elif op == 133:
        return op_system.bound(c, k, ram, e)
    elif op == 136:
        return op_alu.alu_rr16(c, k, ram, e)
    elif op == 137:
        return op_alu.alu_mr16(c, k, ram, e)
    elif op == 141:
        return op_alu.alu_rm16(c, k, ram, e)
    elif op == 144:
        return op_alu.alu_ri16(c, k, ram, e)
    elif op == 147:
        return op_alu.alu_mi16(c, k, ram, e)
    elif op == 159:
        return op_alu.alu_rr8(c, k, ram, e)
    elif op == 160:
        return op_alu.alu_mr8(c, k, ram, e)
    elif op == 163:
        return op_alu.alu_rm8(c, k, ram, e)
    elif op == 165:
        return op_alu.alu_ri8(c, k, ram, e)
    elif op == 167:
        return op_alu.alu_mi8(c, k, ram, e)
    elif op == 246:
        return op_shift.mul_div_r(c, k, ram, e)
    elif op == 247:
        return op_shift.mul_div_m(c, k, ram, e)
    elif op == 248:
        return op_shift.imul_rri(c, k, ram, e)
    elif op == 249:
        return op_shift.imul_rmi(c, k, ram, e)
    elif op == 250:
        return op_shift.imul_rr(c, k, ram, e)
    elif op == 251:
        return op_shift.imul_rm(c, k, ram, e)
    elif op == 252:
        return op_shift.daa(c, k, ram, e)
    elif op == 253:
        return op_shift.aaa(c, k, ram, e)
    elif op == 254:
        return op_shift.salc(c, k, ram, e)
    elif op == 255:
        return op_shift.aam(c, k, ram, e)
    elif op == 256:
        return op_shift.aad(c, k, ram, e)
    elif op == 257:
        return op_shift.shift_ri(c, k, ram, e)
    elif op == 258:
        return op_shift.shift_mi(c, k, ram, e)
    elif op == 260:
        return op_shift.shift_rc(c, k, ram, e)
    elif op == 261:
        return op_shift.shift_mc(c, k, ram, e)
    elif op == 268:
        return op_shift.double_shift_r(c, k, ram, e)
    elif op == 269:
        return op_shift.double_shift_m(c, k, ram, e)
    elif op == 270:
        return op_shift.bit_rr(c, k, ram, e)
    elif op == 271:
        return op_shift.bit_mr(c, k, ram, e)
    elif op == 272:
        return op_shift.bit_ri(c, k, ram, e)
    elif op == 273:
        return op_shift.bit_mi(c, k, ram, e)
    elif op == 274:
        return op_shift.scan_r(c, k, ram, e)
    elif op == 275:
        return op_shift.scan_m(c, k, ram, e)
    elif op == 276:
        return op_descriptor.arpl_r(c, k, ram, e)
    elif op == 277:
        return op_descriptor.arpl_m(c, k, ram, e)
    elif op == 278:
        return op_string.in_(c, k, ram, e)
    elif op == 279:
        return op_string.out(c, k, ram, e)
    elif op == 280:
        return op_system.flag_op(c, k, ram, e)
    elif op == 281:
        return op_system.hlt(c, k, ram, e)
    elif op == 282:
        return op_system.cli(c, k, ram, e)
    elif op == 283:
        return op_system.sti(c, k, ram, e)
    elif op == 284:
        return op_system.store_selector_r(c, k, ram, e)
    elif op == 285:
        return op_system.store_selector_m(c, k, ram, e)
    elif op == 286:
        return op_descriptor.load_system_r(c, k, ram, e)
    elif op == 287:
        return op_descriptor.load_system_m(c, k, ram, e)
    elif op == 288:
        return op_descriptor.verify_r(c, k, ram, e)
    elif op == 289:
        return op_descriptor.verify_m(c, k, ram, e)
    elif op == 290:
        return op_system.store_table(c, k, ram, e)
    elif op == 291:
        return op_system.load_table(c, k, ram, e)
    elif op == 292:
        return op_system.smsw_r(c, k, ram, e)
    elif op == 293:
        return op_system.smsw_m(c, k, ram, e)
    elif op == 294:
        return op_system.lmsw_r(c, k, ram, e)
    elif op == 295:
        return op_system.lmsw_m(c, k, ram, e)
    elif op == 296:
        return op_system.invlpg(c, k, ram, e)
    elif op == 297:
        return op_descriptor.rights_r(c, k, ram, e)
    elif op == 298:
        return op_descriptor.rights_m(c, k, ram, e)
    elif op == 299:
        return op_system.clts(c, k, ram, e)
    elif op == 300:
        return op_system.privileged_nop(c, k, ram, e)
    elif op == 301:
        return op_system.mov_from_cr(c, k, ram, e)
    elif op == 302:
        return op_system.mov_from_dr(c, k, ram, e)
    elif op == 303:
        return op_system.mov_to_cr(c, k, ram, e)
    elif op == 304:
        return op_system.mov_to_dr(c, k, ram, e)
    elif op == 305:
        return op_system.wrmsr(c, k, ram, e)
    elif op == 306:
        return op_system.rdtsc(c, k, ram, e)
    elif op == 307:
        return op_system.rdmsr(c, k, ram, e)
    elif op == 308:
        return op_system.rdpmc(c, k, ram, e)
    elif op == 309:
        return op_system.cpuid(c, k, ram, e)
    elif op == 310:
        return x87.x87_r(c, k, ram, e)
    elif op == 311:
        return x87.x87_m(c, k, ram, e)
    elif op == 312:
        return x87.fwait(c, k, ram, e)
    elif op == 313:
        return x87.fxsave(c, k, ram, e)
    return x87.fxrstor(c, k, ram, e)
