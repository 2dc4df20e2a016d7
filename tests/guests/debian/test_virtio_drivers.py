"""Linux's own virtio_net on devices that are not the usual one: the legacy interface, and features left out."""

from __future__ import annotations

import pytest

from aero_lab.guests.image.store import Image
from aero_lab.guests.linux.boot import PROMPT, Boot
from aero_lab.machine.machine import Machine
from aero_lab.nic.virtio_net import VirtioNet
from aero_lab.wire import frame as wire_frame
from aero_lab.wire.address import ip, mac
from aero_lab.wire.arp import Arp
from aero_lab.wire.icmp import ECHO_REPLY, ECHO_REQUEST, Icmp

pytestmark = pytest.mark.timeout(300)

PEER_MAC, PEER, GUEST = mac("02:00:00:00:00:01"), ip("10.0.0.1"), ip("10.0.0.2")


def answer(nic: VirtioNet, frame: bytes) -> None:
    """What a host at 10.0.0.1 would say: where it is, and an echo."""
    if frame[12:14] == b"\x08\x06" and frame[20:22] == b"\0\1" and frame[38:42] == PEER:
        nic.rx.push(wire_frame.arp_frame(Arp(2, PEER_MAC, PEER, frame[22:28], frame[28:32]), frame[6:12]))
    elif frame[12:14] == b"\x08\0" and frame[23] == 1 and frame[30:34] == PEER and frame[34] == ECHO_REQUEST:
        echo = Icmp.parse(frame[34 : 14 + int.from_bytes(frame[16:18], "big")])
        reply = Icmp(ECHO_REPLY, 0, echo.rest, echo.payload)
        nic.rx.push(wire_frame.icmp_frame(PEER_MAC, frame[6:12], PEER, GUEST, reply))


class Bench:
    """A booted guest whose card leads to that host."""

    def __init__(self, image: Image, nic: VirtioNet):
        boot = Boot.of(image)
        self.nic = nic
        self.machine = Machine(128, "instructions", 0, nics=[nic])
        self.machine.load_linux(boot.kernel, boot.initrd, boot.cmdline)
        assert self.machine.run(until=PROMPT, instructions=2_000_000_000) == "text"
        self.machine.run(ns=50_000_000)

    def run(self, command: str) -> str:
        seen = self.machine.console.size
        self.machine.console.write(command + "\n")
        for _ in range(20_000):
            stop = self.machine.run(until=PROMPT, ns=30_000_000_000, frames=True)
            for frame in self.nic.tx.pop_many(1000):
                answer(self.nic, frame.data)
            if stop != "frames":
                assert stop == "text", stop
                break
        return self.machine.console.since(seen).decode(errors="replace")


VARIANTS = {
    "legacy": ({"transitional": True}, "force_legacy=1", {"ANY_LAYOUT", "MRG_RXBUF", "HOST_TSO4"}, {"VERSION_1"}),
    "transitional": ({"transitional": True}, "", {"VERSION_1"}, set()),
    "bare": (
        {"without": ("MRG_RXBUF", "CSUM", "GUEST_CSUM", "CTRL_VQ", "RING_EVENT_IDX", "RING_INDIRECT_DESC", "STATUS")},
        "", {"VERSION_1", "MAC"}, {"MRG_RXBUF", "CSUM", "RING_EVENT_IDX"},
    ),
    "split": ({"without": ("MRG_RXBUF", "RING_EVENT_IDX"), "mtu": 1400}, "", {"MTU", "HOST_TSO6"}, {"MRG_RXBUF"}),
    "messages": ({"msix": True}, "", {"VERSION_1"}, set()),
}  # fmt: skip


@pytest.mark.parametrize(
    "name", ["legacy", *(pytest.param(n, marks=pytest.mark.long) for n in VARIANTS if n != "legacy")]
)
def test_linux_talks_to_it(plain_image, name):
    options, parameters, there, missing = VARIANTS[name]
    bench = Bench(plain_image, VirtioNet(**options))
    bench.run(
        f"rmmod virtio_net virtio_pci; dmesg -c >/dev/null; modprobe virtio_pci {parameters}; modprobe virtio_net"
    )
    bench.run("ip link set eth0 up; ip addr add 10.0.0.2/24 dev eth0")
    for size in (56, 1300):
        assert "3 packets transmitted, 3 packets received" in bench.run(f"ping -c 3 -s {size} 10.0.0.1")
    accepted = set(bench.nic.features)
    assert there <= accepted and not missing & accepted and bench.nic.trouble == ""
    assert bool(bench.nic.state.legacy) == (name == "legacy")
    if name == "split":
        assert "mtu 1400" in bench.run("ip link show eth0")
    if name != "messages":  # which a machine without a local APIC cannot have, and Linux may say so
        said = bench.run("dmesg | grep -iE 'warn|bug|error|fail|reset|unexpected' | grep -v taint; echo end")
        assert said.count("\n") <= 3, said
    counters = bench.nic.counters
    assert counters["tx_frames"] >= 7 and counters["rx_frames"] >= 7 and counters["bad_dma"] == 0
