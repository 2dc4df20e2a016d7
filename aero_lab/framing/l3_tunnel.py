"""``aero-l3-tunnel-v1``: IP packets as messages, one to one.

Header, message types, limits and errors are those of ``aero-l2-tunnel-v1`` (:mod:`.l2_tunnel`); what stands in a FRAME
message is one IPv4 or IPv6 packet without a link header, and never more than that packet. What it is tells its first
four bits. A packet that is no whole one is for the stack behind the tunnel to drop and count, as on any network.

The two cannot be confused on the way: they are subprotocols, and routes, of their own.
"""

SUBPROTOCOL = "aero-l3-tunnel-v1"
