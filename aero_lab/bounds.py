"""Bounds of the rooms that have no kernels: proxy server, WebSocket transport, names, audit. The rest is in ``limits``.

Two files, because every kernel is stamped with ``limits``: a bound that no kernel reads must not make all of them
compile anew. Times are nanoseconds, sizes bytes, unless the name says otherwise.
"""

# Audit ----------------------------------------------------------------------------------------------------------------
AUDIT_RECORDS = 65_536
"""Records an audit remembers; the oldest go first. At some 300 bytes each that is 20 MB."""
AUDIT_RATE, AUDIT_BURST = 500, 5_000
"""Records a second, and at once, of one source; beyond that they are counted, and the number is recorded when there is
room again: a guest that floods must not fill its host's disk with what is said about it."""
AUDIT_DROPS_EVERY = 1_000_000_000
"""Least time between two looks at a network's drop counters."""

# WebSocket transport --------------------------------------------------------------------------------------------------
WS_QUEUE_MESSAGES = 64
"""Messages waiting to be sent at one end (``AERO_L2_WS_SEND_BUFFER``)."""
WS_BATCH, WS_WRITE = 64, 256 << 10
"""Messages taken out of that queue at once, and bytes handed to the socket in one call: one system call and one wake-up
of the peer for many messages, and TCP segments that are full."""
WS_COPY = 16 << 10
"""Pieces that are larger than this on average are handed over one by one instead of joined."""
WS_PONGS = 16
"""WebSocket Pongs waiting to be sent; then the oldest is forgotten (RFC 6455 section 5.5.3: the latest is enough)."""
WS_CLOSE_REASON = 123
"""Bytes of a close reason: a control frame holds 125, two of them are the code (RFC 6455 section 5.5)."""
WS_CLOSE_PATIENCE = 1.0
"""Seconds that closing may take, from the first word until the peer's Close is there; then the socket is dropped."""
WS_CONNECT_PATIENCE = 10.0
"""Seconds for name, connection, TLS and upgrade together; then the attempt has failed."""
WS_BACKOFF_BASE, WS_BACKOFF_CAP, WS_BACKOFF_JITTER = 0.25, 30.0, 0.2
"""Seconds before the first attempt to connect again, and at most; each doubles, give or take a fifth (the browser
client's policy)."""
WS_STEADY = 5.0
"""Seconds a connection must have lasted for the next wait to begin at the base again: a proxy that closes at once is
not asked four times a second."""
WS_CLIENT_QUEUE = 1024
"""Messages a client's queue holds; with :data:`~aero_lab.limits.RING_ARENA` bytes here and as many in the tunnel's ring
that is the browser client's 8 MiB."""
WS_REFUSAL_TEXT = 512
"""Bytes read of the body with which a server refuses an upgrade."""

# Forwards from the host to a guest ------------------------------------------------------------------------------------
LAN_FORWARDS = 64
"""Forwards of one network at once."""
FORWARD_SHARE = 2
"""What came from outside may take one in so many of a network's TCP and of its UDP flows, so that the guest keeps the
rest."""
FORWARD_CONNECT = 5_000_000_000
"""A guest that does not answer a connection of a forward by then is not there; as long as a connect to the world."""
FORWARD_BACKLOG, FORWARD_ACCEPTS = 128, 64
"""Connections that the host's kernel keeps waiting at one forward, and how many are taken in one step."""
FORWARD_REST = 100_000_000
"""How long a forward takes nobody in after the host had no descriptor left."""

