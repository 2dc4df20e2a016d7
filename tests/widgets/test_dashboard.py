"""The dashboard's figures, its static stand-in, its buttons and its end, without a browser."""

from __future__ import annotations

import gc
import re
import threading
import time
import weakref

import numpy as np
import pytest

from aero_lab import analysis
from aero_lab.capture import Recorder, parse_pcap
from aero_lab.lab import Lab
from aero_lab.limits import SECOND
from aero_lab.widgets.dashboard import Dashboard
from aero_lab.widgets.pieces import lines, nice, number, table, tile
from aero_lab.widgets.sampling import AckCounter, History, Sample, count_acks, take

from ..capture.packets import every_kind
from .test_live import wait


@pytest.fixture(scope="module")
def lossy():
    with Lab(virtual=True, link="rtt=20ms, loss=2%", seed=3) as lab:
        guest = lab.guest()
        guest.wait_online()
        guest.run("download", size="200kB")
        yield lab, guest


def test_a_sample_says_what_the_counters_say(lossy):
    lab, guest = lossy
    sample = take(lab, AckCounter())
    frames = lab.capture.frames()
    nic = frames[frames["point"] == "nic"]
    tx, rx = nic[nic["direction"] == "tx"], nic[nic["direction"] == "rx"]
    assert (sample.frames_up, sample.frames_down) == (len(tx), len(rx))
    assert (sample.bytes_up, sample.bytes_down) == (int(tx["frame_len"].sum()), int(rx["frame_len"].sum()))
    assert sample.recorded == len(frames) and sample.recording and sample.guests == 1
    lost = sum(link["lost"] for link in guest.link.values())
    assert lost > 0 and sum(n for name, n in sample.drops.items() if name.endswith(": lost")) == lost
    assert sample.now == lab.now


def test_acknowledgements_are_counted_as_the_analysis_counts_them(lossy):
    lab, _ = lossy
    counter = AckCounter()
    counter.look(lab.capture)
    expected = analysis.acks(lab.capture.frames(), point="nic")
    assert counter.data_segments == expected.data_segments > 100
    # Duplicate ACKs have a cause of their own, but they are ACKs on the wire.
    frames = lab.capture.frames()
    tcp = frames[(frames["point"] == "nic") & frames["tcp_len"].notna()]
    bare = (tcp["tcp_len"] == 0) & tcp["tcp_flags_ack"]
    bare &= ~(tcp["tcp_flags_syn"] | tcp["tcp_flags_fin"] | tcp["tcp_flags_reset"])
    assert counter.pure_acks == int(bare.sum()) >= expected.pure_acks > 50
    before = (counter.data_segments, counter.pure_acks)
    counter.look(lab.capture)
    assert (counter.data_segments, counter.pure_acks) == before


def test_counting_goes_on_through_every_end_of_a_recorder():
    from scapy.layers.inet import IP, TCP
    from scapy.layers.inet6 import IPv6
    from scapy.layers.l2 import Ether

    ether = Ether(src="02:00:00:00:00:02", dst="02:00:00:00:00:01")
    data = bytes(ether / IP(src="10.0.2.15", dst="10.0.2.2") / TCP(flags="A") / (b"x" * 100))
    ack = bytes(ether / IPv6(src="fd00::1", dst="fd00::2") / TCP(flags="A"))
    recorder = Recorder(points=("nic", "tunnel"), most_bytes=1 << 19, keep="newest")
    counter = AckCounter()
    for number_ in range(2000):
        assert recorder.add(data, "nic", "tx", number_) and recorder.add(ack, "nic", "rx", number_)
        recorder.add(data, "tunnel", "tx", number_)
        if number_ % 50 == 0:
            counter.look(recorder)
    counter.look(recorder)
    assert recorder.drops["overwritten"] > 0
    assert (counter.data_segments, counter.pure_acks) == (2000, 2000)
    recorder.clear()
    recorder.add(data, "nic", "tx", 1)
    counter.look(recorder)
    assert counter.data_segments == 2001


def test_a_capture_that_goes_to_disk_is_counted_whole(tmp_path):
    with Lab(virtual=True, capture=tmp_path / "all.pcapng", capture_headers=True, capture_bytes=1 << 19) as lab:
        guest = lab.guest()
        guest.wait_online()
        dashboard = lab.dashboard()
        for _ in range(20):
            guest.run("download", size="200kB")
            wait(lambda: lab.capture_stream.waiting == 0, "the disk")
            dashboard.sample()
    frames = parse_pcap((tmp_path / "all.pcapng").read_bytes()).frames()
    assert len(frames) > len(lab.capture), "memory holds but the latest"
    expected = analysis.acks(frames, point="nic")
    assert dashboard.latest.data_segments == expected.data_segments
    assert not any(reason.startswith("capture") for reason in dashboard.latest.drops)


