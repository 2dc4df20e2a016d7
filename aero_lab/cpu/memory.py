"""Memory as instructions see it: segment, then page, then RAM, a device, or a page of decoded code.

``load8/16/32(c, ram, seg, ea)`` give a value, or a negative status (``FAULT``, ``RETRY``): values are never negative.
``store8/16/32(c, k, ram, seg, ea, value)`` give a status: 0, or negative with nothing stored, or positive when
the instruction has to be the last of its block (``RESUME``: code was written to; ``LEAVE``: a device was written to).
``modify8/16/32`` load what is going to be stored to: they fault as a write does, and after one the store cannot fault.

The fast paths are one comparison. A segment that needs checking has the base ``FAR``, which no TLB tag matches,
and an access that leaves its page compares the tag with the page of its last byte; both end in the slow path.
"""

from __future__ import annotations

from ..compiled.registry import BYTES, I64, VOID
from .cells import code_mask, rbase, seg_attr, seg_base, seg_limit, tlb, wbase
from .inline import inlined, kernel, out_of_line
from .limits import SMC_PAGES
from .paging import allow_writes, put_ram8, put_ram16, put_ram32, ram8, ram16, ram32, translate
from .state import (
    EXIT_MMIO_READ,
    EXIT_MMIO_WRITE,
    FAULT,
    LEAVE,
    NEXT,
    RESUME,
    RETRY,
    SS,
    X_GP,
    X_SS,
    C,
    K,
)

M32 = 0xFFFFFFFF
LINEAR = 0x2FFFFFFFF
"""Address bits after adding a base: the carry out of bit 31 is lost, the bit of ``FAR`` is not."""
IN_PAGE = ~0xFFF


@kernel(I64(C, I64, I64))
def raise_error(c, vector, error):
    """Note an exception; ``error`` is -1 for those without a code. Gives ``FAULT``."""
    c.exc_vector = vector
    c.exc_error = error
    return FAULT


@kernel(I64(C, I64, I64, I64, I64))
def linear_address(c, seg, ea, size, write):
    """Check an access against its segment (SDM volume 3, 5.3-5.5): the linear address, or ``FAULT``."""
    out_of_line()
    attr = seg_attr(c, seg)
    limit = seg_limit(c, seg)
    good = (attr & 0x80) != 0
    if write:
        good = good and (attr & 0x1A) == 0x12
    else:
        good = good and ((attr & 0x18) == 0x10 or (attr & 0x1A) == 0x1A)
    last = ea + size - 1
    if (attr & 0x1C) == 0x14:  # data that expand down
        good = good and ea > limit and last <= (M32 if attr & 0x4000 else 0xFFFF)
    elif limit != M32:
        good = good and last <= limit
    if not good:
        return raise_error(c, X_SS if seg == SS else X_GP, 0)
    return (seg_base(c, seg) + ea) & M32


@kernel(I64(C, I64, I64))
def device_read(c, physical, size):
    """Ask outside what an address beyond RAM reads as, or take the answer."""
    out_of_line()
    if c.io_ready:
        c.io_ready = 0
        c.io_used = 1
        return c.io_value & ((1 << (8 * size)) - 1)
    if c.io_used:  # a second one in the same instruction
        return (1 << (8 * size)) - 1
    c.exit = EXIT_MMIO_READ
    c.io_addr = physical
    c.io_size = size
    return RETRY


@kernel(I64(C, I64, I64, I64))
def device_write(c, physical, size, value):
    c.exit = EXIT_MMIO_WRITE
    c.io_addr = physical
    c.io_size = size
    c.io_value = value & ((1 << (8 * size)) - 1)
    return LEAVE


@kernel(I64(BYTES, I64, I64))
def ram_load(ram, at, size):
    if size == 4:
        return ram32(ram, at)
    if size == 2:
        return ram16(ram, at)
    return ram8(ram, at)


@kernel(VOID(BYTES, I64, I64, I64))
def ram_store(ram, at, size, value):
    if size == 4:
        put_ram32(ram, at, value)
    elif size == 2:
        put_ram16(ram, at, value)
    else:
        put_ram8(ram, at, value)


@kernel(I64(C, BYTES, I64, I64, I64, I64))
def load_linear(c, ram, linear, size, write, user):
    """Load from a linear address; ``write`` checks as for a store."""
    out_of_line()
    if (linear & 0xFFF) + size <= 4096:
        physical = translate(c, ram, linear, write, user)
        if physical < 0:
            return physical
        if physical + size <= c.ram_size:
            return ram_load(ram, physical, size)
        return device_read(c, physical, size)
    first = translate(c, ram, linear, write, user)
    if first < 0:
        return first
    second = translate(c, ram, (linear + 4096) & 0xFFFFF000, write, user)
    if second < 0:
        return second
    here = 4096 - (linear & 0xFFF)
    value = 0
    for i in range(size):
        at = first + i if i < here else second + i - here
        value |= (ram8(ram, at) if at < c.ram_size else 0xFF) << (8 * i)
    return value


