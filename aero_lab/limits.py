"""Every bound of the package, in one place, each with its source.

Times are nanoseconds, sizes bytes, unless the name says otherwise.
"""

US, MS, SECOND = 1_000, 1_000_000, 1_000_000_000
NEVER = (1 << 62) - 1
"""A deadline that never comes: larger than any time, with room to add to."""

# Frames and batches -------------------------------------------------------------------------------------------------
BATCH = 64
"""Frames handed to a kernel in one call; larger batches were measured to gain nothing."""
RING_SLOTS, RING_ARENA = 1024, 4 << 20
"""Default frame ring: as many frames as the original's backend queue, and bytes for 64 frames of the largest size."""
MTU_MIN, MTU_MAX, MTU_DEFAULT = 576, 65520, 1500
"""576 is what every IPv4 host must accept (RFC 791); 65520 is what slirp4netns and passt offer at most."""
IPV6_MTU_MIN = 1280
"""RFC 8200 section 5."""

# TCP ----------------------------------------------------------------------------------------------------------------
MAX_CONNECTIONS = 65536
"""Connection slots a stack's tables can index; ``StackConfig.max_connections`` sets how many are allocated."""
OVERRUN_PER_CONNECTION, OVERRUN_PER_STACK = 1 << 20, 16 << 20
"""In-order data accepted beyond the advertised edge: the original's probe sends 128 KiB to 1 MiB without looking."""
HELD_FIN_PATIENCE = 60 * SECOND
"""How long a connection that is over for both sides waits for leave to acknowledge the peer's FIN: RFC 9293's 2 MSL at
half its value, what Linux takes for TIME-WAIT."""

# Egress -------------------------------------------------------------------------------------------------------------
EGRESS_READ = 512 << 10
"""Most bytes read from a host socket in one call: more than most send buffers have room for, and half of what a core
keeps in its second cache."""
EGRESS_STEP_BYTES = 4 << 20
"""Bytes read from host sockets in one step over all flows: about 2 ms of copying, so that timers and frames get
their turn."""
EGRESS_DATAGRAMS = 32
"""Datagrams read from one UDP socket in one step."""
EGRESS_DATAGRAM_SIZE = 65535
"""Largest datagram read: what the UDP length field can say."""
CONNECT_TIMEOUT = 5 * SECOND
"""A connect that is not answered by then has timed out (``AERO_L2_TCP_CONNECT_TIMEOUT_MS``)."""
RESOLVE_TIMEOUT = 2 * SECOND
"""A lookup that is not answered by then has failed (``AERO_L2_DNS_LOOKUP_TIMEOUT_MS``)."""
ECHO_TIMEOUT, ECHO_PENDING = 10 * SECOND, 256
"""How long, and for how many at once, an ICMP echo to the world waits for its reply; beyond that the oldest is
forgotten."""

# LAN ----------------------------------------------------------------------------------------------------------------
LAN_TCP_FLOWS, LAN_UDP_FLOWS = 1024, 256
"""Flows of one guest at once (``AERO_L2_STACK_MAX_TCP_CONNECTIONS``, ``AERO_L2_MAX_UDP_FLOWS_PER_TUNNEL``)."""
LAN_TCP_IDLE = 7200 * SECOND
"""A guest that is silent on a TCP flow for so long is probed, and the flow of one that has gone is given up (RFC 1122
section 4.2.3.6; RFC 5382 REQ-5 asks a NAT to wait at least two hours and four minutes in all)."""
LAN_UDP_IDLE = 60 * SECOND
"""A UDP flow that is silent both ways for so long ends (``AERO_L2_UDP_FLOW_IDLE_TIMEOUT_MS``)."""
LAN_DNS_PENDING, LAN_DNS_CACHE = 1024, 10_000
"""Lookups under way and names remembered (``AERO_L2_STACK_MAX_PENDING_DNS``,
``AERO_L2_STACK_MAX_DNS_CACHE_ENTRIES``)."""
LAN_DNS_MAX_TTL, LAN_DNS_DEFAULT_TTL = 300, 60
"""Seconds an answer may live, and how long one lives whose time is unknown (``AERO_L2_DNS_MAX_TTL_SECS``,
``..DEFAULT..``)."""
LAN_ENDED_FLOWS = 4096
"""Ended flows that the flow table remembers; the oldest go first."""
LAN_ROUNDS = 4
"""Rounds of stack events that one step of a LAN works through; what is left waits for the next step."""
LAN_READ_LOW_WATER = 64 << 10
"""Reading from a host socket goes on when a connection has this much room (or a quarter of its buffer if that is less):
below it, many small reads would cost more than they move."""

