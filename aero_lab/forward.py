"""A port of this machine that leads to a guest, as the user handles it."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from .errors import AeroLabError, UsageError

if TYPE_CHECKING:
    from .handles import Guest
    from .lab import Lab


class Forward:
    """Whoever connects to :attr:`host`, :attr:`port` reaches the guest. Made by :meth:`aero_lab.Lab.forward`.

    A context manager; closed with the lab at the latest. Connections that came this way outlive it.
    """

    def __init__(self, lab: Lab, guest: Guest | str, port: int, host_port: int, protocol: str, host: str):
        from .wire.address import ip, ip_text

        if lab.virtual:
            raise UsageError("in virtual time there is no host that could listen: forwards are for real time")
        self._lab = weakref.proxy(lab)
        self.guest = _find(lab, guest)
        self.guest_port = port
        self.protocol = protocol
        endpoint = ip(host), host_port

        def listen() -> Any:
            lan = self.guest.lan
            if lan is None:
                raise AeroLabError(f"{self.guest.name} has not sent a frame yet")
            return lan, lan.forward(protocol, endpoint, port, lab._engine.now())

        self._lan, self._forward = lab._engine.call(listen)
        self.host: str = ip_text(self._forward.host[0])
        self.port: int = self._forward.host[1]
        """Where this machine listens."""
        self._closed = False

    def close(self) -> None:
        """Take nobody in any more. May be called twice."""
        if self._closed:
            return
        self._closed = True
        try:
            engine = self._lab._engine
            engine.call(lambda: self._lan.unforward(self._forward, engine.now()))
        except (ReferenceError, AeroLabError):
            pass  # the lab is gone, and its sockets with it

    def __enter__(self) -> Forward:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        where = f"[{self.host}]" if ":" in self.host else self.host
        state = "closed" if self._closed else "open"
        return f"<Forward {self.protocol} {where}:{self.port} -> {self.guest.name}:{self.guest_port}, {state}>"


def _find(lab: Lab, guest: Guest | str) -> Guest:
    for known in lab.guests:
        if known is guest or known.name == guest:
            return known
    names = ", ".join(known.name for known in lab.guests) or "none yet"
    raise UsageError(f"no guest {guest!r} in this lab; there is {names}")
