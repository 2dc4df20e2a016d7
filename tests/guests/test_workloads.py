"""Every workload on a whole network in virtual time; what it reports is checked against the link's parameters."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aero_lab.errors import UsageError
from aero_lab.guests.scripted import WORKLOADS, WorkloadResult, quiet
from aero_lab.guests.scripted.awareness import probe
from aero_lab.guests.scripted.workloads import check_parameters, make, size_of
from aero_lab.guests.scripted.workloads.result import interarrival_jitter, median, quantile, spread
from aero_lab.limits import SECOND
from aero_lab.link import Link
from aero_lab.services import http
from aero_lab.services.ntp import Ntp
from aero_lab.wire.address import ip

from .bench import Bench
from .peer import Peer

RTT = Link(rtt="40ms")
HOSTILE = Link(rtt="20ms", loss=0.02, duplicate=0.01, reorder=0.05, corrupt=0.005)
BOTH = pytest.mark.parametrize("profile", ["windows7", "linux"])


def quick(profile="linux", link=RTT, **more):
    return Bench(quiet(profile), link=link, keep=False, **more)


@BOTH
@pytest.mark.parametrize("name", ["download", "upload", "source", "sink"])
def test_bulk(profile, name):
    result = quick(profile).run(name, size=200_000)
    assert result.ok and result.bytes == 200_000 and result.digest_ok is (None if name == "sink" else True)
    assert result.connect_ms == pytest.approx(40, abs=0.1)
    # A connection, then a request or a first segment and its answer; a few round trips for the windows to open.
    assert 0.08 <= result.seconds <= 1.2
    assert result.goodput_mbps == pytest.approx(200_000 * 8 / result.seconds / 1e6)
    if name == "download":
        assert result.ttfb_ms == pytest.approx(40, abs=0.1)
    assert result.udp_delay_ms is result.udp_loss is result.rtt_ms is None


@BOTH
def test_transfers_through_a_hostile_link_are_byte_exact(profile):
    bench = quick(profile, HOSTILE)
    for name in ("download", "upload"):
        result = bench.run(name, size=1_000_000, seconds=3000)
        assert result.ok and result.digest_ok is True and result.bytes == 1_000_000, result


def test_sizes_as_text_and_edge_sizes():
    assert size_of("10MB") == 10_000_000 and size_of("64KiB") == 65536 and size_of("123") == 123 and size_of(7) == 7
    for wrong in ("ten", "1 MB", "-1", "", "1.5MB"):
        with pytest.raises(UsageError):
            size_of(wrong)
    with pytest.raises(UsageError):
        size_of(-1)
    bench = quick(link=None)
    for size in (0, 1, 1460, 65537):
        for name in ("download", "upload", "source", "sink"):
            result = bench.run(name, size=size)
            assert result.ok and result.bytes == size, (name, size, result)


def test_a_path_that_is_not_there():
    result = quick().run("download", path="/nothing")
    assert not result.ok and result.error.startswith("http-status: 404")


def test_a_name_that_is_not_there_and_a_port_that_refuses():
    bench = quick()
    assert bench.run("download", host="nowhere.lab").error.startswith("nxdomain")
    assert bench.run("download", port=81).error.startswith("refused")
    assert bench.run("rr", port=81).error.startswith("refused")
    burst = bench.run("burst", count=5, port=81)
    assert not burst.ok and burst.details["failures"] == {"refused": 5} and burst.connect_ms is None


def test_corrupted_content_is_noticed(monkeypatch):
    monkeypatch.setattr("aero_lab.services.http.known_md5", lambda size: b"\0" * 16)
    result = quick(link=None).run("download", size=5000)
    assert result.digest_ok is False and not result.ok and result.error.startswith("digest")


def test_a_timeout_ends_a_transfer():
    result = quick(link=Link(rtt="40ms", rate="100kbit/s")).run("download", size="10MB", timeout=5.0)
    assert not result.ok and result.error.startswith("timeout")


@pytest.mark.parametrize("direction", ["down", "up", "both"])
def test_parallel(direction):
    result = quick().run("parallel", flows=3, size=100_000, direction=direction)
    assert result.ok and result.bytes == 300_000 and result.digest_ok is True
    assert len(result.details["flow_mbps"]) == 3 and 1 / 3 <= result.details["fairness"] <= 1


def test_ping():
    result = quick().run("ping", count=3, interval=0.5)
    assert result.rtt_ms == pytest.approx(40, abs=0.1) and result.details["received"] == 3
    assert result.seconds == pytest.approx(1.04, abs=0.01) and result.digest_ok is True


def test_ping_with_the_payload_of_the_system():
    peer = Peer(quiet("windows7"))
    peer.run(5, lambda: peer.guest.online)
    peer.guest.start(make("ping", peer.guest, count=1))
    peer.run(1)
    assert peer.frames[-1][1].endswith(b"abcdefghijklmnopqrstuvwabcdefghi")
    assert peer.frames[-1][1][38:42] == b"\0\1\0\1"  # identifier 1, sequence 1


def test_ping_of_a_host_that_says_nothing():
    peer = Peer(quiet("linux"))
    peer.run(5, lambda: peer.guest.online)
    result = peer.run_task(make("ping", peer.guest, count=2, timeout=1.0))
    assert not result.ok and result.rtt_ms is None and result.details["received"] == 0


def test_dns():
    result = quick().run("dns", count=8)
    assert result.ok and result.rtt_ms == pytest.approx(40, abs=0.1) and len(result.details["rtt_ms"]) == 8


@BOTH
def test_request_response(profile):
    result = quick(profile).run("rr", count=20, size=100)
    assert result.ok and result.digest_ok is True and result.bytes == 4000
    assert result.rtt_ms == pytest.approx(40, abs=0.1)
    assert result.details["per_second"] == pytest.approx(25, rel=0.02)


def test_burst():
    result = quick().run("burst", count=30, concurrency=10)
    assert result.ok and result.details["connected"] == 30 and result.digest_ok is True
    assert result.connect_ms == pytest.approx(40, abs=0.1)


@pytest.mark.parametrize("name, rate, size", [("voip", 50, 160), ("game", 60, 300)])
def test_real_time_udp(name, rate, size):
    bench = quick()
    bench.frames, frames = [], bench.frames
    result = bench.run(name, duration=2.0)
    assert result.ok and result.bytes == 2 * rate * size and result.seconds == pytest.approx(2.0)
    assert result.udp_delay_ms == pytest.approx(20, abs=0.01) and result.rtt_ms == pytest.approx(40, abs=0.01)
    assert result.udp_jitter_ms == 0 and result.udp_loss == 0
    assert not frames and result.goodput_mbps == pytest.approx(rate * size * 8 / 1e6)


def test_real_time_udp_over_a_lossy_link_with_jitter():
    result = quick(link=Link(rtt="40ms", loss=0.05, jitter="5ms")).run("voip", duration=20.0)
    # Lost on either way: 1 - 0.95^2, of a thousand datagrams.
    assert 0.06 <= result.udp_loss <= 0.14
    assert 15 <= result.udp_delay_ms <= 25 and 0.5 <= result.udp_jitter_ms <= 10


def test_duplicates_are_counted_and_do_not_hide_loss():
    result = quick(link=Link(rtt="10ms", duplicate=0.2)).run("udp-echo", count=200, rate=1000)
    assert result.udp_loss == 0 and result.details["duplicates"] > 20 and result.details["received"] == 200


def test_udp_to_a_closed_port():
    result = quick().run("udp-echo", count=5, port=4242)
    assert not result.ok and result.udp_loss == 1 and result.udp_delay_ms is None


def test_ntp():
    bench = quick()
    result = bench.run("ntp", count=3, interval=1.0)
    assert result.ok and result.rtt_ms == pytest.approx(40, abs=0.01) and result.udp_loss == 0
    assert result.details["offset_ms"] == pytest.approx([0, 0, 0], abs=0.01)


def test_ntp_offset(monkeypatch):
    monkeypatch.setattr("aero_lab.services.catalogue.Ntp", lambda epoch: Ntp(7 * SECOND))
    result = quick().run("ntp", count=1)
    assert result.details["offset_ms"] == pytest.approx([7000], abs=0.01)


def test_names_of_workloads_and_parameters():
    assert {"ping", "dns", "download", "upload", "rr", "burst", "parallel", "udp-echo", "voip", "game", "ntp"} <= set(
        WORKLOADS
    )
    bench = quick(link=None)
    with pytest.raises(UsageError, match="download"):
        make("downlod", bench.guest)
    with pytest.raises(UsageError, match="size"):
        make("download", bench.guest, sise=3)


@pytest.mark.parametrize(
    ("workload", "parameters", "message"),
    [
        ("udp-echo", {"rate": 0}, "rate must be above 0"),
        ("voip", {"duration": -1}, "duration must be above 0"),
        ("game", {"duration": float("inf")}, "duration must be above 0"),
        ("rr", {"size": "1GB"}, "size of a rr must be at most"),
        ("burst", {"concurrency": 0}, "concurrency must be 1 to"),
        ("parallel", {"direction": "sideways"}, "direction must be one of"),
        ("ping", {"size": -1}, "not negative"),
        ("dns", {"names": "files.lab"}, "names must be a list"),
        ("ntp", {"family": 5}, "family must be 4 or 6"),
        ("download", {"port": True}, "port must be 1 to 65535"),
        ("download", {"size": "x" * 10_000}, "not a size"),
        ("download", {"host": 10**5000}, "host must be a name"),
    ],
)
def test_a_value_that_cannot_be_is_said_before_the_workload_begins(workload, parameters, message):
    """None of them is an exception in the middle of a run: a rate of 0 was a division by zero there."""
    with pytest.raises(UsageError, match=message) as said:
        make(workload, None, **parameters)
    assert len(str(said.value)) < 300 and "\n" not in str(said.value)


def test_values_that_are_unusual_and_can_be():
    for workload, parameters in (
        ("download", {"size": 1e6}),
        ("download", {"size": np.int64(5)}),
        ("download", {"family": None, "path": None}),
        ("ping", {"size": None, "host": None}),
        ("ping", {"interval": 0, "count": 0}),
        ("dns", {"names": ["files.lab"]}),
        ("udp-echo", {"rate": 0.5, "size": 0}),
    ):
        check_parameters(workload, parameters)


def test_a_cancelled_transfer_resets_its_connection_and_the_guest_goes_on():
    bench = quick(link=Link(rtt="40ms", rate="1Mbit/s"))
    task = bench.guest.start(make("download", bench.guest, size="10MB"))
    bench.wait(2)
    task.cancel()
    bench.wait(1)
    assert task.done and not bench.guest.stack.flows() and not bench.guest._sockets
    assert bench.run("download", size=10_000).ok


def test_a_closed_guest_leaves_nothing_behind():
    bench = quick(link=Link(rtt="40ms", rate="1Mbit/s"))
    task = bench.guest.start(make("parallel", bench.guest, size="10MB"))
    bench.wait(2)
    bench.guest.close()
    bench.wait(1)
    assert task.done and len(bench.guest.tasks) == 0 and not bench.guest.stack.flows()


def test_a_guest_without_an_address_says_so():
    peer = Peer(quiet("linux"))
    peer.lease = None
    result = peer.run_task(make("download", peer.guest), 200)
    assert not result.ok and result.error.startswith("timeout: no address")


def test_results_are_plain_values():
    result = WorkloadResult("x")
    assert result.to_dict()["bytes"] is None and result.to_dict()["ok"] is True
    result.fail("first"), result.fail("second")
    assert result.error == "first"
    html = quick(link=None).run("ping", count=1)._repr_html_()
    assert "<th>ping</th>" in html and "<td>rtt_ms</td>" in html and "udp_loss" not in html


def test_same_seed_same_result():
    runs = [Bench("windows7", seed=5, link=HOSTILE) for _ in range(2)]
    results = [bench.run("upload", size=100_000) for bench in runs]
    assert results[0] == results[1] and runs[0].frames == runs[1].frames


# Awareness ------------------------------------------------------------------------------------------------------------


def test_awareness_finds_the_internet():
    bench = Bench("windows7", keep=False)
    bench.wait(10)
    assert bench.guest.awareness == "internet"


@pytest.mark.parametrize("text", [b"<html>Sign in</html>", b"Microsoft NCSI\n", b""])
def test_awareness_with_another_text_wants_a_sign_in(monkeypatch, text):
    monkeypatch.setitem(http.FIXED, "/ncsi.txt", text)
    bench = quick(link=None)
    bench.run_task(bench.guest.wait_online())
    assert bench.run_task(probe(bench.guest)) == "sign-in"


def test_awareness_without_the_web_or_without_names():
    peer = Peer(quiet("linux"))
    peer.run(5, lambda: peer.guest.online)
    peer.names = {"dns.msftncsi.com": ip("131.107.255.255")}
    assert peer.run_task(probe(peer.guest)) == "sign-in"
    peer.names = {"dns.msftncsi.com": ip("192.0.2.1")}
    assert peer.run_task(probe(peer.guest)) == "none"
    peer.names = {}
    assert peer.run_task(probe(peer.guest)) == "none"


# Figures --------------------------------------------------------------------------------------------------------------


def naive_jitter(times):
    """RFC 3550 appendix A.8, word by word, in floating point."""
    jitter, before = 0.0, None
    for sent, received in times:
        transit = received - sent
        if before is not None:
            jitter += (1.0 / 16.0) * (abs(transit - before) - jitter)
        before = transit
    return jitter if len(times) > 1 else None


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)), max_size=50))
def test_jitter_agrees_with_the_code_of_the_rfc(times):
    expected = naive_jitter(times)
    found = interarrival_jitter(times)
    assert (found is None) == (expected is None) and (found is None or abs(found - expected) <= 0.51)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50))
def test_quantiles_lie_between_the_extremes(values):
    assert quantile(values, 0) == min(values) and quantile(values, 1) == max(values)
    assert min(values) <= median(values) <= max(values)
    table = spread(values)
    assert table["min"] <= table["p50"] <= table["p90"] <= table["p99"] <= table["max"]


def test_quantiles_by_hand():
    assert median([3, 1, 2]) == 2 and median([1, 2]) == 1.5 and quantile([0, 10], 0.25) == 2.5 and median([]) is None
