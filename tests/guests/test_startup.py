"""Start-up as the wire shows it: order and contents of the chatter, DHCP and its renewals, address conflicts, IPv6."""

import random

import pytest

from aero_lab.errors import UsageError
from aero_lab.guests.scripted import ScriptedGuest, StaticAddress, quiet
from aero_lab.guests.scripted.chatter import netbios_name
from aero_lab.limits import MS, SECOND
from aero_lab.wire import dhcp, ndp
from aero_lab.wire.address import IP6_ALL_NODES, IP6_ANY, ip, is_link_local, link_local, mac, solicited_node
from aero_lab.wire.arp import REPLY, Arp
from aero_lab.wire.dhcp import Dhcp
from aero_lab.wire.frame import (
    DnsMessage,
    Ethernet,
    IgmpReport,
    Ipv4,
    Ipv6,
    MldReport,
    Udp,
    arp_frame,
    dissect,
    icmp_frame,
)
from aero_lab.wire.ndp import NeighbourAdvert, NeighbourSolicit, Prefix, RouterAdvert, RouterSolicit

from .peer import ADDRESS, GUEST_MAC, ROUTER, ROUTER_MAC, Peer, ports


def kind_of(layers):
    """One word for what a frame is."""
    last, port = layers[-1], ports(layers)
    if isinstance(last, Arp):
        if last.spa == bytes(4):
            return "arp-probe"
        return "arp-announcement" if last.spa == last.tpa else "arp"
    if isinstance(last, NeighbourSolicit):
        return "dad" if layers[1].src == IP6_ANY else "ns"
    names = {MldReport: "mld", RouterSolicit: "rs", Dhcp: "dhcp", IgmpReport: "igmp"}
    if type(last) in names:
        return names[type(last)]
    return {5355: "llmnr", 137: "netbios", 1900: "ssdp", 547: "dhcpv6", 53: "dns"}.get(port, "other")


def windows(**more):
    peer = Peer("windows7", **more)
    peer.run(40)
    return peer


def test_windows_chatter_in_the_order_given():
    peer = windows()
    kinds = [kind_of(dissect(frame)) for _, frame in peer.frames]
    first = list(dict.fromkeys(k for k in kinds if k not in ("arp", "dns", "other")))
    assert first == [
        "dad", "mld", "rs", "dhcp", "arp-probe", "arp-announcement", "igmp", "llmnr", "netbios", "ssdp", "dhcpv6",
    ]  # fmt: skip
    counts = {kind: kinds.count(kind) for kind in first}
    assert (counts["arp-probe"], counts["arp-announcement"], counts["netbios"]) == (3, 1, 9)
    assert counts["rs"] == 3 and counts["dhcpv6"] >= 4 and counts["llmnr"] == 4


def test_every_frame_is_well_formed():
    peer = windows()
    for _, frame in peer.frames:
        layers = dissect(frame)
        assert not any(type(layer).__name__ == "Broken" for layer in layers), layers
        assert layers[0].src == GUEST_MAC


def test_windows_link_local_is_random_and_linux_is_made_from_the_mac():
    targets = []
    for seed in (1, 2):
        peer = Peer("windows7", seed=seed)
        peer.run(3)
        ((_, layers),) = peer.sent(NeighbourSolicit)
        assert layers[1].src == IP6_ANY and layers[1].hop_limit == 255
        assert layers[1].dst == solicited_node(layers[-1].target) and is_link_local(layers[-1].target)
        targets.append(layers[-1].target)
        assert list(peer.guest.ipv6.addresses) == targets[-1:]
    assert targets[0] != targets[1] and link_local(GUEST_MAC) not in targets
    peer = Peer("linux")
    peer.run(3)
    assert list(peer.guest.ipv6.addresses) == [link_local(GUEST_MAC)]


