"""Rare moments of a stack, each brought about on purpose, against the plain model."""

import random
from dataclasses import replace

import pytest

from aero_lab.compiled.records import new_records
from aero_lab.limits import MS, SECOND
from aero_lab.stack import StackConfig, TcpConfig, connections, world

from .model import wire
from .model.twin import Twin
from .net import A4, A6, B4, B6, FAR4, FAR6
from .twins import put

LOCAL6_A, LOCAL6_B = (b"\xfe\x80" + bytes(13) + bytes([n]) for n in (0x15, 2))
CONFIG = StackConfig(
    role="server", medium="ip", addresses=((B4, 24), (B6, 64)), router4=A4, router6=A6, max_connections=2,
    tcp=TcpConfig(send_buffer=20_000, recv_buffer=20_000, congestion="newreno"),
)  # fmt: skip


def syn(options: bytes = b"\2\4\x05\xb4", me: tuple = (A4, 5000), seq: int = 1000, it: tuple = (B4, 80)) -> bytes:
    return wire.ip(me[0], it[0], 6, wire.tcp(me[0], it[0], me[1], it[1], seq, 0, wire.SYN, 65535, options))


def answer(c, flags: int = wire.ACK, options: bytes = b"", ack: int | None = None, data: bytes = b"") -> bytes:
    """The next segment of a connection's peer."""
    segment = wire.tcp(
        c.remote[0], c.local[0], c.remote[1], c.local[1], c.rcv_nxt, c.snd_nxt if ack is None else ack, flags, 65535,
        options, data,
    )  # fmt: skip
    return wire.ip(c.remote[0], c.local[0], 6, segment)


def stamp(value: int) -> bytes:
    return b"\1\1\x08\x0a" + value.to_bytes(4, "big") + bytes(4)


def twin_of(**changes) -> Twin:
    twin = Twin(replace(CONFIG, **changes), 1)
    twin.listen(80)
    return twin


def opened(twin: Twin, options: bytes = b"\2\4\x05\xb4", stamps: bytes = b"", **more):
    """An established connection."""
    twin.step([syn(options + stamps, **more)])
    c = twin.model.open_connections[-1]
    twin.now += 10 * MS
    twin.step([answer(c, options=stamps)])
    assert c.state == "ESTABLISHED"
    return c


def in_time_wait(twin: Twin, **more):
    """A connection that the stack closed first, all the way."""
    c = opened(twin, **more)
    stamps = more.get("stamps", b"")
    twin.call(c, "shutdown")
    twin.step([answer(c, wire.ACK | wire.FIN, options=stamps)])
    assert c.state == "TIME-WAIT" and c.released
    return c


def test_a_path_that_swallows_large_segments():
    """RFC 2923: after two timeouts smaller segments go, after two more the smallest."""
    twin = twin_of()
    c = opened(twin)
    twin.write(c, bytes(10_000))
    sizes = set()
    for _ in range(6):
        twin.now = c.t_rto
        twin.step([])
        sizes |= {len(frame) for frame in twin.sent}
    assert twin.model.counts["black-holes"] == 2 and {1500, 1280, 576} <= sizes


def test_a_receiver_that_throws_away_what_it_had_sacked():
    """RFC 2018 section 8: after a second timeout no SACK from before is believed."""
    twin = twin_of()
    c = opened(twin, b"\2\4\x05\xb4\1\1\4\2")
    twin.write(c, bytes(6000))
    second = c.pieces[1]
    edges = (second.seq & wire.M32).to_bytes(4, "big") + (second.end & wire.M32).to_bytes(4, "big")
    twin.step([answer(c, options=b"\1\1\5\x0a" + edges, ack=c.snd_una)])
    assert second.sacked
    for _ in range(2):
        twin.now = c.t_rto
        twin.step([])
    assert not second.sacked and second.lost


def test_with_all_slots_taken_the_oldest_time_wait_gives_way():
    twin = twin_of()
    for port in (5000, 5001):
        in_time_wait(twin, me=(A4, port))
        twin.now += SECOND
    twin.step([syn(me=(A4, 5002))])
    assert [c.remote[1] for c in twin.model.open_connections] == [5002, 5001]
    twin.step([syn(me=(A4, 5003)), syn(me=(A4, 5004))])
    assert twin.model.drops["tcp-no-slot"] == 1


