"""The drivers that keep network cards busy: what they count is what went through."""

from __future__ import annotations

import pytest

from aero_lab.bench import check
from aero_lab.bench.nic import BATCH, CASES, DRIVERS, HEADER, MSS, Bench, Case, frame_of, measure
from aero_lab.errors import AeroLabError, UsageError


@pytest.mark.parametrize("model", DRIVERS)
def test_frames_that_are_sent_are_all_sent(model):
    driver = DRIVERS[model]()
    data = frame_of(200)
    driver.put(data)
    assert driver.sends(1000, 200, BATCH) == 1000 == driver.nic.tx.given
    assert driver.nic.tx.given_bytes == 200_000 and driver.nic.counters["tx_frames"] == 1000
    assert driver.sends(3, 200, BATCH) == 3 and driver.nic.tx.given == 1003


@pytest.mark.parametrize("model", DRIVERS)
def test_packets_are_cut_into_all_their_segments(model):
    driver = DRIVERS[model]()
    payload = 20_000
    driver.put(frame_of(HEADER + payload), slots=False)
    number = -(-payload // MSS)
    assert driver.segments(5, HEADER + payload, HEADER, MSS) == 5 * number == driver.nic.tx.given
    assert driver.nic.tx.given_bytes == 5 * (number * HEADER + payload)


@pytest.mark.parametrize("model", DRIVERS)
def test_frames_that_wait_all_arrive(model):
    driver = DRIVERS[model]()
    for round_ in range(3):
        for _ in range(200):
            assert driver.nic.rx.push(frame_of(300))
        assert driver.receives() == 200 and len(driver.nic.rx) == 0
        assert driver.nic.counters["rx_frames"] == 200 * (round_ + 1)


def test_the_bench_gives_a_figure_for_every_case():
    results = measure(0.002)
    assert [r.case for r in results] == [case.name for case in CASES]
    assert all(r.value and r.value > 0 and r.unit == "frames/s" and r.peer is None for r in results)


def test_what_did_not_move_is_no_figure():
    bench = Bench(Case("e1000", "tx", 60))
    bench.driver.nic.write(0x400, 0)
    with pytest.raises(AeroLabError, match="nothing moved"):
        bench.sample(0.01)
    with pytest.raises(AeroLabError, match="0 of 1 frames"):
        bench.check(1)


def test_wrong_names_are_refused():
    with pytest.raises(UsageError, match="no case 'nic/e1000/up'"):
        check("nic", 1.0, ["nic/e1000/up"])
