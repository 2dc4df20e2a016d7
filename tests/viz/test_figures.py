"""The figures: each is rendered, says what it should, has units, and takes axes from outside."""

import re

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from aero_lab import analysis, viz
from aero_lab.errors import UsageError
from tests.capture.conversation import record, script

from .looking import looked_at


@pytest.fixture(scope="module")
def frames():
    return record().frames()


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def rendered(ax, tmp_path):
    """The figure of an axes as pixels; there is something on it."""
    path = tmp_path / "figure.png"
    ax.figure.savefig(path, dpi=60)
    pixels = plt.imread(path)
    assert (pixels[..., :3] < 0.9).mean() > 0.005
    return pixels


def texts(ax):
    return [text.get_text() for text in ax.texts]


def inside(ax):
    """No text of the axes reaches beyond the figure."""
    figure = ax.figure
    figure.canvas.draw()
    width, height = figure.get_size_inches() * figure.dpi
    for text in ax.texts:
        box = text.get_window_extent()
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1, text.get_text()


def overlapping(ax):
    """Pairs of texts of the axes that lie on each other."""
    ax.figure.canvas.draw()
    boxes = [(t.get_text(), t.get_window_extent()) for t in ax.texts if t.get_text().strip()]
    return [(a, b) for i, (a, x) in enumerate(boxes) for b, y in boxes[i + 1 :] if x.overlaps(y)]


def test_the_ladder_shows_every_frame_once_with_its_delay_and_its_loss(frames, tmp_path):
    ax = viz.ladder(frames)
    rendered(ax, tmp_path)
    said = texts(ax)
    assert "ARP who has 10.0.2.2?" in said and "DNS query 0x004d" in said
    assert "SYN  mss 1460" in said and "SYN  ack 1  mss 1460" in said
    assert said.count("1460 B  seq 2921  ack 40") == 3 and "ack 2921  sack 4381–7301" in said
    assert said.count("20 ms") == len(script()) - 2 and said.count("not seen") == 2
    assert "· · ·  5.04 s  · · ·" in said
    assert len(ax.texts) == 2 + 3 + 2 + 4 * len(script()) + len(script())  # ends, headings, pauses; row texts, arrows
    inside(ax)
    assert overlapping(ax) == []


def test_the_ladder_of_one_point(frames, tmp_path):
    ax = viz.ladder(frames[frames.point == "nic"])
    rendered(ax, tmp_path)
    assert "not seen" not in texts(ax) and any(text.startswith("guest\n10.0.2.15") for text in texts(ax))
    inside(ax)
    assert overlapping(ax) == []


@pytest.mark.parametrize("most", [1, 5, 40])
def test_the_ladder_says_how_many_frames_it_left_out(frames, most):
    ax = viz.ladder(frames, most=most)
    left = len(script()) - most
    assert (f"and {left} more frames" in texts(ax)) == (left > 0)


def test_the_ladder_of_a_selection_and_of_nothing(frames):
    flow = frames[frames.flow_id == frames.flow_id.max()]
    assert any(text.startswith("SYN") for text in texts(viz.ladder(flow)))
    assert texts(viz.ladder(frames[:0])) == ["no frames"]


@pytest.mark.parametrize("skip", range(4, 12))
def test_the_ladder_of_the_middle_of_a_flow_counts_from_the_least_number_in_it(frames, skip):
    flow = frames[(frames.flow_id == frames[frames.tcp_seq.notna()].flow_id.iloc[0]) & frames.tcp_seq.notna()]
    said = " ".join(texts(viz.ladder(flow.iloc[skip:])))
    numbers = [int(n) for n in re.findall(r"(?:seq|ack|sack) (\d+)", said)]
    assert numbers and min(numbers) == 0 and max(numbers) < 1 << 24


def test_the_ladder_says_something_about_every_kind_of_frame():
    from aero_lab.capture import Recorder
    from tests.capture.packets import every_kind

    recorder = Recorder()
    for i, frame in enumerate(every_kind()):
        recorder.add(frame, "nic", "tx", i)
    recorder.add_message(b"\xa2\x03\x01\0ping", "tx", 99)
    frames = recorder.frames()
    said = texts(viz.ladder(frames[frames.point == "nic"], most=100))
    for text in ("DHCP DISCOVER", "ICMP echo request seq 3", "ICMPv6 neighbour solicitation", "UDP 40000 → 7000, 160 B",
                 "UDP, fragment at 1480", "frame, 14 B"):  # fmt: skip
        assert text in said, text
    assert "tunnel message, 8 B" in texts(viz.ladder(frames[frames.point == "tunnel"]))


