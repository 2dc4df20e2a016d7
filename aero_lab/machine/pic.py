"""The pair of interrupt controllers (Intel 8259A), the second cascaded into IR2 of the first, with ELCR.

A request is held in IRR for as long as its line is up: the data sheet wants the line to stay high until the first
INTA, or the processor gets the default level 7, which is not in service ("spurious"). An edge-triggered request also
leaves IRR when it is acknowledged. Which lines are level-triggered the edge/level registers of the PIIX3 say, or LTIM.
"""

from __future__ import annotations

from ..compiled.registry import I64, VOID, kernel
from .board import B_T

CASCADE = 2
ELCR_WRITABLE = (0xF8, 0xDE)
"""IRQ 0, 1, 2, 8 and 13 are edge-triggered whatever is written (82371SB, "edge/level control")."""


@kernel(I64(B_T, I64))
def pic_pending(B, chip):
    """The level that a controller asks the processor to serve, or -1."""
    requests = B.pic_irr[chip] & ~B.pic_imr[chip] & 0xFF
    if requests == 0:
        return -1
    serving = B.pic_isr[chip]
    if B.pic_smm[chip]:
        serving &= ~B.pic_imr[chip]
    first = B.pic_lowest[chip] + 1
    for i in range(8):
        level = (first + i) & 7
        bit = 1 << level
        nested = chip == 0 and level == CASCADE and B.pic_sfnm[0] != 0
        if serving & bit and not nested:
            return -1
        if requests & bit:
            return level
        if serving & bit:
            return -1
    return -1


@kernel(I64(B_T, I64))
def pic_levels(B, chip):
    """Which lines of a controller are level-triggered."""
    return 0xFF if B.pic_ltim[chip] else B.pic_elcr[chip]


@kernel(VOID(B_T, I64, I64, I64))
def pic_input(B, chip, level, up):
    """A line of a controller goes up or down."""
    bit = 1 << level
    lines = B.pic_lines[chip]
    if up:
        if lines & bit == 0 or pic_levels(B, chip) & bit:
            B.pic_irr[chip] = B.pic_irr[chip] | bit
        B.pic_lines[chip] = lines | bit
    else:
        B.pic_lines[chip] = lines & ~bit
        B.pic_irr[chip] = B.pic_irr[chip] & ~bit


@kernel(VOID(B_T))
def pic_update(B):
    """Pass the second controller's request to the first and the first one's to the processor."""
    pic_input(B, 0, CASCADE, 1 if pic_pending(B, 1) >= 0 else 0)
    B.intr = 1 if pic_pending(B, 0) >= 0 else 0


@kernel(VOID(B_T, I64, I64))
def set_irq(B, irq, up):
    """A device on the board raises or lowers IRQ line ``irq`` (0 to 15), which PCI may hold up as well."""
    bit = 1 << irq
    B.isa_lines = B.isa_lines | bit if up else B.isa_lines & ~bit
    pic_input(B, irq >> 3, irq & 7, 1 if (B.isa_lines | B.pci_lines) & bit else 0)
    pic_update(B)


@kernel(VOID(B_T, I64))
def set_pci_lines(B, lines):
    """The IRQ lines that PCI interrupts are routed to: those in ``lines`` are up, the others down."""
    changed = lines ^ B.pci_lines
    B.pci_lines = lines
    for irq in range(16):
        if changed >> irq & 1:
            pic_input(B, irq >> 3, irq & 7, (B.isa_lines | lines) >> irq & 1)
    pic_update(B)


@kernel(VOID(B_T, I64, I64))
def pic_serve(B, chip, level):
    """The first INTA of a request: into service, out of IRR unless its line is level-triggered."""
    bit = 1 << level
    if pic_levels(B, chip) & bit == 0:
        B.pic_irr[chip] = B.pic_irr[chip] & ~bit
    if B.pic_aeoi[chip]:
        if B.pic_rotate[chip]:
            B.pic_lowest[chip] = level
    else:
        B.pic_isr[chip] = B.pic_isr[chip] | bit


