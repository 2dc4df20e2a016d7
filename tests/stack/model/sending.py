"""TCP output: which segments leave, when, and what stands in them (RFC 9293 section 3.8, RFC 5681, RFC 6675)."""

from __future__ import annotations

import struct

from .connection import CLOSED, SYN_PENDING, SYN_RECEIVED, SYN_SENT, SYNCHRONISED, Connection, Piece
from .neighbours import Neighbours
from .node import HANDSHAKE, KEEPALIVE, NEVER, PAYLOAD, PURE_ACK, RETRANSMISSION, SECOND
from .wire import ACK, CWR, ECE, FIN, M32, PSH, SYN, TCP, tcp

BURST = 32
"""Segments of one connection in one turn."""
ECT0 = 2


def option(kind: int, body: bytes) -> bytes:
    return bytes([kind, 2 + len(body)]) + body


class Sending(Neighbours):
    out_queue: list[int]
    """Slots of connections with something to send, each once."""
    queue_size: int

    # Queues and timers -------------------------------------------------------------------------------

    def want_output(self, c: Connection) -> None:
        if c.slot not in self.out_queue:
            self.out_queue.append(c.slot)

    def arm_rto(self, c: Connection) -> None:
        """RFC 6298 section 5."""
        c.t_rto = self.now + min(c.rto * 2 ** min(c.backoff, 30), self.config.tcp.rto_max)

    def arm_tlp(self, c: Connection) -> None:
        """RFC 8985 section 7.2: two round trips, and a delayed acknowledgement's time when one segment is in flight."""
        c.t_tlp = NEVER
        wanted = self.config.tcp.rack and c.sack_ok and not c.recovery and c.tlp_end is None
        if not wanted or c.snd_una == c.snd_nxt or c.lost_bytes:
            return
        pto = 2 * c.srtt if c.srtt else SECOND
        if len(c.pieces) == 1:
            pto += SECOND // 5
        if self.now + pto < c.t_rto:
            c.t_tlp = self.now + pto

    # One segment -------------------------------------------------------------------------------------

    def window(self, c: Connection) -> int:
        """The window field; the right edge moves in steps worth telling and never back (RFC 9293 section 3.8.6.2.2)."""
        t = self.config.tcp
        edge = c.rcv_nxt + max(t.recv_buffer - (c.rcv_nxt - c.rcv_read), 0)
        step = min(t.recv_buffer // 2, self.config.mtu - 40)
        if c.rcv_adv >= c.rcv_nxt and edge - c.rcv_adv < step:
            edge = c.rcv_adv
        shift = max(c.rcv_shift, 0)
        field = min(max(edge, c.rcv_adv) - c.rcv_nxt >> shift, 65535)
        c.rcv_adv = max(c.rcv_adv, c.rcv_nxt + (field << shift))
        return field

    def stamp(self, c: Connection) -> bytes:
        """RFC 7323 section 3: our clock in milliseconds, and what the peer said last."""
        return option(8, struct.pack(">II", (self.now // 1_000_000 + c.ts_offset) & M32, c.ts_recent))

    def syn_options(self, c: Connection) -> bytes:
        """As Linux or as Windows 7 writes them, padded with NOPs."""
        t = self.config.tcp
        mss = t.mss if t.mss is not None else self.config.mtu - 40
        size = option(2, struct.pack(">H", mss if c.family == 4 else mss - 20))
        scale = b"\1" + option(3, bytes([c.rcv_shift])) if c.rcv_shift >= 0 else b""
        allowed = option(4, b"")
        if c.ts_ok:
            rest = (allowed if c.sack_ok else b"\1\1") + self.stamp(c)
        else:
            rest = b"\1\1" + allowed if c.sack_ok else b""
        return size + (rest + scale if t.syn_layout == "linux" else scale + rest)

    def options(self, c: Connection, length: int) -> bytes:
        """Timestamps, and as many SACK blocks as leave the payload its room (RFC 2018, RFC 6691)."""
        out = b"\1\1" + self.stamp(c) if c.ts_ok else b""
        blocks = c.blocks()
        space = 40 - len(out) - 4
        if length:
            space = min(space, min(c.peer_mss, c.pmtu - c.ip_header - 20) - len(out) - length - 4)
        blocks = blocks[: max(space, 0) // 8]
        if blocks:
            out += b"\1\1" + option(5, b"".join(struct.pack(">II", left & M32, right & M32) for left, right in blocks))
        return out

    def send_segment(self, c: Connection, seq: int, length: int, flags: int, cause: int) -> bool:
        """Send one segment; False when there is no link address or no room."""
        mac = b""
        if self.framed:
            if c.link is None or c.link[0] != self.version:
                found = self.resolve(c.remote[0])
                if found is None:
                    self.link_retry_at = self.now + SECOND
                    self.link_wait = True
                    return False
                c.link = (self.version, found)
            mac = c.link[1]
        if self.room <= self.headroom:
            self.counts["output-stopped"] += 1
            return False
        syn = bool(flags & SYN)
        options = self.syn_options(c) if syn else self.options(c, length)
        tos = 0
        if c.ecn_ok:
            if c.ecn_echo and not syn:
                flags |= ECE
            if length and cause == PAYLOAD:  # RFC 3168 section 6.1.5: never on retransmissions
                tos = ECT0
                if c.ecn_cwr:
                    flags |= CWR
                    c.ecn_cwr = False
        if syn:
            t = self.config.tcp
            window = min(t.recv_buffer, 65535, t.syn_window or 65535)
            c.rcv_adv = max(c.rcv_adv, c.rcv_nxt + window)
        else:
            window = self.window(c)
        segment = tcp(
            c.local[0], c.remote[0], c.local[1], c.remote[1], seq, c.rcv_nxt if flags & ACK else 0, flags, window,
            options, c.payload(seq, length),
        )  # fmt: skip
        more = {"ttl": self.config.ttl, "tos": tos, "fragment": 0x4000}
        self.emit_ip(mac, c.local[0], c.remote[0], TCP, segment, c.slot, cause, **more)
        c.segs_out += 1
        self.counts["segments-out"] += 1
        if flags & ACK:
            c.last_ack_sent, c.ack_pending, c.ack_now, c.dsack, c.t_delack = c.rcv_nxt, 0, False, None, NEVER
        return True

    def send_ack(self, c: Connection) -> None:
        """A pure acknowledgement now, or as soon as there is room."""
        if self.send_segment(c, c.snd_nxt, 0, ACK, PURE_ACK):
            self.counts["pure-acks-out"] += 1
        else:
            c.ack_now = True
            self.want_output(c)

    def send_syn(self, c: Connection) -> bool:
        """The SYN of an active, the SYN-ACK of a passive open; again when it was sent before."""
        flags = (SYN | (ECE | CWR) * c.ecn_ok) if c.state == SYN_SENT else (SYN | ACK | ECE * c.ecn_ok)
        if not self.send_segment(c, c.iss, 0, flags, HANDSHAKE):
            self.want_output(c)
            if c.t_rto == NEVER:
                c.t_rto = self.now + c.rto
            return False
        if c.snd_nxt == c.iss:
            c.snd_nxt, c.opened_at = c.iss + 1, self.now
        else:
            c.retransmits += 1
            self.counts["retransmissions"] += 1
        c.t_rto = self.now + min(c.rto * 2**c.backoff, self.config.tcp.rto_max)
        return True

    def send_probe(self, c: Connection) -> None:
        """RFC 9293 section 3.8.4: an old number without data."""
        self.send_segment(c, c.snd_una - 1, 0, ACK, KEEPALIVE)

    def retransmit(self, c: Connection, p: Piece) -> bool:
        """Send a piece again; what no longer fits a segment is cut in two first."""
        if p.size - p.fin > c.mss and len(c.pieces) < self.queue_size:
            rest = Piece(p.seq + c.mss, p.end, p.at, p.sacked, p.lost, p.again, p.fin)
            c.pieces.insert(c.pieces.index(p) + 1, rest)
            p.end, p.fin = rest.seq, False
        length = min(p.size - p.fin, c.mss)
        flags = ACK | FIN * (p.fin and p.seq + length + 1 == p.end)
        if length and p.seq + length == c.snd_end:
            flags |= PSH
        if not self.send_segment(c, p.seq, length, flags, RETRANSMISSION):
            return False
        p.lost, p.again, p.at = False, True, self.now
        c.retransmits += 1
        c.retransmitted_bytes += length
        self.counts["retransmissions"] += 1
        return True

    # New data ----------------------------------------------------------------------------------------

    def next_payload(self, c: Connection) -> int:
        """What the peer's window, Nagle and the fear of silly windows let out (RFC 9293 sections 3.7.4, 3.8.6.2.1)."""
        available = c.snd_end - c.snd_nxt
        length = min(available, c.mss, c.snd_una + c.snd_wnd - c.snd_nxt)
        if available <= 0 or length <= 0:
            return 0
        if length == c.mss:
            return length
        if length == available:
            idle = c.snd_nxt == c.snd_una
            return length if idle or c.fin_wanted or not self.config.tcp.nagle else 0
        return length if length >= c.max_wnd // 2 else 0

    def send_new(self, c: Connection) -> bool | None:
        """One new segment, the FIN with the last. None when nothing may go, False when it could not."""
        if c.fin_seq >= 0 or len(c.pieces) >= self.queue_size - 4:
            return None
        seq, length = c.snd_nxt, self.next_payload(c)
        fin = c.fin_wanted and seq + length == c.snd_end
        if not length and not fin:
            return None
        flags = ACK | FIN * fin
        if length and seq + length == c.snd_end:
            flags |= PSH
        if not self.send_segment(c, seq, length, flags, PAYLOAD if length else HANDSHAKE):
            return False
        c.pieces.append(Piece(seq, seq + length + fin, self.now, fin=fin))
        c.snd_nxt = seq + length + fin
        if c.t_rto == NEVER:
            self.arm_rto(c)
        c.bytes_out += length
        if fin:
            c.fin_seq = seq + length
            c.move("close")
        return True

    # A turn ------------------------------------------------------------------------------------------

    def output(self, c: Connection) -> None:
        """What is lost first, then what is new, then an acknowledgement that is owed."""
        if c.state == SYN_SENT or c.state == SYN_RECEIVED and c.snd_nxt == c.iss:
            if c.snd_nxt == c.iss:
                self.send_syn(c)
            return
        if c.state in (CLOSED, SYN_PENDING):
            return
        synchronised = c.state in SYNCHRONISED
        sent, stopped = self.send_lost(c)
        fresh = False
        while synchronised and not stopped:
            if c.flight > 0 and c.flight + min(c.mss, c.snd_end - c.snd_nxt) > c.cwnd:
                c.limited_to = c.snd_nxt
                break
            if sent >= BURST:
                stopped = True
                break
            went = self.send_new(c)
            if not went:
                stopped = went is False
                break
            sent, fresh = sent + 1, True
        if fresh:
            self.arm_tlp(c)
        if c.ack_now and not stopped:
            if self.send_segment(c, c.snd_nxt, 0, ACK, PURE_ACK):
                self.counts["pure-acks-out"] += 1
            else:
                stopped = True
        idle = c.snd_una == c.snd_nxt < c.snd_end and c.fin_seq < 0
        if idle and synchronised and not stopped and self.next_payload(c) == 0:
            if c.t_persist == NEVER:
                c.probes = 0
                c.t_persist = self.now + max(c.rto, self.config.tcp.rto_min)
        else:
            c.t_persist = NEVER
        if stopped:
            self.want_output(c)

    def send_lost(self, c: Connection) -> tuple[int, bool]:
        """Send lost pieces again as the window allows, the first hole whatever it says (RFC 6675 section 5 step 4.3).
        How many, and whether room ran out."""
        sent = 0
        while True:
            holes = [p for p in c.pieces if p.lost]
            if not holes:
                return sent, False
            p = holes[0]
            if p is not c.pieces[0] and c.flight > 0 and c.flight + min(p.size, c.mss) > c.cwnd:
                return sent, False
            if sent >= BURST or not self.retransmit(c, p):
                return sent, True
            sent += 1
            if c.t_rto == NEVER:
                self.arm_rto(c)