def areas(ax):
    """Area under each step patch, by label, in units of the axes."""
    out = {}
    for patch in ax.patches:
        values, edges, baseline = patch.get_data()
        out[patch.get_label().split("  ")[0]] = ((values - baseline) * np.diff(edges)).sum()
    return out


@pytest.mark.parametrize("point", ["nic", "tunnel"])
def test_bandwidth_stacks_to_the_bytes_on_the_wire(frames, tmp_path, point):
    ax = viz.bandwidth(frames, point=point, interval="50ms")
    rendered(ax, tmp_path)
    column = "frame_len" if point == "nic" else "message_len"
    total = frames.loc[frames.point == point, column].sum()
    found = areas(ax)
    assert sum(found.values()) * 1e6 / 8 == pytest.approx(total)
    assert ("tunnel framing" in found) == (point == "tunnel")
    assert ax.get_xlabel() == "time since the first frame (s)" and ax.get_ylabel() == "bandwidth (Mbit/s)"


def test_bandwidth_of_one_direction_and_of_nothing(frames):
    ax = viz.bandwidth(frames, direction="rx")
    assert "to the guest" in ax.get_title("left")
    assert texts(viz.bandwidth(frames[:0])) == ["no frames"]


def test_short_captures_are_drawn_in_milliseconds(frames):
    short = frames[frames.frame_time < 10**9]
    assert viz.bandwidth(short).get_xlabel() == "time since the first frame (ms)"


@pytest.mark.parametrize("option", [None, "A", "b", "C"])
def test_the_pipeline_shows_the_cuts(tmp_path, option):
    ax = viz.pipeline(option=option)
    rendered(ax, tmp_path)
    letters = {"A", "B", "C"} & set(texts(ax))
    assert letters == ({"A", "B", "C"} if option is None else {option.upper()})
    inside(ax)
    assert overlapping(ax) == []


def test_the_pipeline_refuses_an_option_that_is_not_there():
    with pytest.raises(UsageError, match="no option 'D'"):
        viz.pipeline(option="D")


RUNS = [
    {"option": option, "transport": transport, "workload": workload, "goodput_mbps": 90.0 + 10 * repeat,
     "connect_ms": 20.0, "rtt_ms": None if workload == "download" else 40.0}
    for option, transport in (("A", "websocket"), ("C", "webrtc"))
    for workload in ("download", "rr") for repeat in range(3)
]  # fmt: skip


def test_the_comparison_has_a_panel_for_each_workload_and_metric_on_one_scale(tmp_path):
    grid = viz.comparison(RUNS)
    assert grid.shape == (2, 3)
    looked_at(grid[0, 0].figure, tmp_path / "figure.png")
    for column in grid.T:
        assert column[0].get_xlim() == column[1].get_xlim() and column[0].get_xlim()[0] == 0
    assert [ax.get_xlabel() for ax in grid[1]] == ["goodput\n(Mbit/s)", "connect\n(ms)", "round trip\n(ms)"]
    assert texts(grid[0, 0]) == ["100", "100"] and texts(grid[0, 2]) == ["not measured"] * 2
    assert [label.get_text() for label in grid[0, 0].get_yticklabels()] == ["A  websocket", "C  webrtc"]


def test_the_comparison_keeps_links_and_settings_apart(tmp_path):
    far = {"rtt_ns": 20_000_000}
    runs = [
        {"option": "A", "settings": settings, "transport": "websocket", "workload": "download", "link": link,
         "goodput_mbps": goodput}
        for settings, link, goodput in (("", None, 90), ("streams=socket", None, 80), ("", far, 9), ({}, far, 7))
    ]  # fmt: skip
    grid = viz.comparison(runs)
    assert grid.shape == (2, 1)
    looked_at(grid[0, 0].figure, tmp_path / "figure.png")
    assert [ax.get_title(loc="left") for ax in grid[:, 0]] == ["download, link: none", "download, link: 20ms"]
    labels = [label.get_text() for label in grid[0, 0].get_yticklabels()]
    assert labels == ["A  websocket", "A:streams=socket  websocket"]
    assert texts(grid[0, 0]) == ["90", "80"] and texts(grid[1, 0]) == ["8", "not measured"]