def test_arp_probes_come_from_nowhere_a_second_apart():
    peer = windows()
    probes = peer.sent(Arp, spa=bytes(4))
    assert all(layers[-1].tpa == ADDRESS and layers[0].dst == b"\xff" * 6 for _, layers in probes)
    times = [when for when, _ in probes]
    assert times[1] - times[0] == times[2] - times[1] == SECOND
    ((announced, _),) = [(w, ls) for w, ls in peer.sent(Arp, spa=ADDRESS) if ls[-1].tpa == ADDRESS]
    assert announced == times[2] + SECOND
    assert peer.guest.address == ADDRESS and peer.guest.online


def test_igmp_joins_and_mld_groups():
    peer = windows()
    joined = [record.group for _, layers in peer.sent(IgmpReport) for record in layers[-1].records]
    assert joined[:2] == [ip("224.0.0.252"), ip("239.255.255.250")]
    _, layers = peer.sent(MldReport)[0]
    groups = [record.group for record in layers[-1].records]
    assert groups == [solicited_node(layers[1].src), ip("ff02::1:3"), ip("ff02::c")]
    assert layers[1].hop_limit == 1


def test_llmnr_asks_for_its_own_name_in_both_families():
    peer = windows()
    queries = [layers for _, frame in peer.frames if ports(layers := dissect(frame)) == 5355]
    assert [layers[1].dst for layers in queries] == [ip("224.0.0.252"), ip("ff02::1:3")] * 2
    for layers in queries:
        message = DnsMessage.parse(next(layer for layer in layers if isinstance(layer, Udp)).payload)
        assert message.questions[0].name == "WIN7-PC" and message.flags == 0


def test_netbios_registers_three_names_three_times():
    peer = windows()
    claims = [(when, layers) for when, frame in peer.frames if ports(layers := dissect(frame)) == 137]
    assert len(claims) == 9
    for index, (_, layers) in enumerate(claims):
        udp = next(layer for layer in layers if isinstance(layer, Udp))
        assert layers[1].dst == ip("10.0.2.255") and layers[0].dst == b"\xff" * 6 and udp.srcport == 137
        message = DnsMessage.parse(udp.payload)
        name, suffix, group = (("WIN7-PC", 0, 0), ("WIN7-PC", 0x20, 0), ("WORKGROUP", 0, 0x8000))[index % 3]
        assert message.flags == 0x2910 and message.questions[0].name == netbios_name(name, suffix)
        assert message.questions[0].type == 0x20
        assert message.additional[0].rdata == group.to_bytes(2, "big") + ADDRESS
        assert message.additional[0].ttl == 300_000
        assert udp.payload[50:52] == b"\xc0\x0c"  # the record's name points at the question's
    assert claims[3][0] - claims[0][0] == claims[6][0] - claims[3][0] == 750 * MS


def test_netbios_names_as_in_rfc_1001():
    assert netbios_name("FRED", 0x20) == "EGFCEFEECACACACACACACACACACACACA"


def test_ssdp_and_dhcpv6():
    peer = windows()
    searches = [layers for _, frame in peer.frames if ports(layers := dissect(frame)) == 1900]
    assert len(searches) == 3 and searches[0][1].dst == ip("239.255.255.250")
    assert searches[0][-1].payload.startswith(b"M-SEARCH * HTTP/1.1\r\n")
    solicits = [(when, layers) for when, frame in peer.frames if ports(layers := dissect(frame)) == 547]
    assert all(layers[1].dst == ip("ff02::1:2") and layers[-1].payload[0] == 1 for _, layers in solicits)
    gaps = [later[0] - earlier[0] for earlier, later in zip(solicits, solicits[1:])]
    assert SECOND <= gaps[0] <= 1.1 * SECOND
    assert all(1.7 * before <= after <= 2.3 * before for before, after in zip(gaps, gaps[1:]))
    xids = {layers[-1].payload[1:4] for _, layers in solicits}
    assert len(xids) == 1
    elapsed = [int.from_bytes(layers[-1].payload[8:10], "big") for _, layers in solicits]
    assert elapsed[0] == 0 and elapsed[1] == gaps[0] // (10 * MS)


