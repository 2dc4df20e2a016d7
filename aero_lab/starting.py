"""How a lab starts: its engine, the world beyond the proxy, and the services in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import UsageError

if TYPE_CHECKING:
    from .engine import RealEngine, VirtualEngine
    from .lan import Policy

DATA_PATH = ("aero_lab.rings", "aero_lab.stack", "aero_lab.framing", "aero_lab.transports", "aero_lab.capture.segment")
"""Whose kernels a frame meets on its way: loaded while the lab waits for its first guest."""

_ready: set[Path] = set()


def ready_kernels(progress: bool) -> None:
    """Compile what is missing, and look for that once: it takes as long as all else that a lab starts with."""
    from .compiled.cache import cache_dir
    from .compiled.registry import warmup

    cache = cache_dir()
    if cache not in _ready:
        warmup(progress)
        _ready.add(cache)


def start_real(policy: Policy | None, ack_policy: str, kernel: bool) -> tuple[RealEngine, Any, dict[str, int]]:
    from .compiled.registry import unloaded
    from .egress.services_host import ServicesHost
    from .engine import RealEngine
    from .worlds import HostWorld

    engine = RealEngine()
    try:
        services = ServicesHost()
        engine.on_close(services.stop)
        engine.call(services.start, engine.loop)
        world = HostWorld(
            engine.driver, services.forward_tcp, services.forward_udp, policy, ack_policy, "kernel" if kernel else "lan"
        )
        engine.on_close(world.close)
    except BaseException:
        engine.close()
        raise
    engine.load(unloaded(*DATA_PATH))
    return engine, world, dict(services.ports)


def start_virtual(policy: Policy | None, ack_policy: str, kernel: bool) -> tuple[VirtualEngine, Any, dict[str, int]]:
    from .engine import VirtualEngine
    from .worlds import FarEndWorld

    if policy is not None:
        raise UsageError("a lab in virtual time has no world to keep guests from: policy= is for real time")
    engine, world = VirtualEngine(), FarEndWorld(ack_policy)
    engine.on_close(world.close)
    return engine, world, {}


def wall_offset(engine: RealEngine | VirtualEngine) -> int:
    from time import time_ns

    return time_ns() - engine.now()