# NAT ------------------------------------------------------------------------------------------------------------------
NAT_NAMES_PENDING, NAT_NAME_DATAGRAMS = 64, 8
"""Names of the forward map being looked up at once, and datagrams that wait for one of them."""
MIRROR_POLL_MIN, MIRROR_POLL_MAX = 200_000, 10_000_000
"""Bounds of the time between two looks at what the far TCP acknowledged: below, a look costs more than it moves; above,
a guest's retransmission timer (200 ms at least) would begin to matter."""
MIRROR_POLLS_PER_RTT = 8
"""Looks in one round trip to the far TCP, which is how long an acknowledgement takes at least."""
MIRROR_MEASURE = 100_000_000
"""How long a measured round-trip time serves for the time between looks."""
# Proxy server ---------------------------------------------------------------------------------------------------------
SERVER_TOKEN_BYTES = 24
"""Randomness of a minted token: as much as Jupyter's."""
HTTP_PATIENCE = 10_000_000_000
"""A connection that has not become a tunnel by then, or not sent its next whole request, is closed (slow requests,
half-open upgrades)."""
HTTP_WAITING = 1024
"""Connections that may be at that stage at once; one more closes the oldest of them."""
HTTP_LINE, HTTP_FIELD = 32_768, 32_768
"""Bytes of a request line, and of one header field, that are read at all: enough to tell what is wrong with them."""
DOH_PENDING = 1024
"""Different questions under way at once for clients of ``/dns-query``; further ones get SERVFAIL."""
SESSION_BODY = 65_536
"""Bytes of the body of ``POST /session``, which may hold any object and is not used."""
WEBSOCKETS = 16_384
"""WebSockets of the gateway, and of the relay, at once: each idle one costs some tens of kilobytes."""
HTTP_TARGET = 8192
"""Characters of a request's path and query; longer ones get 414 (the original's limit)."""
COOKIE_HEADER, COOKIE_VALUE = 16_384, 4096
"""Characters of a Cookie header that are read, and of a session cookie (the original's limits)."""
TOKEN_PAYLOAD, JWT_HEADER = 16_384, 4096
"""Characters in base64url of what a token says, and of a JWT's header (the original's limits)."""
ORIGIN_HEADER = 4096
"""Characters of an Origin header that are read (the original's limit)."""
HTTP_BUCKETS = 65_536
"""Client addresses whose request rate is remembered; the one that asked longest ago is forgotten, by when its bucket
is full again unless all of them asked within a minute."""
SUBPROTOCOLS_HEADER, SUBPROTOCOLS = 4096, 32
"""Characters, and entries, of the subprotocols that a client of ``/tcp-mux`` offers (the original's limits)."""
LISTEN_BACKLOG = 512
"""Connections the kernel holds for us; at most what ``net.core.somaxconn`` says."""
CAPTURE_FILE_BUFFER = 256 << 10
"""Bytes of a tunnel's capture that wait to be written together."""
PACE_BURST = 100_000_000
"""How far behind its byte rate a tunnel that was idle may be, ns: so much it may send at once."""
BACKPRESSURE_PATIENCE = 1_000_000_000
"""A client that takes no message for so long, with its queue full, is closed."""
PING_REARM = 3
"""Intervals after which a PING of the server that was not answered is given up and a new one sent."""
KEEPALIVE_LEAST, KEEPALIVE_MOST = 5_000_000_000, 15_000_000_000
"""A client sends a PING after each uniformly random time between these (the browser client's policy)."""
KEEPALIVE_SILENCE = 2 * KEEPALIVE_MOST
"""A client that heard nothing for so long, and has asked meanwhile, gives its connection up."""

# Datagram transport ---------------------------------------------------------------------------------------------------
DATAGRAM_MOST = 65_507
"""Largest message: an IPv4 packet of 65,535 bytes less its header and UDP's."""
DATAGRAM_BUFFER = 4 << 20
"""Bytes asked of the system for each socket's buffers; it gives as much as its own limit allows."""
DATAGRAMS_AT_ONCE = 64
"""Datagrams sent or taken before anything else gets a turn."""

# Probe ----------------------------------------------------------------------------------------------------------------
PROBE_STEP, PROBE_DATA = 2.0, 5.0
"""Seconds for each step of a probe, and for each frame while its data comes back (the original probe's limits)."""
PROBE_BYTES, PROBE_SEGMENT = 262_144, 1200
"""Bytes sent to the echo server unless told otherwise, and of each segment (the original probe's)."""
PROBE_BYTES_MOST = 1 << 20
"""Most bytes of a probe: none is ever sent again, so a proxy has to take them all beyond its window, and no proxy need
take more."""

