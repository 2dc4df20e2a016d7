"""A DHCP client for the interface of a tap guest: DISCOVER, OFFER, REQUEST, ACK, through the kernel's own UDP.

It asks once, when the guest is plugged in; leases of the lab's networks outlast any lab, so there is no renewal.
"""

from __future__ import annotations

import os
import socket
import time
from typing import Any

from ...errors import Malformed
from ...wire import dhcp
from ...wire.address import ip_text, mac

TRIES, PATIENCE = 4, 2.0
"""Messages of a kind, and seconds each waits for its answer."""
WANTED = dhcp.u8_option(
    dhcp.OPT_PARAMETER_LIST, dhcp.OPT_MASK, dhcp.OPT_ROUTER, dhcp.OPT_DNS, dhcp.OPT_DOMAIN_NAME, dhcp.OPT_MTU
)


def lease(interface: str, hardware: str) -> dict[str, Any]:
    """Ask for an address; returns it with prefix, router, name servers and domain, or an ``error``."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        sock.bind(("", dhcp.CLIENT_PORT))
        client = _Client(sock, mac(hardware))
        offer = client.ask(dhcp.DISCOVER, (dhcp.OFFER,))
        if offer is None:
            return {"error": "no DHCP server answered"}
        chosen = [dhcp.ip_option(dhcp.OPT_REQUESTED_IP, offer.yiaddr)]
        server = offer.option(dhcp.OPT_SERVER_ID)
        if server is not None:
            chosen.append((dhcp.OPT_SERVER_ID, server))
        answer = client.ask(dhcp.REQUEST, (dhcp.ACK, dhcp.NAK), *chosen)
    if answer is None or answer.message_type == dhcp.NAK:
        return {"error": "the DHCP server took its offer back" if answer else "no DHCP server answered"}
    mask, router = answer.address(dhcp.OPT_MASK), answer.address(dhcp.OPT_ROUTER)
    return {
        "address": ip_text(answer.yiaddr),
        "prefix": int.from_bytes(mask, "big").bit_count() if mask else 24,
        "router": ip_text(router) if router else None,
        "dns": [ip_text(address) for address in answer.addresses(dhcp.OPT_DNS)],
        "domain": answer.text(dhcp.OPT_DOMAIN_NAME) or None,
    }


class _Client:
    """One transaction."""

    def __init__(self, sock: socket.socket, hardware: bytes):
        self.sock, self.hardware = sock, hardware
        self.xid = int.from_bytes(os.urandom(4), "big")

    def ask(self, kind: int, wanted: tuple[int, ...], *options: dhcp.Option) -> dhcp.Dhcp | None:
        """Send until an answer of a wanted kind comes."""
        message = dhcp.Dhcp(
            op=dhcp.BOOT_REQUEST,
            xid=self.xid,
            chaddr=self.hardware,
            flags=dhcp.FLAG_BROADCAST,
            options=(
                dhcp.u8_option(dhcp.OPT_MESSAGE_TYPE, kind),
                dhcp.client_id_option(self.hardware),
                *options,
                WANTED,
            ),
        ).emit(dhcp.BOOTP_SIZE)
        for _ in range(TRIES):
            self.sock.sendto(message, ("255.255.255.255", dhcp.SERVER_PORT))
            end = time.monotonic() + PATIENCE
            while (left := end - time.monotonic()) > 0:
                self.sock.settimeout(left)
                try:
                    answer = dhcp.Dhcp.parse(self.sock.recv(2048))
                except (TimeoutError, Malformed):
                    continue
                if answer.xid == self.xid and answer.message_type in wanted:
                    return answer
        return None
