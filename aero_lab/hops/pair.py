"""Two network namespaces joined by a link: real TCP and UDP of the host's kernel, with delay, loss and disorder.

Each namespace has a TUN; a process of ours carries packets from one to the other through the two directions of a
:class:`~aero_lab.link.Link`. Nothing of the host's own network is touched, and all is gone when the pair is closed or
its owner dies. Needs Linux, ``/dev/net/tun``, and either root or unprivileged user namespaces.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ..errors import AeroLabError, UsageError
from ..guests.tap.namespace import Namespace, Unavailable, unavailable
from ..limits import MTU_DEFAULT
from ..link import Link
from ..transports.tcp_info import WireCount
from .child import Child

NEAR, FAR, PREFIX = "10.77.0.1", "10.77.0.2", 24
"""Addresses in the two namespaces: where nobody else is, any would do."""
PURPOSE = "link between namespaces"
CONGESTION = "cubic"
"""Congestion control of TCP across a pair unless another is named: what Linux has by default, whatever this one has."""


def why_not() -> str | None:
    """Why there can be no pair here, found out by making one end; None when there can."""
    if why := unavailable(PURPOSE):
        return why
    try:
        Namespace(kind="tun", purpose=PURPOSE).close()
    except Unavailable as error:
        return str(error)
    return None


class TunPair:
    """Two namespaces and the link between them; a context manager.

    Parameters
    ----------
    link: impairment; *up* is from :attr:`near` to :attr:`far`.
    seed: of everything random on it.
    congestion: control of TCP across it, by the kernel's name: ``"cubic"``, ``"reno"``, ``"bbr"``. None: the system's
        own default.
    sysctls: settings of both namespaces, by name.
    mtu: of both interfaces.
    """

    def __init__(
        self,
        link: Link | str | None = None,
        *,
        seed: int = 1,
        congestion: str | None = CONGESTION,
        sysctls: Mapping[str, Any] | None = None,
        mtu: int = MTU_DEFAULT,
    ):
        self.link = Link.of(link) or Link()
        self.congestion = congestion
        self.near_address, self.far_address = NEAR, FAR
        self._ends: list[Namespace] = []
        self._child: Child | None = None
        settings = dict(sysctls or {})
        if os.path.exists("/proc/sys/net/ipv6"):
            settings.setdefault("net.ipv6.conf.tun0.disable_ipv6", 1)  # else it asks for neighbours and routers
        try:
            for address in (NEAR, FAR):
                end = Namespace(kind="tun", resolv=False, purpose=PURPOSE, mtu=mtu, sysctls=settings)
                self._ends.append(end)
                try:
                    end.configure(address, PREFIX, congestion=congestion)
                except AeroLabError as error:
                    if congestion is not None and "congestion control" in str(error):
                        raise UsageError(f"this system has no congestion control {congestion!r}") from None
                    raise
            fds = tuple(end.fd for end in self._ends)
            spec = {"kind": "tun", "link": self.link.to_dict(), "seed": seed, "mtu": mtu, "fds": fds}
            self._child = Child("link", "aero_lab.hops.worker", spec, fds)
            self._child.ready()
        except BaseException:
            self.close()
            raise

    @property
    def near(self) -> Namespace:
        """Where the client lives; its own address is :attr:`near_address`."""
        return self._ends[0]

    @property
    def far(self) -> Namespace:
        """Where the server lives, at :attr:`far_address`."""
        return self._ends[1]

    def counters(self) -> dict[str, dict[str, int]]:
        """What became of the packets, ``up`` and ``down``: see :attr:`aero_lab.link.LinkDirection.counters`; and what
        the kernel at either end refused to take, by error."""
        assert self._child is not None
        return self._child.ask("counters")

    def wire(self) -> WireCount:
        """IP bytes and packets that were put on the wire so far, seen from :attr:`near`: those that the link lost are
        among them."""
        return wire_of(self.counters())

    def change(self, link: Link) -> None:
        """Become another link, for all packets that come from now on."""
        assert self._child is not None
        self._child.ask("change", link=link.to_dict())
        self.link = link

    def close(self) -> None:
        """End everything in the namespaces, and them. May be called twice."""
        if self._child is not None:
            self._child.stop()
        for end in self._ends:
            end.close()

    def __enter__(self) -> TunPair:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<TunPair {NEAR} - {FAR}: {self.link}>"


def wire_of(counters: dict[str, dict[str, int]]) -> WireCount:
    """IP bytes and packets put on the wire, from a hop's counters."""
    up, down = counters["up"], counters["down"]
    return WireCount(up["bytes_in"], down["bytes_in"], up["frames_in"], down["frames_in"])
