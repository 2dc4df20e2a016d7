"""Where a request's time went: hand-written conversations with known waits, and exact sums in simulated ones."""

import numpy as np
import pandas as pd
import pytest

import aero_lab as al
from aero_lab.analysis.requests import HOPS, critical_path, requests
from aero_lab.capture import Recorder
from aero_lab.errors import UsageError
from tests.capture.conversation import HEADER, record, segment

MS = 1_000_000
GET = b"GET / HTTP/1.1\r\n\r\n"
C, S, N = 1000, 5000, len(GET)
BLOCK = b"d" * 1460


def conversation(*sent):
    """Frames of ``(ms of leaving, ms of arriving or None, whether the guest sends, frame)``."""
    recorder = Recorder()
    seen = []
    for number, (left, came, up, frame) in enumerate(sent, 1):
        first, second = ("nic", "tunnel") if up else ("tunnel", "nic")
        seen.append((round(left * MS), number, first, up, frame))
        if came is not None:
            seen.append((round(came * MS), number, second, up, frame))
    for when, number, point, up, frame in sorted(seen, key=lambda row: row[0]):
        if point == "tunnel":
            recorder.add_message(HEADER + frame, "tx" if up else "rx", when, number)
        else:
            recorder.add(frame, point, "tx" if up else "rx", when, number)
    return recorder.frames()


def data(number, count=1, ack=C + 1 + N):
    return segment(False, S + 1 + 1460 * number, ack, data=BLOCK * count)


def ack(number):
    return segment(True, C + 1 + N, S + 1 + 1460 * number)


HANDSHAKE = (
    (0, 10, True, segment(True, C, 0, "S", options=[("MSS", 1460)])),
    (13, 23, False, segment(False, S, C + 1, "SA", options=[("MSS", 1460)])),  # 3 ms: the proxy connected meanwhile
    (23, 33, True, segment(True, C + 1, S + 1)),
)
ASKED = (25, 35, True, segment(True, C + 1, S + 1, "PA", GET))


def hops(row):
    return {hop: row[hop] for hop in HOPS if row[hop]}


def test_a_handshake_and_a_small_answer_are_divided_among_the_hops():
    frames = conversation(
        *HANDSHAKE, ASKED, (35, 45, False, segment(False, S + 1, C + 1 + N)), (75, 85, False, data(0))
    )
    table = requests(frames)
    connect, exchange = table.to_dict("records")
    assert connect["kind"] == "connect" and connect["ms"] == 23 and hops(connect) == {"transport": 20, "egress": 3}
    assert exchange["kind"] == "exchange" and exchange["peer"] == "203.0.113.10:80"
    # 40 ms between the request's arrival and the first byte of the answer: egress and service.
    assert exchange["ms"] == 60 and hops(exchange) == {"transport": 20, "egress": 40} and exchange["turns"] == 2
    assert (exchange["bytes_up"], exchange["bytes_down"], exchange["first_ms"]) == (N, 1460, 60)
    assert exchange["start_s"] == pytest.approx(0.025)


def test_a_delayed_acknowledgement_is_time_at_the_guest():
    frames = conversation(
        *HANDSHAKE, ASKED, (35, 45, False, data(0)), (85, 95, True, ack(1)), (95, 105, False, data(1)),
    )  # fmt: skip
    exchange = requests(frames).iloc[1]
    assert exchange["ms"] == 80 and hops(exchange) == {"transport": 40, "guest": 40} and exchange["turns"] == 4


def test_a_segment_sent_again_waited_for_its_loss_to_be_noticed():
    frames = conversation(
        *HANDSHAKE, ASKED, (35, 45, False, data(0)), (35.1, None, False, data(1)), (35.2, 45.2, False, data(2)),
        (45.2, 55.2, True, ack(1)), (235.1, 245.1, False, data(1)),
    )  # fmt: skip
    exchange = requests(frames).iloc[1]
    found = hops(exchange)
    assert exchange["ms"] == pytest.approx(220.1) and found["recovery"] == pytest.approx(200)
    assert found == {"transport": 20, "egress": pytest.approx(0.1), "recovery": pytest.approx(200)}


def test_a_wait_of_the_proxys_tcp_is_its_own():
    frames = conversation(*HANDSHAKE, ASKED, (35, 45, False, data(0)), (60, 70, False, data(1)))
    assert hops(requests(frames).iloc[1]) == {"transport": 20, "stack": 25}


def test_an_answer_in_the_wrong_order_is_complete_when_its_holes_are_filled():
    frames = conversation(
        *HANDSHAKE, ASKED, (35, 60, False, data(0)), (35, 45, False, data(1)), (35, 46, False, data(2)),
    )  # fmt: skip
    exchange = requests(frames).iloc[1]
    assert exchange["ms"] == 35 and exchange["first_ms"] == 20 and exchange["bytes_down"] == 3 * 1460


def test_a_connection_from_outside_is_asked_by_the_other_side():
    """A forward: the far end opens, so its point is where requests are seen, and the guest answers."""
    frames = conversation(
        (0, 10, False, segment(False, S, 0, "S")), (10, 20, True, segment(True, C, S + 1, "SA")),
        (20, 30, False, segment(False, S + 1, C + 1, data=GET)),
        (34, 44, True, segment(True, C + 1, S + 1 + N, data=BLOCK)),
    )  # fmt: skip
    connect, exchange = requests(frames).to_dict("records")
    assert hops(connect) == {"transport": 20} and hops(exchange) == {"transport": 20, "guest": 4}


