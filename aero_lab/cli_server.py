"""The commands that serve: ``aero-lab proxy`` and ``aero-lab relay``."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Annotated

import typer

Capture = Annotated[
    str | None, typer.Option("--capture", metavar="FOLDER", help="Write a pcapng file for each tunnel there.")
]
AuditFile = Annotated[
    str | None, typer.Option("--audit", metavar="FILE", help="Append JSON lines there; '-' is standard error.")
]
Ready = Annotated[bool, typer.Option("--ready-stdout", help="Print a line on standard output once it listens.")]


def proxy_command(
    bind: Annotated[
        str | None, typer.Option("--bind", metavar="IP:PORT", help="Where to listen; 127.0.0.1:8090 by default.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on, at the same address; 0: any.")] = None,
    endpoints: Annotated[
        str | None,
        typer.Option("--endpoints", metavar="NAMES", help="What to serve, by commas, such as l2,session,dns."),
    ] = None,
    mtu: Annotated[int | None, typer.Option(help="MTU of the guests' networks, 576 to 65520.")] = None,
    ipv6: Annotated[bool | None, typer.Option("--ipv6/--no-ipv6", help="Offer the guests IPv6 too, or not.")] = None,
    ack_policy: Annotated[
        str | None, typer.Option(help="When a guest's bytes are acknowledged: early, or mirror the far TCP.")
    ] = None,
    far: Annotated[
        str | None, typer.Option(help="What speaks TCP/IP to guests: lan, or kernel, in a namespace; needs root.")
    ] = None,
    capture: Capture = None,
    audit: AuditFile = None,
    ready_stdout: Ready = False,
) -> None:
    """Serve tunnels, sockets, names and sessions until interrupted. Reads variables; options win over them."""
    from .server.command import serve
    from .server.config import ServerConfig

    notes: list[str] = []
    config = ServerConfig.from_environment(
        os.environ,
        notes,
        bind=bind,
        port=port,
        endpoints=endpoints,
        mtu=mtu,
        gateway6={None: None, True: "auto", False: "off"}[ipv6],
        ack_policy=ack_policy,
        far=far,
        capture_dir=capture,
        audit_log=audit,
    )
    serve(config, ready_stdout, tuple(notes))
    _leave()


def relay_command(
    host: Annotated[str, typer.Option("--host", envvar="AERO_PROXY_HOST", help="A loopback address.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", envvar="AERO_PROXY_PORT", help="0: any.")] = 8081,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            "--allow", metavar="HOST:PORT", help="Reach this and no more; may be repeated. Also *.domain:443."
        ),
    ] = None,
    anything: Annotated[bool, typer.Option("--open", help="Reach this machine and private networks too.")] = False,
    capture: Capture = None,
    audit: AuditFile = None,
    ready_stdout: Ready = False,
) -> None:
    """Serve /tcp, /tcp-mux, /udp and names to whoever asks: for developing on this machine, on loopback alone."""
    from .server.command import serve
    from .server.dev_relay import relay_config

    notes: list[str] = []
    config = relay_config(os.environ, notes, host, port, allow, anything, capture_dir=capture, audit_log=audit)
    serve(config, ready_stdout, tuple(notes), name="aero-lab relay")
    _leave()


def _leave() -> None:
    # Everything is closed and written. Taking down the interpreter with its compiled code takes longer than all that
    # and changes nothing, and whoever sent the signal waits two seconds at most.
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(0)