# Tap guests -----------------------------------------------------------------------------------------------------------
TAP_QUEUE = 65536
"""Frames that wait in the kernel until the TAP is read; then it drops. Several hundred flows, each with as many
segments of 1460 bytes under way as a window of 256 KiB allows; an empty place costs eight bytes."""
TAP_BATCH = 256
"""Frames read from, and written to, a TAP in one call; about a millisecond."""
TAP_START_PATIENCE = 30.0
"""Seconds for a namespace's helper process to start, to answer and to end: some hundred times what it takes."""

# Kernel far sides -----------------------------------------------------------------------------------------------------
HOSTNET_BUFFER = 256 << 10
"""Bytes of a connection between the kernel and the NAT, each way: what a guest's window is at our own stack."""
HOSTNET_ACCEPTS = 64
"""Connections, or messages of one socket, that are taken in a row."""
HOSTNET_EVENTS, HOSTNET_STEP = 256, 4 << 20
"""Sockets that are looked at in a step, and bytes after which the rest waits for the next."""
# Links on real sockets ------------------------------------------------------------------------------------------------
HOP_UNDER_WAY = 8 << 20
"""Bytes under way in one direction of a relay of streams whose line has no rate: 1.3 Gbit/s at 50 ms one way."""
HOP_BACKLOG = 1 << 20
"""Bytes that a relay keeps for a socket that takes nothing, beyond what its line holds; then it reads no more of that
connection."""
HOP_BUFFER = 64 << 10
"""Receive buffer of a relay's sockets, and most it reads at once: what waits there waits beside the line's queue."""
HOP_CONNECTIONS = 1024
"""Connections of one relay of streams; further ones are closed at once."""
HOP_PEERS = 64
"""WebRTC connections through one relay, each with two sockets of its own; a further offer is refused."""
HOP_DATAGRAMS = 64
"""Datagrams a relay reads from one socket before anything else gets a turn."""
HOP_SOCKET = 4 << 20
"""Buffers asked for at a relay's UDP sockets: bursts wait there while the relay has its hands full."""

# Frames of the user's own ---------------------------------------------------------------------------------------------
INJECT_MOST = 65_536
"""Packets of one ``lab.send`` or ``lab.srp``: all ports of a host, or all hosts of a /16."""
INJECT_ANSWERS = 16 << 20
"""Bytes kept of what arrives at the guest while answers are waited for: 10,000 full frames that scapy, at a tenth of a
millisecond each, has not looked at yet; what comes after them is not looked at."""
INJECT_PATIENCE = 10_000_000_000
"""How long frames wait for room at a guest's NIC: as long as a lost tunnel takes to come back, mostly."""

# Names ----------------------------------------------------------------------------------------------------------------
DNS_QUERY_SIZE = 1232
"""Largest question a name server reads, over UDP and TCP: what we announce as our UDP size. One name and OPT come to
283 bytes; padding (RFC 8467) goes to multiples of 128, cookies are 44 bytes."""
DNS_QUERY_EXTRAS = 8
"""Additional records of a question that are read: OPT, and a few that some clients add."""
DNS_ALIASES = 16
"""CNAME records followed for one name: BIND's limit."""
DNS_ANSWER_SIZE, DNS_ANSWER_RECORDS = 32 << 10, 512
"""Largest answer taken from the world: half of what the length field of a stream can say."""
DNS_CACHE_SIZE = 4 << 20
"""Bytes of answers remembered, beside the limit of their number; an entry counts as its names and data on the wire."""
DNS_FAILURE_TTL = 1
"""Seconds a failed lookup is remembered (RFC 9520 section 3.2 asks for at least one)."""
DNS_STREAMS = 32
"""TCP connections to a LAN's name server at once; for another one the one that is idle longest is closed."""
DNS_STREAM_QUERIES = 32
"""Questions of one such connection under way; further ones wait in the connection, whose window closes."""
DNS_STREAM_TURNS = 64
"""Questions of one connection dealt with in one go, some 5 ms; then everything else gets its turn."""
DNS_STREAM_QUEUE = 256 << 10
"""Bytes of answers that wait for a client that does not read; beyond it the connection is reset."""
DNS_STREAM_IDLE = 10_000_000_000
"""A connection without a whole question or an answer for so long is closed (RFC 7766 section 6.2.3: a few seconds)."""