def test_no_frame_makes_the_count_fail():
    recorder = Recorder(points=("nic",))
    for frame in every_kind():
        for size in (len(frame), *range(0, min(len(frame), 70), 3)):
            recorder.add(frame[:size], "nic", "tx", 0)
    rng = np.random.default_rng(1)
    for size in rng.integers(0, 200, 300):
        recorder.add(rng.bytes(int(size)), "nic", "rx", 0)
    for block in recorder.capture().blocks:
        data, pure = count_acks(block.data, block.descriptors())
        assert data > 0 and pure > 0


def test_rates_are_of_the_labs_time():
    history = History()
    assert history.rate("bytes_up") == 0 and history.ages == [] and history.acks_per_data_segment is None
    for at in range(6):
        history.add(Sample(now=at * SECOND, bytes_up=1000 * at, frames_up=at, data_segments=10 * at, pure_acks=5 * at))
    assert list(history.up) == [8000.0] * 5 and history.rate("frames_up") == 1.0
    assert history.ages == [5.0, 4.0, 3.0, 2.0, 1.0, 0.0]
    assert history.acks_per_data_segment == 0.5
    history.add(Sample(now=5 * SECOND, bytes_up=10**9))
    assert len(history.samples) == 6, "no time passed"
    history.add(Sample(now=6 * SECOND, bytes_up=0))
    assert history.up[-1] == 0, "a counter that went back is no negative rate"


def test_elsewhere_it_is_a_table(lossy):
    lab, _ = lossy
    dashboard = lab.dashboard()
    assert lab.dashboard() is dashboard and dashboard._widget is None
    text, html = repr(dashboard), dashboard._repr_html_()
    for word in ("throughput up", "ACKs per data segment", "RTT", "frames dropped", "active flows", "recording"):
        assert word in text and word in html
    assert "link down: lost" in html and "<table" in html
    assert set(dashboard._repr_mimebundle_()) == {"text/plain", "text/html"}
    assert not dashboard.live.running, "nothing is sampled that is not shown"


def test_what_others_say_is_escaped():
    assert "<script>" not in table(("<script>",), [("<script>",)]) + tile("<b>", "<script>", '"><script>')
    with Lab(virtual=True) as lab:
        dashboard = lab.dashboard()
        dashboard.history.add(
            Sample(
                now=1,
                drops={"<img src=x>": 3},
                live_flows=1,
                flows=(
                    {"guest_name": "<i>", "protocol": "tcp", "direction": "out", "guest": "<u>", "target": "t",
                     "outside": "o", "name": "<script>alert(1)</script>", "state": "open", "bytes_up": 1,
                     "bytes_down": 2},
                ),
            )
        )  # fmt: skip
        html = dashboard.tables_html()
        assert "&lt;script&gt;alert(1)" in html
        for tag in ("<script", "<img", "<i>", "<u>"):
            assert tag not in html


def test_widgets_follow_the_samples_and_buttons_act(lossy, tmp_path):
    pytest.importorskip("ipywidgets")
    lab, guest = lossy
    dashboard = Dashboard(lab)
    box = dashboard.widget
    assert dashboard.widget is box
    parts = dashboard._parts
    assert parts["start"].disabled and not parts["stop"].disabled
    parts["stop"].click()
    assert lab.capture.enabled is False
    before = len(lab.capture)
    guest.run("download", size="10kB")
    assert len(lab.capture) == before
    assert "stopped" in parts["recording"].value and not parts["start"].disabled
    parts["start"].click()
    assert lab.capture.enabled is True and parts["start"].disabled
    guest.run("download", size="10kB")
    assert len(lab.capture) > before
    saved = dashboard.press("save", str(tmp_path / "here.pcapng"))
    assert saved.startswith(f"Saved {len(lab.capture):,} frames")
    assert len(parse_pcap((tmp_path / "here.pcapng").read_bytes())) == len(lab.capture)
    assert dashboard.press("save", str(tmp_path / "nowhere" / "here.pcapng")).startswith("Not saved: ")
    dashboard.close()


