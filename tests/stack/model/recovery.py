"""What acknowledgements say: round-trip times (RFC 6298), what is lost (RFC 8985, RFC 6675, RFC 6582), and how large
the window may be (RFC 5681, RFC 9438)."""

from __future__ import annotations

from .connection import Connection, Piece
from .node import NEVER
from .sending import Sending
from .wire import Segment

UNLIMITED = 1 << 40
BETA, C = 0.7, 0.4
FAST, TIMEOUT = "fast", "timeout"


class Recovery(Sending):
    # Round-trip time ---------------------------------------------------------------------------------

    def sample_rtt(self, c: Connection, rtt: int) -> None:
        """RFC 6298 section 2 in whole nanoseconds, rounded down; a granularity of 1 ms."""
        t = self.config.tcp
        rtt = max(rtt, 1000)
        if c.srtt == 0:
            c.srtt, c.rttvar = rtt, rtt // 2
        else:
            error = rtt - c.srtt
            c.srtt, c.rttvar = c.srtt + error // 8, c.rttvar + (abs(error) - c.rttvar) // 4
        c.min_rtt = min(c.min_rtt or rtt, rtt)
        c.rto = min(max(c.srtt + max(4 * c.rttvar, 1_000_000), t.rto_min), t.rto_max)

    # Congestion window -------------------------------------------------------------------------------

    def cc_open(self, c: Connection) -> None:
        """RFC 6928."""
        t = self.config.tcp
        c.cwnd = UNLIMITED if t.congestion == "none" else t.initial_cwnd_segments * c.mss
        c.ssthresh, c.cwnd_acc, c.cubic_epoch, c.cubic_w_max, c.cubic_prior = UNLIMITED, 0, -1, 0.0, 0.0

    def cc_acked(self, c: Connection, acked: int, flight: int) -> None:
        """Grow, if the window was in use (RFC 7661): slow start, then NewReno or CUBIC."""
        kind = self.config.tcp.congestion
        if kind == "none":
            return
        if c.cwnd < c.ssthresh:
            if 2 * flight < c.cwnd:
                return
            grow = min(acked, c.ssthresh - c.cwnd)
            c.cwnd += grow
            acked -= grow
            if not acked:
                return
        elif flight + c.mss < c.cwnd:
            if kind == "cubic" and flight < c.cwnd // 2:
                c.cubic_epoch = -1
            return
        if kind == "newreno":
            c.cwnd_acc += acked
            if c.cwnd_acc >= c.cwnd:
                c.cwnd_acc, c.cwnd = c.cwnd_acc - c.cwnd, c.cwnd + c.mss
            return
        self.cubic(c, acked)

    def cubic(self, c: Connection, acked: int) -> None:
        """RFC 9438 sections 4.2 to 4.5: windows in segments, times in seconds."""
        window = c.cwnd / c.mss
        if c.cubic_epoch < 0:
            c.cubic_epoch, c.cubic_w_est, c.cwnd_acc = self.now, window, 0
            c.cubic_w_max = max(c.cubic_w_max, window)
            c.cubic_k = ((c.cubic_w_max - window) / C) ** (1 / 3)
            c.cubic_origin = c.cubic_w_max
        t = (self.now - c.cubic_epoch + c.min_rtt) * 1e-9
        target = min(max(c.cubic_origin + C * (t - c.cubic_k) ** 3, window), 1.5 * window)
        alpha = 3 * (1 - BETA) / (1 + BETA) if c.cubic_w_est < c.cubic_prior else 1.0
        c.cubic_w_est += alpha * acked / c.mss / window
        gain = max((target - window) / window * acked, (c.cubic_w_est - window) * c.mss)
        whole, c.cwnd_acc = divmod(c.cwnd_acc + int(gain * 1_000_000), 1_000_000)  # fractions of a byte are kept
        c.cwnd += whole

    def cc_loss(self, c: Connection, flight: int) -> None:
        """One reduction (RFC 5681 section 3.1; RFC 9438 sections 4.6 and 4.7)."""
        kind = self.config.tcp.congestion
        if kind == "none":
            return
        if kind == "cubic":
            window = c.cubic_prior = c.cwnd / c.mss
            c.cubic_w_max = window * (1 + BETA) / 2 if window < c.cubic_w_max else window
            c.cubic_epoch = -1
            c.ssthresh = max(int(min(flight, c.cwnd) * BETA), 2 * c.mss)
        else:
            c.ssthresh = max(min(flight, c.cwnd) // 2, 2 * c.mss)
        c.cwnd, c.cwnd_acc = c.ssthresh, 0

    def cc_timeout(self, c: Connection, flight: int) -> None:
        if self.config.tcp.congestion == "none":
            return
        if c.backoff == 0:
            self.cc_loss(c, flight)
        c.cubic_w_max = 0.0  # RFC 9438 section 4.8: the next epoch's K is zero
        c.cwnd, c.cwnd_acc = c.mss, 0

    # What has arrived --------------------------------------------------------------------------------

    def delivered(self, c: Connection, p: Piece, end: int) -> None:
        """RFC 8985 section 6.2 steps 2 and 3: the newest arrival, and whether an older one came after it."""
        rtt = self.now - p.at
        if not (p.again and rtt < c.min_rtt) and (p.at, end) > c.rack:
            c.rack, c.rack_rtt = (p.at, end), rtt
        if end > c.rack_fack:
            c.rack_fack = end
        elif end < c.rack_fack and not p.again:
            c.rack_reordering = True

    def acknowledged(self, c: Connection, ack: int) -> int | None:
        """Take what is below ``ack`` off the books; the newest round-trip time Karn allows (RFC 6298 section 3)."""
        rtt = None
        inferred = max(c.inferred - (ack - c.snd_una), 0)
        for p in list(c.pieces):
            if p.seq >= ack:
                break
            end = min(p.end, ack)
            if not p.sacked:
                if not p.again:
                    rtt = self.now - p.at
                self.delivered(c, p, end)
            if end == p.end:
                c.pieces.remove(p)
            else:
                p.seq = end
        c.inferred = inferred
        return rtt

    def take_sack(self, c: Connection, s: Segment) -> None:
        """RFC 2018 section 5; a first block that was acknowledged before is a duplicate's report (RFC 2883)."""
        edges = [(c.unwrap(left, c.snd_una), c.unwrap(right, c.snd_una)) for left, right in s.blocks]
        for i, (left, right) in enumerate(edges):
            if right <= left or right > c.snd_nxt:
                continue
            inside = len(edges) > 1 and edges[1][0] <= left and right <= edges[1][1]
            if i == 0 and (right <= c.snd_una or inside):
                self.counts["dsacks-in"] += 1
                if c.snd_una >= c.rack_dsack_round:  # once a round trip (RFC 8985 section 6.2 step 4)
                    c.rack_dsack_round, c.rack_mult, c.rack_persist = c.snd_nxt, min(c.rack_mult + 1, 64), 16
                continue
            for p in c.pieces:
                if max(left, c.snd_una) <= p.seq and p.end <= right and not p.sacked:
                    p.sacked, p.lost = True, False
                    if not p.again:
                        self.sample_rtt(c, self.now - p.at)
                    self.delivered(c, p, p.end)

    # What is lost ------------------------------------------------------------------------------------

    def rack_losses(self, c: Connection) -> int:
        """RFC 8985 section 6.2 step 5: what was sent before the newest arrival, and long enough ago."""
        c.t_rack = NEVER
        if c.rack[0] == 0:
            return 0
        window = 0
        if c.rack_reordering or not c.recovery and c.sacked_bytes < 3 * c.mss:
            window = min(c.rack_mult * (c.min_rtt // 4), c.srtt)
        marked, wait, again = 0, 0, False
        for p in c.pieces:
            if p.sacked or p.lost:
                continue
            if (p.at, p.end) > c.rack or p.at == c.rack[0] and p.again:
                continue
            left = p.at + c.rack_rtt + window - self.now
            if left > 0:
                wait = max(wait, left)
                continue
            p.lost = True
            marked += p.size
            again |= p.again and p.at >= c.reduced_at
        if wait:
            c.t_rack = self.now + wait
        if again and c.recovery == FAST:
            c.reduced_at = self.now
            self.cc_loss(c, c.cwnd)
        return marked

    def sack_losses(self, c: Connection) -> int:
        """RFC 6675 IsLost(): more than two segments, or three ranges, are sacked above."""
        marked = total = ranges = 0
        below_gap = True
        for p in reversed(c.pieces):
            if p.sacked:
                total, ranges, below_gap = total + p.size, ranges + below_gap, False
                continue
            below_gap = True
            if not (p.lost or p.again) and (total > 2 * c.mss or ranges >= 3):
                p.lost = True
                marked += p.size
        return marked

    def first_lost(self, c: Connection) -> int:
        p = c.pieces[0] if c.pieces else None
        if p is None or p.lost or p.sacked:
            return 0
        p.lost = True
        return p.size

    def detect_losses(self, c: Connection, acked: int, duplicate: bool) -> None:
        flight = c.snd_nxt - c.snd_una
        if c.recovery and c.snd_una >= c.recovery_point:
            if c.recovery == FAST and self.config.tcp.congestion != "none":
                c.cwnd = min(c.cwnd, max(c.ssthresh, 2 * c.mss))
            c.recovery, c.dup_acks = None, 0
            if c.rack_persist:
                c.rack_persist -= 1
                if c.rack_persist == 0:
                    c.rack_mult = 1
        marked = 0
        if c.sack_ok:
            if c.pieces and (c.sacked_bytes or c.recovery or c.rack_reordering):
                if self.config.tcp.rack:
                    marked = self.rack_losses(c)
                else:
                    marked = self.sack_losses(c)
                    if not marked and c.recovery == FAST and acked and c.flight == 0:
                        marked = self.first_lost(c)
        elif duplicate:
            c.dup_acks += 1
            c.inferred = min(c.inferred + c.mss, max(flight - c.lost_bytes - c.mss, 0))
            if c.dup_acks == 3 and not c.recovery:
                marked = self.first_lost(c)
        elif acked:
            if c.recovery == FAST:
                marked = self.first_lost(c)  # a partial acknowledgement (RFC 6582 section 3.2)
            else:
                c.dup_acks = 0
        if marked and not c.recovery:
            c.recovery, c.recovery_point, c.reduced_at, c.t_tlp = FAST, c.snd_nxt, self.now, NEVER
            self.counts["fast-recoveries"] += 1
            self.cc_loss(c, c.used(flight))
