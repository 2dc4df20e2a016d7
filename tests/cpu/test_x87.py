"""x87 instructions against an Intel processor: whole state before, whole state after.

The digests are that processor's answers, so they judge on any machine; where there is such a processor it is asked
itself, with other states.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from aero_lab.compiled.registry import PLAIN

from . import hardware, x87_images
from .x87_digests import FEW, MANY, TABLE, digest, instruction, name
from .x87_states import ESCAPES, HOLES, TRANSCENDENTAL, forms, states


@pytest.mark.parametrize("esc", ESCAPES)
def test_every_form_is_the_processors(esc):
    wanted = json.loads(TABLE.read_text())
    count = FEW if PLAIN else MANY
    for masked in (True, False):
        given = states(MANY, masked)[:count]
        for form in forms():
            if form[0] == esc:
                out = x87_images.run(*form, given)
                assert out is not None, name(*form)
                assert digest(out) == wanted[name(*form)][(0 if masked else 2) + (0 if PLAIN else 1)], name(*form)
    assert len(wanted) == len(forms())


def test_there_is_nothing_where_there_is_nothing():
    given = states(1, True)
    for esc, modrm in HOLES:
        assert x87_images.run(esc, modrm, given) is None, name(esc, modrm)


@pytest.mark.skipif(not hardware.AVAILABLE, reason=hardware.WHY_NOT)
@pytest.mark.parametrize("masked", [True, False])
def test_against_this_processor(masked):
    given = states(50 if PLAIN else 4000, masked, seed=2)
    for form in forms():
        ours, its = x87_images.run(*form, given), hardware.run(instruction(*form), given)
        assert ours is not None
        wrong = np.nonzero(ours != its)[0]
        assert not len(wrong), (name(*form), len(wrong), given[wrong[0]], ours[wrong[0]], its[wrong[0]])


EDGES = [
    (0, 0), (0, 0x8000), (1 << 63, 0x7FFF), (1 << 63, 0xFFFF), (3 << 62, 0x7FFF), ((3 << 62) + 5, 0xFFFF),
    ((1 << 63) + 5, 0x7FFF), (1 << 63, 0x3FFF), (1 << 62, 0x4000),
]  # fmt: skip


@pytest.mark.skipif(not hardware.AVAILABLE, reason=hardware.WHY_NOT)
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("form", sorted(TRANSCENDENTAL))
def test_transcendental_edges_against_this_processor(form, masked):
    """Where an operand is zero, infinite, no number or missing the answer is one, not an approximation."""
    count = 300 if PLAIN else 8000
    given = states(count, masked, seed=3)
    which = np.arange(count)
    for i, column in ((0, which % len(EDGES)), (1, which // len(EDGES) % (2 * len(EDGES)))):
        chosen = np.array(EDGES + EDGES, object)[column]
        replace = np.ones(count, bool) if i == 0 else column < len(EDGES)
        given["regs"]["man"][replace, i] = chosen[replace, 0].astype(np.uint64)
        given["regs"]["se"][replace, i] = chosen[replace, 1].astype(np.uint16)
    ours, its = x87_images.run(*form, given), hardware.run(instruction(*form), given)
    assert ours is not None
    near = (ours["regs"]["se"] == its["regs"]["se"]) & (
        np.abs((ours["regs"]["man"] - its["regs"]["man"]).view(np.int64)) < 1 << 11
    )
    ours["regs"]["man"][near] = its["regs"]["man"][near]
    for state in (ours, its):  # C0, C3 are undefined, and C1 says which way an approximation was rounded
        state["fsw"] &= ~np.uint32(0x4300)
    wrong = ours != its
    if form == (1, 0xF9):
        wrong &= ~np.isin(given["regs"]["se"][:, 0] & 0x7FFF, [0x7FFF, 0x4000, 0x3FFF])  # beyond FYL2XP1's arguments
    first = np.nonzero(wrong)[0]
    assert not len(first), (len(first), given[first[0]], ours[first[0]], its[first[0]])
