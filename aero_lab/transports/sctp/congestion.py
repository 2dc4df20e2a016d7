"""The congestion window of an association (RFC 9260 section 7.2), in bytes of user data."""

from __future__ import annotations

from .constants import Constants

UNLIMITED = 1 << 62


class Congestion:
    """cwnd, ssthresh and partial_bytes_acked of one path.

    ``exit_tsn`` is the TSN whose acknowledgement ends fast recovery; None outside of it.
    """

    def __init__(self, constants: Constants, peer_window: int):
        self._constants = constants
        self._chunk = chunk = constants.payload
        if not constants.congestion:
            self.cwnd = UNLIMITED
        else:
            self.cwnd = min(4 * chunk, max(2 * chunk, constants.initial_cwnd))
        self.ssthresh = peer_window
        self.partial = 0
        self.exit_tsn: int | None = None
        self._least = constants.min_ssthresh_chunks * chunk

    @property
    def recovering(self) -> bool:
        """Whether fast recovery is under way (section 7.2.4)."""
        return self.exit_tsn is not None

    def acked(self, size: int, used: bool, flight: int) -> None:
        """``size`` bytes were acknowledged for the first time and the cumulative TSN moved. ``used``: the window was
        full before; ``flight``: bytes outstanding before."""
        if self.exit_tsn is not None or not self._constants.congestion:
            return
        if self.cwnd <= self.ssthresh:
            if used:
                self.cwnd += min(size, self._chunk)
            return
        if self._constants.bundle:  # the RFC: count always, grow when the window is in use (section 7.2.2)
            self.partial += size
            if self.partial >= self.cwnd:
                if used:
                    self.partial -= self.cwnd
                    self.cwnd += self._chunk
                else:
                    self.partial = self.cwnd
        elif used:
            self.partial += size
            if self.partial >= self.cwnd:
                self.partial -= self.cwnd
                self.cwnd += self._chunk

    def lost(self, highest: int) -> bool:
        """A chunk was found missing; ``highest`` is the last TSN sent. Whether fast recovery begins with it."""
        if self.exit_tsn is not None:
            return False
        self.exit_tsn = highest
        if self._constants.congestion:
            self.ssthresh = max(self.cwnd // 2, self._least)
            self.cwnd = self.ssthresh
            self.partial = 0
        return True

    def reached(self, cumulative: int) -> None:
        """Everything up to ``cumulative`` was acknowledged."""
        if self.exit_tsn is not None and cumulative >= self.exit_tsn:
            self.exit_tsn = None

    def expired(self) -> None:
        """T3-rtx expired (section 7.2.3)."""
        self.exit_tsn = None
        if self._constants.congestion:
            self.ssthresh = max(self.cwnd // 2, self._least)
            self.cwnd = self._chunk
            self.partial = 0

    def settled(self) -> None:
        """Nothing is outstanding any more (section 7.2.2)."""
        if self._constants.bundle:
            self.partial = 0

    def idle(self, times: int) -> None:
        """Nothing was sent for so many RTOs (section 7.2.1)."""
        if self._constants.congestion:
            self.ssthresh = self.cwnd
            self.cwnd = max(self.cwnd >> min(times, 62), 4 * self._chunk)

    def limit(self, flight: int) -> int:
        """Bytes that may be outstanding now, the burst limit included."""
        if not self._constants.congestion:
            return self.cwnd
        burst = self._constants.recovery_burst if self.exit_tsn is not None else self._constants.max_burst
        return min(flight + burst * self._chunk, self.cwnd)
