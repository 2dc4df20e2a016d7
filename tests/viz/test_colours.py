"""Each colour stays apart from the others of its set for every kind of eye, and in a grey print by a second mark."""

from itertools import combinations

import pytest

from aero_lab import viz
from aero_lab.analysis.requests import HOPS
from aero_lab.analysis.stalls import LABELS
from aero_lab.causes import Cause
from aero_lab.viz import style
from aero_lab.viz.stalls import STALL_HATCHES
from aero_lab.viz.waterfall import HOP_HATCHES, HOP_LABELS

from .sight import SIGHTS, distance, lightness, seen

APART = 12
"""Five times what is just noticeable."""
GREY = 9
"""Difference of L* from which two greys side by side are told apart."""

SETS = {
    "causes": (style.CAUSE_COLOURS, style.CAUSE_HATCHES),
    "options": (style.OPTION_COLOURS, style.OPTION_DASHES),
    "transports": (style.TRANSPORT_COLOURS, style.TRANSPORT_DASHES),
    "hops": (viz.HOP_COLOURS, HOP_HATCHES),
    "stalls": (viz.STALL_COLOURS, STALL_HATCHES),
    "others": (
        {i: look.colour for i, look in enumerate(style.OTHERS)},
        {i: k.dashes for i, k in enumerate(style.OTHERS)},
    ),
}


def test_the_simulation_is_the_published_one():
    # Red and green of one lightness fall together without the M cones; white and grey stay what they are.
    assert distance("#C06A5A", "#808A5A", "normal") > 40 > 15 > distance("#C06A5A", "#808A5A", "deuteranopia")
    for sight in SIGHTS:
        for grey in ("#FFFFFF", "#808080"):
            assert abs(seen(grey, sight) - seen(grey)).max() < 0.5
    assert lightness("#FFFFFF") == pytest.approx(100, abs=0.01) and lightness("#000000") == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("sight", SIGHTS)
def test_colours_are_told_apart(name, sight):
    colours, marks = SETS[name]
    near = [
        (a, b, round(distance(colours[a], colours[b], sight), 1))
        for a, b in combinations(colours, 2)
        if distance(colours[a], colours[b], sight) < APART and marks.get(a) == marks.get(b)
    ]
    assert near == []


@pytest.mark.parametrize("name", ["options", "transports", "others"])
@pytest.mark.parametrize("sight", SIGHTS)
def test_lines_are_told_apart_by_colour_alone(name, sight):
    colours, _ = SETS[name]
    assert min(distance(colours[a], colours[b], sight) for a, b in combinations(colours, 2)) >= APART


@pytest.mark.parametrize("name", SETS)
def test_a_grey_print_tells_them_apart_too(name):
    colours, marks = SETS[name]
    near = [
        (a, b)
        for a, b in combinations(colours, 2)
        if abs(lightness(colours[a]) - lightness(colours[b])) < GREY and marks.get(a) == marks.get(b)
    ]
    assert near == []


def test_everything_that_is_drawn_has_a_colour_of_its_own():
    assert set(viz.CAUSE_COLOURS) == {cause.name.lower() for cause in Cause}
    assert set(viz.HOP_COLOURS) == set(HOPS) == set(HOP_LABELS) and set(viz.STALL_COLOURS) == set(LABELS)
    assert set(viz.TRANSPORT_COLOURS) == set(viz.TRANSPORT_MARKERS) == set(viz.TRANSPORT_DASHES)
    assert len(set(viz.TRANSPORT_MARKERS.values())) == len(viz.TRANSPORT_MARKERS)
    for colours, _ in SETS.values():
        assert len(set(colours.values())) == len(colours)


def test_options_and_transports_look_the_same_wherever_they_are():
    looks = style.looks
    assert {n: look.colour for n, look in looks(["C", "A"]).items()} == {k: style.OPTION_COLOURS[k] for k in "CA"}
    assert looks(["webrtc", "websocket"])["websocket"].colour == style.TRANSPORT_COLOURS["websocket"]
    both = looks([("A", "websocket"), ("A", "webrtc"), ("C", "websocket")])
    assert [look.colour for look in both.values()] == [style.OPTION_COLOURS[k] for k in "AAC"]
    assert len(set(both.values())) == 3 and len({look.dashes for look in both.values()}) == 2
    assert looks(["C websocket", "C memory"])["C memory"].colour == style.TRANSPORT_COLOURS["memory"]
    assert list(looks(["early", "mirror"]).values()) == list(style.OTHERS[:2])
    assert list(looks(["C", "early"]).values()) == list(style.OTHERS[:2])
    assert len(looks(range(20))) == 20
