"""Profiles: what a guest of a given operating system looks like on the wire, as data.

Sources: p0f's database, vendors' documentation and captures for ``windows7``; the kernel and udhcpc for ``linux``.
A value marked (r) is reported by others and not confirmed here: change it with ``dataclasses.replace``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ...errors import UsageError
from ...limits import MS, SECOND
from ...stack.config import TcpConfig
from ...wire.dhcp import (
    OPT_CLIENT_FQDN,
    OPT_CLIENT_ID,
    OPT_HOST_NAME,
    OPT_MAX_SIZE,
    OPT_MESSAGE_TYPE,
    OPT_PARAMETER_LIST,
    OPT_REQUESTED_IP,
    OPT_SERVER_ID,
    OPT_VENDOR_CLASS,
)


@dataclass(frozen=True)
class DhcpProfile:
    """Habits of a DHCP client."""

    parameters: tuple[int, ...]
    """Option 55."""
    vendor_class: bytes
    """Option 60."""
    discover: tuple[int, ...]
    """Options of DISCOVER in order. One the client has no value for (50 without a known address) is left out."""
    select: tuple[int, ...]
    """Options of the REQUEST that takes an offer, or that asks for a known address after a restart."""
    renew: tuple[int, ...]
    """Options of the REQUEST that extends a lease: 50 and 54 must not be there (RFC 2131 table 4)."""
    retries: tuple[int, ...]
    """Time (ns) to wait for an answer after each sending; their number is the number of sendings."""
    jitter: int = 0
    """Each of those waits is changed by up to this much either way (RFC 2131 section 4.1: one second)."""
    pause: int = 300 * SECOND
    """Time between giving up and beginning again."""
    broadcast: bool = False
    """Whether answers are asked for as broadcasts."""
    minimum_size: int = 300
    """Messages are padded to this (RFC 1542 section 2.1)."""
    max_message_size: int | None = None
    """Option 57."""


@dataclass(frozen=True)
class ProbeProfile:
    """IPv4 address conflict detection; the names and defaults of RFC 5227 section 1.1."""

    probe_wait: int = SECOND
    probe_num: int = 3
    probe_min: int = SECOND
    probe_max: int = 2 * SECOND
    announce_wait: int = 2 * SECOND
    announce_num: int = 2
    announce_interval: int = 2 * SECOND


@dataclass(frozen=True)
class DnsProfile:
    """Habits of a stub resolver."""

    retries: tuple[int, ...]
    """Time (ns) to wait after each sending of a query."""
    query_aaaa: bool = False
    """Ask for AAAA beside A and wait for both, as glibc's ``getaddrinfo`` does."""
    cache: bool = False
    """Remember answers for their time to live."""


@dataclass(frozen=True)
class Ipv6Profile:
    """How a link-local address is chosen and announced."""

    random_interface_id: bool
    """Random, rather than made from the MAC (RFC 4291 appendix A)."""
    optimistic: bool
    """Use the address before its uniqueness is known (RFC 4429)."""
    groups: tuple[str, ...] = ()
    """Multicast groups joined besides the solicited-node group."""
    router_solicitations: int = 3
    """RFC 4861 section 10: MAX_RTR_SOLICITATIONS, 4 s apart."""
    rdnss: bool = True
    """Use name servers that routers advertise, after those of DHCP."""


@dataclass(frozen=True)
class Profile:
    """A guest's operating system as the wire sees it."""

    name: str
    tcp: TcpConfig
    ttl: int
    ephemeral: tuple[int, int]
    """First and last port for outgoing connections."""
    dhcp: DhcpProfile
    dns: DnsProfile
    host_name: str
    workgroup: str
    probe: ProbeProfile | None = None
    """Check an offered IPv4 address before using it; None: do not."""
    ipv6: Ipv6Profile | None = None
    chatter: bool = False
    """Announce and search in the manner of Windows once there is an address."""
    awareness: bool = False
    """Find out whether there is Internet access once there is an address."""
    ping_payload: bytes = field(default=bytes(range(0x10, 0x48)))
    """Contents of an echo request."""
    ping_identifier: int | None = None
    """Identifier of echo requests; None: a random one for each run."""