@kernel(I64(B_T))
def pic_ack(B):
    """Both INTA pulses: the vector of the interrupt that the processor takes now."""
    level = pic_pending(B, 0)
    if level < 0:
        B.spurious = B.spurious + 1
        return B.pic_base[0] + 7
    vector = B.pic_base[0] + level
    if level == CASCADE and B.pic_single[0] == 0:
        second = pic_pending(B, 1)
        if second < 0:
            B.spurious = B.spurious + 1
            second = 7
        else:
            pic_serve(B, 1, second)
        vector = B.pic_base[1] + second
        pic_serve(B, 0, level)
        pic_input(B, 0, CASCADE, 0)  # INT of the second drops at INTA; another request of it is another edge
    else:
        pic_serve(B, 0, level)
    pic_update(B)
    return vector


@kernel(VOID(B_T, I64, I64))
def pic_command(B, chip, value):
    """OCW2: end of interrupt and rotation."""
    command = value >> 5
    level = value & 7
    if command == 0 or command == 4:
        B.pic_rotate[chip] = command >> 2
        return
    if command == 1 or command == 5:  # non-specific: the highest in service
        serving = B.pic_isr[chip]
        if B.pic_smm[chip]:
            serving &= ~B.pic_imr[chip]
        if serving == 0:
            return
        level = (B.pic_lowest[chip] + 1) & 7
        while serving & (1 << level) == 0:
            level = (level + 1) & 7
    if command & 1:
        B.pic_isr[chip] = B.pic_isr[chip] & ~(1 << level)
    if command >= 5:
        B.pic_lowest[chip] = level


@kernel(VOID(B_T, I64, I64, I64))
def pic_write(B, chip, a0, value):
    """A byte to a controller: ICW1 to ICW4, OCW1 to OCW3."""
    if a0 == 0:
        if value & 0x10:  # ICW1
            B.pic_ltim[chip] = (value >> 3) & 1
            B.pic_single[chip] = (value >> 1) & 1
            B.pic_icw4[chip] = value & 1
            B.pic_init[chip] = 2
            B.pic_imr[chip] = 0
            B.pic_isr[chip] = 0
            B.pic_irr[chip] = B.pic_lines[chip] & pic_levels(B, chip)  # edges have to come again
            B.pic_lowest[chip] = 7
            B.pic_smm[chip] = 0
            B.pic_poll[chip] = 0
            B.pic_read_isr[chip] = 0
            B.pic_aeoi[chip] = 0
            B.pic_rotate[chip] = 0
            B.pic_sfnm[chip] = 0
        elif value & 8:  # OCW3
            if value & 0x40:
                B.pic_smm[chip] = (value >> 5) & 1
            if value & 4:
                B.pic_poll[chip] = 1
            elif value & 2:
                B.pic_read_isr[chip] = value & 1
        else:
            pic_command(B, chip, value)
    elif B.pic_init[chip] == 2:
        B.pic_base[chip] = value & 0xF8
        B.pic_init[chip] = 3 if B.pic_single[chip] == 0 else (4 if B.pic_icw4[chip] else 0)
    elif B.pic_init[chip] == 3:
        B.pic_icw3[chip] = value
        B.pic_init[chip] = 4 if B.pic_icw4[chip] else 0
    elif B.pic_init[chip] == 4:
        B.pic_aeoi[chip] = (value >> 1) & 1
        B.pic_sfnm[chip] = (value >> 4) & 1
        B.pic_init[chip] = 0
    else:
        B.pic_imr[chip] = value
    pic_update(B)


@kernel(I64(B_T, I64, I64))
def pic_read(B, chip, a0):
    """A byte from a controller: IRR, ISR or IMR, or the answer to a poll, which acknowledges like INTA."""
    if B.pic_poll[chip]:
        B.pic_poll[chip] = 0
        level = pic_pending(B, chip)
        if level < 0:
            return 7
        pic_serve(B, chip, level)
        pic_update(B)
        return 0x80 | level
    if a0:
        return B.pic_imr[chip]
    return B.pic_isr[chip] if B.pic_read_isr[chip] else B.pic_irr[chip]


@kernel(VOID(B_T, I64, I64))
def elcr_write(B, chip, value):
    """Make lines edge- or level-triggered; a level-triggered line that is up asks at once."""
    value &= 0xF8 if chip == 0 else 0xDE
    B.pic_elcr[chip] = value
    B.pic_irr[chip] = (B.pic_irr[chip] & ~value) | (B.pic_lines[chip] & value)
    pic_update(B)
