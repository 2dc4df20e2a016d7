"""Reproductions: the compiled race against a plain one, the habits of other TCPs, the command line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pytest

from aero_lab import cli, viz
from aero_lab.errors import AeroLabError, UsageError
from aero_lab.experiment.reproduce import names, reproduce, rfc9438, rules
from aero_lab.experiment.reproduce.base import Report, Row, each, silent, span, spread
from aero_lab.experiment.reproduce.mathis import constant
from aero_lab.experiment.reproduce.pair import OURS, Habits, Pair
from aero_lab.experiment.reproduce.smoltcp import (
    BACK_N,
    BATCHED,
    BYTES,
    KEPT,
    LOSS,
    MULTI_FLOW,
    PROBED,
    RING,
    SINGLE_FLOW,
    TCP,
    THEIRS,
    cell,
    lucky,
    run_flow,
    together,
)
from aero_lab.limits import MS, NEVER, SECOND
from aero_lab.link.stages import Delay, Loss, Rate
from aero_lab.stack import TcpConfig
from tests.viz.looking import looked_at

VECTORS = Path(__file__).parents[2] / "../shared/vectors/smoltcp-netsim.json"
SOME = {(16384, 0.1), (8192, 0.001), (8192, 0.3), (4096, 0.2)}
"""Cells beside those of the longest buffer that are soon played."""
MIX = [
    TcpConfig(send_buffer=4096, recv_buffer=4096, rto_min=SECOND, sack=False, congestion="none"),
    TcpConfig(send_buffer=1 << 16, recv_buffer=1 << 16, congestion="cubic"),
    TcpConfig(send_buffer=1 << 15, recv_buffer=1 << 15, congestion="newreno", rack=False, delack_segments=1),
]


def plain_race(pair: Pair, total: int) -> tuple[int, int, int]:
    """The same turns by the calls of the socket layer: time, segments out, acknowledgements out."""
    near = pair.sender._connections
    a = next(iter(near.values()))
    b = next(iter(pair.reader._connections.values()))
    written = read = 0
    for _ in range(1_000_000):
        now = pair.now
        if pair.sender.poll_at(now) <= now:
            pair.sender.step(now)
        if written < total:
            written += a.write(bytes(min(a.room, total - written)), now)
        if pair.reader.poll_at(now) <= now:
            pair.reader.step(now)
        come = b.readable
        if come:
            read += come
            b.consume(come, now)
        if read >= total:
            return now, a.info()["segs_out"], b.info()["segs_out"]
        pair.there.step(now)
        pair.back.step(now)
        due = min(node.poll_at(now) for node in (pair.sender, pair.reader, pair.there, pair.back))
        assert due < NEVER
        pair.now = max(now, due)
    raise AssertionError("it never ends")


@pytest.mark.parametrize("tcp", MIX)
@pytest.mark.parametrize("loss", [0.0, 0.03])
def test_the_compiled_race_is_the_plain_one(tcp, loss):
    stages = [Rate(20_000_000, 30_000), Loss(loss), Delay(10 * MS)]
    outcome = Pair(stages, stages, tcp, seed=5).run(200_000)
    assert outcome.ok and outcome.bytes == 200_000
    assert plain_race(Pair(stages, stages, tcp, seed=5), 200_000) == (outcome.ns, outcome.segments, outcome.acks)


def test_a_back_off_that_is_kept_costs_what_it_should():
    ours, kept = (run_flow(512, 0.2, 3, habits, 100_000) for habits in (Habits(), Habits(kept_backoff=True)))
    assert (ours.lost, ours.timeouts) == (kept.lost, kept.timeouts)  # with one segment in flight it meets the same
    assert kept.ns > 1.5 * ours.ns


def test_going_back_sends_everything_again_and_arrives():
    back = run_flow(32768, 0.1, 3, BACK_N, 400_000)
    assert back.ok and back.retransmissions > 2 * run_flow(32768, 0.1, 3, KEPT, 400_000).retransmissions
    # What exactly happens is a matter of every rule: third duplicates, timeouts, forgotten data that had arrived.
    assert (back.retransmissions, back.timeouts, back.ns // MS) == (168, 8, 16500)


def test_what_was_forgotten_and_has_arrived_is_acknowledged():
    stages = [Loss(0.2), Delay(50 * MS)]
    tcp = replace(TCP, send_buffer=4096, recv_buffer=4096)
    outcome = Pair(stages, stages, tcp, seed=2, habits=BACK_N).run(60_000, deadline=600 * SECOND)
    assert outcome.ok and outcome.ns // MS == 18550


def test_a_segment_ends_where_the_ring_does():
    cut = run_flow(32768, 0.1, 3, RING, 400_000)
    assert (cut.retransmissions, cut.timeouts, cut.ns // MS) == (147, 6, 10900)


def test_a_closed_window_is_asked_about_at_once_or_after_an_rto():
    later, at_once = (run_flow(2048, 0.1, 5, habits, 100_000) for habits in (RING, PROBED))
    assert later.ns - at_once.ns == 2 * SECOND  # two updates of the window were lost
    assert (at_once.timeouts, at_once.ns // MS) == (17, 55240)


def test_readers_that_say_and_remember_less():
    batched = run_flow(32768, 0.0, 1, Habits(batched_ack=True), 400_000)
    assert batched.acks < 0.4 * run_flow(32768, 0.0, 1, Habits(), 400_000).acks
    remembers, forgetful = (run_flow(32768, 0.1, 3, habits, 400_000) for habits in (BATCHED, THEIRS))
    assert (remembers.refused, remembers.ns // MS) == (0, 14400)
    assert (forgetful.refused, forgetful.ns // MS) == (4, 15400)


def test_means_are_those_of_a_window_in_flight():
    tcp = TcpConfig(mss=1000, timestamps=False, congestion="none", send_buffer=10_000, delack_segments=1)
    outcome = Pair([Delay(50 * MS)], [Delay(50 * MS)], tcp).run(1_000_000, settle=100_000)
    assert outcome.mean_flight == pytest.approx(10, rel=0.02)
    assert outcome.settled_rate == pytest.approx(100_000, rel=0.01)


def test_figures_carried_are_those_of_the_vectors():
    if not VECTORS.exists():
        pytest.skip("the vectors are not here")
    table = json.loads(VECTORS.read_text())["single_flow"]
    assert table["loss"] == list(LOSS)
    assert {int(k): tuple(v) for k, v in table["rows"].items()} == SINGLE_FLOW
    several = json.loads(VECTORS.read_text())["multi_flow"]["rows"]
    assert {row[0]: tuple(row[1:]) for row in several} == MULTI_FLOW


@pytest.mark.parametrize(
    ("buffer", "loss"),
    [
        pytest.param(buffer, loss, marks=() if buffer == 32768 or (buffer, loss) in SOME else pytest.mark.long)
        for buffer in SINGLE_FLOW
        for loss in LOSS
    ],
)
def test_by_its_rules_and_with_its_random_numbers_a_cell_is_theirs_to_the_last_digit(buffer, loss):
    assert rules.single(buffer, loss, BYTES) == pytest.approx(SINGLE_FLOW[buffer][LOSS.index(loss)], abs=0.00501)


@pytest.mark.parametrize("flows", [n if n <= 4 else pytest.param(n, marks=pytest.mark.long) for n in MULTI_FLOW])
def test_by_its_rules_flows_on_one_line_are_theirs_to_the_last_digit(flows):
    got = rules.shared(flows, 256 << 10, 2 << 20, 25_000_000, 64 << 10)
    assert [round(value, digits) for value, digits in zip(got.columns(), (2, 2, 2, 4, 4), strict=True)] == list(
        MULTI_FLOW[flows]
    )


def test_flows_on_one_line_stand_beside_theirs():
    alone, four = together(1), together(4)
    assert alone.ok is None and four.ok is None  # nothing is judged
    assert alone.ours is not None and four.ours is not None
    assert 10 < alone.ours / MULTI_FLOW[1][0] < 20 and 2 * alone.ours < four.ours < 4 * alone.ours
    *_, go_back_n, all_habits = alone.note.split(" with ")
    assert go_back_n.startswith("go-back-N 3") and all_habits == "all its habits 3454 B/s"


def test_random_numbers_are_those_of_chacha20():
    # RFC 8439 appendix A.1, vector 1, and the second block of the same stream (vector 2).
    assert rules.keystream([0] * 8, 0, 1)[:4].tobytes().hex() == "76b8e0ada0f13d90405d6ae55386bd28"
    assert rules.keystream([0] * 8, 0, 2)[16:20].tobytes().hex() == "9f07e7be5551387a98ba977c732d080d"
    one, same, other = (rules.Numbers(seed) for seed in (1, 1, 2))
    drawn = [one.next() for _ in range(1000)]
    assert drawn == [same.next() for _ in range(1000)] != [other.next() for _ in range(1000)]
    assert 0 <= min(drawn) < max(drawn) < 1 and sum(drawn) / 1000 == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(("buffer", "loss"), [(16384, 0.05), (32768, 0.05)])
def test_ours_with_its_habits_goes_as_its_rules_do(buffer, loss):
    size = 2 << 20
    ours = [run_flow(buffer, loss, seed, THEIRS, size).bytes_per_second for seed in range(1, 9)]
    by_rules = [rules.single(buffer, loss, size, (2 * i, 2 * i + 1)) for i in range(1, 9)]
    assert sum(ours) == pytest.approx(sum(by_rules), rel=0.2)
    as_it_was = [run_flow(buffer, loss, seed, KEPT, size).bytes_per_second for seed in range(1, 9)]
    assert abs(sum(as_it_was) - sum(by_rules)) > abs(sum(ours) - sum(by_rules))


@pytest.mark.parametrize(("share", "holds"), [(0.6, False), (0.8, True), (1.5, True)])
def test_habits_do_not_explain_a_flow_that_is_much_slower(share, holds, monkeypatch):
    """Without fast retransmit ours has 0.6 of their rate in this cell, and with their habits it would have theirs."""
    theirs = SINGLE_FLOW[16384][2]

    def rates(buffer, loss, seeds, habits=OURS):
        return [factor * theirs * (1 if habits != OURS else share) for factor in (0.99, 1.01)]

    monkeypatch.setattr("aero_lab.experiment.reproduce.smoltcp.rates", rates)
    row = cell(16384, 0.01, 2)
    assert row.ok is holds and row.note.startswith("with its habits" if holds else "slower than any habit")


def test_a_cell_says_why_it_holds():
    plainly, by_habits = cell(32768, 0.001, 6), cell(16384, 0.3, 8)
    assert plainly.ok and not plainly.note
    assert by_habits.ok and by_habits.note.startswith("with its habits 1") and "kept back-off" in by_habits.note
    held, why = lucky(8192, 0.001, SINGLE_FLOW[8192][1], [70_000.0, 78_000.0])
    assert held and "72992 with its random numbers" in why
    assert not lucky(8192, 0.001, SINGLE_FLOW[8192][1], [70_000.0, 71_000.0])[0]  # others lie not among ours
    assert not lucky(8192, 0.001, 73_500.0, [70_000.0, 78_000.0])[0]  # not what its rules give


@pytest.mark.parametrize("buffer", SINGLE_FLOW)
def test_without_loss_ours_is_theirs_within_a_percent(buffer):
    assert run_flow(buffer, 0.0, size=BYTES).bytes_per_second == pytest.approx(SINGLE_FLOW[buffer][0], rel=0.01)


def test_a_window_opened_by_acknowledgements_opens_half_as_fast():
    by_bytes, by_acks = (constant("periodic", 2, 300, 1, counting, 60) for counting in (False, True))
    assert by_bytes / by_acks == pytest.approx(2**0.5, rel=0.1)


def test_each_so_many_th_segment_is_lost():
    tcp = TcpConfig(mss=1000, congestion="none", send_buffer=10_000)
    outcome = Pair([Delay(MS)], [Delay(MS)], tcp, lose_each=10).run(100_000)
    assert outcome.ok and outcome.refused == 11 and outcome.retransmissions >= 11


@pytest.mark.parametrize(
    "name",
    ["stop-and-wait", "rfc9438", "mathis", "rfc3449", "nagle", "tcp-over-tcp"]
    + [pytest.param("head-of-line", marks=pytest.mark.long)],
)
def test_quick_forms_hold_and_can_be_drawn(name, tmp_path):
    report = reproduce(name, quick=True)
    assert report.verdict, report.text()
    assert report.text().splitlines()[-1] == "verdict: yes"
    axes = viz.reproduction(report)
    looked_at(axes[0].figure, tmp_path / "figure.png")
    plt.close("all")
    assert axes[0].get_title("left") == report.title
    assert report.frame().attrs == {"title": report.title, "along": report.along}
    assert all((row.x is not None) == bool(row.line) for row in report.rows)


def test_a_flow_that_breaks_off_holds_nothing_however_fast_it_was(monkeypatch):
    stages = [Loss(0.3), Delay(50 * MS)]
    outcome = Pair(stages, stages, replace(TCP, data_retries=1, send_buffer=4096), seed=3).run(1 << 20)
    assert not outcome.ok and outcome.bytes_per_second > 0
    with pytest.raises(AeroLabError, match="the flow ended after [0-9,]+ bytes and [0-9.,]+ s of virtual time"):
        outcome.whole()
    monkeypatch.setattr("aero_lab.experiment.reproduce.smoltcp.TCP", replace(TCP, data_retries=1))
    monkeypatch.setattr("aero_lab.experiment.reproduce.smoltcp.SINGLE_FLOW", {4096: SINGLE_FLOW[4096]})
    monkeypatch.setattr("aero_lab.experiment.reproduce.smoltcp.LOSS", (0.0, 0.3))
    monkeypatch.setattr("aero_lab.experiment.reproduce.smoltcp.MULTI_FLOW", {})
    report = reproduce("smoltcp", seeds=2)
    assert [(row.case, row.ok) for row in report.rows] == [
        ("4096 bytes, loss 0.0%", True),
        ("4096 bytes, loss 30.0%", False),
    ]
    assert report.rows[1].note.startswith("the flow ended after") and report.last_line == "verdict: no"
    assert "the flow ended" in report.text() and "the flow ended" in report._repr_html_()
    assert viz.reproduction(report) is not None
    plt.close("all")


def test_two_stacks_that_find_no_end_are_stopped(monkeypatch):
    monkeypatch.setattr("aero_lab.experiment.reproduce.pair.race.race", lambda *arguments: 0)
    with pytest.raises(AeroLabError, match="the two stacks find no end at 0.000 s of virtual time"):
        Pair([], [], TCP).run(1000)


def test_a_run_that_fails_in_a_lab_is_a_verdict_too(monkeypatch, capsys):
    def broken(*arguments, **more):
        raise AeroLabError("upload over websocket, seed 1: reset")

    monkeypatch.setattr("aero_lab.experiment.reproduce.tcp_over_tcp.run_lab", broken)
    monkeypatch.setattr("aero_lab.experiment.reproduce.nagle.exchange", broken)
    for name, rows in (("tcp-over-tcp", 1), ("nagle", 5)):
        assert cli.run(["reproduce", name, "--quick"]) == 1
        lines = capsys.readouterr().out.splitlines()
        assert lines[-1] == "verdict: no" and sum("seed 1: reset" in line for line in lines) == rows


def test_more_seeds_do_not_make_everything_hold():
    values = [float(n) for n in range(1, 2101)]
    assert span(values[:1]) == (1, 1) and span(values[:20]) == (1, 20) and span(values[:40]) == (1, 40)
    assert span(values[:41]) == (2, 40) and span(values) == (100, 2001)
    assert not spread("c", 2050.0, values, "u").ok and spread("c", 2000.0, values, "u").ok
    rows = each(lambda n: Row(str(n), 1.0, 1.0 / n, ""), [2, 1], silent, "cases", str)
    assert [row.case for row in rows] == ["2", "1"]


@pytest.mark.parametrize(("start", "low", "high"), [(187, 0.96, 1.0), (600, 0.9, 0.95)])
def test_where_cubic_begins_it_stays(start, low, high):
    """Losses that come exactly so often keep it in one of several courses; the note says how far apart they are."""
    outcome = rfc9438.run_flow("cubic", 100, 10_000, start, 20, 40)
    assert low < outcome.settled_rate / 10 / rfc9438.MSS / rfc9438.CUBIC_100MS[4] < high


def test_a_verdict_needs_rows_that_hold():
    def report(*held: bool | None) -> Report:
        return Report("n", "t", "s", [Row("c", 1.0, 1.0, "u", ok=ok) for ok in held])

    assert not report().verdict and not report(None).verdict and not report(True, False).verdict
    assert report(True, None).verdict
    assert report(False).last_line == "verdict: no"
    assert "<td>no</td>" in report(False)._repr_html_()


def test_command(capsys, monkeypatch):
    assert cli.run(["reproduce", "--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(names())
    assert cli.run(["reproduce", "stop-and-wait", "--quick", "--json", "-"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["verdict"] is True and document["rows"][0]["ratio"] == pytest.approx(1, rel=0.02)
    monkeypatch.setattr("aero_lab.experiment.reproduce.stop_and_wait.TOLERANCE", 1e-9)
    assert cli.run(["reproduce", "stop-and-wait", "--quick"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "verdict: no"


@pytest.mark.parametrize("line", [["reproduce"], ["reproduce", "nothing"], ["reproduce", "smoltcp", "--seeds", "0"]])
def test_mistakes_are_one_line(line, capsys):
    assert cli.run(line) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    with pytest.raises(UsageError, match="seeds must be 1 to 10000, not 'many'"):
        reproduce("smoltcp", seeds="many")  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        reproduce("nothing")
