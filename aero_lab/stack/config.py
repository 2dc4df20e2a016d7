"""What a stack can be told. Times are nanoseconds, sizes bytes."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import UsageError
from ..limits import IPV6_MTU_MIN, MAX_CONNECTIONS, MS, MTU_DEFAULT, MTU_MAX, MTU_MIN, NEVER, SECOND

ROLES = ("gateway", "guest", "server")
MEDIA = ("ethernet", "ip")
CONGESTION = ("none", "newreno", "cubic")
"""Congestion controllers by name; the index is the number kernels use."""
SYN_LAYOUTS = ("linux", "windows7")


def require(condition: bool, message: str) -> None:
    if not condition:
        raise UsageError(message)


@dataclass(frozen=True)
class TcpConfig:
    """TCP parameters of one stack. Defaults follow Linux where the RFCs leave room."""

    send_buffer: int = 256 << 10
    """Bytes a connection may hold unacknowledged or unsent. Rounded up to a power of two for storage."""
    recv_buffer: int = 256 << 10
    """Largest window offered."""
    mss: int | None = None
    """MSS announced; default: MTU less the fixed headers (RFC 9293 section 3.7.1)."""
    window_scale: int | None = None
    """Shift offered in SYN; default: the least that can express ``recv_buffer``. -1 offers none."""
    timestamps: bool = True
    sack: bool = True
    ecn: bool = False
    congestion: str = "cubic"
    """One of :data:`CONGESTION`."""
    initial_cwnd_segments: int = 10
    """RFC 6928."""
    rto_initial: int = SECOND
    rto_min: int = 200 * MS
    """RFC 6298 says 1 s; 200 ms is what Linux does."""
    rto_max: int = 60 * SECOND
    syn_retries: int = 6
    data_retries: int = 15
    """Retransmissions of the same data before the connection is given up; 0 never gives up."""
    delack_segments: int = 2
    """Acknowledge at the latest every so many full segments (RFC 5681 section 4.2: 2)."""
    delack_time: int = 40 * MS
    quick_acks: int = 0
    """Segments at the start of a connection that are acknowledged at once."""
    nagle: bool = True
    keepalive_idle: int = NEVER
    keepalive_interval: int = 75 * SECOND
    keepalive_probes: int = 9
    time_wait: int = 60 * SECOND
    rack: bool = True
    """RACK-TLP (RFC 8985); otherwise RFC 6675. Both need SACK; without it RFC 6582."""
    syn_window: int | None = None
    """Window field of SYN; default: as much of ``recv_buffer`` as 16 bits hold; 0: of that, whole segments of our MSS,
    as Linux does."""
    syn_layout: str = "linux"
    """Order of the options in SYN, one of :data:`SYN_LAYOUTS`."""

    def __post_init__(self) -> None:
        require(self.congestion in CONGESTION, f"congestion must be one of {', '.join(CONGESTION)}")
        require(self.syn_layout in SYN_LAYOUTS, f"syn_layout must be one of {', '.join(SYN_LAYOUTS)}")
        for name in ("send_buffer", "recv_buffer"):
            require(128 <= getattr(self, name) <= 64 << 20, f"{name} must be 128 bytes to 64 MiB")
        require(1 <= self.delack_segments <= 64, "delack_segments must be 1 to 64")
        require(self.window_scale is None or -1 <= self.window_scale <= 14, "window_scale must be 0 to 14, or -1")
        require(1 <= self.initial_cwnd_segments <= 1024, "initial_cwnd_segments must be 1 to 1024")
        require(self.mss is None or 64 <= self.mss <= 65480, "mss must be 64 to 65480")
        require(0 < self.rto_min <= self.rto_max, "rto_min must be positive and at most rto_max")

    @property
    def shift(self) -> int:
        """Window scale in use: -1 for none."""
        if self.window_scale is not None:
            return self.window_scale
        shift = 0
        while (self.recv_buffer >> shift) > 65535 and shift < 14:
            shift += 1
        return shift


@dataclass(frozen=True)
class StackConfig:
    """One stack: its role, its interface and its TCP.

    A *gateway* answers for any address and asks (``SynReceived``) before it accepts; a *guest* opens connections;
    a *server* listens. Every stack may do what a guest does.
    """

    role: str = "guest"
    medium: str = "ethernet"
    """``"ethernet"``: frames; ``"ip"``: bare IP packets, no neighbours."""
    mac: bytes = b"\x02\x00\x00\x00\x00\x01"
    addresses: tuple[tuple[bytes, int], ...] = ()
    """Own addresses, packed, each with its prefix length; at most 4 IPv4 and 8 IPv6."""
    router4: bytes | None = None
    router6: bytes | None = None
    mtu: int = MTU_DEFAULT
    max_connections: int = 1024
    ttl: int = 64
    tcp: TcpConfig = field(default_factory=TcpConfig)

    def __post_init__(self) -> None:
        require(self.role in ROLES, f"role must be one of {', '.join(ROLES)}")
        require(self.medium in MEDIA, f"medium must be one of {', '.join(MEDIA)}")
        require(len(self.mac) == 6, "mac must be 6 bytes")
        require(MTU_MIN <= self.mtu <= MTU_MAX, f"mtu must be {MTU_MIN} to {MTU_MAX}, not {self.mtu}")
        require(0 < self.max_connections <= MAX_CONNECTIONS, f"max_connections must be 1 to {MAX_CONNECTIONS}")
        require(1 <= self.ttl <= 255, "ttl must be 1 to 255")
        has_v6 = any(len(a) == 16 for a, _ in self.addresses)
        require(not has_v6 or self.mtu >= IPV6_MTU_MIN, f"IPv6 needs an mtu of {IPV6_MTU_MIN} or more")
