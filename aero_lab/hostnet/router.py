"""The program that lives in the namespace of a kernel far side. Standard library only: it starts in some 30 ms.

It is started inside with a JSON description as its argument and a Unix socket (``SOCK_SEQPACKET``) as standard input,
makes the interfaces, the rules and the sockets, hands their descriptors out, and then opens one more socket whenever it
is asked to. It ends when that socket does; the namespace, which ends with its owner, takes everything along.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
from importlib import import_module
from typing import Any

TUNSETIFF, IFF_TUN, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0001, 0x0002, 0x1000
SIOCSIFMTU, SIOCSIFHWADDR, ARPHRD_ETHER = 0x8922, 0x8924, 1
SO_BINDTODEVICE, IP_PKTINFO = 25, 8
IPV6_RECVPKTINFO, IPV6_RECVHOPLIMIT, ICMP6_FILTER = 49, 51, 1
ROUTER_SOLICIT = 133
BACKLOG = 1024
PATIENCE = 20.0
"""Seconds that ``ip`` and ``nft`` may take each."""


def make_interface(name: str, kind: int, mtu: int, mac: str | None) -> int:
    """A TAP or TUN; its descriptor, non-blocking."""
    try:
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise OSError(error.errno, f"cannot open /dev/net/tun ({os.strerror(error.errno or 0)})") from None
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), kind | IFF_NO_PI))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        if mac is not None:
            address = bytes.fromhex(mac.replace(":", ""))
            fcntl.ioctl(sock, SIOCSIFHWADDR, struct.pack("16sH6s16x", name.encode(), ARPHRD_ETHER, address))
        fcntl.ioctl(sock, SIOCSIFMTU, struct.pack("16si20x", name.encode(), mtu))
    return fd


def tell(program: str, arguments: list[str], text: str) -> None:
    """Run a program of the system's that configures, with its commands as input."""
    path = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if path is None:
        raise OSError(2, f"{program} is not installed")
    done = subprocess.run([path, *arguments], input=text, capture_output=True, text=True, timeout=PATIENCE)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[0]
        raise OSError(1, f"{program} was refused: {said}")


def listener(family: int) -> socket.socket:
    """Where redirected connections are taken; the same port number for both families."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return sock


def listeners(ipv6: bool) -> list[socket.socket]:
    found = [listener(socket.AF_INET)]
    found[0].bind(("0.0.0.0", 0))
    if ipv6:
        found.append(listener(socket.AF_INET6))
        found[1].bind(("::", found[0].getsockname()[1]))
    for each in found:
        each.listen(BACKLOG)
        each.setblocking(False)
    return found


def dhcp_socket(interface: str) -> socket.socket:
    """Takes what clients send to a DHCP server, and tells to which address."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, interface.encode())
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    sock.bind(("", 67))
    sock.setblocking(False)
    return sock


def frame_socket(interface: str) -> socket.socket:
    """Sends whole frames: a DHCP client without an address can be reached in no other way."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)  # protocol 0: takes none in
    sock.bind((interface, 0))
    sock.setblocking(False)
    return sock


def neighbour_socket(interface: str) -> socket.socket:
    """Takes router solicitations, sends advertisements."""
    sock = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    sock.setsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, interface.encode())
    for option in (IPV6_RECVPKTINFO, IPV6_RECVHOPLIMIT):
        sock.setsockopt(socket.IPPROTO_IPV6, option, 1)
    for option in (socket.IPV6_UNICAST_HOPS, socket.IPV6_MULTICAST_HOPS):
        sock.setsockopt(socket.IPPROTO_IPV6, option, 255)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, socket.if_nametoindex(interface))
    blocked = [0xFFFFFFFF] * 8
    blocked[ROUTER_SOLICIT >> 5] &= ~(1 << (ROUTER_SOLICIT & 31))
    sock.setsockopt(socket.IPPROTO_ICMPV6, ICMP6_FILTER, struct.pack("=8I", *blocked))
    sock.setblocking(False)
    return sock


def build(spec: dict[str, Any], helper: Any) -> dict[str, int]:
    """Make everything; descriptors by name."""
    ethernet, ipv6, mtu = spec["ethernet"], spec["ipv6"], spec["mtu"]
    helper.set_sysctls(spec["sysctls"])
    fds = {
        "guest": make_interface(
            spec["guest"], IFF_TAP if ethernet else IFF_TUN, mtu, spec["mac"] if ethernet else None
        ),
        "uplink": make_interface(spec["uplink"], IFF_TUN, mtu, None),
    }
    for name in (spec["guest"], spec["uplink"]):
        helper.set_queue(name, spec["queue"])
    tell("ip", ["-batch", "-"], spec["interfaces"])
    tcp = listeners(ipv6)
    tell("nft", ["-f", "-"], spec["translation"].replace(spec["port"], str(tcp[0].getsockname()[1])))
    fds["tcp4"] = tcp[0].detach()
    if ipv6:
        fds["tcp6"] = tcp[1].detach()
    if ethernet:
        fds["dhcp"] = dhcp_socket(spec["guest"]).detach()
        fds["frames"] = frame_socket(spec["guest"]).detach()
        if ipv6:
            fds["neighbours"] = neighbour_socket(spec["guest"]).detach()
    return fds


def main() -> None:
    spec = json.loads(sys.argv[1])
    sys.path.insert(0, spec["helper"])
    helper: Any = import_module("helper")  # what makes namespaces: the file, as the package takes a second to import
    control = socket.socket(fileno=os.dup(0))
    try:
        fds = build(spec, helper)
    except (OSError, subprocess.SubprocessError) as error:
        helper.send(control, {"ok": False, "error": getattr(error, "strerror", None) or str(error)}, [])
        return
    helper.send(control, {"ok": True, "names": list(fds)}, list(fds.values()))
    for fd in fds.values():
        os.close(fd)
    while True:
        request, _ = helper.receive(control)
        if request is None:
            return
        sock = socket.socket(socket.AF_INET6 if request["family"] == 6 else socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        helper.send(control, {"ok": True}, [sock.fileno()])
        sock.close()


if __name__ == "__main__":
    main()
