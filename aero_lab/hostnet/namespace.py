"""A namespace with a kernel that routes and translates, as its owner holds it: descriptors out, closed.

Needs Linux, ``/dev/net/tun``, ``ip`` and ``nft``, a kernel with nf_tables NAT, and either root or unprivileged user
namespaces; :class:`Unavailable` says in one line what is missing.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..bounds import TAP_QUEUE, TAP_START_PATIENCE
from ..errors import UsageError
from ..guests.tap import helper
from ..guests.tap.namespace import Namespace
from ..guests.tap.namespace import Unavailable as NoNamespace
from ..guests.tap.namespace import unavailable as no_namespace
from ..wire.address import ip_text, link_local, mac_text
from . import router, rules

if TYPE_CHECKING:
    from ..lan import LanConfig

PLACE = "PORT"
"""What stands in the rules for the port that is not known before it is bound."""
PROGRAMS = ("ip", "nft")
PURPOSE = "kernel far side"


class Unavailable(UsageError):
    """No kernel far side can run here; the message says why."""


def unavailable() -> str | None:
    """Why no kernel far side can run here, as far as can be told without trying; None when nothing speaks against."""
    if why := no_namespace(PURPOSE):
        return why
    missing = [
        each for each in PROGRAMS if not shutil.which(each, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    ]
    if missing:
        return f"a {PURPOSE} needs {' and '.join(missing)}, not installed here"
    return None


def why_not() -> str | None:
    """Why no kernel far side can run here, found out by making one; None when one can."""
    from ..lan import LanConfig

    try:
        RouterNamespace(LanConfig()).close()
    except Unavailable as error:
        return str(error)
    return None


@functools.cache
def _tried() -> str | None:
    return why_not()


def refusal(*, virtual: bool = False, ack_policy: str = "early", elsewhere: bool = False) -> str | None:
    """Why there can be no kernel far side under these circumstances; None when there can."""
    if virtual:
        return 'far="kernel" is the host\'s kernel, which lives in real time: not with virtual=True'
    if elsewhere:
        return 'far="kernel" is the proxy\'s choice, and this proxy is elsewhere'
    if ack_policy != "early":
        return f'far="kernel" acknowledges what the kernel has: ack_policy={ack_policy!r} cannot be'
    return _tried()


class RouterNamespace:
    """One namespace for one guest's network, gone when closed, when forgotten and when its owner dies.

    ``config``: addresses, MTU and medium: ``"ethernet"`` makes a TAP, ``"ip"`` a TUN.
    """

    def __init__(self, config: LanConfig):
        if why := unavailable():
            raise Unavailable(why)
        ethernet, ipv6 = config.medium == "ethernet", config.gateway6 is not None
        addresses = rules.Addresses(
            ip_text(config.gateway),
            config.prefix_len,
            ip_text(config.gateway6) if config.gateway6 is not None else None,
            ip_text(link_local(config.mac)) if ipv6 else None,
        )
        spec = {
            "helper": str(Path(helper.__file__).resolve().parent),
            "guest": rules.GUEST,
            "uplink": rules.UPLINK,
            "ethernet": ethernet,
            "ipv6": ipv6,
            "mtu": config.mtu,
            "mac": mac_text(config.mac),
            "queue": TAP_QUEUE,
            "sysctls": rules.sysctls(addresses),
            "interfaces": rules.interfaces(addresses),
            "translation": rules.translation(addresses, PLACE),
            "port": PLACE,
        }
        try:
            self._namespace = Namespace(tap=False, purpose=PURPOSE)
        except NoNamespace as error:
            raise Unavailable(str(error)) from None
        self.interfaces: dict[str, int] = {}
        """Descriptors: ``guest``, a TAP or TUN, and ``uplink``, a TUN."""
        self.sockets: dict[str, socket.socket] = {}
        """``tcp4``, ``tcp6``: listening; on Ethernet also ``dhcp``, ``frames`` and ``neighbours``."""
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(TAP_START_PATIENCE)
        program = [sys.executable, "-I", "-S", str(Path(router.__file__).resolve()), json.dumps(spec)]
        try:
            with theirs:
                self._router = self._namespace.spawn(program, stdin=theirs.fileno())
            answer, fds = helper.receive(self._control)
        except TimeoutError:
            answer, fds = {"ok": False, "error": f"no answer within {TAP_START_PATIENCE:g} s"}, []
        except OSError:
            answer, fds = None, []
        if answer is None or not answer["ok"]:
            self.close()
            why = answer["error"] if answer else "its program in the namespace ended"
            raise Unavailable(f"no {PURPOSE} can run here: {why}")
        found = dict(zip(answer["names"], fds))
        self.interfaces = {name: found.pop(name) for name in ("guest", "uplink")}
        self.sockets = {name: socket.socket(fileno=fd) for name, fd in found.items()}

    def tcp_socket(self, family: int) -> socket.socket:
        """A fresh TCP socket of the namespace's kernel, non-blocking. Raises :class:`OSError`."""
        helper.send(self._control, {"family": family}, [])
        answer, fds = helper.receive(self._control)
        if answer is None or not fds:
            raise OSError("the namespace is gone")
        return socket.socket(fileno=fds[0])

    @property
    def mode(self) -> str:
        """``"root"``, or ``"user"``: in an unprivileged user namespace."""
        return self._namespace.mode

    @property
    def pid(self) -> int:
        """A process of this host that waits for those in the namespace."""
        return self._namespace.pid

    def run(self, argv: list[str]) -> str:
        """What a program prints that looks around in there."""
        return self._namespace.run(argv, check=True).stdout

    def close(self) -> None:
        """End it: program, interfaces, rules, sockets. May be called twice."""
        self._control.close()
        for sock in self.sockets.values():
            sock.close()
        for fd in self.interfaces.values():
            os.close(fd)
        self.sockets, self.interfaces = {}, {}
        self._namespace.close()

    def __enter__(self) -> RouterNamespace:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<RouterNamespace {self._namespace!r}>"
