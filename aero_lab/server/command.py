"""``aero-lab proxy``: a proxy in a process of its own.

The order is: settings, kernels (with a progress bar when they have to be compiled), then sockets. The first SIGINT or
SIGTERM drains and ends the process with 0; a second one does not wait for anybody.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from time import monotonic_ns, time_ns
from typing import IO

from ..audit import Audit
from ..compiled import registry
from ..errors import UsageError
from .config import ServerConfig
from .memory import give_back, hold_mmap_threshold, raise_file_limit, settle
from .proxy import Proxy
from .routes import served
from .world import configured_worlds

_TIDY_AFTER = 1.0
"""Seconds after the last tunnel has gone: a client that comes back at once finds no housekeeping."""


def serve(
    config: ServerConfig, ready_stdout: bool = False, notes: tuple[str, ...] = (), name: str = "aero-lab proxy"
) -> None:
    """Run a proxy until it is told to stop. Raises :class:`~aero_lab.errors.UsageError` for what cannot be."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    config.auths()  # a wrong mode is told before anything is compiled, and so is a wrong endpoint
    served(config)
    _ = config.tls
    if config.far == "kernel":
        from ..hostnet import refusal

        if why := refusal(ack_policy=config.ack_policy):
            raise UsageError(why)
    for note in notes:
        say(f"{name}: {note}")
    registry.warmup()
    hold_mmap_threshold()
    raise_file_limit()
    with audit_for(config) as audit:
        asyncio.run(_serve(config, ready_stdout, audit))


async def _serve(config: ServerConfig, ready_stdout: bool, audit: Audit | None) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    proxy = Proxy(config, configured_worlds(config), audit)

    def told_to_stop() -> None:
        if stop.is_set():
            for each in list(proxy.connections):
                each.drop()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told_to_stop)
    tidying: asyncio.TimerHandle | None = None

    def tidy() -> None:
        nonlocal tidying
        tidying = None
        if not proxy.connections:
            give_back()

    def empty() -> None:
        nonlocal tidying
        tidying = tidying or loop.call_later(_TIDY_AFTER, tidy)

    proxy.on_empty = empty
    settle()
    await proxy.start()
    try:
        announce(proxy, ready_stdout)
        # The first tunnel would wait for its kernels to be read from disk: better now, when nobody waits.
        loop.run_in_executor(None, _load_kernels, stop.is_set)
        await stop.wait()
    finally:
        await proxy.stop()


def _load_kernels(enough: Callable[[], bool]) -> None:
    """As :func:`aero_lab.compiled.registry.load_all`, but whoever wants to end need not wait for the rest."""
    for dispatcher in list(registry._kernels):
        if enough():
            return
        if dispatcher.is_entry and registry.group_of(dispatcher.py_func.__module__) == "network":
            dispatcher.prepare()


def announce(proxy: Proxy, ready_stdout: bool) -> None:
    """Tell where it listens, how to get in, and what to beware of."""
    host = ipaddress.ip_address(proxy.config.host.partition("%")[0])
    auth = proxy.auth
    if auth.mode == "none" and not host.is_loopback:
        say(f"aero-lab proxy: WARNING: whoever reaches {proxy.authority} may use this host's network (auth mode none)")
    if auth.takes_cookies and auth.mode != "none" and proxy.config.session_secret is None:
        say("aero-lab proxy: no session secret is configured, so one was made; sessions end with this process")
    if auth.minted:
        say("aero-lab proxy: no credential is configured, so one was made; tunnels open at")
        say(f"    {proxy.url}")
    secure = "s" if proxy.config.tls_enabled else ""
    say(f"aero-l2-proxy listening on http{secure}://{proxy.authority}")
    if ready_stdout:
        say(f"AERO_L2_PROXY_READY ws{secure}://{proxy.authority}/l2", sys.stdout)


def say(line: str, file: IO[str] | None = None) -> None:
    """A line for whoever watches; nobody has to."""
    with contextlib.suppress(OSError, ValueError):
        print(line, file=file or sys.stderr, flush=True)


@contextlib.contextmanager
def audit_for(config: ServerConfig) -> Iterator[Audit | None]:
    """The audit that the settings ask for: lines of JSON to a file, or to standard error for ``-``."""
    if config.audit_log is None:
        yield None
        return
    epoch = time_ns() - monotonic_ns()
    if config.audit_log == "-":
        yield Audit(lambda line: print(line, file=sys.stderr, flush=True), epoch)
        return
    try:
        fd = os.open(config.audit_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UsageError(f"cannot write the audit to {config.audit_log}: {error.strerror or error}") from None
    with open(fd, "w", buffering=1, encoding="utf-8") as file:
        yield Audit(lambda line: print(line, file=file), epoch)