WINDOWS7 = Profile(
    name="windows7",
    tcp=TcpConfig(
        timestamps=False,
        sack=True,
        window_scale=8,
        syn_window=8192,
        syn_layout="windows7",
        congestion="newreno",
        initial_cwnd_segments=2,  # (r)
        rto_initial=3 * SECOND,
        rto_min=300 * MS,
        syn_retries=2,
        data_retries=5,
        delack_segments=2,
        delack_time=200 * MS,
        quick_acks=0,
        rack=False,
        time_wait=120 * SECOND,
        keepalive_interval=SECOND,
        keepalive_probes=10,
    ),
    ttl=128,
    ephemeral=(49152, 65535),
    dhcp=DhcpProfile(
        parameters=(1, 15, 3, 6, 44, 46, 47, 31, 33, 121, 249, 43),
        vendor_class=b"MSFT 5.0",
        discover=(
            OPT_MESSAGE_TYPE,
            OPT_CLIENT_ID,
            OPT_REQUESTED_IP,
            OPT_HOST_NAME,
            OPT_VENDOR_CLASS,
            OPT_PARAMETER_LIST,
        ),
        select=(
            OPT_MESSAGE_TYPE,
            OPT_CLIENT_ID,
            OPT_REQUESTED_IP,
            OPT_SERVER_ID,
            OPT_HOST_NAME,
            OPT_CLIENT_FQDN,
            OPT_VENDOR_CLASS,
            OPT_PARAMETER_LIST,
        ),
        renew=(OPT_MESSAGE_TYPE, OPT_CLIENT_ID, OPT_HOST_NAME, OPT_CLIENT_FQDN, OPT_VENDOR_CLASS, OPT_PARAMETER_LIST),
        retries=(4 * SECOND, 8 * SECOND, 16 * SECOND, 32 * SECOND),
        jitter=SECOND,
        pause=300 * SECOND,
    ),
    # Sent at 0, 1, 2, 4 and 8 s, given up at 10 s: Microsoft KB 2834226, one server.
    dns=DnsProfile(retries=(SECOND, SECOND, 2 * SECOND, 4 * SECOND, 2 * SECOND), cache=True),
    host_name="WIN7-PC",
    workgroup="WORKGROUP",
    # Three probes a second apart, one announcement a second after the last (r); the RFC takes up to two seconds each.
    probe=ProbeProfile(probe_wait=0, probe_max=SECOND, announce_wait=SECOND, announce_num=1),
    # It learns name servers from DHCP alone; Windows listens to RFC 8106 since version 10.
    ipv6=Ipv6Profile(random_interface_id=True, optimistic=True, groups=("ff02::1:3", "ff02::c"), rdnss=False),
    chatter=True,
    awareness=True,
    ping_payload=b"abcdefghijklmnopqrstuvwabcdefghi",
    ping_identifier=1,
)

LINUX = Profile(
    name="linux",
    tcp=TcpConfig(
        timestamps=True,
        sack=True,
        window_scale=7,
        syn_window=0,  # 65535 in whole segments: 64240 at an MTU of 1500
        syn_layout="linux",
        congestion="cubic",
        initial_cwnd_segments=10,
        rto_initial=SECOND,
        rto_min=200 * MS,
        rto_max=120 * SECOND,
        syn_retries=6,
        data_retries=15,
        delack_segments=2,
        delack_time=40 * MS,
        quick_acks=16,
        rack=True,
        time_wait=60 * SECOND,
    ),
    ttl=64,
    ephemeral=(32768, 60999),
    dhcp=DhcpProfile(
        parameters=(1, 3, 6, 12, 15, 28, 42),
        vendor_class=b"udhcp 1.36.1",
        discover=(
            OPT_MESSAGE_TYPE,
            OPT_CLIENT_ID,
            OPT_REQUESTED_IP,
            OPT_MAX_SIZE,
            OPT_PARAMETER_LIST,
            OPT_VENDOR_CLASS,
        ),
        select=(
            OPT_MESSAGE_TYPE,
            OPT_CLIENT_ID,
            OPT_REQUESTED_IP,
            OPT_SERVER_ID,
            OPT_MAX_SIZE,
            OPT_PARAMETER_LIST,
            OPT_VENDOR_CLASS,
        ),
        renew=(OPT_MESSAGE_TYPE, OPT_CLIENT_ID, OPT_MAX_SIZE, OPT_PARAMETER_LIST, OPT_VENDOR_CLASS),
        retries=(3 * SECOND, 3 * SECOND, 3 * SECOND),
        pause=20 * SECOND,
        max_message_size=576,
    ),
    dns=DnsProfile(retries=(5 * SECOND, 5 * SECOND), query_aaaa=True),
    host_name="linux",
    workgroup="",
    ipv6=Ipv6Profile(random_interface_id=False, optimistic=False),
)

PROFILES = {profile.name: profile for profile in (WINDOWS7, LINUX)}


def find(profile: str | Profile) -> Profile:
    """The profile of this name, or the profile itself; :class:`UsageError` for a name that is not there."""
    if isinstance(profile, Profile):
        return profile
    try:
        return PROFILES[profile]
    except KeyError:
        raise UsageError(f"profile must be one of {', '.join(PROFILES)}, not {profile!r}") from None


def quiet(profile: str | Profile) -> Profile:
    """The same profile without what it does of its own accord: address probes, chatter, IPv6, awareness probe.

    For measurements that want nothing but the workload on the wire.
    """
    return replace(find(profile), probe=None, ipv6=None, chatter=False, awareness=False)