# Hermetic services --------------------------------------------------------------------------------------------------
SERVICE_BUFFER = 256 << 10
"""Bytes an echo or HTTP session holds for a peer that does not read; then it takes no more until the peer does."""
SERVICE_SESSIONS = 4096
"""Sessions one host of services serves at once; further connections are closed at once and counted."""
FAR_END_ROUNDS = 8
"""Turns between a far end's stack and its sessions in one step; what is left waits for the next."""
HTTP_DIGEST_BYTES = 256 << 20
"""Bodies up to this size are announced with their MD5; beyond it the digest would cost seconds before the first
byte."""
HTTP_BODY_BYTES = 1 << 40
"""Largest body the HTTP service makes on request."""

# Clock, link, tunnel messages, transports ----------------------------------------------------------------------------
SCHEDULER_TURNS = 100_000
"""Turns at one instant of virtual time before the scheduler calls it a spin: 100 MiB over links without delay, which
all
happens in one instant, takes about 10,000."""
LINK_FRAMES = 16384
"""Frames in flight in one direction of a link; beyond it frames wait in the input ring. Twice what 1 Gbit/s holds in
100 ms."""
LINK_BYTES, LINK_BYTES_MIN, LINK_BYTES_MAX = 16 << 20, 1 << 20, 128 << 20
"""Bytes in flight in one direction: without a rate (room for 1.2 Gbit/s at 100 ms), and the bounds when delay and
rate tell."""
LINK_QUEUE = 64 << 10
"""Drop-tail queue before a rate when none is named: that of smoltcp's multi-flow simulation."""
LINK_STAGES = 16
"""Stages in one direction of a link."""
TUNNEL_FRAME, TUNNEL_CONTROL = 2048, 256
"""Payload limits of an L2 tunnel message (``AERO_L2_MAX_FRAME_PAYLOAD``, ``AERO_L2_MAX_CONTROL_PAYLOAD``)."""
CONTROL_SLOTS, CONTROL_ARENA = 64, 1 << 20
"""Ring of messages that are not frames; as many as the original's proxy queues, bytes for a few of the largest."""
STALL_RETRY = 1 * MS
"""A sender that found its transport full looks again after this time even if nobody wakes it."""

# Wire formats -------------------------------------------------------------------------------------------------------
VLAN_TAGS_MAX = 2
"""A service and a customer tag (IEEE 802.1ad); deeper stacks are refused."""
IPV6_EXTENSIONS_MAX = 8
"""Extension headers followed in one packet: RFC 8200 section 4.1 recommends an order of at most seven."""
ND_OPTIONS_MAX = 32
"""Options read in one neighbour-discovery message (RFC 6980 lets them fill one unfragmented packet)."""
DNS_RECORDS_MAX = 1024
"""Questions and records read in one DNS message: a full 16 KiB answer of 16-byte records."""
DNS_NAME_MAX, DNS_LABEL_MAX = 255, 63
"""Octets of a name on the wire, root included, and of one label (RFC 1035 section 2.3.4)."""
DNS_POINTERS_MAX = 127
"""Compression pointers followed in one name: as many as it can have labels."""
DNS_UDP_SIZE, DNS_EDNS_SIZE = 512, 1232
"""Largest answer without EDNS (RFC 1035 section 2.3.4), and the size announced with it (DNS flag day 2020)."""
GROUP_RECORDS_MAX = 256
"""Group records read in one IGMPv3 or MLDv2 report: more than fit in a 1500-byte packet never come from one host."""

