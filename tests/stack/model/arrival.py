"""Segments arrive (RFC 9293 section 3.10.7, RFC 7323 section 5, RFC 5961)."""

from __future__ import annotations

from dataclasses import replace

from .connection import (
    CLOSE_WAIT,
    CLOSED,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT_1,
    LAST_ACK,
    RECEIVING,
    SYN_PENDING,
    SYN_RECEIVED,
    SYN_SENT,
    SYNCHRONISED,
    TIME_WAIT,
    Connection,
)
from .node import HANDSHAKE, NEVER, SECOND
from .timers import Timers
from .wire import ACK, CWR, ECE, FIN, M32, RST, SYN, TCP, Segment, tcp

CHALLENGES, BACKLOG = 100, 512
PAWS_IDLE = 24 * 86400 * SECOND


class Arrival(Timers):
    half_open: int
    listening: set[int]

    def open(self, local: tuple[bytes, int], remote: tuple[bytes, int]) -> Connection | None:
        raise NotImplementedError

    def report_end(self, c: Connection, reason: str) -> None:
        raise NotImplementedError

    def tell(self, c: Connection, what: str) -> None:
        raise NotImplementedError

    def find(self, local: tuple[bytes, int], remote: tuple[bytes, int]) -> Connection | None:
        raise NotImplementedError

    # Answers that need no connection -----------------------------------------------------------------

    def send_reset(self, s: Segment, seq: int, ack: int, flags: int) -> None:
        """RFC 9293 section 3.10.7.1, to where the segment came from."""
        mac = self.resolve(s.src) if self.framed else b""
        if mac is None:
            return self.drop("neighbour-unresolved")
        if self.room <= 0:
            return self.drop("tx-full")
        answer = tcp(s.dst, s.src, s.dport, s.sport, seq, ack, flags, 0)
        self.emit_ip(mac, s.dst, s.src, TCP, answer, -1, HANDSHAKE, ttl=self.config.ttl, fragment=0x4000)
        self.counts["resets-out"] += 1
        return None

    def refuse_segment(self, s: Segment) -> None:
        if s.flags & RST:
            return
        if s.flags & ACK:
            self.send_reset(s, s.ack, 0, RST)
        else:
            self.send_reset(s, 0, s.seq + s.length, RST | ACK)

    def challenge(self, c: Connection) -> None:
        """RFC 5961 section 7: so many a second for the whole stack."""
        if self.now - self.challenge_at >= SECOND:
            self.challenge_at, self.challenges = self.now, CHALLENGES
        if self.challenges <= 0:
            return self.drop("tcp-challenge-limit")
        self.challenges -= 1
        self.counts["challenge-acks"] += 1
        return self.send_ack(c)

    # Opening -----------------------------------------------------------------------------------------

    def segment(self, s: Segment) -> None:
        self.counts["segments-in"] += 1
        c = self.find((s.dst, s.dport), (s.src, s.sport))
        if c is None:
            self.no_connection(s)
        else:
            self.for_connection(c, s)

    def no_connection(self, s: Segment) -> None:
        wanted = s.dport in self.listening or self.gateway
        if s.flags & (ACK | RST) or not wanted:
            self.drop("tcp-no-connection")
            return self.refuse_segment(s)
        if not s.flags & SYN:
            return self.drop("tcp-flags")
        if self.half_open >= BACKLOG:
            return self.drop("tcp-backlog")
        c = self.open((s.dst, s.dport), (s.src, s.sport))
        if c is None:
            self.drop("tcp-no-slot")
            return self.refuse_segment(s)
        self.take_syn(c, s)
        c.ecn_ok = self.config.tcp.ecn and s.flags & (ECE | CWR) == ECE | CWR
        c.passive = True
        self.half_open += 1
        if s.dport not in self.listening:
            c.move("hold")
            return self.tell(c, "syn")
        c.move("syn")
        self.send_syn(c)
        return None

    def take_syn(self, c: Connection, s: Segment) -> None:
        """What both sides offered is used, the rest is not (RFC 9293 section 3.7.1, RFC 7323, RFC 2018)."""
        c.irs = s.seq
        c.rcv_nxt = c.rcv_read = c.rcv_adv = s.seq + 1
        if s.mss:
            c.peer_mss = max(s.mss, 64)
        c.snd_wnd = c.max_wnd = s.window
        c.snd_wl1, c.snd_wl2 = c.irs, c.iss
        if s.wscale >= 0 and c.rcv_shift >= 0:
            c.snd_shift = s.wscale
        else:
            c.snd_shift, c.rcv_shift = 0, -1
        c.ts_ok = c.ts_ok and s.ts is not None
        if c.ts_ok:
            assert s.ts is not None
            c.ts_recent, c.ts_recent_at = s.ts[0], self.now
        c.sack_ok = c.sack_ok and bool(s.sack_ok)

    def established(self, c: Connection) -> None:
        c.established_at, c.backoff, c.t_rto = self.now, 0, NEVER
        self.cc_open(c)
        self.half_open -= c.passive
        if self.config.tcp.keepalive_idle < NEVER:
            c.t_keep = self.now + self.config.tcp.keepalive_idle
        self.tell(c, "established")
        self.want_output(c)

    def in_syn_sent(self, c: Connection, s: Segment) -> bool:
        """RFC 9293 section 3.10.7.3. Whether the segment's data is to be looked at."""
        ack = c.unwrap(s.ack, c.snd_una)
        if s.flags & ACK and not c.iss < ack <= c.snd_nxt:
            self.drop("tcp-ack-invalid")
            if not s.flags & RST:
                self.send_reset(s, s.ack, 0, RST)
            return False
        if s.flags & RST:
            if s.flags & ACK:
                self.close(c, "refused")
            else:
                self.drop("tcp-rst-invalid")
            return False
        if not s.flags & SYN:
            self.drop("tcp-flags")
            return False
        self.take_syn(c, s)
        if not s.flags & ACK:  # simultaneous open (RFC 9293 figure 7)
            c.ecn_ok, c.backoff = False, 0
            c.move("syn")
            self.send_syn(c)
            return False
        c.ecn_ok = c.ecn_ok and s.flags & (ECE | CWR) == ECE
        c.snd_una = c.snd_wl2 = ack
        if c.retransmits == 0:  # Karn
            self.sample_rtt(c, self.now - c.opened_at)
        c.move("syn+ack")
        self.established(c)
        self.send_ack(c)
        return bool(s.data) or bool(s.flags & FIN)

    # Segments of a connection ------------------------------------------------------------------------

    def acceptable(self, c: Connection, s: Segment, seq: int) -> bool:
        """RFC 9293 section 3.10.7.4: some number of the segment is in the window; what comes in order may overrun a
        gateway's."""
        window = max(c.rcv_adv - c.rcv_nxt, 0)
        inside = range(c.rcv_nxt, c.rcv_nxt + window)
        if s.length == 0:
            return seq == c.rcv_nxt or seq in inside
        if seq == c.rcv_nxt:
            return window > 0 or self.gateway
        last = seq + s.length - 1
        return seq in inside or last in inside or seq < c.rcv_nxt <= last

    def newer_incarnation(self, c: Connection, s: Segment, seq: int) -> bool:
        """RFC 6191 section 2."""
        if s.ts is None:
            return seq > c.rcv_nxt
        if not c.ts_ok:
            return True
        age = s.ts[0] - c.ts_recent & M32
        return 0 < age < 1 << 31 or age == 0 and seq > c.rcv_nxt

    def for_connection(self, c: Connection, s: Segment) -> None:
        c.segs_in += 1
        if c.state == SYN_PENDING:
            if s.flags & RST and s.seq in (c.irs & M32, c.rcv_nxt & M32):
                return self.close(c, "reset")
            return self.drop("tcp-pending")
        if c.state == SYN_SENT:
            if not self.in_syn_sent(c, s):
                return None
            s = replace(s, seq=s.seq + 1 & M32, flags=s.flags & ~SYN)
        seq = c.unwrap(s.seq, c.rcv_nxt)
        control = s.flags & (SYN | ACK | RST)
        if c.state == TIME_WAIT and control == SYN and self.newer_incarnation(c, s, seq):
            self.close(c, "closed")
            return self.no_connection(s)
        if c.state == SYN_RECEIVED and not c.passive and control == SYN | ACK and seq == c.irs:
            # Simultaneous open, RFC 9293 figure 7, line 6: the SYN again, with the acknowledgement of ours.
            s = replace(s, seq=s.seq + 1 & M32, flags=s.flags & ~SYN, window=s.window >> c.snd_shift)
            seq += 1
        if c.ts_ok and not s.flags & RST:
            if s.ts is None:
                return self.drop("tcp-no-timestamp")
            if (s.ts[0] - c.ts_recent & M32) >= 1 << 31 and self.now - c.ts_recent_at < PAWS_IDLE:
                self.drop("tcp-paws")
                return self.send_ack(c)
        if not self.acceptable(c, s, seq):
            return self.unacceptable(c, s, seq)
        if s.flags & RST:
            if seq == c.rcv_nxt:
                active = c.state == SYN_RECEIVED and not c.passive
                return self.close(c, "refused" if active else "reset")
            self.drop("tcp-rst-invalid")
            return self.challenge(c)
        if s.flags & SYN:
            self.drop("tcp-flags")
            return self.challenge(c)
        if not s.flags & ACK:
            return self.drop("tcp-flags")
        if c.ts_ok and seq <= c.last_ack_sent <= seq + len(s.data):  # RFC 7323 section 4.3
            assert s.ts is not None
            c.ts_recent, c.ts_recent_at = s.ts[0], self.now
        ack = c.unwrap(s.ack, c.snd_una)
        if c.state == SYN_RECEIVED:
            if not c.snd_una < ack <= c.snd_nxt:
                self.drop("tcp-ack-invalid")
                return self.send_reset(s, s.ack, 0, RST)
            if c.retransmits == 0:
                self.sample_rtt(c, self.now - c.opened_at)
            c.snd_una, c.snd_wl1 = ack, seq - 1
            c.move("ack of syn")
            self.established(c)
        c.heard_at, c.keep_probes = self.now, 0
        if not c.snd_una - max(c.max_wnd, 65535) <= ack <= c.snd_nxt:  # RFC 5961 section 5
            self.drop("tcp-ack-invalid")
            return self.challenge(c)
        if c.state != TIME_WAIT:
            self.take_ack(c, s, seq, max(ack, c.snd_una))
            if self.fin_acknowledged(c):
                return None
        if s.data or s.flags & FIN:
            self.take_data(c, s, seq)
        return None

    def unacceptable(self, c: Connection, s: Segment, seq: int) -> None:
        """Outside the window: an acknowledgement, unless it is a RST."""
        if s.flags & RST:
            return self.drop("tcp-rst-invalid")
        if s.flags & SYN and c.state == SYN_RECEIVED and seq == c.irs:
            self.send_syn(c)
            return None
        self.drop("tcp-out-of-window")
        if s.data and seq + len(s.data) <= c.rcv_nxt:
            self.counts["duplicates-in"] += 1
            c.dsack = (seq, seq + len(s.data))
        if c.state == TIME_WAIT and s.flags & FIN:
            c.t_wait = self.now + self.config.tcp.time_wait
        if s.flags & ACK and c.state in SYNCHRONISED and c.state != TIME_WAIT:
            # Crossed zero-window probes are outside on both sides and still acknowledge.
            ack = c.unwrap(s.ack, c.snd_una)
            if c.snd_una <= ack <= c.snd_nxt:
                self.take_ack(c, s, c.snd_wl1, ack)
                if self.fin_acknowledged(c):
                    return None
        return self.send_ack(c)

    # Acknowledgements --------------------------------------------------------------------------------

    def take_window(self, c: Connection, s: Segment, seq: int, ack: int) -> bool:
        """RFC 9293 section 3.10.7.4: not from a segment older than the last one it came from. Whether it changed."""
        if not (c.snd_wl1 < seq or c.snd_wl1 == seq and c.snd_wl2 <= ack):
            return False
        before, c.snd_wnd = c.snd_wnd, s.window << c.snd_shift
        c.max_wnd = max(c.max_wnd, c.snd_wnd)
        c.snd_wl1, c.snd_wl2 = seq, ack
        if c.snd_wnd == before:
            return False
        c.probes = 0
        return True

    def take_ack(self, c: Connection, s: Segment, seq: int, ack: int) -> None:
        flight = c.used(c.flight)
        changed = self.take_window(c, s, seq, ack)
        acked = ack - c.snd_una
        if c.sack_ok:
            self.take_sack(c, s)
        if acked:
            rtt = self.acknowledged(c, ack)
            if rtt is not None:
                self.sample_rtt(c, rtt)
            c.snd_una, c.backoff = ack, 0
            if c.snd_una == c.snd_nxt:
                c.t_rto = NEVER
            else:
                self.arm_rto(c)
            if c.tlp_end is not None and ack >= c.tlp_end:
                if c.tlp_retrans and not s.blocks and ack > c.tlp_end:  # RFC 8985 section 7.4
                    self.cc_loss(c, flight)
                c.tlp_end = None
            if c.was_cut:
                c.was_cut = False
                self.tell(c, "writable")
        pure = not s.data and not s.flags & (SYN | FIN)
        self.detect_losses(c, acked, not acked and pure and not changed and c.snd_nxt > c.snd_una)
        if acked and c.recovery != "fast":
            self.cc_acked(c, acked, flight)
        if c.ecn_ok and s.flags & ECE and not c.recovery and ack >= c.ecn_point and c.snd_nxt > c.snd_una:
            self.cc_loss(c, flight)  # RFC 3168 section 6.1.2: once a window
            c.ecn_point, c.ecn_cwr = c.snd_nxt, True
        if acked:
            self.arm_tlp(c)
        if c.snd_nxt > c.snd_una or c.snd_end > c.snd_nxt or c.fin_wanted:
            self.want_output(c)

    def fin_acknowledged(self, c: Connection) -> bool:
        """Our FIN was acknowledged; whether that ended the connection."""
        if c.fin_seq < 0 or c.snd_una <= c.fin_seq or c.state not in (FIN_WAIT_1, CLOSING, LAST_ACK):
            return False
        if c.state == LAST_ACK:
            c.move("ack of fin")
            self.close(c, "closed")
            return True
        c.move("ack of fin")
        if c.state == TIME_WAIT:
            self.time_wait(c)
        elif c.released:
            c.t_wait = self.now + self.config.tcp.time_wait  # nobody reads or closes any more
        return False

    def time_wait(self, c: Connection) -> None:
        c.stop_timers()
        c.t_wait = self.now + self.config.tcp.time_wait
        self.report_end(c, "closed")

    # Data --------------------------------------------------------------------------------------------

    def take_data(self, c: Connection, s: Segment, seq: int) -> None:
        if c.state not in RECEIVING:
            after = c.state in (CLOSE_WAIT, CLOSING, LAST_ACK)
            if after and seq + len(s.data) > c.rcv_nxt:
                self.drop("tcp-after-close")
                self.send_ack(c)
            return
        if c.ecn_ok:
            c.ecn_echo = (c.ecn_echo and not s.flags & CWR) or s.ecn == 3
        if s.data and c.released:  # RFC 9293 section 3.10.4: nobody is left to read it
            self.drop("tcp-after-close")
            self.send_reset(s, c.snd_nxt, 0, RST)
            return self.close(c, "aborted")
        if s.flags & FIN and c.rcv_fin is None and not c.eof:
            c.rcv_fin = seq + len(s.data)
        at_once = c.receive(seq, s.data) if s.data else False
        if c.rcv_fin is not None and c.rcv_nxt == c.rcv_fin:
            c.rcv_nxt, c.rcv_fin, c.eof = c.rcv_nxt + 1, None, True
            self.tell(c, "eof")
            c.move("fin")
            if c.state == TIME_WAIT:
                self.time_wait(c)
            at_once = True
        at_once = at_once or bool(s.flags & FIN)
        # RFC 5681 section 4.2: every second full segment, or after a while.
        c.ack_pending += 1
        if c.quick_left > 0:
            c.quick_left -= 1
            at_once = True
        if at_once or c.ack_pending >= self.config.tcp.delack_segments:
            self.send_ack(c)
        elif c.t_delack == NEVER:
            c.t_delack = self.now + self.config.tcp.delack_time


__all__ = ["CLOSED", "ESTABLISHED", "SECOND", "Arrival"]
