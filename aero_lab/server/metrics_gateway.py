"""Metrics of the gateway and the relay: requests, names, sockets. Names are the original's; ``aero_lab_`` is ours."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import CollectorRegistry

_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
LATENCIES = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""Upper ends, seconds."""


_TRAFFIC = "datagrams_in datagrams_out dropped dropped_backpressure dropped_malformed dropped_oversized".split()
_TRAFFIC += "dropped_rate_limited dropped_quota_exceeded dropped_denied_by_policy".split()
EVENTS = (
    "udp_ws_connections",
    *(f"{kind}_{name}" for kind in ("udp_ws", "webrtc_udp") for name in _TRAFFIC),
    *(
        "webrtc_udp_dropped_too_many_bindings webrtc_datachannel_rejected_unknown_label "
        "webrtc_datachannel_rejected_duplicate_udp webrtc_datachannel_rejected_duplicate_l2 "
        "webrtc_datachannel_udp_message_too_large webrtc_datachannel_l2_message_too_large l2_bridge_dials_total "
        "l2_bridge_dial_errors_total l2_bridge_messages_from_client_total l2_bridge_messages_to_client_total "
        "l2_bridge_bytes_from_client_total l2_bridge_bytes_to_client_total l2_bridge_dropped_oversized_total "
        "l2_bridge_dropped_rate_limited_total auth_failure rate_limited quota_exceeded too_many_destinations "
        "too_many_sessions session_hard_closed webrtc_session_connect_timeout ice_gathering_timeout "
        "udp_remote_allowlist_evictions_total udp_remote_allowlist_overflow_drops_total udp_per_dest_bucket_evictions"
    ).split(),
)
"""Events that the original tells: each is there from the beginning, as dashboards expect."""


class GatewayMetrics:
    """Each attribute is a metric of prometheus-client in the registry that it is given."""

    def __init__(self, registry: CollectorRegistry):
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, registry=registry)

        self.requests = counter("http_requests_total", "Requests answered.", "method", "route", "status_code")
        self.durations = Histogram(
            "http_request_duration_seconds",
            "Time from a request to the head of its answer.",
            ("method", "route", "status_code"),
            buckets=LATENCIES,
            registry=registry,
        )
        self.refused = counter("aero_lab_refused_total", "Requests turned away, by reason.", "endpoint", "reason")
        self.opened = counter("aero_lab_websockets_total", "WebSockets opened.", "endpoint")
        self.open = Gauge("aero_lab_websockets_open", "WebSockets open now.", ("endpoint",), registry=registry)
        self.events = counter("aero_webrtc_udp_relay_events_total", "What happened in the relay.", "event")
        for event in sorted(EVENTS):
            self.events.labels(event)
        self.dns_queries = counter("dns_queries_total", "Questions answered.", "qtype", "rcode", "source")
        self.dns_hits = counter("dns_cache_hits_total", "Questions answered from memory.", "qtype")
        self.dns_misses = counter("dns_cache_misses_total", "Questions that had to be asked.")
        self.dns_errors = counter("dns_upstream_errors_total", "Upstreams that failed.", "upstream", "kind")
        self.dns_latency = Histogram(
            "dns_upstream_latency_seconds", "Time until an upstream answered.", buckets=LATENCIES, registry=registry
        )
        self.blocked_host = counter("tcp_proxy_blocked_by_host_policy_total", "Targets denied by name.")
        self.blocked_ip = counter("tcp_proxy_blocked_by_ip_policy_total", "Targets denied by address.")
        ProcessCollector(registry=registry)

    def request(self, method: str, route: str, status: int, nanoseconds: int) -> None:
        """A request was answered."""
        labels = (method if method in _METHODS else "other", route, str(status))
        self.requests.labels(*labels).inc()
        if status != 101:
            self.durations.labels(*labels).observe(nanoseconds / 1e9)
