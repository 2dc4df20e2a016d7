"""Machines in virtual time: small guests in machine code on a scheduler, with a card that can do next to nothing."""

from __future__ import annotations

import pytest

from aero_lab.clock import Scheduler, VirtualClock
from aero_lab.errors import UsageError
from aero_lab.guests.linux.scheduled import BLOCKED, ScheduledMachine
from aero_lab.limits import NEVER
from tests.machine.guest import DATA, gate, machine, printer, ticker, word
from tests.machine.mailbox import Mailbox
from tests.machine.test_nics import BASE, MASTER, SPIN, keep, load, mov

START = 7_000_000
"""The lab's time when the machines are plugged in: not theirs."""
WINDOW = BASE
"""Of the card's registers."""


class Taker:
    """A node that takes what a machine sends, and notes when."""

    name = "taker"

    def __init__(self, node: ScheduledMachine, most: int = 1 << 30):
        self.node, self.most, self.seen = node, most, []

    def poll_at(self, now: int) -> int:
        return now if len(self.node.nic_tx) and len(self.seen) < self.most else NEVER

    def step(self, now: int) -> None:
        self.seen += [(now, frame.data) for frame in self.node.nic_tx.pop_many(1)]


class Noting(Taker):
    """Several of them share one log."""

    def __init__(self, node: ScheduledMachine, number: int, log: list[tuple[int, int]]):
        super().__init__(node)
        self.number, self.log = number, log

    def step(self, now: int) -> None:
        super().step(now)
        self.log.append((now, self.number))


class Ticking:
    """A node that does something at given times."""

    name = "ticking"

    def __init__(self, times, action=lambda now: None):
        self.times, self.action = list(times), action

    def poll_at(self, now: int) -> int:
        return self.times[0] if self.times else NEVER

    def step(self, now: int) -> None:
        assert now == self.times.pop(0)
        self.action(now)


def bench(*nodes):
    scheduler = Scheduler(VirtualClock(START))
    scheduler.add(*nodes)
    return scheduler


def sender(waits, size=60, **more) -> ScheduledMachine:
    """A guest that sends a frame each after so many idle instructions, and goes on doing nothing."""
    code = MASTER + mov(WINDOW, DATA)
    for wait in waits:
        code += b"\x90" * wait + mov(WINDOW + 4, size)
    m = machine(code + SPIN, **more)
    m.attach(Mailbox())
    m.write(DATA, bytes(range(256)) * 8)
    return ScheduledMachine(m, START)


def card_of(node: ScheduledMachine) -> Mailbox:
    card = node.nic
    assert isinstance(card, Mailbox)
    return card


SETUP = 8
"""Instructions of MASTER and of the first mov, and the one that sends."""


def times_of(waits):
    """When the frames of :func:`sender` are sent: an instruction is a nanosecond."""
    at, out = START + SETUP - 1, []
    for wait in waits:
        at += wait + 1
        out.append(at)
    return out


def test_a_frame_is_the_others_at_the_time_of_the_instruction_that_sent_it():
    waits = (5, 100, 0, 30_000)
    node = sender(waits)
    taker = Taker(node)
    scheduler = bench(node, taker)
    assert scheduler.run(START + 1_000_000)
    assert [when for when, _ in taker.seen] == times_of(waits)
    assert all(data == bytes(range(60)) for _, data in taker.seen)
    assert node.local == scheduler.clock.now() == START + 1_000_000


def test_where_others_tick_does_not_change_what_a_machine_does():
    waits = (40, 3, 777, 90_000)
    seen = []
    for ticks in ((), range(START + 1, START + 3000, 7), (START + 50_000,)):
        node = sender(waits)
        taker = Taker(node)
        bench(Ticking(ticks), node, taker).run(START + 200_000)
        seen.append((taker.seen, node.machine.state_hash()))
    assert seen[0] == seen[1] == seen[2]


def test_machines_take_turns_by_their_clocks_whatever_their_order():
    waits = ((100, 100, 100), (50, 120, 80), (10, 10, 400))
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0)):
        nodes = [sender(waits[number]) for number in order]
        log: list[tuple[int, int]] = []
        bench(*nodes, *(Noting(node, at, log) for at, node in enumerate(nodes))).run(START + 10_000)
        wanted = sorted((when, at) for at, number in enumerate(order) for when in times_of(waits[number]))
        assert log == wanted


