"""The dispatch from operation number to handler: written by ``generate.py``, not by hand.

LLVM makes a jump table of each chain. There are two because numba's analysis recurses once a branch.
"""

from __future__ import annotations

from ..compiled.registry import kernel
from . import op_descriptor, op_shift, op_string, op_system, x87
from .operands import OP


@kernel(OP)
def dispatch_more(c, k, ram, e):
    op = e.op
    if op == 230:
        return op_shift.imul_rr(c, k, ram, e)
    elif op == 231:
        return op_shift.imul_rm(c, k, ram, e)
    elif op == 232:
        return op_shift.daa(c, k, ram, e)
    elif op == 233:
        return op_shift.aaa(c, k, ram, e)
    elif op == 234:
        return op_shift.salc(c, k, ram, e)
    elif op == 235:
        return op_shift.aam(c, k, ram, e)
    elif op == 236:
        return op_shift.aad(c, k, ram, e)
    elif op == 237:
        return op_shift.shift_ri(c, k, ram, e)
    elif op == 238:
        return op_shift.shift_mi(c, k, ram, e)
    elif op == 239:
        return op_shift.rol_ri32(c, k, ram, e)
    elif op == 240:
        return op_shift.shift_rc(c, k, ram, e)
    elif op == 241:
        return op_shift.shift_mc(c, k, ram, e)
    elif op == 242:
        return op_shift.ror_ri32(c, k, ram, e)
    elif op == 243:
        return op_shift.shl_ri32(c, k, ram, e)
    elif op == 244:
        return op_shift.shl_rc32(c, k, ram, e)
    elif op == 245:
        return op_shift.shr_ri32(c, k, ram, e)
    elif op == 246:
        return op_shift.shr_rc32(c, k, ram, e)
    elif op == 247:
        return op_shift.sar_ri32(c, k, ram, e)
    elif op == 248:
        return op_shift.double_shift_r(c, k, ram, e)
    elif op == 249:
        return op_shift.double_shift_m(c, k, ram, e)
    elif op == 250:
        return op_shift.bit_rr(c, k, ram, e)
    elif op == 251:
        return op_shift.bit_mr(c, k, ram, e)
    elif op == 252:
        return op_shift.bit_ri(c, k, ram, e)
    elif op == 253:
        return op_shift.bit_mi(c, k, ram, e)
    elif op == 254:
        return op_shift.scan_r(c, k, ram, e)
    elif op == 255:
        return op_shift.scan_m(c, k, ram, e)
    elif op == 256:
        return op_descriptor.arpl_r(c, k, ram, e)
    elif op == 257:
        return op_descriptor.arpl_m(c, k, ram, e)
    elif op == 258:
        return op_string.in_(c, k, ram, e)
    elif op == 259:
        return op_string.out(c, k, ram, e)
    elif op == 260:
        return op_system.flag_op(c, k, ram, e)
    elif op == 261:
        return op_system.hlt(c, k, ram, e)
    elif op == 262:
        return op_system.cli(c, k, ram, e)
    elif op == 263:
        return op_system.sti(c, k, ram, e)
    elif op == 264:
        return op_system.store_selector_r(c, k, ram, e)
    elif op == 265:
        return op_system.store_selector_m(c, k, ram, e)
    elif op == 266:
        return op_descriptor.load_system_r(c, k, ram, e)
    elif op == 267:
        return op_descriptor.load_system_m(c, k, ram, e)
    elif op == 268:
        return op_descriptor.verify_r(c, k, ram, e)
    elif op == 269:
        return op_descriptor.verify_m(c, k, ram, e)
    elif op == 270:
        return op_system.store_table(c, k, ram, e)
    elif op == 271:
        return op_system.load_table(c, k, ram, e)
    elif op == 272:
        return op_system.smsw_r(c, k, ram, e)
    elif op == 273:
        return op_system.smsw_m(c, k, ram, e)
    elif op == 274:
        return op_system.lmsw_r(c, k, ram, e)
    elif op == 275:
        return op_system.lmsw_m(c, k, ram, e)
    elif op == 276:
        return op_system.invlpg(c, k, ram, e)
    elif op == 277:
        return op_descriptor.rights_r(c, k, ram, e)
    elif op == 278:
        return op_descriptor.rights_m(c, k, ram, e)
    elif op == 279:
        return op_system.clts(c, k, ram, e)
    elif op == 280:
        return op_system.privileged_nop(c, k, ram, e)
    elif op == 281:
        return op_system.mov_from_cr(c, k, ram, e)
    elif op == 282:
        return op_system.mov_from_dr(c, k, ram, e)
    elif op == 283:
        return op_system.mov_to_cr(c, k, ram, e)
    elif op == 284:
        return op_system.mov_to_dr(c, k, ram, e)
    elif op == 285:
        return op_system.wrmsr(c, k, ram, e)
    elif op == 286:
        return op_system.rdtsc(c, k, ram, e)
    elif op == 287:
        return op_system.rdmsr(c, k, ram, e)
    elif op == 288:
        return op_system.rdpmc(c, k, ram, e)
    elif op == 289:
        return op_system.cpuid(c, k, ram, e)
    elif op == 290:
        return x87.x87_r(c, k, ram, e)
    elif op == 291:
        return x87.x87_m(c, k, ram, e)
    elif op == 292:
        return x87.fwait(c, k, ram, e)
    elif op == 293:
        return x87.fxsave(c, k, ram, e)
    return x87.fxrstor(c, k, ram, e)
