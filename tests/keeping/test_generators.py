"""Generators that are copied where they stand, one construct of the language after the other."""

from __future__ import annotations

import copy
import types
from typing import Any

import pytest

from aero_lab.keeping.generators import CannotCopy, Reviver, take_apart


def twin(generator):
    """A copy: what it holds is copied too, but for what it waits for below."""
    made = Reviver()

    def build(one):
        state = take_apart(one)
        other = made.make(state.origin, state.place)
        below = build(state.below) if isinstance(state.below, types.GeneratorType) else state.below
        made.fill(other, (copy.deepcopy(state.variables), below, copy.deepcopy(state.loops)))
        return other

    other = build(generator)
    made.go()
    return other


def play(generator, answers):
    """Everything that comes out of a generator that is given these answers."""
    told = []
    try:
        for answer in answers:
            told.append(generator.send(answer))
    except StopIteration as stop:
        told.append(("end", stop.value))
    except ValueError as error:
        told.append(("error", str(error)))
    return told


def loops(n):
    total = 0
    for i in range(n):
        for number, name in enumerate(["a", "b"]):
            total += i * number
            got = yield (i, number, name, total)
            if got == 3:
                continue
            total += got
    else:
        total += 1000
    return total


def while_with_test(limit):
    seen = []
    while len(seen) < limit and not (yield len(seen)) == 9:
        seen.append((yield "body"))
    return seen


def branches(kind):
    if kind == 0:
        answer = yield "zero"
    elif kind == 1:
        before = "one"
        answer = yield before
        answer = answer + (yield "again")
    else:
        answer = 0
        answer += yield "else"
    return answer


def guarded(fail):
    log = []
    try:
        log.append("begin")
        try:
            got = yield list(log)
            if got == fail:
                raise ValueError(f"got {got}")
        except ValueError:
            log.append("caught")
        else:
            log.append((yield "else"))
        finally:
            log.append("finally")
        yield list(log)
    finally:
        log.append("end")
    return log


def below(n):
    first = yield from branches(n)
    parts = []
    parts.append((yield from loops(2)))
    while (last := (yield from branches(0))) < 5:
        parts.append(last)
    return first, parts


def operators(a):
    ok = True
    ok &= (yield "and") == a
    word = (yield "or") or "default"
    value = a > 0 and (yield "bool")
    pick = (yield "if") if a else (yield "else")
    return ok, word, value, pick, [a, (yield "list")]


def nested(items):
    """Variables that a function inside uses, too."""
    kept = []

    def size():
        return len(kept)

    del size
    keep = [x for x in items]
    for item in items:
        kept += [item] if (yield len(kept)) else []
    return kept, keep, [kept for _ in range(2)][0]


CASES = [
    (loops, (3,)),
    (while_with_test, (3,)),
    (branches, (0,)),
    (branches, (1,)),
    (branches, (2,)),
    (guarded, (1,)),
    (guarded, (7,)),
    (below, (1,)),
    (operators, (1,)),
    (operators, (0,)),
    (nested, ([1, 2, 3],)),
]
ANSWERS = [None, 1, 2, 3, 1, 9, 4, 1, 1, 7, 8, 2, 6, 5, 3]


@pytest.mark.parametrize(("function", "arguments"), CASES, ids=lambda each: getattr(each, "__name__", ""))
def test_a_copy_goes_on_as_the_original_does_wherever_it_is_made(function, arguments):
    whole = play(function(*arguments), ANSWERS)
    for steps in range(len(whole)):
        one = function(*arguments)
        begun = [one.send(answer) for answer in ANSWERS[:steps]]
        assert begun == whole[:steps]
        other = twin(one)
        third = twin(other)  # a copy of a copy
        for each in (other, one, third):
            assert play(each, ANSWERS[steps:]) == whole[steps:]


def test_a_copy_of_a_copy_that_went_on():
    one = loops(4)
    told = [one.send(answer) for answer in ANSWERS[:3]]
    for answer in ANSWERS[3:6]:
        one = twin(one)
        told.append(one.send(answer))
    assert told + play(one, ANSWERS[6:]) == play(loops(4), ANSWERS)


def test_one_that_never_ran_and_one_that_ended():
    fresh = loops(1)
    assert play(twin(fresh), ANSWERS) == play(fresh, ANSWERS)
    assert list(twin(fresh)) == []


def in_with(manager):
    with manager:
        yield 1


def in_except():
    try:
        raise ValueError
    except ValueError:
        yield 1


def behind_a_call(list_of):
    return list_of.pop() + (yield 1)


def two_in_one():
    return (yield 1) + (yield 2)


def over_attributes(box):
    for box.x in range(3):
        yield 1


def test_what_cannot_be_copied_is_named():
    def outer():
        shared = []

        def inner():
            yield shared

        return inner()

    cases = {
        "in_with": in_with(memoryview(b"")),
        "in_except": in_except(),
        "behind_a_call": behind_a_call([1]),
        "over_attributes": over_attributes(types.SimpleNamespace()),
        "shared": outer(),
    }
    cases["two_in_one"] = two_in_one()
    next(cases["two_in_one"])
    for name, generator in cases.items():
        next(generator)
        with pytest.raises(CannotCopy, match=name):
            twin(generator)
    running: Any = None

    def asks():
        with pytest.raises(CannotCopy, match="at work"):
            take_apart(running)
        yield 1

    running = asks()
    next(running)
