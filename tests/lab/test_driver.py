"""The real-time driver against nodes whose needs are known. Nothing here asserts how long anything took."""

from __future__ import annotations

import asyncio
import os

from aero_lab.driver import Driver
from aero_lab.limits import DRIVER_TURNS, MS, NEVER


class Counter:
    """Has work ``turns`` times, then sleeps for ever or until ``deadlines`` run out."""

    def __init__(self, turns: int = 0, deadlines: tuple[int, ...] = ()):
        self.turns, self.deadlines, self.steps = turns, list(deadlines), []

    def step(self, now: int) -> None:
        self.steps.append(now)
        if self.turns:
            self.turns -= 1
        while self.deadlines and self.deadlines[0] <= now:
            self.deadlines.pop(0)

    def poll_at(self, now: int) -> int:
        if self.turns:
            return now
        return self.deadlines[0] if self.deadlines else NEVER


def drive(node, until, **kwargs):
    async def main():
        driver = Driver(asyncio.get_running_loop(), **kwargs)
        driver.add(node)
        done = asyncio.Event()
        driver.settled.append(lambda now: until() and done.set())
        await asyncio.wait_for(done.wait(), 20)
        driver.stop()
        return driver

    return asyncio.run(main())


def test_work_is_done_beyond_one_round():
    node = Counter(turns=3 * DRIVER_TURNS)
    drive(node, lambda: node.turns == 0)
    assert len(node.steps) == 3 * DRIVER_TURNS


def test_input_from_outside_steps_nodes_that_did_not_ask():
    async def main():
        driver = Driver(asyncio.get_running_loop())
        node = Counter()
        driver.add(node)
        await asyncio.sleep(0.01)
        assert len(node.steps) == 1
        driver.wake()
        driver.wake()
        await asyncio.sleep(0.01)
        assert len(node.steps) == 2
        driver.stop()

    asyncio.run(main())


def test_deadlines_are_met_in_order_and_never_early():
    from aero_lab.clock import RealClock

    start = RealClock().now()
    deadlines = tuple(start + i * 5 * MS for i in (1, 2, 3))
    node = Counter(deadlines=deadlines)
    drive(node, lambda: not node.deadlines)
    assert len(node.steps) <= 4
    assert all(step >= deadlines[0] for step in node.steps[1:])
    assert node.steps[-1] >= deadlines[-1]


def test_a_readable_descriptor_wakes_it():
    read, write = os.pipe()
    node = Counter()

    async def main():
        driver = Driver(asyncio.get_running_loop())
        driver.add(node)
        woken = asyncio.Event()

        def readable():
            assert os.read(read, 16) == b"x"
            node.turns = 1
            woken.set()

        driver.watch(read, readable)
        await asyncio.sleep(0)
        os.write(write, b"x")
        await asyncio.wait_for(woken.wait(), 20)
        while node.turns:
            await asyncio.sleep(0)
        driver.stop()
        assert not driver.loop.remove_reader(read)

    asyncio.run(main())
    assert len(node.steps) >= 1
    os.close(read)
    os.close(write)


def test_the_loop_gets_its_turn_beside_a_busy_node():
    async def main():
        driver = Driver(asyncio.get_running_loop())
        node = Counter(turns=1 << 30)
        driver.add(node)
        for _ in range(5):
            await asyncio.sleep(0)
        driver.stop()
        steps = len(node.steps)
        await asyncio.sleep(0)
        assert 0 < steps == len(node.steps)

    asyncio.run(main())


def test_a_node_that_raises_stops_the_driver_and_is_told():
    class Broken(Counter):
        def step(self, now):
            raise ZeroDivisionError("a defect")

    seen: list[BaseException] = []

    async def main():
        driver = Driver(asyncio.get_running_loop(), failed=seen.append)
        driver.add(Broken(turns=1))
        await asyncio.sleep(0.01)
        return driver

    driver = asyncio.run(main())
    assert isinstance(driver.error, ZeroDivisionError) and seen == [driver.error]


def test_remove():
    async def main():
        driver = Driver(asyncio.get_running_loop())
        node = Counter(turns=5)
        driver.add(node)
        driver.remove(node)
        await asyncio.sleep(0.01)
        assert node.steps == []
        driver.stop()
        driver.stop()

    asyncio.run(main())


def test_never_sets_no_timer():
    async def main():
        driver = Driver(asyncio.get_running_loop())
        driver.add(Counter())
        await asyncio.sleep(0.01)
        assert driver._timer is None
        driver.stop()

    asyncio.run(main())
