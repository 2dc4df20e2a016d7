"""A stack and an egress that do as they are told, so that the NAT's logic can be tested move by move."""

from __future__ import annotations

from typing import Any

from aero_lab.errors import AeroLabError


class FakeConnection:
    """The side of a connection that a NAT sees: a bounded buffer each way."""

    def __init__(self, remote=(bytes((10, 0, 2, 15)), 50000), local=(bytes((198, 51, 100, 7)), 80), room=1000):
        self.remote, self.local = remote, local
        self.context: Any = None
        self.inbox = bytearray()
        self.written = bytearray()
        self.room = room
        self.calls: list[tuple] = []
        self.released: int | None = None
        """What was let through to the guest's TCP; None: nothing is held."""

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

    def hold_acks(self, now):
        self.released = 0

    def release_acks(self, upto, now):
        assert self.released is not None and upto >= self.released, "acknowledgements never go back"
        self.released = upto

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
        self.errors: list[tuple] = []
        self.connections: list[FakeConnection] = []
        self.slots = 8

    def connect(self, dst, dport, sport=None, src=None, *, now):
        if len(self.connections) >= self.slots:
            raise AeroLabError("all slots are in use")
        conn = FakeConnection((dst, dport), (src, 50000 + len(self.connections)))
        self.connections.append(conn)
        return conn

    def unreachable(self, about, how, now, mtu=0):
        self.errors.append((about.dst, about.dport, how))
        return True

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
        self.tells_unacked = True
        self.steps_on_acks = False
        self.acked: dict[int, int] = {}
        """Bytes, and one for the end, that the far side has acknowledged."""
        self.ended: set[int] = set()
        self.gone: set[int] = set()
        self.rtt = 0
        self.asked = 0

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
        self.ended.add(flow)
        self.calls.append(("shutdown", flow))

    def unacked(self, flow):
        self.asked += 1
        if flow in self.gone:
            return None
        return len(self.taken.get(flow, b"")) + (flow in self.ended) - self.acked.get(flow, 0)

    def round_trip(self, flow):
        return self.rtt

    def listen(self, listener, kind, address, port, now):
        self.calls.append(("listen", listener, kind, address, port))
        return address, port or 40000 + listener

    def unlisten(self, listener, now):
        self.calls.append(("unlisten", listener))

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