@pytest.mark.parametrize("stamps", [False, True])
@pytest.mark.parametrize("ahead", [-1, 0, 1, 5000, 1 << 31])
@pytest.mark.parametrize("later", [-1, 0, 1, 1 << 31])
def test_a_syn_in_time_wait(stamps, ahead, later):
    """RFC 6191: a connection may begin anew when its SYN cannot be an old duplicate."""
    twin = twin_of()
    old = in_time_wait(twin, stamps=stamp(70_000) if stamps else b"")
    twin.now += SECOND
    options = b"\2\4\x05\xb4" + (stamp(70_000 + later & wire.M32) if stamps else b"")
    twin.step([syn(options, seq=old.rcv_nxt + ahead & wire.M32)])
    new = 0 < later < 1 << 31 or later == 0 and 0 < ahead < 1 << 31 if stamps else 0 < ahead < 1 << 31
    states = [c.state for c in twin.model.open_connections]
    assert states == (["SYN-RECEIVED"] if new else ["TIME-WAIT"])


def test_a_gateway_speaks_from_the_address_that_fits():
    """RFC 4443 section 2.2: link-local to link-local, wide to wide."""
    twin = Twin(replace(CONFIG, role="gateway", addresses=((B4, 24), (B6, 64), (LOCAL6_B, 64))), 1)
    for src in (A6, LOCAL6_A, FAR6[:15] + b"\x09"):
        twin.step([wire.ipv6(src, FAR6, 17, wire.udp(src, FAR6, 1, 2, b"x"), ttl=1)])
        (frame,) = twin.sent
        assert frame[8:24] == (LOCAL6_B if src == LOCAL6_A else B6)
    twin.step([wire.ipv4(A4, FAR4, 17, wire.udp(A4, FAR4, 1, 2, b"x"), ttl=1)])
    assert twin.sent[0][12:16] == B4


def test_fragments_of_one_datagram_share_a_number_and_those_of_two_do_not():
    """The generator is a Weyl sequence through the finaliser of MurmurHash3."""
    twin = twin_of()
    state = world_field(twin, "rng")
    for _ in range(5):
        twin.udp_send(A6, bytes(4000))
        state = state + 0x9E3779B9 & wire.M32
        x = state
        for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
            x = (x ^ x >> shift) * factor & wire.M32
        x ^= x >> 16
        assert {frame[44:48] for frame in twin.sent} == {x.to_bytes(4, "big")} and len(twin.sent) == 3


def world_field(twin: Twin, name: str) -> int:
    W = twin.stack._world[0]
    return getattr(W, name) if hasattr(W, name) else int(W[name])


def places(seed: int, flows: list[tuple[int, ...]]) -> list[int]:
    rng = random.Random(seed)
    W = new_records(world.WORLD, 1)[0]
    put(W, key0=rng.getrandbits(32), key1=rng.getrandbits(32))
    return [int(connections.flow_hash(W, *flow)) for flow in flows]


def test_flows_spread_over_the_table_and_every_word_counts():
    """Neighbouring ports and addresses fall into different places, and elsewhere with another key."""
    mapped = 0xFFFF << 32
    flows = [(0, mapped | 0x0A000000 + host, port, 80) for host in range(64) for port in range(5000, 5064)]
    one, other = places(1, flows), places(2, flows)
    assert all(0 <= h < world.HASH_SIZE for h in one)
    expected = world.HASH_SIZE * (1 - (1 - 1 / world.HASH_SIZE) ** len(flows))
    assert len(set(one)) > 0.98 * expected and len(set(other)) > 0.98 * expected
    assert sum(a == b for a, b in zip(one, other)) < 10
    base = (7, mapped | 9, 5000, 80)
    changed = [base, (8, *base[1:]), (7, mapped | 8, 5000, 80), (7, mapped | 9, 5001, 80), (7, mapped | 9, 5000, 81)]
    assert len(set(places(3, changed))) == len(changed)


def test_more_datagrams_than_wait_for_their_reader_are_dropped_and_counted():
    twin = twin_of()
    frame = wire.ipv4(A4, B4, 17, wire.udp(A4, B4, 1, 2, b"x"))
    for _ in range(10):
        for _ in range(103):
            assert twin.stack.rx.push(frame, twin.now)
        twin.both("step", lambda: twin.stack.step(0), lambda: twin.model.step([frame] * 103, 0))
    twin.events()
    assert twin.model.drops["up-full"] == 6


def test_errors_and_challenges_are_limited_to_so_many_a_second():
    twin = twin_of()
    c = opened(twin)
    strange = wire.ipv4(A4, B4, 132, b"?")
    for _ in range(2):
        twin.step([strange] * 120)
        twin.step([answer(c, wire.SYN)] * 120)
        twin.now += SECOND
    assert twin.model.drops["icmp-rate"] == twin.model.drops["tcp-challenge-limit"] == 40


def test_a_backlog_of_half_open_connections_is_bounded():
    config = replace(CONFIG, max_connections=600, tcp=TcpConfig(send_buffer=128, recv_buffer=128))
    twin = Twin(config, 1)
    twin.listen(80)
    twin.step([syn(me=(A4, port)) for port in range(5000, 5530)])
    assert twin.model.drops["tcp-backlog"] == 18