def test_an_answered_dhcpv6_solicit_is_not_repeated():
    peer = Peer("windows7")

    def solicits():
        return [layers for _, frame in peer.frames if ports(layers := dissect(frame)) == 547]

    peer.run(60, lambda: bool(solicits()))
    question = solicits()[0]
    from aero_lab.wire.frame import udp_frame

    advertise = b"\x02" + question[-1].payload[1:4]
    peer.send(udp_frame(ROUTER_MAC, GUEST_MAC, ip("fe80::1"), question[1].src, 547, 546, advertise))
    peer.run(200)
    assert len(solicits()) == 1


def test_ttl_and_ip_identification():
    peer = windows()
    packets = [layers[1] for _, frame in peer.frames if isinstance((layers := dissect(frame))[1], Ipv4)]
    unicast = [p for p in packets if p.dst[0] < 224 and p.dst[3] != 255]
    assert all(p.ttl == 128 for p in unicast) and all(p.id for p in packets)
    assert any(ports(dissect(frame)) == 68 for _, frame in peer.frames) is False


def test_linux_is_silent_but_for_ipv6_and_dhcp():
    peer = Peer("linux")
    peer.run(60)
    kinds = {kind_of(dissect(frame)) for _, frame in peer.frames}
    assert kinds <= {"dad", "mld", "rs", "dhcp", "arp", "ns"}
    assert peer.guest.online


def test_quiet_profile_sends_dhcp_and_nothing_else():
    peer = Peer(quiet("windows7"))
    peer.run(60)
    assert {kind_of(dissect(frame)) for _, frame in peer.frames} == {"dhcp"}
    assert peer.guest.online


def test_an_address_that_another_host_answers_for_is_declined():
    peer = Peer("windows7")
    peer.arp[ADDRESS] = mac("02:00:00:00:00:99")
    peer.run(5)
    assert peer.guest.address is None
    declines = peer.sent(Dhcp, message_type=dhcp.DECLINE)
    assert len(declines) == 1 and len(peer.sent(Arp, spa=bytes(4))) == 1
    del peer.arp[ADDRESS]
    peer.run(30)
    assert peer.guest.address == ADDRESS
    assert len([1 for w, ls in peer.sent(Dhcp, message_type=dhcp.DISCOVER)]) == 2


def test_a_probe_of_another_host_for_the_same_address_is_a_conflict():
    peer = Peer("windows7")
    peer.run(10, lambda: bool(peer.sent(Arp, spa=bytes(4))))
    peer.send(arp_frame(Arp.probe(mac("02:00:00:00:00:99"), ADDRESS)))
    peer.run(5)
    assert peer.guest.address is None and peer.guest.conflicts.conflicts == 1


def test_our_own_probe_coming_back_is_no_conflict():
    peer = Peer("windows7")
    peer.run(10, lambda: bool(peer.sent(Arp, spa=bytes(4))))
    peer.send(arp_frame(Arp.probe(GUEST_MAC, ADDRESS)))
    peer.run(6)
    assert peer.guest.address == ADDRESS


def test_the_address_is_defended_once_and_given_up_the_second_time():
    peer = windows()
    thief = arp_frame(Arp(REPLY, mac("02:00:00:00:00:99"), ADDRESS, GUEST_MAC, ADDRESS), GUEST_MAC)
    before = len(peer.sent(Arp, spa=ADDRESS, tpa=ADDRESS))
    peer.send(thief)
    peer.run(1)
    assert len(peer.sent(Arp, spa=ADDRESS, tpa=ADDRESS)) == before + 1 and peer.guest.online
    peer.send(thief)
    peer.run(1)
    assert not peer.guest.online and len(peer.sent(Dhcp, message_type=dhcp.DECLINE)) == 1


def test_a_system_that_does_not_probe_does_not_defend():
    peer = Peer("linux")
    peer.run(5)
    thief = arp_frame(Arp(REPLY, mac("02:00:00:00:00:99"), ADDRESS, GUEST_MAC, ADDRESS), GUEST_MAC)
    for _ in range(3):
        peer.send(thief)
        peer.run(1)
    assert peer.guest.online and peer.guest.conflicts.conflicts == 3 and not peer.sent(Arp, spa=ADDRESS)


