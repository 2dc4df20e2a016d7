"""Corners where one part's leftovers met another part."""

import random

from aero_lab.limits import SECOND
from aero_lab.stack import Stack, StackConfig, TcpConfig
from aero_lab.wire.icmpv6 import Icmpv6
from aero_lab.wire.ipv4 import Ipv4
from aero_lab.wire.ipv6 import Ipv6
from aero_lab.wire.udp import Udp

from .model import wire as model_wire
from .net import A4, A6, B4, B6, MAC_B, SYN, Net
from .peer import ACK, Peer


def bare(**more) -> Stack:
    config = StackConfig(
        role="guest", medium="ip", addresses=((B4, 24), (B6, 64)), router4=A4, router6=A6, mac=MAC_B, **more
    )
    return Stack(config, random.Random(1), 0)


def test_a_fragment_that_times_out_is_reported_whatever_came_last():
    """The datagram's own header decides about the ICMPv6 error, not the transport of the step's last packet."""
    for icmp_last in (False, True):
        stack = bare()
        datagram = Udp(1, 2, bytes(56)).emit(A6, B6)
        first = bytes([17, 0, 0, 1, 1, 2, 3, 4]) + datagram
        stack.rx.push(model_wire.ipv6(A6, B6, 44, first))
        stack.step(0)
        if icmp_last:
            stack.rx.push(Ipv6(A6, B6, 58, Icmpv6(129, 0, 0, b"hello").emit(A6, B6)).emit())
        stack.step(61 * SECOND)
        (error,) = stack.tx.pop_many(9)
        message = Icmpv6.parse(Ipv6.parse(error.data).payload, B6, A6)
        assert (message.type, message.code) == (3, 1) and message.payload[6] == 44


def test_an_acknowledgement_of_a_syn_that_never_went_out():
    """RFC 9293 section 3.10.7.4: SND.UNA < SEG.ACK =< SND.NXT, or it is reset."""
    p = Peer(TcpConfig(), "gateway")
    conns = []
    p.stack.tx.push(bytes(p.stack.tx.arena - 64))
    p.put(p.packet(segment(p, SYN), 6))
    p.stack.step(0)
    for event in p.stack.events():
        conns.append(event.conn)
        assert event.conn.accept(0)
    info = conns[0].info()
    assert info["snd_nxt"] == info["iss"], "there was no room for the SYN-ACK"
    p.put(p.packet(segment(p, ACK, seq=p.seq + 1, ack=info["iss"] + 1), 6))
    p.stack.step(1)
    assert conns[0].state == "SYN-RECEIVED"


def segment(p: Peer, flags: int, seq: int | None = None, ack: int = 0) -> bytes:
    from aero_lab.wire.tcp import Tcp, TcpOptions

    where = p.seq if seq is None else seq
    return Tcp(p.sport, p.dport, where & 0xFFFFFFFF, ack & 0xFFFFFFFF, flags, 65535, 0, TcpOptions(), b"").emit(
        p.me, p.it
    )


def test_the_other_end_of_a_link_of_two():
    """RFC 3021: a /31 has no broadcast address, so its odd address may speak."""
    own, other = bytes([10, 0, 0, 0]), bytes([10, 0, 0, 1])
    stack = Stack(StackConfig(role="guest", medium="ip", addresses=((own, 31),)), random.Random(1), 0)
    stack.rx.push(Ipv4(other, own, 17, Udp(7, 8, b"hello").emit(other, own)).emit())
    stack.step(0)
    assert [event.payload for event in stack.events()] == [b"hello"] and stack.drops == {}


def test_a_solicitation_on_a_medium_without_links():
    """There is nobody to ask for a link address: it is answered, and nothing is entered or solicited."""
    stack = bare()
    source = A6[:-1] + b"\x77"
    solicit = Icmpv6(135, 0, 0, B6).emit(source, B6)
    stack.rx.push(Ipv6(source, B6, 58, solicit, hop_limit=255).emit())
    stack.step(0)
    (answer,) = stack.tx.pop_many(9)
    assert Ipv6.parse(answer.data).dst == source and Icmpv6.parse(Ipv6.parse(answer.data).payload).type == 136
    assert stack.neighbours() == {} and stack.poll_at(0) > 100 * SECOND


def test_the_window_of_a_linux_syn():
    """65535 rounded down to whole segments of the sender's own MSS, for each family."""
    for mtu, v4, v6 in ((576, 65392, None), (1280, 64480, 64660), (1500, 64240, 64800), (9000, 62720, 62580)):
        for family, window in ((4, v4), (6, v6)):
            if window is None:
                continue
            net = Net(tcp=TcpConfig(syn_window=0), mtu=mtu, family=family, tap=True)
            net.connect()
            net.turn()
            net.wait(SECOND)
            syn = next(s for s in net.seen if s.side == "a" and s.flags == SYN)
            assert syn.tcp is not None and syn.tcp.window == window