# DHCP -----------------------------------------------------------------------------------------------------------------
DHCP_SILENCE = 60_000_000_000
"""A client that was not heard of for so long no longer keeps others from the one address there is: about as long as
clients go on asking."""
DHCP_CLIENT_ID, DHCP_DOMAIN = 64, 64
"""Bytes of a client identifier that is sent back (RFC 6842; those made of a UUID have 23) and of the domain that is
told. With both an answer fits the 548 bytes that every client takes."""
LAN_ADDRESS_SPACE = 8 << 30
"""Address space for the buffers of all connections that one tunnel may have. With the usual 256 KiB each way it holds
16,000 of them; with more, each gets less."""


# Snapshots of a network -----------------------------------------------------------------------------------------------
SNAPSHOT_SIZE = 32 << 20
"""Largest image that is read: 65,536 connections in both tables and a full cache of names come to half of that."""
SNAPSHOT_FIELDS = 4096
"""Fields of an image, as in the original's reader; we write twelve."""
SNAPSHOT_NAMES, SNAPSHOT_NAME = 65_536, 1024
"""Cached names, and bytes of one, that an image may hold (the original's)."""
SNAPSHOT_CONNECTIONS = 65_536
"""Connections, and flows of datagrams, that an image may hold (the original's)."""
SNAPSHOT_NEIGHBOURS = 16
"""Addresses of the guest that are asked for again after a restore."""

# Capture files --------------------------------------------------------------------------------------------------------
CAPTURE_WINDOW = 2 << 20
"""Bytes of a capture file that are looked at together: what a processor's cache holds; grows for a larger block."""
CAPTURE_READ_BYTES = 8 << 30
"""Memory that a capture file may take when it is read whole, unpacked frames and descriptors; iterating has no such
bound."""
PCAP_SNAP_MAX = 262_144
"""Largest packet of a classic pcap file whose header allows no larger one (libpcap's MAXIMUM_SNAPLEN): a length beyond
that is called corrupt."""
CAPTURE_IDENTITIES = 1 << 18
"""Frames that are known again at another point: the latest so many at least, and as many again at most (two tables of
12 MB): what is under way at once even at a million frames a second and a quarter of a second."""
DISK_INTERVAL = 0.05
"""Seconds between two looks of a capture's writer at the memory it follows: a recorder of 256 MB lasts for that at 5 GB
a second."""
DISK_PATIENCE = 10.0
"""Seconds that closing a capture waits for its disk."""
DISK_QUEUE = 4 << 20
"""Bytes of a tunnel's capture that may wait for the disk."""

# WebRTC transport -----------------------------------------------------------------------------------------------------
RTC_BUFFERED = 256 << 10
"""Bytes that may wait in the library's queue of one channel: more only makes what comes later wait longer."""
RTC_HELD = 1 << 20
"""Bytes of received messages that an association holds for its user; beyond them it takes no more off the network. As
large as the window it begins with."""
RTC_OVERRUN = 16 << 20
"""Bytes of received messages that a channel holds for its user when its sender cannot be told to wait; beyond them it
is closed. As many as libwebrtc keeps for a channel that nobody listens to (``kMaxQueuedReceivedDataBytes``)."""
RTC_BACKLOG = 65_536
"""Events of libwebrtc's that may wait for this thread before the connection that brings more is ended."""

# QEMU guests ----------------------------------------------------------------------------------------------------------
QEMU_STREAM = 256 << 10
"""Bytes of frames read from, and written to, QEMU in one call; several times the largest frame it knows."""
QEMU_BOOT_PATIENCE = 300.0
"""Seconds until the guest's prompt must be there: a hundred times what it takes on an idle machine."""
QEMU_END_PATIENCE = 30.0
"""Seconds for the process that watches QEMU to end: some hundred times what it takes."""