# Scripted guests ----------------------------------------------------------------------------------------------------
TASK_TURNS = 10_000
"""Times tasks of a guest go on in one step; what is left waits for the next step, so a task that never waits stalls
no frame."""
GUEST_CONNECTIONS = 1024
"""Connections a scripted guest's stack holds at once unless told otherwise; each has its send and receive buffer."""
UDP_SOCKET_QUEUE = 1024
"""Datagrams waiting in one UDP socket of a guest; the newest is dropped and counted, as a kernel does."""
DNS_CACHE_NAMES = 256
"""Names a guest's resolver remembers; the oldest goes first."""
NEIGHBOUR_PATIENCE, NEIGHBOUR_RETRY = 3 * SECOND, 50 * MS
"""How long a datagram waits for its next hop's address before it is given up (three ARP tries), and how often it looks
when neither ARP nor neighbour discovery said anything."""
HTTP_CHUNK = 256 << 10
"""Bytes of an upload's body made at a time."""
HTTP_HEAD = 64 << 10
"""Largest head of an HTTP answer that the guest reads (h11's default bound)."""

# Reassembly ---------------------------------------------------------------------------------------------------------
REASSEMBLY_SLOTS, REASSEMBLY_PER_SOURCE = 32, 16
"""Datagrams in reassembly at once, in all and from one sender; with a region of 64 KiB each that is 2 MiB, half of what
Linux allows (``net.ipv4.ipfrag_high_thresh``). Beyond it the oldest makes room."""
REASSEMBLY_FRAGMENTS = 128
"""Pieces of one datagram: 65,535 bytes at the least IPv4 MTU of 576 come in 119."""
REASSEMBLY_TIMEOUT = 60 * SECOND
"""From the first piece to arrive: RFC 8200 section 4.5 fixes 60 s, RFC 1122 section 3.3.2 recommends 60 to 120 s."""
REASSEMBLY_HEADER = 128
"""IPv6 headers in front of a fragment's payload, its fragment header included: 40 + 8 and 80 bytes of extensions."""

# Lab and paths -------------------------------------------------------------------------------------------------------
DRIVER_TURNS = 16
"""Turns in a row that a real-time driver gives its nodes before it looks at the sockets again: about a millisecond."""
PONG_QUEUE = 16
"""PONGs waiting to be sent at one end; as many PINGs as the original's client remembers."""
ETHERNET_OVERHEAD = 14 + 4
"""Bytes of an Ethernet frame beside its payload: header and one VLAN tag; frames travel without FCS."""

# Capture ------------------------------------------------------------------------------------------------------------
CAPTURE_BYTES = 256 << 20
"""Default bound of a recorder's memory, frames and descriptors: two points of 75 MB of full frames. (The original keeps
16 MiB.)"""
CAPTURE_SEGMENT_MIN, CAPTURE_SEGMENT_MAX = 128 << 10, 8 << 20
"""A recorder's memory grows by segments between these: the least holds the largest frame, the most keeps the step
small."""
CAPTURE_READY = 16 << 20
"""Memory of a recorder that is touched when it is made; what it needs beyond costs about 1 us a page on the way."""
CAPTURE_HALF_FLOWS = 1 << 16
"""Directions of flows whose TCP state the cause classification remembers (about 13 MB); then the oldest are forgotten
and begin anew."""
CAPTURE_INTERFACES, CAPTURE_BLOCK = 256, 64 << 20
"""Interfaces and bytes of one block that a capture file may have: beyond, it is called corrupt. (Wireshark refuses
blocks over 16 MiB.)"""

# Experiments ----------------------------------------------------------------------------------------------------------
WORKER_PATIENCE = 120.0
"""Seconds to wait for a child process of a run: a cold compile of all kernels fits in, twice."""
PARENT_CHECK = 1.0
"""Seconds between two looks of a child process for its parent."""
