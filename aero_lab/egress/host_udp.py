"""The part of :class:`.host.HostEgress` that carries datagrams, and what ICMP said about them.

One connected socket a flow, so that only its remote can answer.
"""

from __future__ import annotations

import errno
import socket
from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from typing import Any

from ..limits import EGRESS_DATAGRAMS
from .contract import Why
from .host_flow import HostFlow, family_of
from .icmp_errors import ask_for_errors, take_errors, why_of


class Datagrams:
    """UDP of an egress on host sockets; the rest of it is what :class:`.host.HostEgress` gives."""

    sink: Any
    _flows: dict[int, HostFlow]
    _count: Counter[str]
    _notices: deque[Callable[[int], None]]
    _scratch: memoryview
    _add: Callable[[int, str, bytes], HostFlow]
    _die: Callable[..., None]
    _watch: Callable[[HostFlow], None]

    def open_udp(self, flow: int, address: bytes, port: int, now: int) -> None:
        f = self._add(flow, "udp", address)
        if f.sock is None:
            return
        try:
            ask_for_errors(f.sock)
            f.sock.connect((socket.inet_ntop(family_of(address), address), port))
        except OSError as error:
            self._die(f, why_of(error))
            return
        f.state = "open"
        self._watch(f)

    def send_datagram(self, flow: int, payload: bytes, now: int) -> bool:
        f = self._flows.get(flow)
        if f is None or f.state != "open" or f.kind != "udp":
            self._count["udp-no-flow"] += 1
            return False
        for last in (False, True):
            try:
                if f.via is not None:
                    f.via.sock.sendto(payload, f.peer)
                elif f.sock is not None:
                    f.sock.send(payload)
            except (BlockingIOError, InterruptedError):
                self._count["udp-socket-full"] += 1
                return False
            except OSError as error:
                if error.errno == errno.EMSGSIZE:
                    self._count["udp-too-big"] += 1
                    return False
                # Mostly news about an earlier datagram, which the kernel tells by not sending this one: try again.
                self._tell_undeliverable(f, error)
                if last:
                    self._count["udp-send-failed"] += 1
                    return False
            else:
                break
        self._count["udp-datagrams-up"] += 1
        return True

    def _read_datagrams(self, f: HostFlow, now: int) -> int:
        total = 0
        for _ in range(EGRESS_DATAGRAMS):
            if f.state != "open" or f.sock is None:
                break
            try:
                size = f.sock.recv_into(self._scratch)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                self._tell_undeliverable(f, error)
                continue
            self._count["udp-datagrams-down"] += 1
            total += size
            self.sink.datagram(f.flow, bytes(self._scratch[:size]), now)
        if not total:
            # Woken for the error queue, perhaps: what a send was told already is still in it.
            self._tell_undeliverable(f, None)
        return total

    def _tell_undeliverable(self, f: HostFlow, error: OSError | None) -> None:
        """Pass on, in the next step, what ICMP said about datagrams of this flow."""
        reasons: list[Why] = []
        for about in take_errors(f.sock, EGRESS_DATAGRAMS):
            if (why := about.why) is not None:
                reasons.append(why)
        if not reasons and error is not None:
            reasons = [why_of(error)]
        for why in reasons:
            self._count[f"udp-{why}"] += 1
            self._notices.append(partial(self._undeliverable, f, why))

    def _undeliverable(self, f: HostFlow, why: Why, now: int) -> None:
        if self._flows.get(f.flow) is f:
            self.sink.undeliverable(f.flow, why, now)