def listener(**more) -> ScheduledMachine:
    """A guest that sleeps, and notes for each frame the time-stamp counter and the length."""
    irq = 10 + (5 + 1 - 2) % 4 // 2
    pic = "b011 e620 b020 e621 b004 e621 b001 e621 b0fb e621 b011 e6a0 b028 e6a1 b002 e6a1 b001 e6a1"
    pic += f"b0{0xFF & ~(1 << irq - 8):02x} e6a1 fb"
    code = MASTER + mov(WINDOW, DATA + 0x400) + mov(WINDOW + 8, 1) + bytes.fromhex(pic) + b"\xf4\xeb\xfd"
    m = machine(code, **more)
    m.attach(Mailbox())
    count = b"\xff\x05" + (DATA).to_bytes(4, "little")
    stamp = b"\x0f\x31" + keep(DATA + 4)
    end = bytes.fromhex("b020 e6a0 e620 cf")
    m.write(0x101000, stamp + load(WINDOW + 8) + keep(DATA + 8) + count + mov(WINDOW + 8, 1) + end)
    gate(m, 0x20 + irq, 0x101000)
    return ScheduledMachine(m, START)


@pytest.mark.parametrize("asleep", [5_000_000, 123_457, 40])
def test_a_frame_reaches_a_sleeping_machine_at_the_instant_of_its_arrival(asleep):
    node = listener()
    at = START + asleep
    scheduler = bench(node, Ticking([at], lambda now: node.nic_rx.push(b"x" * 99, now)))
    scheduler.run(at + 1000)
    assert word(node.machine, DATA) == 1 and word(node.machine, DATA + 8) == 99
    heard = word(node.machine, DATA + 4) - node.ahead
    assert 0 <= heard - at < 10 if asleep > 100 else heard - at < 100
    assert len(node.nic_rx) == 0


def test_machines_that_sleep_cost_nothing():
    node = listener()
    scheduler = bench(node, Ticking(range(START + 1000, START + 2_000_000, 1000)))
    scheduler.run(START + 2_000_000)
    assert scheduler.instants > 1900 and node.runs < 5
    icount = node.machine.icount
    scheduler.run(START + 3_000_000)
    assert node.machine.icount == icount


def test_a_timer_wakes_a_sleeping_machine_at_its_time():
    alone = ticker()
    alone.run(ns=20_000_000)
    node = ScheduledMachine(ticker(), START)
    bench(node, Ticking(range(START + 137, START + 20_000_000, 99_991))).run(START + 20_000_000)
    assert word(node.machine, 0x8004) == word(alone, 0x8004) > 15
    assert node.runs < 60


def test_frames_that_nobody_takes_hold_up_the_sender_and_not_the_machine():
    node = sender([0] * 2000, size=1500)
    taker = Taker(node, most=0)
    scheduler = bench(node, taker)
    scheduler.run(START + 100 * BLOCKED)
    held = len(node.nic_tx) + len(card_of(node).tx)
    assert held < 2000 and node.local == scheduler.clock.now()
    taker.most = 1 << 30
    # The guest did not wait: what it wrote into the register again before the frame was gone is its own affair.
    scheduler.run(START + 101 * BLOCKED)
    assert len(taker.seen) >= held and not len(node.nic_tx)


def test_frames_for_a_card_that_takes_none_wait_without_end():
    node = sender([10])
    ticks = Ticking([START + 100], lambda now: [node.nic_rx.push(b"y" * 1500, now) for _ in range(900)])
    scheduler = bench(node, ticks, Taker(node))
    assert scheduler.run(START + 1_000_000)
    assert len(node.nic_rx) + len(card_of(node).rx) == 900 and node.local == START + 1_000_000


def test_a_machine_at_its_end_leaves_the_others_alone():
    node = ScheduledMachine(machine(printer(b"bye")), START)
    later: list[int] = []
    scheduler = bench(node, Ticking([START + 5_000_000], later.append))
    assert scheduler.run(START + 6_000_000)
    assert node.ended is not None and node.ended.reason == "halted" and later == [START + 5_000_000]
    assert node.run_on(START + 9_000_000) == NEVER and node.poll_at(START + 9_000_000) == NEVER


def test_nothing_goes_on_for_ever_when_all_sleep():
    node = ScheduledMachine(machine("fb f4 ebfd"), START)
    assert not bench(node).run(lambda: False)
    assert node.runs <= 2


def test_a_text_is_noticed_whichever_run_prints_it():
    m = machine(printer(b"one two three"))
    m.watch(b"two")
    reasons = []
    while not reasons or reasons[-1] == "instructions":
        reasons.append(m.run(instructions=4).reason)
    assert len(reasons) > 3 and reasons[-1] == "text" and m.console.text == "one two"
    m.watch(None)
    assert m.run() == "halted" and m.console.text == "one two three"


def test_a_machine_by_the_hosts_clock_has_no_place_in_virtual_time():
    with pytest.raises(UsageError, match="instructions"):
        ScheduledMachine(machine(SPIN, clock="host"), 0)
