"""Frames of the user's own through a guest's NIC: what the proxy answers, over each transport and in virtual time."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from aero_lab.engine import EngineStopped, TimedOut
from aero_lab.errors import UsageError
from aero_lab.guests.tap import why_not
from aero_lab.injection import Matching
from aero_lab.lab import Lab

PATIENCE = 30.0
"""Seconds for an answer that must come; it ends as soon as that is there."""


@pytest.fixture(scope="module", params=["memory", "websocket", "datagram", "virtual"])
def bench(request):
    options = {"virtual": True, "link": "rtt=20ms"} if request.param == "virtual" else {"transport": request.param}
    with Lab(**options) as lab:
        guest = lab.guest("scripted", profile="linux")
        guest.wait_online()
        yield lab, guest


def test_arp(bench):
    from scapy.layers.l2 import ARP

    lab, guest = bench
    answered, unanswered = lab.srp(ARP(pdst="10.0.2.2"), timeout=PATIENCE)
    (question, answer), *more = answered
    assert not unanswered and not more
    assert question.dst == "ff:ff:ff:ff:ff:ff" and question.src == question.hwsrc == guest.mac
    assert question.psrc == guest.address
    assert answer.op == 2 and answer.hwsrc == "02:00:00:00:00:01" and answer.psrc == "10.0.2.2"
    assert answer.dst == guest.mac
    assert answer.time >= question.sent_time


def test_echo_over_both_versions(bench):
    from scapy.layers.inet import ICMP, IP
    from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, IPv6
    from scapy.packet import Raw

    lab, guest = bench
    packets = [IP(dst="10.0.2.2") / ICMP(id=77, seq=3) / b"hello", IPv6(dst="fe80::ff:fe00:1") / ICMPv6EchoRequest()]
    answered, unanswered = lab.srp(packets, timeout=PATIENCE)
    assert not unanswered
    replies = {question.type: (question, answer) for question, answer in answered}
    question, answer = replies[0x0800]
    assert (answer[ICMP].type, answer[ICMP].id, answer[ICMP].seq, answer[Raw].load) == (0, 77, 3, b"hello")
    assert question[IP].src == answer[IP].dst == guest.address
    assert ICMPv6EchoReply in replies[0x86DD][1]


def test_dns(bench):
    from scapy.layers.dns import DNS, DNSQR
    from scapy.layers.inet import IP, UDP

    lab, _ = bench
    names = ["files.lab", "nosuch.lab"]
    packets = [
        IP(dst="10.0.2.2") / UDP(sport=50000 + n) / DNS(id=n, qd=DNSQR(qname=name)) for n, name in enumerate(names)
    ]
    answered, unanswered = lab.srp(packets, timeout=PATIENCE)
    assert not unanswered
    found = {answer[DNS].id: answer[DNS] for _, answer in answered}
    assert found[0].rcode == 0 and found[0].an[0].rdata == "203.0.113.10"
    assert found[1].rcode == 3


def test_syn_opens_a_connection_and_a_closed_port_resets(bench):
    from scapy.layers.inet import IP, TCP

    lab, guest = bench
    packet = IP(dst="203.0.113.10") / TCP(sport=40001, dport=[80, 81], flags="S", seq=1000)
    answered, unanswered = lab.srp(packet, timeout=PATIENCE)
    assert not unanswered
    flags = {answer[TCP].sport: (str(answer[TCP].flags), answer[TCP].ack) for _, answer in answered}
    assert flags == {80: ("SA", 1001), 81: ("RA", 1001)}
    assert guest.run("download", size="10kB").ok


def test_dhcp_is_matched_by_its_transaction(bench):
    from scapy.layers.dhcp import BOOTP, DHCP
    from scapy.layers.inet import IP, UDP

    lab, guest = bench
    hardware = bytes.fromhex(guest.mac.replace(":", ""))
    discover = (
        IP(src="0.0.0.0", dst="255.255.255.255")
        / UDP(sport=68, dport=67)
        / BOOTP(chaddr=hardware, xid=0xABCDEF)
        / DHCP(options=[("message-type", "discover"), "end"])
    )
    answered, unanswered = lab.srp(discover, timeout=PATIENCE)
    assert not unanswered
    question, offer = answered[0]
    assert question.dst == "ff:ff:ff:ff:ff:ff"
    assert ("message-type", 2) in offer[DHCP].options and offer[BOOTP].yiaddr == "10.0.2.15"


@pytest.mark.parametrize("virtual", [True, False])
def test_what_nobody_answers_is_told_apart_and_several_answers_are_waited_for(virtual):
    from scapy.layers.inet import ICMP, IP
    from scapy.layers.l2 import ARP

    with Lab(virtual=virtual) as lab:
        lab.guest().wait_online()
        before = lab.now
        answered, unanswered = lab.srp([ARP(pdst="192.0.2.1"), IP(dst="10.0.2.2") / ICMP()], timeout=4)
        assert [question.type for question, _ in answered] == [0x0800]
        assert [packet.type for packet in unanswered] == [0x0806]
        assert virtual or lab.now - before >= 4 * 10**9
        echo = IP(dst="10.0.2.2") / ICMP(id=9)
        once, none = lab.srp([echo, echo], timeout=PATIENCE)
        assert len(once) == 2 and not none
        several, none = lab.srp(echo, timeout=4, multi=True)
        assert len(several) == 1 and not none


def test_malformed_frames_do_not_stop_the_lab(bench):
    from scapy.layers.inet import IP, TCP, UDP
    from scapy.layers.l2 import ARP, Ether

    lab, guest = bench
    header = bytes.fromhex("020000000001") + guest._host.mac
    bad = [
        b"",
        b"\x00",
        header,
        header + b"\x08\x00",
        header + b"\x08\x00" + b"\x45" + bytes(19),
        header + b"\x86\xdd" + b"\x60" + bytes(60),
        header + b"\x08\x06" + bytes(7),
        header + b"\xff\xff" + bytes(1500),
        bytes(60),
        b"\xff" * 1514,
        bytes(IP(dst="10.0.2.2")),
        Ether() / IP(dst="10.0.2.2", ihl=15, len=65535) / UDP(len=7) / b"short",
        Ether() / IP(dst="10.0.2.2", version=7) / TCP(dataofs=1),
        IP(src="10.0.2.15", dst="10.0.2.15") / TCP(sport=80, dport=80, flags="S"),
        IP(dst="10.0.2.2", frag=8189) / (b"x" * 1000),
        ARP(hwlen=200, plen=200, pdst="10.0.2.2"),
        Ether(type=3) / b"802.3",
    ]
    before = len(lab.capture)
    assert lab.send(bad) == len(bad)
    answered, _ = lab.srp(ARP(pdst="10.0.2.2"), timeout=PATIENCE)
    assert len(answered) == 1
    assert len(lab.capture) > before + len(bad)
    assert guest.run("download", size="10kB").ok


def test_a_guest_whose_proxy_is_elsewhere():
    from scapy.layers.inet import ICMP, IP
    from scapy.layers.l2 import ARP

    with Lab(transport="websocket") as home:
        tunnels = home._tunnels
        assert tunnels is not None
        with Lab(proxy_url=tunnels.where, token=parse_qs(urlsplit(tunnels.url).query)["token"][0]) as away:
            guest = away.guest()
            guest.wait_online()
            packets = [IP(dst="10.0.2.2") / ICMP(id=5), ARP(pdst="10.0.2.2")]
            answered, unanswered = away.srp(packets, timeout=PATIENCE)
            assert len(answered) == 2 and not unanswered
            sample = away.dashboard().sample()
            assert sample is not None and sample.frames_up > 2 and sample.guests == 1
            assert sample.flows == () and "proxy" not in " ".join(sample.drops)


def test_a_kernel_behind_a_tap():
    if why := why_not():
        pytest.skip(why)
    from scapy.layers.inet import ICMP, IP, TCP

    with Lab() as lab:
        guest = lab.guest("tap")
        packets = [IP(dst="10.0.2.2") / ICMP(id=5), IP(dst="203.0.113.10") / TCP(sport=40001, dport=80, flags="S")]
        answered, unanswered = lab.srp(packets, timeout=PATIENCE)
        assert len(answered) == 2 and not unanswered
        assert {question[IP].src for question, _ in answered} == {guest.address}


def test_answers_are_seen_while_nothing_is_recorded():
    from scapy.layers.l2 import ARP

    with Lab(virtual=True, capture=False) as lab:
        lab.guest().wait_online()
        answered, _ = lab.srp(ARP(pdst="10.0.2.2"))
        assert len(answered) == 1 and len(lab.capture) == 0


def test_the_same_seed_gives_the_same_answers():
    from scapy.layers.inet import IP, TCP

    def run() -> list[tuple]:
        with Lab(virtual=True, seed=3, link="rtt=20ms") as lab:
            lab.guest().wait_online()
            answered, _ = lab.srp(IP(dst="203.0.113.10") / TCP(sport=40001, dport=[80, 81], flags="S"))
            return [(bytes(answer), int(answer.time * 10**9)) for _, answer in answered]

    assert run() == run()


def test_what_a_packet_leaves_open_is_filled_and_the_rest_is_left():
    from scapy.layers.inet import IP, UDP
    from scapy.layers.inet6 import IPv6
    from scapy.layers.l2 import ARP, Ether

    from aero_lab.injection import complete

    class Own:
        mac, gateway_mac, address = "02:00:00:00:00:02", "02:00:00:00:00:01", "10.0.2.15"
        link_local, address6 = "fe80::2", "fd00::2"

    def target(packet):
        return complete(packet, Own).dst

    assert target(IP(dst="192.0.2.1")) == Own.gateway_mac
    assert target(IP(dst="255.255.255.255")) == target(ARP()) == "ff:ff:ff:ff:ff:ff"
    assert target(ARP(op=2)) == Own.gateway_mac
    assert target(IP(dst="224.0.0.251")) == "01:00:5e:00:00:fb"
    assert target(IPv6(dst="ff02::1")) == "33:33:00:00:00:01"
    assert target(Ether(dst="02:00:00:00:00:09") / IP(dst="224.0.0.251")) == "02:00:00:00:00:09"
    assert complete(IPv6(dst="ff02::1"), Own)[IPv6].src == "fe80::2"
    assert complete(IPv6(dst="2001:db8::1"), Own)[IPv6].src == "fd00::2"
    assert complete(IP(src="192.0.2.7", dst="192.0.2.1") / UDP(), Own)[IP].src == "192.0.2.7"
    mine = IP(dst="192.0.2.1")
    complete(mine, Own)
    assert "src" not in mine.fields, "a packet of the user's was changed"


def test_matching_takes_each_answer_once():
    from scapy.layers.inet import ICMP, IP
    from scapy.layers.l2 import Ether

    ether = Ether(src="02:00:00:00:00:02", dst="02:00:00:00:00:01")
    back = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    ask = ether / IP(src="10.0.2.15", dst="10.0.2.2") / ICMP(id=1, seq=1)
    reply = back / IP(src="10.0.2.2", dst="10.0.2.15") / ICMP(type=0, id=1, seq=1)
    other = back / IP(src="10.0.2.2", dst="10.0.2.15") / ICMP(type=0, id=2, seq=1)
    matching = Matching([ask, ask.copy()], multi=False)
    for packet in (other, reply):
        matching.look(packet)
    assert len(matching.answered) == 1 and len(matching.unanswered) == 1 and not matching.done
    matching.look(reply)
    matching.look(reply)
    assert len(matching.answered) == 2 and matching.done
    several = Matching([ask], multi=True)
    several.look(reply)
    several.look(reply)
    assert len(several.answered) == 2 and not several.done


def test_mistakes_are_told_in_a_line():
    from scapy.layers.inet import IP
    from scapy.layers.l2 import ARP

    with Lab(virtual=True) as lab:
        with pytest.raises(UsageError, match="no guest yet"):
            lab.send(b"x")
        lab.guest(name="one")
        with pytest.raises(UsageError, match="scapy packets or bytes, not int"):
            lab.send(7)
        with pytest.raises(UsageError, match="scapy packets or bytes, not str"):
            lab.send("ping")
        with pytest.raises(UsageError, match="does not go through this tunnel"):
            lab.send(bytes(3000))
        with pytest.raises(UsageError, match="at most 65,536 packets"):
            lab.send(b"x" for _ in range(65_537))
        with pytest.raises(UsageError, match="cannot build"):
            lab.send(IP(dst="10.0.2.2", ttl=4000))
        assert lab.send([]) == 0
        lab.guest(name="two")
        with pytest.raises(UsageError, match="which guest"):
            lab.send(ARP())
        assert lab.send(ARP(pdst="10.0.2.2"), guest="two") == 1
    with pytest.raises(EngineStopped):
        lab.send(b"x", guest="one")


def test_a_nic_without_room_is_told_and_what_waits_is_given_up():
    with Lab(virtual=True) as lab:
        guest = lab.guest()
        guest.wait_online()
        ring = guest._host.nic_tx
        lab._engine.scheduler.remove(guest._client)  # whoever empties the ring
        while ring.push(bytes(64)):
            pass
        with pytest.raises(TimedOut, match="no room"):
            lab.send([b"x" * 64])
        assert not lab._injectors[guest.name].tasks