# Socket relay: tcp-mux and udp-relay ----------------------------------------------------------------------------------
MUX_FRAME_MOST = 16 << 20
"""Payload that a frame may announce (the original's): one beyond it ends the connection."""
MUX_CONTROL_MOST = 1 << 20
"""Payload of a PING, CLOSE, ERROR or CREDIT that is looked at: what a WebSocket message of the original can hold. A
longer one is passed over."""
MUX_HOST_MOST, MUX_METADATA_MOST, MUX_ERROR_TEXT = 1024, 4096, 1024
"""Bytes of the parts of an OPEN, and of the text of an ERROR (the original's)."""
MUX_MESSAGE_MOST = 1 << 20
"""Largest WebSocket message of a mux (the original's)."""
MUX_STREAMS = 1024
"""Streams of one connection (the original's)."""
MUX_STREAM_BUFFER = 1 << 20
"""Bytes of a stream that wait for its socket before a client without flow control is made to wait (the original kills
the stream there); also the largest window that CREDIT opens."""
MUX_BUFFER = 16 << 20
"""Bytes that the streams of one connection may have waiting in all: beyond it windows do not grow, and a client without
flow control waits."""
MUX_PAUSE = 2_000_000_000
"""How long a client without flow control is made to wait for one stream; then that stream is ended (ERROR 6)."""
MUX_CHUNK = 32 << 10
"""Bytes of a stream that become one message: small enough that many streams take turns, large enough that a message
costs little beside them."""
MUX_AHEAD = 512 << 10
"""Bytes of messages that wait in front of the transport: more would only make a PING or a new stream wait longer."""
MUX_REPLIES = 1 << 20
"""Bytes of PONGs, ERRORs and the like that wait for room; beyond it nothing more is read."""
MUX_FRAMES_AT_ONCE = 512
"""Frames of one connection that are looked at in one go, some milliseconds; then everybody else gets a turn."""
MUX_PINGS = 16
"""PINGs without an answer that are remembered."""

TCP_DIAL_PATIENCE = 20_000_000_000
"""How long ``/tcp`` waits for the name of a target before it answers; lookups have their own, shorter patience."""

TCP_LINGER = 5_000_000_000
"""Silence after a guest's end of a connection until a channel that cannot say so is closed."""

UDP_RELAY_PAYLOAD = 1200
"""Bytes of a datagram's payload in the UDP relay (the original's)."""
UDP_RELAY_BINDINGS, UDP_RELAY_REMOTES = 128, 1024
"""Guest ports of one session that have a socket, and remotes that each may hear (the original's)."""
UDP_RELAY_IDLE = 60_000_000_000
"""A guest port of which nothing was heard for so long loses its socket, and a remote its right to answer (the
original's)."""

# Benches in files -----------------------------------------------------------------------------------------------------
BENCH_FILE = 2 << 30
"""Bytes of a bench in a file, packed and unpacked: a capture of 256 MB, some machines with their memory, and room."""

# Link layer by itself -------------------------------------------------------------------------------------------------
EDGE_ASKED, EDGE_HELD = 16, 16
"""Addresses being asked for at once, and packets that wait for each; RFC 1122 section 2.3.2.2 wants one at least."""