@kernel(I64(K, I64, I64))
def note_code_write(k, physical, size):
    """``RESUME`` if these bytes of RAM, in one page, hold decoded code; the loop drops the page's blocks."""
    out_of_line()
    page = physical >> 12
    mask = code_mask(k, page)
    if mask == 0:
        return NEXT
    first = (physical & 0xFFF) >> 6
    last = ((physical & 0xFFF) + size - 1) >> 6
    for line in range(first, last + 1):
        if (mask >> line) & 1:
            for i in range(k.smc_count):
                if k.smc_page[i] == page:
                    return RESUME
            if k.smc_count < SMC_PAGES:
                k.smc_page[k.smc_count] = page
            k.smc_count += 1
            return RESUME
    return NEXT


@kernel(I64(C, K, BYTES, I64, I64, I64, I64))
def store_linear(c, k, ram, linear, size, value, user):
    out_of_line()
    if (linear & 0xFFF) + size <= 4096:
        physical = translate(c, ram, linear, 1, user)
        if physical < 0:
            return physical
        if physical + size <= c.ram_size:
            ram_store(ram, physical, size, value)
            if code_mask(k, physical >> 12) == 0:
                allow_writes(c, linear, user)
                return NEXT
            return note_code_write(k, physical, size)
        return device_write(c, physical, size, value)
    first = translate(c, ram, linear, 1, user)
    if first < 0:
        return first
    second = translate(c, ram, (linear + 4096) & 0xFFFFF000, 1, user)
    if second < 0:
        return second
    here = 4096 - (linear & 0xFFF)
    status = NEXT
    for i in range(size):
        at = first + i if i < here else second + i - here
        if at < c.ram_size:
            put_ram8(ram, at, (value >> (8 * i)) & 0xFF)
            status = max(status, note_code_write(k, at, 1))
    return status


@kernel(I64(C, BYTES, I64, I64, I64))
def load_slow(c, ram, seg, ea, size):
    out_of_line()
    linear = linear_address(c, seg, ea, size, 0)
    if linear < 0:
        return linear
    return load_linear(c, ram, linear, size, 0, 1 if c.tlb_at else 0)


@kernel(I64(C, BYTES, I64, I64, I64))
def modify_slow(c, ram, seg, ea, size):
    out_of_line()
    linear = linear_address(c, seg, ea, size, 1)
    if linear < 0:
        return linear
    return load_linear(c, ram, linear, size, 1, 1 if c.tlb_at else 0)


@kernel(I64(C, K, BYTES, I64, I64, I64, I64))
def store_slow(c, k, ram, seg, ea, size, value):
    out_of_line()
    linear = linear_address(c, seg, ea, size, 1)
    if linear < 0:
        return linear
    return store_linear(c, k, ram, linear, size, value, 1 if c.tlb_at else 0)


@kernel(I64(C, BYTES, I64, I64, I64, I64))
def probe_linear(c, ram, linear, size, write, user):
    """Check that ``size`` bytes (at most a page) can be accessed: 0 or ``FAULT``."""
    out_of_line()
    if translate(c, ram, linear, write, user) < 0:
        return FAULT
    last = (linear + size - 1) & M32
    if (last ^ linear) & ~0xFFF and translate(c, ram, last & 0xFFFFF000, write, user) < 0:
        return FAULT
    return 0


@kernel(I64(C, BYTES, I64, I64, I64))
def probe(c, ram, seg, ea, size):
    """Check that an instruction may store ``size`` bytes (at most a page): 0 or ``FAULT``."""
    linear = linear_address(c, seg, ea, size, 1)
    if linear < 0:
        return linear
    return probe_linear(c, ram, linear, size, 1, 1 if c.tlb_at else 0)


@kernel(I64(C, BYTES, I64, I64, I64))
def probe_read(c, ram, seg, ea, size):
    """The same for loading."""
    linear = linear_address(c, seg, ea, size, 0)
    if linear < 0:
        return linear
    return probe_linear(c, ram, linear, size, 0, 1 if c.tlb_at else 0)


@inlined
@kernel(I64(C, BYTES, I64, I64))
def load8(c, ram, seg, ea):
    linear = (ea + rbase(c, seg)) & LINEAR
    at = ((linear >> 10) & 0xFFC) + c.tlb_at
    if tlb(c, at) == linear & IN_PAGE:
        return ram8(ram, linear + tlb(c, at + 2))
    return load_slow(c, ram, seg, ea, 1)


@inlined
@kernel(I64(C, BYTES, I64, I64))
def load16(c, ram, seg, ea):
    linear = (ea + rbase(c, seg)) & LINEAR
    at = ((linear >> 10) & 0xFFC) + c.tlb_at
    if tlb(c, at) == (linear + 1) & IN_PAGE:
        return ram16(ram, linear + tlb(c, at + 2))
    return load_slow(c, ram, seg, ea, 2)


