"""Counters of the proxy, and what ``/metrics`` says.

The server's own events are counted here as they happen. What tunnels do is counted where it is done (codec, NAT, DNS)
and added up when somebody asks; a tunnel that ends leaves its sums behind, so that counters never go back. Names and
types are those that dashboards of the original know; those that begin with ``aero_lab_`` are ours.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, get_args

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import CollectorRegistry

from ..egress.contract import Why
from ..limits import MS
from .metrics_gateway import GatewayMetrics

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
AUTH_REASONS = ("missing_credentials", "invalid_api_key", "invalid_cookie", "invalid_jwt", "jwt_origin_mismatch")
RTT_BUCKETS = (1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500)
"""Upper ends, milliseconds."""

COUNTERS = {
    "l2_upgrade_rejected_total": "Upgrades refused with 401, 403 or 429.",
    "l2_upgrade_reject_max_connections_per_session_total": "Upgrades refused: too many tunnels of one session.",
    "l2_sessions_total": "Tunnels opened.",
    "aero_l2_idle_timeouts_total": "Tunnels closed because nothing came.",
    "l2_sessions_closed_quota_bytes_total": "Tunnels closed by the byte quota.",
    "l2_sessions_closed_quota_fps_total": "Tunnels closed by the message rate quota.",
    "l2_sessions_closed_backpressure_total": "Tunnels closed because the client took nothing.",
    "l2_upgrade_reject_origin_missing_total": "Upgrades refused: no Origin.",
    "l2_upgrade_reject_origin_not_allowed_total": "Upgrades refused: an Origin that is invalid or not allowed.",
    "l2_upgrade_reject_host_missing_total": "Upgrades refused: no Host.",
    "l2_upgrade_reject_host_invalid_total": "Upgrades refused: a Host that is none.",
    "l2_upgrade_reject_host_not_allowed_total": "Upgrades refused: a Host that is not allowed.",
    "l2_upgrade_reject_auth_missing_total": "Upgrades refused: no credentials.",
    "l2_upgrade_reject_auth_invalid_total": "Upgrades refused: wrong credentials.",
    "l2_upgrade_reject_max_connections_total": "Upgrades refused: too many tunnels.",
    "l2_upgrade_reject_max_tunnels_per_session_total": "Upgrades refused: too many tunnels of one session.",
    "l2_upgrade_ip_limit_exceeded_total": "Upgrades refused: too many tunnels of one address.",
    "l2_auth_failures_total": "Upgrades refused with 401.",
    "l2_session_connection_denied_total": "Upgrades refused: too many tunnels of one session.",
    "l2_frames_rx_total": "Ethernet frames received from guests.",
    "l2_frames_tx_total": "Ethernet frames sent to guests.",
    "l2_bytes_rx_total": "Bytes of Ethernet frames received from guests.",
    "l2_bytes_tx_total": "Bytes of Ethernet frames sent to guests.",
    "l2_frames_dropped_total": "Tunnel messages and frames dropped: malformed, or over a limit.",
    "l2_capture_bytes_total": "Bytes written to capture files.",
    "l2_capture_frames_total": "Frames written to capture files.",
    "l2_capture_frames_dropped_total": "Frames not captured: the file is full or cannot be written.",
    "l2_capture_errors_total": "Captures given up after an I/O error.",
    "l2_policy_denied_total": "Connections, datagrams, echoes and names that the policy denied.",
    "l2_tcp_connect_fail_total": "TCP connections to the world that failed.",
    "l2_udp_send_fail_total": "Datagrams to the world that failed.",
    "l2_udp_flow_limit_exceeded_total": "Datagrams dropped because a tunnel had all its UDP flows.",
    "l2_dns_queries_total": "DNS queries of guests.",
    "l2_dns_fail_total": "DNS lookups that failed or found nothing.",
    "aero_lab_half_open_closed_total": "TCP connections closed that never became a tunnel: too slow or too many.",
    "aero_lab_paced_total": "Times a tunnel had to wait for its byte rate.",
    "aero_lab_text_messages_total": "Text messages received and ignored.",
}
GAUGES = {
    "l2_sessions_active": "Tunnels open now.",
    "l2_tcp_conns_active": "TCP flows now.",
    "l2_udp_flows_active": "UDP flows now.",
}
AUTH_COUNTER = "l2_auth_reject_total"
_CREATED = re.compile(rb"^(?:# (?:HELP|TYPE) )?\w+_created(?:\{.*\})? .*\n", re.MULTILINE)
"""When each counter was made: lines that the library adds and nobody reads."""
RTT_HISTOGRAM = "l2_ping_rtt_ms"
DROPS_COUNTER = "aero_lab_drops_total"

_UDP_FAILURES = frozenset(f"egress.udp-{why}" for why in (*get_args(Why), "send-failed", "too-big", "socket-full"))
_OTHER_DNS_FAILURES = frozenset(("dns.pending-limit", "forward.names-failed", "forward.names-timeout"))
_TCP_FAILURES = frozenset(f"egress.tcp-{why}" for why in get_args(Why))
_FROM_LAN: dict[str, Callable[[str], bool]] = {
    "l2_policy_denied_total": lambda name: "denied-" in name and not name.startswith("egress."),
    "l2_tcp_connect_fail_total": _TCP_FAILURES.__contains__,
    "l2_udp_send_fail_total": _UDP_FAILURES.__contains__,
    "l2_udp_flow_limit_exceeded_total": lambda name: name == "udp.limit",
    "l2_dns_queries_total": lambda name: name == "dns.queries",
    "l2_dns_fail_total": lambda name: (
        (name.startswith("dns.lookup-") and name != "dns.lookup-ok") or name in _OTHER_DNS_FAILURES
    ),
}


def from_lan(counters: Mapping[str, int]) -> Counter[str]:
    """The metrics that a LAN's counters (:attr:`aero_lab.lan.lan.Lan.counters`) amount to."""
    sums: Counter[str] = Counter()
    for name, value in counters.items():
        for metric, matches in _FROM_LAN.items():
            if matches(name):
                sums[metric] += value
        if name.startswith("stack.drop."):
            sums[f"{DROPS_COUNTER} {name.removeprefix('stack.drop.')}"] += value
    return sums


