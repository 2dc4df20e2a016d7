"""A line with a managed queue as its RFCs write it: objects, deques, dictionaries."""

import hashlib
import math
from bisect import bisect_right
from collections import deque

from aero_lab.limits import VLAN_TAGS_MAX
from aero_lab.link.stages import LINE
from aero_lab.wire.checksum import internet_checksum

ONE = 2**50


class Packet:
    """A frame in the queue."""

    def __init__(self, frame, now, goes_to):
        self.frame, self.came, self.goes_to = frame, now, goes_to
        self.size = len(frame[0])


class Flow:
    """A queue with CoDel's variables (RFC 8289 section 5.2) and FQ-CoDel's credit."""

    def __init__(self):
        self.packets = deque()
        self.first_above_time = self.drop_next = self.count = self.lastcount = self.deficit = 0
        self.dropping = False

    @property
    def bytes(self):
        return sum(packet.size for packet in self.packets)


def header_of(data, medium):
    """Offset of the IP header, or None."""
    at = 0
    if medium == "message":
        return None
    if medium == "ethernet":
        for _ in range(VLAN_TAGS_MAX):
            if data[at + 12 : at + 14] in (b"\x81\x00", b"\x88\xa8"):
                at += 4
        if data[at + 12 : at + 14] not in (b"\x08\x00", b"\x86\xdd"):
            return None
        at += 14
    if len(data) - at < 20:
        return None
    version, words = data[at] >> 4, data[at] & 15
    if version == 4:
        return at if 5 <= words and 4 * words <= len(data) - at else None
    return at if version == 6 and len(data) - at >= 40 else None


def stir(mixed, word):
    mixed = ((mixed ^ word % 2**32) * 0x45D9F3B) % 2**32
    return mixed ^ mixed >> 15


def flow_of(frame, medium, seed):
    """32 bits of addresses, protocol and ports."""
    data, at = frame[0], header_of(frame[0], medium)
    if at is None:
        words = [frame[3] % 2**32, (frame[3] >> 32) % 2**32, 0]
    else:
        if data[at] >> 4 == 4:
            protocol, addresses, upper = data[at + 9], data[at + 12 : at + 20], data[at + 4 * (data[at] & 15) :]
            if data[at + 6] & 0x3F or data[at + 7]:
                upper = b""
        else:
            protocol, addresses, upper = data[at + 6], data[at + 8 : at + 40], data[at + 40 :]
        seen = addresses + (upper[:4] if protocol in (6, 17, 132) and len(upper) >= 4 else b"")
        words = [protocol] + [int.from_bytes(seen[i : i + 2], "big") for i in range(0, len(seen), 2)]
    for word in words:
        seed = stir(seed, word)
    return seed


def marked(data, medium):
    """The frame with a mark of congestion, or None when there can be none."""
    at = header_of(data, medium)
    if at is None:
        return None
    out = bytearray(data)
    if data[at] >> 4 == 6:
        out[at + 1] |= 0x30
        return bytes(out) if data[at + 1] & 0x30 else None
    out[at + 1] |= 3
    if not data[at + 1] & 3:
        return None
    size = 4 * (data[at] & 15)
    if internet_checksum(data[at : at + size]) == 0 and out != data:
        out[at + 10 : at + 12] = b"\0\0"
        out[at + 10 : at + 12] = internet_checksum(out[at : at + size]).to_bytes(2, "big")
    return bytes(out)