def test_the_comparison_takes_what_it_is_given(tmp_path):
    _, ax = plt.subplots()
    assert viz.comparison(pd.DataFrame(RUNS), ax).shape == (2, 3)
    rendered(ax, tmp_path)
    _, given = plt.subplots(2, 1)
    assert list(viz.comparison(RUNS, given, metrics=["goodput_mbps"])[:, 0]) == list(given)
    _, given = plt.subplots(1, 3)
    with pytest.raises(UsageError, match="needs 2 axes"):
        viz.comparison(RUNS, given, metrics=["goodput_mbps"])
    with pytest.raises(UsageError, match="no metric 'speed'"):
        viz.comparison(RUNS, metrics=["speed"])
    with pytest.raises(UsageError, match="lack option"):
        viz.comparison([{"transport": "memory", "workload": "rr"}])
    assert texts(viz.comparison([{**RUNS[0], "goodput_mbps": None, "connect_ms": None}])[0, 0]) == [
        "nothing was measured"
    ]


def test_each_function_draws_on_the_axes_it_is_given(frames):
    for draw in (viz.ladder, viz.bandwidth, viz.time_sequence, viz.acks, viz.rtt, viz.delay):
        _, ax = plt.subplots()
        assert draw(frames, ax=ax) is ax
    _, ax = plt.subplots()
    assert viz.pipeline(ax=ax) is ax
    assert len(plt.get_fignums()) == 7


def test_a_frame_of_which_a_selection_has_the_arrival_only_is_drawn_when_it_was_sent(frames):
    late = frames[frames.frame_time >= 20_000_000]  # the ARP request was sent at 0 and arrived at 20 ms
    said = texts(viz.ladder(late))
    assert "ARP who has 10.0.2.2?" in said and said.count("not seen") == 2
    assert "ARP 10.0.2.2 is here" in said and said.count("20 ms") == len(script()) - 2


def strokes(ax):
    """Ends of the vertical strokes of each colour, in units of the axes."""
    out = {}
    for collection in ax.collections:
        colour = matplotlib.colors.to_hex(collection.get_colors()[0]) if len(collection.get_segments()) else None
        out[colour] = [tuple(segment[:, 1]) for segment in collection.get_segments()]
    return out


def test_the_time_sequence_graph_has_a_stroke_for_each_segment_and_those_sent_again_stand_out(frames, tmp_path):
    ax = viz.time_sequence(frames, point="tunnel")
    rendered(ax, tmp_path)
    drawn = strokes(ax)
    rows = frames[(frames.point == "tunnel") & (frames.direction == "rx") & frames.tcp_len.notna()]
    sent = rows[(rows.tcp_len > 0) | rows.tcp_flags_syn | rows.tcp_flags_fin]
    again = sent.cause.isin(["retransmission", "duplicate"])
    assert len(drawn["#0072b2"]) == (~again).sum() and len(drawn["#d55e00"]) == again.sum() > 0
    assert len(drawn["#009e73"]) == 2  # the two ACKs with SACK blocks
    assert ax.get_xlabel().endswith("(s)") and ax.get_ylabel() == "sequence number (kB)"
    assert "203.0.113.10:80 → 10.0.2.15:49200" in ax.get_title("left")


def test_the_figures_of_times_say_how_many_samples_they_have(frames, tmp_path):
    ax = viz.rtt(frames, point="tunnel")
    rendered(ax, tmp_path)
    samples = analysis.rtt(frames, point="tunnel")
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert sum(int(label.split(": ")[1].split("\n")[0]) for label in labels) == len(samples) > 0
    ax = viz.delay(frames)
    rendered(ax, tmp_path)
    assert ax.get_xlabel() == "one way through the tunnel (ms)"
    assert all("median 20 ms" in text.get_text() for text in ax.get_legend().get_texts())
    assert texts(viz.delay(frames[:0])) == ["no frame was seen at both ends"]
    assert texts(viz.rtt(frames[frames.cause == "arp"])) == ["no round trips"]
    assert texts(viz.time_sequence(frames[:0])) == texts(viz.acks(frames[:0])) == ["no TCP segments"]


def test_ack_chatter_adds_up_to_the_segments(frames, tmp_path):
    ax = viz.acks(frames, interval="250ms")
    rendered(ax, tmp_path)
    found = {label: area for label, area in areas(ax).items()}
    figures = analysis.acks(frames)
    assert found["data segments"] == pytest.approx(figures.data_segments)
    assert found["pure ACKs"] == pytest.approx(figures.pure_acks)
    assert ax.get_title("left").startswith(f"{figures.acks_per_data_segment:.2f} ACKs")
