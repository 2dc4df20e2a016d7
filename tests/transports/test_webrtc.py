"""Data channels of real WebRTC peers: bytes exact, both ways bounded, and nothing but loopback."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import subprocess
import sys
import time
from functools import wraps
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aero_lab.bounds import RTC_BUFFERED, RTC_HELD
from aero_lab.rings import FrameRing
from aero_lab.transports.data_channel import DataChannelEnd
from aero_lab.transports.peer import Description, IceCandidate, Peer, PeerFailed, make_peer, missing


def _of(library: str) -> Any:
    return pytest.param(library, marks=pytest.mark.skipif(missing(library) is not None, reason=missing(library) or ""))


LIBRARIES = [_of("aiortc"), _of("wrtc")]
AIORTC = pytest.mark.skipif(missing() is not None, reason=missing() or "")
WRTC = pytest.mark.skipif(missing("wrtc") is not None, reason=missing("wrtc") or "")
MIXED = [("aiortc", "wrtc"), ("wrtc", "aiortc")]
each_library = pytest.mark.parametrize("library", LIBRARIES)

PATIENCE = 30.0


def on_loop(test: Any) -> Any:
    @wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(120):
                await test(*arguments, **named)

        asyncio.run(bounded())

    return run


class Pair:
    """Two peers of this process, joined, with one channel between them."""

    def __init__(
        self, library: str, other: str | None = None, *, slots: int = 1024, arena: int = 2 << 20, **channel: Any
    ):
        self.a, self.b = make_peer(library=library), make_peer(library=other or library)
        self.changed = asyncio.Event()
        self.b.on_channel = self._opened
        self.near = DataChannelEnd(self.a.channel("l2", **channel), self.changed.set)
        self.far: DataChannelEnd | None = None
        self._size = slots, arena

    def _opened(self, channel: Any) -> None:
        self.far = DataChannelEnd(channel, self.changed.set, slots=self._size[0], arena=self._size[1])
        self.changed.set()

    async def __aenter__(self) -> Pair:
        await self.a.accept(await self.b.answer(await self.a.offer()))
        await self.until(lambda: self.far is not None and self.near.channel.open)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.a.close()
        await self.b.close()

    async def until(self, holds: Any) -> None:
        async with asyncio.timeout(PATIENCE):
            while not holds():
                await asyncio.sleep(0.002)

    async def carry(self, messages: list[bytes], take: bool = True) -> list[bytes]:
        """Send all of them from near to far, as an owner does: whenever there is room."""
        assert self.far is not None
        ring = FrameRing(1 << len(messages).bit_length(), sum(-(-len(m) // 8) * 8 for m in messages) + 8)
        for message in messages:
            assert ring.push(message, 0)
        got: list[bytes] = []
        async with asyncio.timeout(PATIENCE):
            while len(ring) or (take and len(got) < len(messages)):
                self.near.send(ring, 0)
                if take and (some := self.far.received.pop_many(64)):
                    got += [each.data for each in some]
                    self.far.taken()
                await asyncio.sleep(0)
        return got


def numbered(count: int, size: int) -> list[bytes]:
    return [hashlib.shake_128(i.to_bytes(4, "big")).digest(size) for i in range(count)]


@each_library
@on_loop
async def test_an_ordered_channel_carries_every_message_in_order(library: str) -> None:
    messages = numbered(300, 1518) + numbered(4, 65_518)
    async with Pair(library) as pair:
        assert pair.near.reliable and pair.far is not None and pair.far.reliable
        assert await pair.carry(messages) == messages
        sent, got = pair.near.counters, pair.far.counters
        assert sent["messages_sent"] == got["messages_received"] == len(messages)
        assert sent["bytes_sent"] == got["bytes_received"] == sum(map(len, messages))


@each_library
@on_loop
async def test_an_unordered_channel_that_sends_again_loses_nothing(library: str) -> None:
    messages = numbered(300, 1518)
    async with Pair(library, ordered=False) as pair:
        assert not pair.near.reliable
        assert sorted(await pair.carry(messages)) == sorted(messages)


@AIORTC
@on_loop
async def test_a_receiver_that_takes_nothing_stops_the_sender_and_loses_nothing() -> None:
    messages = numbered(3000, 1518)
    async with Pair("aiortc", slots=64, arena=64 << 10) as pair:
        far = pair.far
        assert far is not None
        ring = FrameRing(4096, 8 << 20)
        for message in messages:
            assert ring.push(message, 0)
        association: Any = far.channel._channel.transport  # type: ignore[attr-defined]

        def stands() -> bool:
            pair.near.send(ring, 0)
            return association.discarded > 20

        await pair.until(stands)
        assert pair.near.stalled and len(ring) > 100
        assert pair.near.channel.buffered < RTC_BUFFERED + 1518
        # What came ahead of a gap is handed over at once when the gap closes: at most the window once more.
        assert association.holding < 2 * RTC_HELD
        got: list[bytes] = []

        def all_there() -> bool:
            pair.near.send(ring, 0)
            got.extend(each.data for each in far.received.pop_many(64))
            far.taken()
            return len(got) >= len(messages)

        await pair.until(all_there)
        assert got == messages
        assert association.holding == 0


@each_library
@on_loop
async def test_a_lossy_channel_drops_what_finds_no_room_and_counts_it(library: str) -> None:
    messages = numbered(100, 1000)
    async with Pair(library, slots=16, arena=64 << 10, ordered=False, max_retransmits=0) as pair:
        await pair.carry(messages, take=False)
        far = pair.far
        assert far is not None
        await pair.until(lambda: far.counters["received_full"] > 0)
        assert len(far.received) == 16
        assert not far._held


@each_library
@on_loop
async def test_text_and_messages_beyond_the_limit_are_counted_and_go_no_further(library: str) -> None:
    async with Pair(library) as pair:
        assert pair.far is not None
        pair.far._most = 100
        pair.near.channel.send("words")
        assert await pair.carry([b"x" * 101, b"y" * 100], take=False) == []
        far = pair.far
        await pair.until(lambda: len(far.received))
        assert [each.data for each in far.received.pop_many()] == [b"y" * 100]
        assert (far.counters["text_messages"], far.counters["too_large"]) == (1, 1)


@each_library
@on_loop
async def test_what_it_cost_is_counted_at_the_socket(library: str) -> None:
    async with Pair(library) as pair:
        before = pair.a.wire
        await pair.carry(numbered(20, 1000))
        await asyncio.sleep(0.3)
        a, b = pair.a.wire, pair.b.wire
        assert a is not None and b is not None and before is not None
        assert a.bytes_out - before.bytes_out > 20 * (1000 + 28)
        assert 0 <= a.segments_out - b.segments_in <= 2 and a.bytes_out >= b.bytes_in > 0


@each_library
@on_loop
async def test_closing_one_peer_ends_the_channel_of_the_other(library: str) -> None:
    async with Pair(library) as pair:
        far = pair.far
        assert far is not None
        await pair.a.close()
        await pair.until(lambda: far.peer_closed)
        assert far.stalled and far.send(FrameRing(16, 1024), 0) == 0


async def _refused(peer: Peer, sdp: str) -> str:
    with pytest.raises(PeerFailed) as refusal:
        await peer.answer(Description("offer", sdp))
    return str(refusal.value)


@pytest.mark.parametrize(
    "sdp",
    [
        "",
        "garbage",
        "v=0\r\n",
        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n",
        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=application x UDP/DTLS/SCTP\r\na=mid:0\r\n",
        "\x00" * 5000,
    ],
)
@each_library
@on_loop
async def test_an_offer_without_sense_is_one_clear_error(sdp: str, library: str) -> None:
    peer = make_peer(library=library)
    try:
        assert "\n" not in await _refused(peer, sdp)
    finally:
        await peer.close()


@each_library
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_a_mutated_offer_is_answered_or_refused(library: str, data: st.DataObject) -> None:
    async def run() -> None:
        offerer, answerer = make_peer(library=library), make_peer(library=library)
        offerer.channel("l2")
        lines = (await offerer.offer()).sdp.split("\r\n")
        await offerer.close()
        for _ in range(data.draw(st.integers(1, 3))):
            at = data.draw(st.integers(0, len(lines) - 1))
            change = data.draw(st.sampled_from(["drop", "double", "cut", "swap"]))
            if change == "drop":
                del lines[at]
            elif change == "double":
                lines.insert(at, lines[at])
            elif change == "cut":
                lines[at] = lines[at][: data.draw(st.integers(0, 100))]
            else:
                lines[at] = data.draw(st.text(max_size=30))
        try:
            answer = await answerer.answer(Description("offer", "\r\n".join(lines)))
            assert answer.type == "answer"
        except PeerFailed:
            pass
        finally:
            await answerer.close()

    asyncio.run(run())


@each_library
@on_loop
async def test_a_candidate_without_sense_is_one_clear_error(library: str) -> None:
    peer = make_peer(library=library)
    try:
        for text in ("garbage", "candidate:1 2", "candidate:a b c d e f typ host"):
            with pytest.raises(PeerFailed):
                await peer.add_candidate(IceCandidate(text, "0", 0))
    finally:
        await peer.close()


def _namespaces() -> None:
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-Urn", "true"], capture_output=True).returncode:
        pytest.skip("needs network namespaces: unshare -Urn")


@each_library
def test_it_works_where_there_is_nothing_but_loopback(library: str) -> None:
    _namespaces()
    program = (
        "import asyncio, subprocess; subprocess.run(['ip', 'link', 'set', 'lo', 'up'], check=True);"
        "from tests.transports.test_webrtc import Pair, numbered\n"
        "async def run():\n"
        f"    async with Pair({library!r}) as pair:\n"
        "        assert await pair.carry(numbered(5, 500)) == numbered(5, 500)\n"
        "        print([each.candidate.split()[4] for each in pair.a.candidates + pair.b.candidates])\n"
        "asyncio.run(run())"
    )
    done = subprocess.run(
        ["unshare", "-Urn", sys.executable, "-c", program], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split() == ["['127.0.0.1',", "'127.0.0.1']"], done.stderr[-2000:]


@AIORTC
@WRTC
@pytest.mark.parametrize(("library", "other"), MIXED)
@on_loop
async def test_both_libraries_understand_each_other(library: str, other: str) -> None:
    messages = numbered(200, 1518)
    async with Pair(library, other) as pair:
        assert await pair.carry(messages) == messages
    async with Pair(library, other, ordered=False) as pair:
        assert sorted(await pair.carry(messages)) == sorted(messages)


@WRTC
@on_loop
async def test_a_channel_whose_sender_cannot_be_told_to_wait_is_closed_beyond_its_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("aero_lab.transports.data_channel.RTC_OVERRUN", 200_000)
    async with Pair("wrtc", slots=64, arena=64 << 10) as pair:
        far = pair.far
        assert far is not None
        ring = FrameRing(1024, 2 << 20)
        for message in numbered(600, 1518):
            assert ring.push(message, 0)

        def over() -> bool:
            pair.near.send(ring, 0)
            return far.counters["overrun"] > 0

        await pair.until(over)
        assert far._holding <= 200_000 and far.peer_closed
        await pair.until(lambda: pair.near.peer_closed)


@WRTC
@on_loop
async def test_one_whose_messages_come_faster_than_they_are_taken_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aero_lab.transports.peer_wrtc.RTC_BACKLOG", 20)
    async with Pair("wrtc") as pair:
        states: list[str] = []
        pair.b.on_state = states.append
        for message in numbered(2000, 200):
            pair.near.channel.send(message)
        time.sleep(0.5)  # nobody takes anything meanwhile
        await pair.until(lambda: "closed" in states)
        assert pair.far is not None and pair.far.peer_closed


SOCKETS = """
import asyncio, subprocess
from pathlib import Path
for command in (
    "link set lo up", "link add out type veth peer name off", "addr add 192.0.2.9/24 dev out", "link set out up",
    "link set off up",
):
    subprocess.run(["ip", *command.split()], check=True)
