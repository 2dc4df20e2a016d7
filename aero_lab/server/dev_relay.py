"""``aero-lab relay``: the gateway's sockets and the relay's datagrams for whoever asks, on loopback alone.

It is for developing a client on one's own machine: no credentials, any Origin, no rates. So it listens nowhere else,
and says what that means. By default it leads to the public internet only; ``--open`` is the rest.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from ..errors import UsageError
from .config import ServerConfig
from .routes import names

ENDPOINTS = ("tcp", "tcp-mux", "udp", "dns", "session")
"""What it serves, of what there is."""


def relay_config(
    environ: Mapping[str, str],
    notes: list[str],
    host: str,
    port: int,
    allow: list[str] | None = None,
    anything: bool = False,
    **more: Any,
) -> ServerConfig:
    """The relay's settings. Raises :class:`UsageError`, also for an address that others can reach."""
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host.strip("[]"))
    except ValueError:
        raise UsageError(f"--host must be a loopback address, not {host!r}") from None
    if not address.is_loopback:
        raise UsageError(
            f"the relay lets everybody in, so it listens on loopback alone, not at {host}; aero-lab proxy is for others"
        )
    if not 0 <= port <= 65_535:
        raise UsageError(f"--port must be 0 to 65535, not {port}")
    values: dict[str, Any] = {
        "bind": f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}",
        "endpoints": tuple(name for name in ENDPOINTS if name in names()),
        "auth_mode": "none",
        "gateway_auth_mode": "none",
        "relay_auth_mode": "none",
        "open": True,
        "dns_qps_per_ip": 0,
        "tcp_proxy_max_connections": 0,
        "dev_allow": ",".join(allow) if allow else None,
        "dev_open": True if anything else None,
        **more,
    }
    config = ServerConfig.from_environment(environ, notes, **values)
    notes.append("WARNING: no credentials, any Origin: every page and program on this machine may use its network")
    if config.dev_open:
        notes.append("WARNING: and reach this machine's own ports and private networks through it")
    return config