# Names over HTTP, the client's side -----------------------------------------------------------------------------------
DOH_AT_ONCE = 32
"""Questions under way; further ones wait."""
DOH_PATIENCE = 10.0
"""Seconds for one question."""
DOH_ANSWER = 65_535
"""Bytes of the body of an answer."""
# Replay guests --------------------------------------------------------------------------------------------------------
REPLAY_BATCH = 256
"""Frames that one turn takes each way."""
REPLAY_LAPS = 10_000
"""How often a recording is played at most: there is no endless loop."""
REPLAY_WAIT = 86_400.0
"""Seconds that a pause or a delay may last."""
# WebRTC signalling ----------------------------------------------------------------------------------------------------
RTC_BODY, RTC_SIGNAL = 2 << 20, 65_536
"""Bytes of an offer by HTTP, and of a message of trickle signalling (the original's)."""
RTC_SIGNAL_RATE = 50
"""Signalling messages a second (the original's)."""
RTC_GATHER = 2.0
"""Seconds that an answer waits for candidates (the original's)."""
RTC_BRIDGE_DIAL, RTC_BRIDGE_QUEUE = 5.0, 256
"""Seconds to reach the backend of a bridge, and messages that wait in front of it (the original's)."""
RTC_UNDER_WAY = 65_536
"""Messages of an unordered channel that are remembered until they arrive, each by a number that its bytes give."""
LOST_AFTER = 2_000_000_000
"""When one of several equal messages has been under way for so long, ns, on a channel that may lose, it never comes."""
RTC_OPEN = 30.0
"""Seconds in which a client must have its connection, signalling included (the original's)."""

# What a user may ask of virtual time ----------------------------------------------------------------------------------
RATE_MOST = 10**15
"""Bits a second of a line: a thousand times what a fibre carries. Beyond, frames take no time and sums overflow."""
TIMEOUT_MOST = 1_000_000_000
"""Seconds of a run: thirty years. The clock counts nanoseconds in 63 bits, which is 292."""

# Sweeps ---------------------------------------------------------------------------------------------------------------
WORKLOAD_COUNT = 1_000_000_000
"""Most of what a workload counts: its requests, flows, datagrams a second."""
EXCHANGE_BYTES = 64 << 20
"""Most bytes of one request of a workload that keeps it in memory."""
SWEEP_RUNS = 1_000_000
"""Runs of one sweep: their rows are in memory, a kilobyte or two each."""
SWEEP_FLUSH_ROWS, SWEEP_FLUSH_SECONDS = 500, 2.0
"""Rows, and seconds, after which a sweep's rows go to disk: what one that is killed has to do again."""
SWEEP_PIECES = 64
"""Files of rows after which they are joined to one."""
SWEEP_STORES = 32
"""Stores kept of sweeps that were given none."""
SWEEP_AHEAD = 2
"""Runs that a process is given at once: the one it is at and the next, so that it never waits."""
SWEEP_ATTEMPTS = 3
"""Times that a run is tried whose process ended on the way."""
SWEEP_TASKS = 1_000
"""Runs that are with a Dask scheduler at once."""
# Channels that come and go across a simulated hop ---------------------------------------------------------------------
CALL_CONNECTIONS = 1024
"""Connections of a stack at once, those included that are over and wait."""
CALL_PORTS = 60_000
"""Numbers of calls, which come again when all have been used."""
CALL_SLOTS, CALL_ARENA = 128, 512 << 10
"""Messages and bytes that wait at one end of a call, each way."""

# Links ----------------------------------------------------------------------------------------------------------------
AQM_QUEUE = 1000 * 1514
"""Bytes of a managed queue when none are named: Linux' 1000 packets (CoDel, PIE) of Ethernet's largest."""
AQM_FLOWS, AQM_FLOWS_MOST = 1024, 4096
"""Queues of FQ-CoDel (RFC 8290 section 5.2.3), and most of them."""
AQM_QUANTUM, AQM_QUANTUM_LEAST = 1514, 256
"""Bytes that a flow may send in a round (RFC 8290 section 5.2.4), and the fewest."""
AQM_INTERVAL_LEAST = 1_000_000
"""Nanoseconds between two looks at a managed queue, at least."""
OUTAGE_MOST = 3600 * 10**9
"""Nanoseconds that an outage may last or be waited for."""
TRACE_MOST, TRACE_BYTES = 1_000_000, 16 << 20
"""Entries of a recording of loss or rate, and bytes of its file."""
TRACE_SHOWN = 64
"""Characters of a recording without a name that a line about a link shows as they are."""
RELAY_RESOLVE_TIMEOUT = 10_000_000_000
"""A lookup by way of a relay that is not answered by then has failed: the proxy's own patience (2 s), and three
seconds twice for a channel that has not measured its round trip yet and has to send again (RFC 9260 section 16,
RTO.Initial)."""
