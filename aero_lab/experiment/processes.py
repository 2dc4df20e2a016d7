"""A real-time run: services here, client and proxy in processes of their own."""

from __future__ import annotations

import pickle
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..capture import Capture
from ..guests.tap.namespace import Namespace
from ..hops import Relay, choose
from ..hops.child import Child, WorkerFailed
from ..hops.pair import CONGESTION, TunPair
from ..link import Link
from .pairing import pair as pair_frames
from .worker import forwards_text, know_digests

__all__ = ["RealRun", "Worker", "WorkerFailed"]


class Worker(Child):
    """A child process that is one part of a run, see :mod:`.worker`."""

    def __init__(
        self,
        role: str,
        spec: dict[str, Any] | None = None,
        fds: tuple[int, ...] = (),
        where: Namespace | None = None,
    ):
        super().__init__(role, "aero_lab.experiment.worker", spec, fds, where)


class RealRun:
    """Services, proxy process and client process of one run; a context manager that leaves none of them behind."""

    def __init__(
        self,
        option: str,
        profile: str,
        mtu: int,
        seed: int,
        meta: dict[str, Any],
        ack_policy: str = "early",
        transport: str = "memory",
        digest_of: tuple[int, ...] = (),
        guest: str = "scripted",
        settings: dict[str, Any] | None = None,
        *,
        transport_settings: dict[str, Any] | None = None,
        link: Link | None = None,
        hop: str = "auto",
        congestion: str | None = None,
        until: float | None = None,
    ):
        """``settings``: of the option, ``transport_settings``: of the transport. ``digest_of``: sizes of downloads
        whose digests the services are to know before they begin. ``link``: what the tunnel's own packets go through;
        ``hop``: how, see :func:`aero_lab.hops.choose`; ``congestion``: control of the tunnel's TCP across it.
        ``until``: monotonic seconds after which client and proxy have failed, see :attr:`.Child.until`."""
        from ..egress.services_host import ServicesHost
        from ..engine import RealEngine
        from ..paths import get_path

        self._until = until
        self._engine = RealEngine("aero-lab-services")
        self._workers: list[Worker] = []
        self._services: Worker | None = None
        self._tickets: tuple = ()
        self._pair: TunPair | None = None
        self._relay: Relay | None = None
        # Over shared memory a frame keeps its identity; messages of flows have none.
        self._identified = transport == "memory" or get_path(option).lan_side == "client"
        self._ordered, self._lossless = transport in IN_ORDER, transport not in LOSSY
        try:
            self.hop = choose(transport, link, hop, congestion)
            """How the link is made: ``"namespace"``, ``"relay"``, or None without one."""
            self.epoch_ns = time.time_ns() - self._engine.now()
            """Wall clock less the clock of both processes, which is what frame times have added."""
            spec = {
                "ack_policy": ack_policy,
                "option": option,
                "settings": settings or {},
                "transport": transport,
                "guest": guest,
                "profile": profile,
                "mtu": mtu,
                "seed": seed,
                "meta": meta,
                "epoch_ns": self.epoch_ns,
                "transport_settings": transport_settings or {},
                "address": "127.0.0.1",
            }
            if self.hop == "namespace":
                assert link is not None
                self._pair = TunPair(link, seed=seed, congestion=congestion or CONGESTION)
                self._services = Worker("services", {"digest_of": list(digest_of)}, where=self._pair.far)
                found = self._services.ready()
                spec["forward_tcp"], spec["forward_udp"] = found["forward_tcp"], found["forward_udp"]
                self._join(spec, self._pair)
            else:
                services = ServicesHost()
                self._engine.on_close(services.stop)
                self._engine.call(services.start, self._engine.loop)
                know_digests(digest_of)
                spec["forward_tcp"] = forwards_text(services.forward_tcp)
                spec["forward_udp"] = forwards_text(services.forward_udp)
                if transport == "memory":
                    self._share_memory(spec)
                elif self.hop == "relay":
                    assert link is not None
                    self._join(spec, front=lambda url: Relay(url, link, transport, seed=seed))
                else:
                    self._join(spec)
        except BaseException:
            self.close()
            raise

    def _share_memory(self, spec: dict[str, Any]) -> None:
        from ..paths import get_path
        from ..transports.memory import SharedMemoryTransport

        channels = get_path(spec["option"], **spec["settings"]).channels(spec["mtu"])
        pairs = {channel.name: SharedMemoryTransport.create_tickets() for channel in channels}
        for side, role in enumerate(("proxy", "client")):
            tickets = {name: pair[side] for name, pair in pairs.items()}
            self._tickets += tuple(tickets.values())
            texts = {name: ticket.text for name, ticket in tickets.items()}
            fds = tuple(fd for ticket in tickets.values() for fd in ticket.fds)
            self._workers.append(Worker(role, {**spec, "tickets": texts}, fds))
            for ticket in tickets.values():
                ticket.close()
        for worker in self._workers:
            worker.until = self._until
            worker.ready()

    def _join(
        self, spec: dict[str, Any], pair: TunPair | None = None, front: Callable[[str], Relay] | None = None
    ) -> None:
        """Proxy and client, one after the other: the proxy says where it is, and what stands in ``front`` of it where
        it seems to be."""
        near, far = ({}, {}) if pair is None else ({"address": pair.near_address}, {"address": pair.far_address})
        self._workers.append(Worker("proxy", where=pair.far if pair else None))
        self._workers.append(Worker("client", where=pair.near if pair else None))
        for worker in self._workers:
            worker.until = self._until
        self.proxy.begin({**spec, **far})
        url = self.proxy.ready()["url"]
        if front is not None:
            self._relay = front(url)
            url = self._relay.url
        self.client.begin({**spec, **near, "url": url})
        self.client.ready()

    def measure(self) -> list[dict[str, Any]]:
        """What client and proxy measured so far, see :meth:`.worker.Half.measure`. Where the link is a hop of ours it
        has counted the bytes on the wire itself, those included that it lost."""
        client, proxy = (worker.ask("measure") for worker in (self.client, self.proxy))
        wire = self._made.wire() if self._made is not None else None
        if wire is not None:
            client["wire"] = list(wire)
        return [client, proxy]

    @property
    def _made(self) -> TunPair | Relay | None:
        """What makes the link."""
        return self._pair or self._relay

    def hop_about(self) -> dict[str, Any]:
        """How the link was made and what it did so far; empty without one."""
        if self._made is None:
            return {}
        congestion = self._pair.congestion if self._pair is not None else None
        return {"hop": self.hop, "congestion": congestion, "counters": self._made.counters()}

    @property
    def proxy(self) -> Worker:
        return self._workers[0]

    @property
    def client(self) -> Worker:
        return self._workers[1]

    def capture(self) -> Capture:
        """What both processes recorded, in one capture."""
        with tempfile.TemporaryDirectory() as folder:
            parts = []
            for worker in (self.client, self.proxy):
                path = Path(folder) / worker.role
                worker.ask("capture", path=str(path))
                with path.open("rb") as file:
                    parts.append(pickle.load(file))  # written a moment ago by a child of ours, in a folder of ours
            if not self._identified:
                pair_frames(*parts, ordered=self._ordered, lossless=self._lossless)
            return Capture.merged(*parts)

    def close(self) -> None:
        """End both processes and the services. May be called twice."""
        for worker in reversed(self._workers):
            worker.stop()
        if self._services is not None:
            self._services.stop()
        if self._made is not None:
            self._made.close()
        for ticket in self._tickets:
            ticket.close()
        self._engine.close()

    def __enter__(self) -> RealRun:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


IN_ORDER = ("websocket", "webrtc")
"""Transports that deliver all, in order."""
LOSSY = ("webrtc-lossy",)
"""Transports that do not deliver all."""