from tests.transports.test_webrtc import Pair, numbered

def bound():
    lines = [line.split() for line in Path("/proc/net/udp").read_text().splitlines()[1:]]
    return sorted({line[1].split(":")[0] for line in lines}) + Path("/proc/net/udp6").read_text().splitlines()[1:]

async def run():
    async with Pair("wrtc") as pair:
        assert await pair.carry(numbered(5, 500)) == numbered(5, 500)
        print(bound(), {each.candidate.split()[4] for each in pair.a.candidates + pair.b.candidates})
asyncio.run(run())
"""


@WRTC
def test_it_opens_no_socket_but_where_it_was_told() -> None:
    _namespaces()
    done = subprocess.run(
        ["unshare", "-Urn", sys.executable, "-c", SOCKETS], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split() == ["['0100007F']", "{'127.0.0.1'}"], done.stderr[-2000:]


@WRTC
@on_loop
async def test_an_address_of_another_host_is_one_clear_error() -> None:
    peer = make_peer(["192.0.2.77"], "wrtc")
    with pytest.raises(PeerFailed, match="192.0.2.77 is no address of this host"):
        await peer.offer()
    await peer.close()


@WRTC
@on_loop
async def test_candidates_over_tcp_and_names_to_look_up_are_left_alone() -> None:
    async with Pair("wrtc") as pair:
        for text in (
            "candidate:1 1 tcp 1518214911 127.0.0.1 9 typ host tcptype active",
            "candidate:1 1 udp 2122063615 a-name.invalid 4000 typ host",
        ):
            await pair.a.add_candidate(IceCandidate(text, "0", 0))
        await pair.a.add_candidate(IceCandidate("", "0", 0))
        assert all(" tcp " not in each.candidate for each in pair.a.candidates)
        assert await pair.carry(numbered(5, 500)) == numbered(5, 500)