def test_a_static_address_is_lost_too():
    peer = Peer("windows7", static=StaticAddress(ADDRESS, 24, ROUTER, (ROUTER,)))
    peer.run(10)
    thief = arp_frame(Arp(REPLY, mac("02:00:00:00:00:99"), ADDRESS, GUEST_MAC, ADDRESS), GUEST_MAC)
    peer.send(thief)
    assert peer.guest.online
    peer.send(thief)
    peer.run(1)
    assert not peer.guest.online


def test_renewal_at_t1_on_the_wire():
    peer = Peer(quiet("windows7"))
    peer.lease = {"lease": 1000, "t1": 500, "t2": 875}
    peer.run(499)
    assert len(peer.sent(Dhcp)) == 2
    peer.run(10)
    renewal, ack = peer.sent(Dhcp)[2], peer.guest.lease
    assert renewal[0] == 500 * SECOND and renewal[1][1].src == ADDRESS and renewal[1][1].dst == ROUTER
    assert ack.expires_at == 1500 * SECOND
    assert [code for code, _ in renewal[1][-1].options] == [53, 61, 12, 81, 60, 55]


def test_an_unanswered_lease_is_rebound_and_then_lost():
    peer = Peer(quiet("linux"))
    peer.lease = {"lease": 1000, "t1": 500, "t2": 875}
    peer.run(10)
    peer.lease = None
    peer.run(900)
    rebind = [ls for when, ls in peer.sent(Dhcp) if when >= 875 * SECOND]
    assert rebind and rebind[0][1].dst == b"\xff" * 4 and rebind[0][1].src == ADDRESS and peer.guest.online
    peer.run(100)
    assert not peer.guest.online and peer.guest.address is None
    peer.lease = {"lease": 1000, "t1": 500, "t2": 875}
    peer.run(60)
    assert peer.guest.online


def test_nak_on_renewal_starts_again():
    peer = Peer(quiet("linux"))
    peer.lease = {"lease": 1000, "t1": 500, "t2": 875}
    peer.run(10)
    peer.nak = True
    peer.run(495)
    assert not peer.guest.online
    peer.nak = False
    peer.run(60)
    assert peer.guest.online


def test_relink_asks_for_the_same_address():
    peer = Peer(quiet("linux"))
    peer.run(5)
    peer.guest.relink()
    peer.run(5)
    last = peer.sent(Dhcp)[-1][1][-1]
    assert last.message_type == dhcp.REQUEST and last.address(50) == ADDRESS and peer.guest.online


def test_a_static_address_is_probed_announced_and_used():
    peer = Peer("windows7", static=StaticAddress(ADDRESS, 24, ROUTER, (ROUTER,)))
    peer.run(10)
    assert peer.guest.address == ADDRESS and not peer.sent(Dhcp) and len(peer.sent(Arp, spa=bytes(4))) == 3
    peer = Peer("windows7", static=StaticAddress(ADDRESS, 24, ROUTER, (ROUTER,)))
    peer.arp[ADDRESS] = ROUTER_MAC
    peer.run(10)
    assert peer.guest.address is None and peer.guest.counters["address-in-use"] == 1


def advertise(peer, message, router=None):
    router = router or ip("fe80::1")
    peer.send(icmp_frame(ROUTER_MAC, mac("33:33:00:00:00:01"), router, IP6_ALL_NODES, message))


def test_router_advertisement_gives_an_address_and_a_router():
    peer = Peer("linux")
    peer.run(5)
    prefix = ip("fd00:aee0::")
    advertise(peer, RouterAdvert(options=(Prefix(prefix),)))
    peer.run(3)
    assert peer.guest.ipv6.router == ip("fe80::1")
    (address,) = [a for a in peer.guest.ipv6.addresses if not is_link_local(a)]
    assert address[:8] == prefix[:8] and address[8:] == link_local(GUEST_MAC)[8:]
    solicited = len(peer.sent(RouterSolicit))
    peer.run(20)
    assert len(peer.sent(RouterSolicit)) == solicited  # an advertisement ends the soliciting


