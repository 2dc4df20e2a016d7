"""``ack_policy="mirror"``: the guest's TCP hears of its bytes what the far TCP acknowledged, and no more.

Theory of operation
-------------------
With ``"early"`` the gateway acknowledges what it has taken in: the guest's TCP measures the tunnel alone, and bytes it
believes delivered are lost with the proxy. With ``"mirror"`` the stack holds its acknowledgement number back
(``Connection.hold_acks``) until the far TCP has acknowledged those bytes, so that round-trip time, congestion window
and "delivered" mean to the guest what they mean end to end. The window is not touched: its right edge stands where it
would stand, and the FIN is acknowledged like a byte.

Nobody tells a process that an acknowledgement arrived, so the egress is asked (``unacked``): at once after every send
and before every segment that goes to the guest, which between hosts on one machine and in request and response is all
it takes; and while something is still held, some times in a round trip, seldom while nothing changes, never when
nothing is held. One round serves every flow that is due or nearly so. An egress that is itself stepped by each
acknowledgement (virtual time) is asked after each of its steps instead.

A system that cannot tell what is in flight tells what it accepted: ``"mirror-accepted"``, and flow rows say so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..bounds import MIRROR_MEASURE, MIRROR_POLL_MAX, MIRROR_POLL_MIN, MIRROR_POLLS_PER_RTT
from ..egress.contract import Egress
from ..limits import NEVER

if TYPE_CHECKING:
    from .tcp_nat import TcpFlow

MIRRORED, ACCEPTED = "mirror", "mirror-accepted"


class Mirror:
    """Releases held acknowledgements of all flows of one NAT."""

    def __init__(self, egress: Egress):
        self._egress = egress
        self.policy = MIRRORED if egress.tells_unacked else ACCEPTED
        self._held: dict[int, TcpFlow] = {}
        self._next = NEVER
        self.looks = 0

    def __len__(self) -> int:
        """Flows of which something is held."""
        return len(self._held)

    def look(self, f: TcpFlow, now: int) -> bool:
        """Release what the far side acknowledged; True when nothing is held."""
        sent = f.record.bytes_up + f.shut
        if f.released >= sent:
            return True
        flow = f.record.flow
        self.looks += 1
        left = self._egress.unacked(flow) if self.policy == MIRRORED else 0
        if left is None:
            return False  # it is gone, and its end about to be told
        acked = sent - left
        if acked > f.released:
            f.released = acked
            f.conn.release_acks(acked, now)
            f.look_every = 0
        if acked >= sent:
            self._held.pop(flow, None)
            return True
        if flow not in self._held:
            self._held[flow] = f
            if f.look_measured + MIRROR_MEASURE <= now or not f.look_base:
                rtt = self._egress.round_trip(flow)
                f.look_base = min(max(rtt // MIRROR_POLLS_PER_RTT, MIRROR_POLL_MIN), MIRROR_POLL_MAX)
                f.look_measured = now
            f.look_every = 0
        if not f.look_every:
            f.look_every = f.look_base
        elif now < f.look_at:
            return False  # asked before its time, and it stays at that
        else:
            f.look_every = min(2 * f.look_every, MIRROR_POLL_MAX)
        f.look_at = now + f.look_every
        self._next = min(self._next, f.look_at)
        return False

    def due(self, now: int) -> list[TcpFlow]:
        """Flows to look at now."""
        if not self._held:
            self._next = NEVER
            return []
        if self._egress.steps_on_acks:
            return list(self._held.values())
        if self._next > now:
            return []
        found = [f for f in self._held.values() if f.look_at <= now + MIRROR_POLL_MIN // 2]
        if not found:
            self.settle()  # whoever was due has been looked at meanwhile
        return found

    def settle(self) -> None:
        """After a round of looks: when the next one is."""
        self._next = min((f.look_at for f in self._held.values()), default=NEVER)

    def forget(self, flow: int) -> None:
        self._held.pop(flow, None)

    def poll_at(self) -> int:
        return NEVER if not self._held or self._egress.steps_on_acks else self._next