@inlined
@kernel(I64(C, BYTES, I64, I64))
def load32(c, ram, seg, ea):
    linear = (ea + rbase(c, seg)) & LINEAR
    at = ((linear >> 10) & 0xFFC) + c.tlb_at
    if tlb(c, at) == (linear + 3) & IN_PAGE:
        return ram32(ram, linear + tlb(c, at + 2))
    return load_slow(c, ram, seg, ea, 4)


@inlined
@kernel(I64(C, BYTES, I64, I64))
def modify8(c, ram, seg, ea):
    linear = (ea + wbase(c, seg)) & LINEAR
    at = ((linear >> 10) & 0xFFC) + c.tlb_at
    if tlb(c, at + 1) == linear & IN_PAGE:
        return ram8(ram, linear + tlb(c, at + 2))
    return modify_slow(c, ram, seg, ea, 1)


@inlined
@kernel(I64(C, BYTES, I64, I64))
def modify16(c, ram, seg, ea):
    linear = (ea + wbase(c, seg)) & LINEAR
    at = ((linear >> 10) & 0xFFC) + c.tlb_at
    if tlb(c, at + 1) == (linear + 1) & IN_PAGE:
        return ram16(ram, linear + tlb(c, at + 2))
    return modify_slow(c, ram, seg, ea, 2)


@inlined
@kernel(I64(C, BYTES, I64, I64))
def modify32(c, ram, seg, ea):
    linear = (ea + wbase(c, seg)) & LINEAR
    at = ((linear >> 10) & 0xFFC) + c.tlb_at
    if tlb(c, at + 1) == (linear + 3) & IN_PAGE:
        return ram32(ram, linear + tlb(c, at + 2))
    return modify_slow(c, ram, seg, ea, 4)


@inlined
@kernel(I64(C, K, BYTES, I64, I64, I64))
def store8(c, k, ram, seg, ea, value):
    linear = (ea + wbase(c, seg)) & LINEAR
    at = ((linear >> 10) & 0xFFC) + c.tlb_at
    if tlb(c, at + 1) == linear & IN_PAGE:
        put_ram8(ram, linear + tlb(c, at + 2), value)
        return NEXT
    return store_slow(c, k, ram, seg, ea, 1, value)


@inlined
@kernel(I64(C, K, BYTES, I64, I64, I64))
def store16(c, k, ram, seg, ea, value):
    linear = (ea + wbase(c, seg)) & LINEAR
    at = ((linear >> 10) & 0xFFC) + c.tlb_at
    if tlb(c, at + 1) == (linear + 1) & IN_PAGE:
        put_ram16(ram, linear + tlb(c, at + 2), value)
        return NEXT
    return store_slow(c, k, ram, seg, ea, 2, value)


@inlined
@kernel(I64(C, K, BYTES, I64, I64, I64))
def store32(c, k, ram, seg, ea, value):
    linear = (ea + wbase(c, seg)) & LINEAR
    at = ((linear >> 10) & 0xFFC) + c.tlb_at
    if tlb(c, at + 1) == (linear + 3) & IN_PAGE:
        put_ram32(ram, linear + tlb(c, at + 2), value)
        return NEXT
    return store_slow(c, k, ram, seg, ea, 4, value)


@kernel(I64(C, BYTES, I64, I64, I64))
def load(c, ram, seg, ea, size):
    """A load of 1, 2 or 4 bytes for instructions that are not hot."""
    out_of_line()
    if size == 4:
        return load32(c, ram, seg, ea)
    if size == 2:
        return load16(c, ram, seg, ea)
    return load8(c, ram, seg, ea)


@kernel(I64(C, BYTES, I64, I64, I64))
def modify(c, ram, seg, ea, size):
    out_of_line()
    if size == 4:
        return modify32(c, ram, seg, ea)
    if size == 2:
        return modify16(c, ram, seg, ea)
    return modify8(c, ram, seg, ea)


@kernel(I64(C, K, BYTES, I64, I64, I64, I64))
def store(c, k, ram, seg, ea, size, value):
    """A store of 1, 2 or 4 bytes for instructions that are not hot."""
    out_of_line()
    if size == 4:
        return store32(c, k, ram, seg, ea, value)
    if size == 2:
        return store16(c, k, ram, seg, ea, value)
    return store8(c, k, ram, seg, ea, value)


@kernel(I64(C, BYTES, I64, I64))
def system_load(c, ram, linear, size):
    """A load by the processor itself: descriptor tables and task state, always as supervisor."""
    out_of_line()
    return load_linear(c, ram, linear & M32, size, 0, 0)


@kernel(I64(C, K, BYTES, I64, I64, I64))
def system_store(c, k, ram, linear, size, value):
    out_of_line()
    return store_linear(c, k, ram, linear & M32, size, value, 0)