def test_lifetimes_end():
    peer = Peer("linux")
    peer.run(5)
    advertise(peer, RouterAdvert(lifetime=100, options=(Prefix(ip("fd00:1::"), valid=50, preferred=50),)))
    peer.run(10)
    assert len(peer.guest.ipv6.addresses) == 2
    peer.run(45)
    assert len(peer.guest.ipv6.addresses) == 1 and peer.guest.ipv6.router is not None
    peer.run(60)
    assert peer.guest.ipv6.router is None


def test_a_flood_of_prefixes_gives_a_bounded_number_of_addresses():
    peer = Peer("linux")
    peer.run(5)
    for number in range(50):
        advertise(peer, RouterAdvert(options=(Prefix(bytes((0x20, 1, 0, number)) + bytes(12)),)))
    peer.run(5)
    assert len(peer.guest.ipv6.addresses) <= 5


@pytest.mark.parametrize("changes", [{"ttl": 254}, {}], ids=["hop limit below 255", "from no link-local address"])
def test_forged_advertisements_are_counted_and_ignored(changes):
    peer = Peer("linux")
    peer.run(5)
    source = ip("fe80::1") if changes else ip("2001:db8::1")
    frame = icmp_frame(ROUTER_MAC, mac("33:33:00:00:00:01"), source, IP6_ALL_NODES, RouterAdvert(), **changes)
    peer.send(frame)
    assert peer.guest.ipv6.router is None and sum(peer.guest.counters.values()) == 1


def test_duplicate_address_windows_takes_another_linux_stops():
    for profile, expected in (("windows7", 1), ("linux", 0)):
        peer = Peer(profile)
        peer.run(5, lambda peer=peer: bool(peer.sent(NeighbourSolicit)))
        target = peer.sent(NeighbourSolicit)[0][1][-1].target
        answer = NeighbourAdvert(target, flags=0, options=(ndp.target_link(ROUTER_MAC),))
        peer.send(icmp_frame(ROUTER_MAC, mac("33:33:00:00:00:01"), target, IP6_ALL_NODES, answer))
        peer.run(5)
        assert len(peer.guest.ipv6.addresses) == expected and target not in peer.guest.ipv6.addresses


def test_a_small_mtu_means_no_ipv6():
    peer = Peer("windows7", mtu=576)
    peer.run(20)
    assert peer.guest.ipv6 is None
    assert not [1 for _, frame in peer.frames if isinstance(dissect(frame)[1], Ipv6)]
    assert peer.guest.online


def test_same_seed_same_frames():
    runs = [windows(seed=7).frames for _ in range(2)]
    assert runs[0] == runs[1]
    assert windows(seed=8).frames != runs[0]


def test_garbage_on_the_link_raises_nothing():
    peer = Peer("windows7")
    chance = random.Random(3)
    for _ in range(300):
        peer.run(0.05)
        head = (
            chance.choice([GUEST_MAC, b"\xff" * 6]) + ROUTER_MAC + chance.choice([b"\x08\x06", b"\x08\0", b"\x86\xdd"])
        )
        body = bytearray(chance.randbytes(chance.randrange(0, 200)))
        if body and chance.random() < 0.7:
            body[0] = chance.choice([0x45, 0x60, 0x00])
        peer.send(head + bytes(body))
    peer.run(60)
    assert peer.guest.online


def test_unknown_profile_and_busy_port():
    with pytest.raises(UsageError, match="windows7, linux"):
        ScriptedGuest("os2", random.Random(1))
    guest = ScriptedGuest("linux", random.Random(1))
    guest.udp_socket(5000)
    with pytest.raises(UsageError, match="5000"):
        guest.udp_socket(5000)


def test_frames_of_other_hosts_are_ethernet():
    assert Ethernet.parse(arp_frame(Arp.probe(GUEST_MAC, ADDRESS))).dst == b"\xff" * 6