class Metrics:
    """Everything ``/metrics`` tells. It is a collector of prometheus-client with a registry of its own.

    Parameters
    ----------
    tallies: gives, for each open tunnel, its sums so far and its gauges, by metric name. Names with a space are
        :data:`DROPS_COUNTER` and a reason.
    """

    def __init__(self, tallies: Callable[[], Iterable[Mapping[str, int]]] = tuple):
        self.counts: Counter[str] = Counter()
        self.auth: Counter[str] = Counter()
        self._tallies = tallies
        self._rtt = [0] * (len(RTT_BUCKETS) + 1)
        self._rtt_sum = 0.0
        self._registry = CollectorRegistry()
        self._registry.register(self)
        self.gateway = GatewayMetrics(self._registry)

    def count(self, name: str, number: int = 1) -> None:
        """Add to a counter of :data:`COUNTERS`."""
        self.counts[name] += number

    def rejected(self, *names: str) -> None:
        """An upgrade was refused with one of the answers that are counted."""
        self.counts["l2_upgrade_rejected_total"] += 1
        for name in names:
            self.counts[name] += 1

    def request(self, method: str, route: str, status: int, nanoseconds: int) -> None:
        """A request was answered, a WebSocket opened."""
        self.gateway.request(method, route, status, nanoseconds)

    def refused(self, endpoint: str, reason: str) -> None:
        """A request was turned away."""
        self.gateway.refused.labels(endpoint, reason).inc()

    def opened(self, endpoint: str) -> None:
        """A WebSocket is open."""
        self.gateway.opened.labels(endpoint).inc()
        self.gateway.open.labels(endpoint).inc()

    def closed(self, endpoint: str) -> None:
        """A WebSocket is closed."""
        self.gateway.open.labels(endpoint).dec()

    def event(self, name: str, number: int = 1) -> None:
        """Something happened in the relay; names are the original's."""
        self.gateway.events.labels(name).inc(number)

    def rtt(self, nanoseconds: int) -> None:
        """A PING of the server was answered."""
        value = nanoseconds / MS
        self._rtt[bisect_left(RTT_BUCKETS, value)] += 1
        self._rtt_sum += value

    def ended(self, tally: Mapping[str, int]) -> None:
        """A tunnel is gone; its sums stay."""
        self.counts.update({name: value for name, value in tally.items() if name not in GAUGES})

    def values(self) -> Counter[str]:
        """All counters and gauges now."""
        sums = Counter(self.counts)
        for tally in self._tallies():
            sums.update(tally)
        return sums

    def describe(self) -> Iterable[Any]:
        """Nothing has to be collected to register this."""
        return ()

    def collect(self) -> Iterable[Any]:
        """What prometheus-client asks of a collector."""
        sums = self.values()
        for name, text in COUNTERS.items():
            yield CounterMetricFamily(name, text, value=sums[name])
        for name, text in GAUGES.items():
            yield GaugeMetricFamily(name, text, value=sums[name])
        auth = CounterMetricFamily(AUTH_COUNTER, "Upgrades refused with 401, by reason.", labels=["reason"])
        for reason in AUTH_REASONS:
            auth.add_metric([reason], self.auth[reason])
        yield auth
        drops = CounterMetricFamily(DROPS_COUNTER, "Frames and packets dropped, by reason.", labels=["reason"])
        for name in sorted(sums):
            metric, space, reason = name.partition(" ")
            if space and metric == DROPS_COUNTER:
                drops.add_metric([reason], sums[name])
        yield drops
        rtt = HistogramMetricFamily(RTT_HISTOGRAM, "Round-trip times of the server's PINGs, milliseconds.")
        total, buckets = 0, []
        for end, number in zip((*map(str, RTT_BUCKETS), "+Inf"), self._rtt):
            total += number
            buckets.append((end, total))
        rtt.add_metric([], buckets=buckets, sum_value=self._rtt_sum)
        yield rtt

    def text(self) -> bytes:
        """The page, in Prometheus' text format."""
        return _CREATED.sub(b"", generate_latest(self._registry))
