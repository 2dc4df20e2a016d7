"""Timers of one connection: retransmission (RFC 6298), probes (RFC 9293 section 3.8.6.1), keepalive, tail loss (RFC
8985 section 7)."""

from __future__ import annotations

from .connection import SYN_RECEIVED, SYN_SENT, Connection
from .node import NEVER
from .recovery import TIMEOUT, Recovery


class Timers(Recovery):
    def close(self, c: Connection, reason: str) -> None:
        raise NotImplementedError

    def connection_timers(self, c: Connection) -> None:
        """What is due of one connection, then what that lets out."""
        if c.t_wait <= self.now:
            return self.close(c, "closed")
        if c.t_delack <= self.now:
            c.t_delack = NEVER
            self.send_ack(c)
        if c.t_rack <= self.now:
            c.t_rack = NEVER
            self.detect_losses(c, 0, False)
        if c.t_tlp <= self.now:
            self.tail_loss_probe(c)
        for name, timeout in (
            ("t_rto", self.retransmission_timeout),
            ("t_persist", self.persist_timeout),
            ("t_keep", self.keepalive_timeout),
        ):
            if getattr(c, name) <= self.now:
                setattr(c, name, NEVER)
                if timeout(c):
                    return self.close(c, "timeout")
        self.output(c)
        return None

    def tail_loss_probe(self, c: Connection) -> None:
        c.t_tlp = NEVER
        if c.tlp_end is not None or not c.pieces or c.recovery:
            return
        self.counts["tail-loss-probes"] += 1
        c.tlp_retrans = False
        if not self.send_new(c):
            last = c.pieces[-1]
            if last.sacked or last.lost:
                return
            self.retransmit(c, last)
            c.tlp_retrans = True
        c.tlp_end = c.snd_nxt
        self.arm_rto(c)

    def retransmission_timeout(self, c: Connection) -> bool:
        """RFC 6298 section 5.4 to 5.7. True when the connection is to be given up."""
        t = self.config.tcp
        c.timeouts += 1
        self.counts["timeouts"] += 1
        if c.state in (SYN_SENT, SYN_RECEIVED):
            if c.backoff >= t.syn_retries:
                return True
            c.backoff += 1
            if not self.send_syn(c):
                c.t_rto = self.now + c.rto
            return False
        if c.snd_una == c.snd_nxt:
            return False
        if self.room <= self.headroom:  # the transport is full: no evidence of loss
            self.arm_rto(c)
            self.want_output(c)
            return False
        if t.data_retries and c.backoff >= t.data_retries:
            return True
        self.cc_timeout(c, c.snd_nxt - c.snd_una)
        c.recovery, c.recovery_point, c.dup_acks = TIMEOUT, c.snd_nxt, 0
        c.tlp_end, c.t_tlp, c.t_rack = None, NEVER, NEVER
        c.inferred = 0
        for p in c.pieces:
            if c.sack_ok and c.backoff >= 1:
                p.sacked = False  # RFC 2018 section 8: the receiver may have thrown it away
            if not p.sacked:
                p.lost = True
        self.suspect_black_hole(c)
        c.backoff += 1
        if c.pieces:
            self.retransmit(c, c.pieces[0])
        self.arm_rto(c)
        return False

    def suspect_black_hole(self, c: Connection) -> None:
        """RFC 2923: after two timeouts of a large segment 1280 bytes, then 576."""
        least = 576 if c.family == 4 else 1280
        if c.backoff >= 2 and c.pmtu > least and c.pieces and c.pieces[0].size > least - 40:
            c.pmtu = 1280 if c.pmtu > 1280 else least
            self.counts["black-holes"] += 1

    def persist_timeout(self, c: Connection) -> bool:
        t = self.config.tcp
        if c.snd_una != c.snd_nxt or c.snd_end == c.snd_nxt:
            return False
        usable = c.snd_una + c.snd_wnd - c.snd_nxt
        if usable > 0:  # a small window has waited long enough (RFC 9293 section 3.8.6.2.1, the override timeout)
            kept, c.max_wnd = c.max_wnd, min(c.max_wnd, 2 * usable)
            went = self.send_new(c)
            c.max_wnd = kept
            if went is not None:
                return False
        if t.data_retries and c.probes >= t.data_retries and self.now - c.heard_at > 3 * t.rto_max:
            return True
        self.send_probe(c)
        self.counts["window-probes"] += 1
        c.probes += 1
        c.t_persist = self.now + min(max(c.rto, t.rto_min) * 2 ** min(c.probes, 16), t.rto_max)
        return False

    def keepalive_timeout(self, c: Connection) -> bool:
        """RFC 9293 section 3.8.4."""
        t = self.config.tcp
        if self.now - c.heard_at < t.keepalive_idle:
            c.t_keep = c.heard_at + t.keepalive_idle
            return False
        if c.keep_probes >= t.keepalive_probes:
            return True
        if c.snd_una == c.snd_nxt:
            self.send_probe(c)
            self.counts["keepalives"] += 1
            c.keep_probes += 1
        c.t_keep = self.now + t.keepalive_interval
        return False
