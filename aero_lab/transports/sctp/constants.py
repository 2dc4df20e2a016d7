"""What SCTP implementations differ in, as values. Times are nanoseconds, sizes bytes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...limits import MS, SECOND
from .chunks import DATA_HEADER, PACKET_HEADER

MIB = 1 << 20


@dataclass(frozen=True)
class Constants:
    """One implementation's habits; the defaults are the RFC's."""

    packet: int = 1191
    """Largest packet, common header included: what libwebrtc takes for an IPv6 path of 1280 less UDP and DTLS."""
    a_rwnd: int = MIB
    """Receive window promised at first."""
    send_buffer: int = 256 << 10
    """Bytes of messages that wait here for the association."""
    initial_cwnd: int = 4404
    """RFC 9260 section 7.2.1: min(4 PMDCS, max(2 PMDCS, 4404))."""
    min_ssthresh_chunks: int = 4
    """Floor of ssthresh in full chunks (section 7.2.3)."""
    max_burst: int = 4
    """Full chunks that may be sent beyond what is outstanding in one go (section 6.1 D)."""
    recovery_burst: int = 4
    """The same while in fast recovery."""
    burst_of_message: bool = False
    """The burst limit begins anew with each message, not with each SACK."""
    fast_once: bool = True
    """A chunk is found missing once; should it be lost again, T3-rtx finds it (section 7.2.4, step 6)."""
    recovery_strikes: bool = True
    """In fast recovery a SACK that moves the cumulative TSN reports everything missing below its last block
    (section 7.2.4)."""
    bundle: bool = True
    """Several chunks in a packet (section 6.10); otherwise each has its own."""
    sack_every: int = 2
    """A SACK at the latest for every so many packets with DATA (section 6.2)."""
    sack_delay: int = 200 * MS
    """... and after so long."""
    rto_initial: int = SECOND
    rto_min: int = SECOND
    rto_max: int = 60 * SECOND
    rto_backoff: bool = True
    """T3-rtx doubles the RTO when it expires (section 6.3.3 E2)."""
    resend_acked: bool = False
    """T3-rtx has even chunks sent again that a gap block acknowledged."""
    heed_rwnd: bool = True
    """No more is outstanding than the peer's window allows (section 6.1 A)."""
    idle_decay: bool = True
    """cwnd halves for each RTO in which nothing was sent (section 7.2.1)."""
    retransmissions: int = 10
    """T3-rtx expiries in a row after which the association is lost (Association.Max.Retrans); 0: never."""
    congestion: bool = True
    """Whether a congestion window is kept at all: without one the windows alone limit the sender."""

    @property
    def payload(self) -> int:
        """Bytes of user data in a full DATA chunk: a multiple of 4, so that no padding follows."""
        return (self.packet - PACKET_HEADER - DATA_HEADER) & ~3


RFC = Constants()
"""RFC 9260's recommended values, on libwebrtc's packet size."""

AIORTC = replace(
    RFC,
    packet=1189,
    initial_cwnd=3 * 1160,
    recovery_burst=2,
    burst_of_message=True,
    fast_once=False,
    recovery_strikes=False,
    bundle=False,
    sack_every=1,
    rto_initial=3 * SECOND,
    rto_backoff=False,
    resend_acked=True,
    heed_rwnd=False,
    idle_decay=False,
    retransmissions=0,
)
"""aiortc's: a chunk a packet, a SACK for each packet, no look at the peer's window, T3-rtx that resends everything and
never backs off."""

CONSTANTS = {"aiortc": AIORTC, "rfc": RFC}
"""Sets by name."""