def test_the_script_with_its_losses_adds_up():
    table = requests(record().frames())
    assert list(table["kind"]) == ["dns", "connect", "exchange"]
    assert np.allclose(table[list(HOPS)].sum(axis=1), table["ms"], atol=1e-9)
    dns, connect, exchange = table.to_dict("records")
    assert hops(dns) == {"transport": 40, "egress": 23} and connect["recovery"] == 1000 and exchange["recovery"] > 0


def test_a_question_that_is_asked_again_waited_for_its_answer():
    with al.Lab(virtual=True, seed=3, link="rtt=60ms, loss=8%", progress=False) as lab:
        guest = lab.guest("scripted")
        guest.wait_online()
        lab.capture.clear()
        assert guest.run("download", size="1KB").ok
        frames = lab.capture.frames()
    asked = frames[(frames.point == "nic") & (frames.direction == "tx") & frames.dns_id.notna()]
    assert len(asked) == 3 and asked.dns_id.nunique() == 2 and asked.flow_id.nunique() == 2  # over IPv4, then over IPv6
    table = requests(frames).query("kind == 'dns'")
    assert [hops(row) for row in table.to_dict("records")] == [{"transport": 60, "recovery": 4000}, {"transport": 60}]


def test_one_point_knows_how_long_but_not_where():
    frames = record().frames()
    both, alone = requests(frames), requests(frames[frames.point == "nic"].drop(columns=["frame_id", "point"]))
    assert list(alone["kind"]) == list(both["kind"])
    assert (alone["away"] == alone["ms"]).all()
    nic = frames[frames.point == "nic"]
    untold = requests(nic.assign(direction=pd.Categorical([None] * len(nic), ["tx", "rx"])).drop(columns="frame_id"))
    assert list(untold["kind"]) == list(both["kind"]) and list(untold["ms"]) == list(both["ms"])
    assert alone["ms"].iloc[0] == both["ms"].iloc[0] == 63


LABS = {
    "ping-pong": ("rtt=40ms", "rr", {"count": 20}),
    "losses": ("rtt=60ms, loss=5%", "download", {"size": "300KB"}),
    "asymmetric": ("rtt=20ms, rate=50kbit/s:10Mbit/s", "download", {"size": "300KB"}),
    "upload": ("rtt=40ms, loss=2%, rate=2Mbit/s", "upload", {"size": "300KB"}),
}


@pytest.fixture(scope="module")
def captures():
    def run(link, work, options):
        with al.Lab(virtual=True, seed=5, link=link, progress=False) as lab:
            guest = lab.guest("scripted")
            guest.wait_online()
            result = guest.run(work, **options)
            lab.advance(0.1)
            return lab.capture.frames(), result

    return {name: run(*what) for name, what in LABS.items()}


@pytest.mark.parametrize("name", LABS)
def test_hops_add_up_to_the_whole_and_pieces_follow_each_other(captures, name):
    frames, _ = captures[name]
    table, pieces = requests(frames), critical_path(frames)
    assert np.allclose(table[list(HOPS)].sum(axis=1), table["ms"], atol=1e-9)
    assert set(pieces["hop"]) <= set(HOPS) and (pieces["ms"] > 0).all()
    for number, own in pieces.groupby("request"):
        row = table.loc[number]
        ends = own["start_s"].to_numpy() + own["ms"].to_numpy() / 1e3
        assert own["start_s"].iloc[0] == pytest.approx(row["start_s"])
        assert np.allclose(ends[:-1], own["start_s"].to_numpy()[1:], atol=1e-9)
        assert ends[-1] == pytest.approx(row["start_s"] + row["ms"] / 1e3)
        assert own["hop"].eq("transport").any()


def test_what_the_guest_measured_is_what_the_frames_tell(captures):
    frames, result = captures["ping-pong"]
    exchanges = requests(frames).query("kind == 'exchange' and bytes_up == 64")
    assert len(exchanges) == 20 and (exchanges["ms"] == 40).all() and (exchanges["transport"] == 40).all()
    assert result.rtt_ms == 40
    frames, result = captures["losses"]
    exchange = requests(frames).query("kind == 'exchange'").iloc[0]
    assert exchange["bytes_down"] > 300_000 and exchange["recovery"] > 0
    connect = requests(frames).query("kind == 'connect'").iloc[0]
    assert (connect["ms"] + exchange["ms"]) / 1e3 == pytest.approx(result.seconds, rel=1e-6)


def test_one_flow_alone_and_nothing(captures):
    frames, _ = captures["losses"]
    flow = int(requests(frames).query("kind == 'exchange'")["flow_id"].iloc[0])
    assert set(requests(frames, flow_id=flow)["kind"]) == {"connect", "exchange"}
    assert len(requests(frames[:0])) == len(critical_path(frames[:0])) == 0
    assert list(requests(frames[:0]).columns) == list(requests(frames).columns)
    with pytest.raises(UsageError, match="lack the columns"):
        requests(pd.DataFrame({"a": [1]}))