class NaiveLine:
    """``wait(due, goes_to, frame)`` is told what leaves and when."""

    def __init__(self, stage, seed, turn, generator, wait, medium, start, most):
        self.stage, self.generator, self.wait, self.medium, self.start = stage, generator, wait, medium, start
        self.perturbation = int.from_bytes(hashlib.sha256(f"{seed}/{LINE}/{turn}".encode()).digest()[16:20], "little")
        self.most = most
        self.target, self.interval = stage.times
        self.flows = [Flow() for _ in range(stage.flows if stage.aqm == "fq_codel" else 1)]
        self.new, self.old = deque(), deque()
        self.timer = None
        self.busy_until = self.rest = self.largest = self.turn = self.left = 0
        self.current = None
        self.queue_full = self.aqm_dropped = self.marked = self.not_ect = 0
        self.drop_prob = self.accu_prob = self.qdelay_old = self.burst = 0
        self.update = None
        self.sojourn = 0

    @property
    def packets(self):
        return sum(len(flow.packets) for flow in self.flows)

    @property
    def bytes(self):
        return sum(flow.bytes for flow in self.flows)

    def mark(self, packet):
        if not self.stage.ecn:
            return False
        data = marked(packet.frame[0], self.medium)
        if data is None:
            self.not_ect += 1
            return False
        self.marked += 1
        packet.frame = (data, *packet.frame[1:])
        return True

    # RFC 8289 section 5
    def dodequeue(self, flow, now):
        packet = flow.packets.popleft() if flow.packets else None
        if packet is None:
            flow.first_above_time = 0
            return None, False
        if now - packet.came < self.target or flow.bytes <= self.largest:
            flow.first_above_time = 0
        elif flow.first_above_time == 0:
            flow.first_above_time = now + self.interval
        elif now >= flow.first_above_time:
            return packet, True
        return packet, False

    def control_law(self, time, count):
        return time + int(self.interval / math.sqrt(count))

    def codel(self, flow, now):
        packet, ok_to_drop = self.dodequeue(flow, now)
        if packet is None:
            flow.dropping = False
        elif flow.dropping:
            flow.dropping = ok_to_drop
            while flow.dropping and now >= flow.drop_next:
                flow.count += 1
                if self.mark(packet):
                    flow.drop_next = self.control_law(flow.drop_next, flow.count)
                    return packet
                self.aqm_dropped += 1
                packet, flow.dropping = self.dodequeue(flow, now)
                if flow.dropping:
                    flow.drop_next = self.control_law(flow.drop_next, flow.count)
        elif ok_to_drop:
            if not self.mark(packet):
                self.aqm_dropped += 1
                packet, _ = self.dodequeue(flow, now)
            flow.dropping = True
            delta = flow.count - flow.lastcount
            flow.count = 1
            if delta > 1 and now - flow.drop_next < 16 * self.interval:
                flow.count = delta
            flow.drop_next = self.control_law(now, flow.count)
            flow.lastcount = flow.count
        return packet

    # RFC 8290 section 4
    def fair(self, now):
        while self.new or self.old:
            queue = self.new or self.old
            flow = queue[0]
            if flow.deficit <= 0:
                flow.deficit += self.stage.quantum
                self.old.append(queue.popleft())
                continue
            packet = self.codel(flow, now)
            if packet is not None:
                flow.deficit -= packet.size
                return packet
            queue.popleft()
            if queue is self.new and self.old:
                self.old.append(flow)
        return None

    # RFC 8033 sections 4 and 5
    def catch_up(self, now):
        if self.update is None:
            self.update, self.burst = now + self.interval, 150_000_000
        while self.update <= now:
            self.control()
            self.update += self.interval

    def control(self):
        if self.stage.bits_per_s:
            qdelay = self.bytes * 8 * 10**9 // self.stage.bits_per_s
        else:
            qdelay = self.sojourn if self.packets else 0
        p = ((qdelay - self.target) + 10 * (qdelay - self.qdelay_old)) * (ONE // (8 * 10**9))
        for bound, divisor in ((10**6, 2048), (10**5, 512), (10**4, 128), (1000, 32), (100, 8), (10, 2)):
            if self.drop_prob < ONE // bound:
                p //= divisor
                break
        else:
            p = min(p, ONE // 50)
        self.drop_prob += p
        if qdelay == 0 and self.qdelay_old == 0:
            self.drop_prob -= self.drop_prob // 64
        self.drop_prob = min(max(self.drop_prob, 0), ONE)
        self.burst = max(0, self.burst - self.interval)
        if self.drop_prob == 0 and qdelay * 2 < self.target and self.qdelay_old * 2 < self.target:
            self.burst = 150_000_000
        self.qdelay_old = qdelay

    def drop_early(self):
        if self.drop_prob == 0:
            self.accu_prob = 0
        if self.burst > 0 or (self.qdelay_old * 2 < self.target and self.drop_prob < ONE // 5):
            return False
        if self.bytes <= 2 * 1500:
            return False
        self.accu_prob += self.drop_prob
        if self.accu_prob < ONE // 100 * 85:
            return False
        if self.accu_prob < ONE // 10 * 85 and self.generator.draw() * 2**18 >= self.drop_prob:
            return False
        self.accu_prob = 0
        return True

    # The line
    def moment(self, turn):
        lap, place = divmod(turn, len(self.stage.trace.moments))
        return self.start + 10**6 * (lap * self.stage.trace.moments[-1] + self.stage.trace.moments[place])

    def first_after(self, now):
        moments = [10**6 * each for each in self.stage.trace.moments]
        if now < self.start:
            return 0
        lap, since = divmod(now - self.start, moments[-1])
        return lap * len(moments) + bisect_right(moments, since)

    def enqueue(self, frame, goes_to, now):
        packet = Packet(frame, now, goes_to)
        steady, aqm = self.stage.bits_per_s, self.stage.aqm
        busy = self.busy_until > now if steady else bool(self.packets or self.current)
        self.largest = max(self.largest, packet.size)
        flow = self.flows[0]
        if aqm == "fq_codel":
            flow = self.flows[flow_of(frame, self.medium, self.perturbation) * len(self.flows) // 2**32]
        else:
            if aqm == "pie":
                self.catch_up(now)
            if busy and (self.bytes + packet.size > self.stage.queue_bytes or self.packets >= self.most):
                self.queue_full += 1
                return
            if aqm == "pie" and self.drop_early() and (self.drop_prob > ONE // 10 or not self.mark(packet)):
                self.aqm_dropped += 1
                return
        flow.packets.append(packet)
        if aqm == "fq_codel":
            if flow not in self.new and flow not in self.old:
                flow.deficit = self.stage.quantum
                self.new.append(flow)
            while self.packets > 1 and (self.bytes > self.stage.queue_bytes or self.packets > self.most):
                max(self.flows, key=lambda each: each.bytes).packets.popleft()
                self.queue_full += 1
        if steady and not busy:
            self.send(now)
        elif self.timer is None:
            if not steady:
                self.turn = max(self.turn, self.first_after(now))
            self.timer = self.busy_until if steady else self.moment(self.turn)

    def take(self, now):
        if self.stage.aqm == "fq_codel":
            return self.fair(now)
        if self.stage.aqm == "codel":
            return self.codel(self.flows[0], now)
        if self.stage.aqm == "pie":
            self.catch_up(now)
        packet = self.flows[0].packets.popleft() if self.flows[0].packets else None
        if packet is not None:
            self.sojourn = now - packet.came
        return packet

    def send(self, now):
        packet = self.take(now)
        self.timer = None
        if packet is None:
            return
        bits = packet.size * 8 * 10**9 + (self.rest if self.busy_until == now else 0)
        self.busy_until = now + bits // self.stage.bits_per_s
        self.rest = bits % self.stage.bits_per_s
        self.wait(self.busy_until, packet.goes_to, packet.frame)
        if self.packets:
            self.timer = self.busy_until

    def serve(self, now):
        if self.stage.bits_per_s:
            self.send(now)
            return
        room = 1504
        while room:
            if self.current is None:
                self.current = self.take(now)
                if self.current is None:
                    break
                self.left = self.current.size + 4
            sent = min(room, self.left)
            room, self.left = room - sent, self.left - sent
            if self.left == 0:
                self.wait(now, self.current.goes_to, self.current.frame)
                self.current = None
        self.turn += 1
        self.timer = self.moment(self.turn) if self.packets or self.current else None
