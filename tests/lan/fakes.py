"""A stack and an egress that do as they are told, so that the NAT's logic can be tested move by move."""

from __future__ import annotations

from typing import Any


class FakeConnection:
    """The side of a connection that a NAT sees: a bounded buffer each way."""

    def __init__(self, remote=(bytes((10, 0, 2, 15)), 50000), local=(bytes((198, 51, 100, 7)), 80), room=1000):
        self.remote, self.local = remote, local
        self.context: Any = None
        self.inbox = bytearray()
        self.written = bytearray()
        self.room = room
        self.calls: list[tuple] = []

    @property
    def readable(self) -> int:
        return len(self.inbox)

    def peek(self):
        half = len(self.inbox) // 2
        view = memoryview(bytes(self.inbox))
        return view[:half], view[half:]

    def consume(self, number, now):
        del self.inbox[:number]
        return number

    def write(self, data, now):
        taken = min(len(data), self.room)
        self.written += data[:taken]
        self.room -= taken
        return taken

    def accept(self, now):
        self.calls.append(("accept",))

    def refuse(self, how, now):
        self.calls.append(("refuse", how))

    def shutdown(self, now):
        self.calls.append(("shutdown",))
        self.room = 0

    def abort(self, now):
        self.calls.append(("abort",))


class FakeStack:
    def __init__(self):
        self.sent: list[tuple] = []
        self.icmp: list[tuple] = []
        self.full = False

    def udp_send(self, src, sport, dst, dport, payload, now):
        if not self.full:
            self.sent.append((src, sport, dst, dport, payload))
        return not self.full

    def icmp_send(self, src, dst, kind, code, rest, payload, now):
        self.icmp.append((src, dst, kind, code, rest, payload))
        return True


class FakeEgress:
    """Takes up to ``takes`` bytes in all (None: everything) and notes each call."""

    def __init__(self):
        self.calls: list[tuple] = []
        self.taken: dict[int, bytearray] = {}
        self.takes: int | None = None
        self.dropping = False

    def open_tcp(self, flow, address, port, now):
        self.calls.append(("open_tcp", flow, address, port))

    def send(self, flow, parts, now):
        total = 0
        for part in parts:
            size = len(part) if self.takes is None else min(len(part), self.takes)
            self.taken.setdefault(flow, bytearray()).extend(part[:size])
            total += size
            if self.takes is not None:
                self.takes -= size
                if size < len(part):
                    break
        return total

    def shutdown(self, flow, now):
        self.calls.append(("shutdown", flow))

    def reset(self, flow, now):
        self.calls.append(("reset", flow))

    def close(self, flow, now):
        self.calls.append(("close", flow))

    def credit(self, flow, now):
        self.calls.append(("credit", flow))

    def open_udp(self, flow, address, port, now):
        self.calls.append(("open_udp", flow, address, port))

    def send_datagram(self, flow, payload, now):
        self.calls.append(("send_datagram", flow, payload))
        return not self.dropping
