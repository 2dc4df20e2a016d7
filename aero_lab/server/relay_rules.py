"""The rules and bounds of relays, from the settings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..lan.config import LanConfig
from ..limits import MS
from ..paths.relay_datagrams import UdpLimits
from ..paths.relay_streams import MuxLimits
from .call import Call
from .config import ServerConfig
from .targets import target_policy


class Rules:
    """Makes the rules of one connection from those of its network."""

    def __init__(self, call: Call):
        self._config, self._gateway = call.config, call.metrics.gateway

    def __call__(self, lan: LanConfig) -> LanConfig:
        config = self._config
        policy = target_policy(config, lan.policy, self._gateway)
        if config.tcp_allow_private_ips or config.dev_open:
            policy = replace(policy, allow_private=True)  # names may lead there, too
        return replace(lan, policy=policy, max_tcp=max(lan.max_tcp, config.tcp_mux_max_streams))


def mux_limits(call: Call) -> MuxLimits:
    """Bounds of one connection of ``/tcp-mux``."""
    config = call.config
    return MuxLimits(
        config.tcp_mux_max_streams,
        config.tcp_proxy_idle_timeout_ms * MS,
        call.slot,
        frame=config.tcp_mux_max_frame_payload_bytes,
        buffer=config.tcp_mux_max_stream_buffer_bytes,
    )


def udp_limits(config: ServerConfig, **more: Any) -> UdpLimits:
    """Bounds of one session of datagrams."""
    return UdpLimits(
        payload=config.max_datagram_payload_bytes,
        bindings=config.max_udp_bindings_per_session,
        remotes=config.max_allowed_remotes_per_binding,
        idle=config.udp_binding_idle_timeout_ms * MS,
        filter=config.udp_inbound_filter_mode,
        remote_idle=config.udp_remote_allowlist_idle_timeout_ms * MS,
        prefer_v2=config.prefer_v2,
        queue=config.datachannel_send_queue_bytes,
        packet_rate=config.max_udp_pps_per_session,
        byte_rate=config.max_udp_bps_per_session,
        packet_rate_to_one=config.max_udp_pps_per_dest,
        buckets=config.max_udp_dest_buckets_per_session,
        destinations=config.max_unique_destinations_per_session,
        **more,
    )