def test_it_advances_on_its_own_thread_while_this_one_computes_and_stops_with_the_lab():
    with Lab() as lab:
        guest = lab.guest()
        guest.wait_online()
        dashboard = lab.dashboard()
        assert dashboard.widget is not None
        seen: set[str] = set()
        dashboard._parts["tiles"].observe(lambda change: seen.add(threading.current_thread().name), "value")
        dashboard._shown()
        traffic = threading.Thread(target=lambda: [guest.run("download", size="1MB") for _ in range(3)])
        traffic.start()
        n = 0

        def computed() -> bool:
            nonlocal n
            for _ in range(100_000):
                n += 1
            return dashboard.latest.frames_down > 500 and bool(seen)

        wait(computed)
        traffic.join()
        assert seen == {"aero-lab-display"}
        dashboard._shown()
        assert dashboard.live.running
    wait(lambda: not dashboard.live.running, "its end")
    assert dashboard.state == "closed" and "closed" in dashboard._parts["head"].value
    assert dashboard._parts["start"].disabled and dashboard._parts["stop"].disabled
    assert dashboard.press("save", "/nonexistent/x.pcapng").startswith("Not saved")


@pytest.mark.parametrize("waiting", [True, False], ids=["run", "advance"])
def test_virtual_time_serves_it_between_two_instants(waiting):
    with Lab(virtual=True, link="rtt=20ms, rate=10Mbit/s") as lab:
        guest = lab.guest()
        guest.wait_online()
        dashboard = lab.dashboard()
        samples, trips = [], set()
        done = threading.Event()

        def look() -> None:
            while not done.is_set():
                sample = dashboard.sample()
                assert sample is not None
                samples.append((sample.now, sample.frames_down))
                trips.add(sample.rtt)
                time.sleep(0.002)

        before = lab.now
        looking = threading.Thread(target=look)
        looking.start()
        try:
            if waiting:
                result = guest.run("download", size="3MB")
            else:
                download = guest.start("download", size="3MB")
                lab.advance(20)
                assert lab.now == before + 20 * SECOND
                result = download.wait()
        finally:
            done.set()
            looking.join()
        assert result.ok
        assert samples == sorted(samples)
        assert len({now for now, _ in samples}) > 3, "it was served while the scheduler ran"
        # While the connection was open: the link's 20 ms, and what its queue adds.
        assert any(rtt is not None and 20e6 <= rtt < 400e6 for rtt in trips)


def test_looking_changes_nothing_in_virtual_time(tmp_path):
    def run(watched: bool) -> bytes:
        with Lab(virtual=True, link="rtt=20ms, loss=1%", seed=7) as lab:
            guest = lab.guest()
            guest.wait_online()
            done = threading.Event()
            looking = threading.Thread(
                target=lambda: [lab.dashboard().sample() for _ in iter(lambda: done.is_set() or not watched, True)]
            )
            looking.start()
            guest.run("download", size="300kB")
            done.set()
            looking.join()
            return lab.capture.save(tmp_path / "run.pcapng").read_bytes()

    assert run(watched=False) == run(watched=True)


def test_a_lab_that_is_forgotten_is_freed_with_its_dashboard_shown():
    lab = Lab(virtual=True)
    lab.guest()
    dashboard = lab.dashboard()
    widget = dashboard.widget
    gone = weakref.ref(lab)
    del lab
    gc.collect()
    assert gone() is None and widget is not None
    assert dashboard.sample() is None and dashboard.state == "closed"
    assert dashboard.press("start") == "The lab is gone."


def test_it_is_silent_when_nothing_changes(lossy):
    lab, _ = lossy
    dashboard = Dashboard(lab)
    parts = dashboard.widget and dashboard._parts
    sent: list = []
    for name in ("head", "tiles", "tables", "recording"):
        parts[name].observe(sent.append, "value")
    dashboard._refresh()
    dashboard._refresh()
    assert sent == []
    dashboard.close()


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (999, "999"), (999.9, "1 k"), (12_345, "12.3 k"), (999_400, "999 k"), (1e6, "1 M"), (2.5e9, "2.5 G")],
)
def test_numbers_have_three_digits_and_a_prefix(value, text):
    assert number(value) == text
    assert number(value, "B") == text + ("B" if text[-1].isalpha() else " B")


def test_scales_are_round_and_a_picture_says_what_it_shows():
    assert [nice(x) for x in (0, 1000, 1001, 2001, 5001, 3e6)] == [1e3, 1e3, 2e3, 3e3, 6e3, 3e6]
    picture = lines([("up", "#D55E00", [1e6, 2e6]), ("down", "#0072B2", [0.0, 5e6])], [2.0, 1.0, 0.0], 60)
    assert 'aria-label="throughput: up 2 Mbit/s, down 5 Mbit/s"' in picture
    assert [len(points.split()) for points in re.findall('points="([^"]+)"', picture)] == [4, 4]
    assert "stroke-dasharray" in picture and "60 s ago" in picture
    assert "nothing yet" in lines([("up", "#D55E00", [])], [], 60)
