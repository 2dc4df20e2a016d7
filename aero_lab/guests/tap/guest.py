"""The tap guest: a namespace with the kernel's own TCP/IP, its network card as a node, its workloads as programs."""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...bounds import TAP_QUEUE
from ...errors import AeroLabError, UsageError
from ...limits import IPV6_MTU_MIN, MTU_DEFAULT, MTU_MAX, MTU_MIN
from ...wire.address import ip, ip_text, is_link_local, mac_text
from . import programs
from .namespace import INTERFACE, Namespace
from .nic import TapNic

if TYPE_CHECKING:
    from ...lan import LanConfig
    from ...rings import FrameRing
    from ..scripted.workloads import WorkloadResult

ADDRESSES = ("static", "dhcp")
ANNOUNCE = {f"net.ipv4.conf.{INTERFACE}.arp_notify": 1}
"""Announce the address when the interface comes up, as distributions do: a proxy then knows that somebody is there."""
QUICK_IPV6 = {
    f"net.ipv6.conf.{INTERFACE}.dad_transmits": 0,
    f"net.ipv6.conf.{INTERFACE}.router_solicitation_delay": 0,
}
"""On a wire of one's own nobody has the address already, and no other host asks in the same moment."""
PACKAGE_ROOT = str(Path(__file__).resolve().parents[3])


class TapGuest:
    """A host whose TCP/IP is the kernel's. A node; programs run in it at any time, from any thread.

    Parameters
    ----------
    rng: seeded generator, for the hardware address.
    mtu: of the interface, up to that of its network.
    mac: hardware address; made from ``rng`` when absent.
    sysctls: the namespace's settings, by name.
    addresses: ``"static"``: the lease that the network would give, without asking; ``"dhcp"``: asks for it. IPv6
        addresses come by router advertisement in both cases.
    queue: frames that wait in the kernel while the tunnel takes none.
    """

    name = "tap"

    def __init__(
        self,
        rng: Any,
        *,
        mtu: int = MTU_DEFAULT,
        mac: bytes | None = None,
        sysctls: Mapping[str, Any] | None = None,
        addresses: str = "static",
        queue: int = TAP_QUEUE,
    ):
        if not MTU_MIN <= mtu <= MTU_MAX:
            raise UsageError(f"mtu must be {MTU_MIN} to {MTU_MAX}, not {mtu}")
        if addresses not in ADDRESSES:
            raise UsageError(f"addresses must be one of {', '.join(ADDRESSES)}, not {addresses!r}")
        self.mac = mac if mac is not None else b"\x52\x54\x00" + rng.getrandbits(24).to_bytes(3, "big")
        self.mtu = mtu
        self.addresses = addresses
        self.address: bytes | None = None
        """IPv4 address in use."""
        self.router: bytes | None = None
        """Its router."""
        self.system = f"{os.uname().sysname} {os.uname().release}"
        quick = QUICK_IPV6 if mtu >= IPV6_MTU_MIN and os.path.exists("/proc/sys/net/ipv6") else {}
        settings = {**ANNOUNCE, **quick, **(sysctls or {})}
        # A DHCP client needs the interface before it has an address.
        self.namespace = Namespace(
            mtu=mtu, mac=mac_text(self.mac), sysctls=settings, queue=queue, up=addresses == "dhcp"
        )
        self.nic = TapNic(self.namespace.fd, mtu)

    # A node ---------------------------------------------------------------------------------------------------------

    @property
    def nic_tx(self) -> FrameRing:
        """Frames from the guest."""
        return self.nic.nic_tx

    @property
    def nic_rx(self) -> FrameRing:
        """Frames to the guest."""
        return self.nic.nic_rx

    def number_frames(self, first: int) -> None:
        """Give its frames the identities behind ``first``, every second number."""
        self.nic.number_frames(first)

    def attach(self, driver: Any) -> None:
        """Join a driver's loop, on its thread; then it may be added as a node."""
        self.nic.attach(driver)

    def step(self, now: int) -> None:
        self.nic.step(now)

    def poll_at(self, now: int) -> int:
        return self.nic.poll_at(now)

    def relink(self) -> None:
        """Pull the cable and plug it in again: the kernel announces itself and asks for a router. Does not wait."""

        def relink() -> None:
            with contextlib.suppress(AeroLabError):  # it was closed meanwhile
                self.namespace.relink()

        threading.Thread(target=relink, name="aero-lab-relink", daemon=True).start()

    def close(self) -> None:
        """End every program and the namespace; on the driver's thread. May be called twice."""
        self.nic.close()
        self.namespace.close()

    # Configuration --------------------------------------------------------------------------------------------------

    def configure(self, lan: LanConfig | None, timeout: float = 30.0) -> None:
        """Give the interface the address that this network has for it; by DHCP the network itself tells."""
        if self.addresses == "dhcp" or lan is None:
            lease = self._lease(timeout)
        else:
            gateway = ip_text(lan.gateway)
            lease = {
                "address": ip_text(lan.guest),
                "prefix": lan.prefix_len,
                "router": gateway,
                "dns": [gateway],
                "domain": None,
            }
        self.namespace.configure(**lease)
        self.address = ip(lease["address"])
        self.router = ip(lease["router"]) if lease.get("router") else None

    def _lease(self, timeout: float) -> dict[str, Any]:
        done = self._program("dhcp", {"interface": INTERFACE, "hardware": mac_text(self.mac)}, timeout)
        if done is None or "error" in done:
            raise AeroLabError(done["error"] if done else "no DHCP server answered")
        return done

    def wait_online(self, timeout: float, family: int = 4) -> str | None:
        """Wait for an address of the family that reaches beyond the link; returns it as text, None when none came."""
        if family == 4:
            if self.address is None:
                raise AeroLabError("the guest has no IPv4 address")
            return ip_text(self.address)
        end = time.monotonic() + timeout
        while (address := self.address6) is None:
            if time.monotonic() > end:
                return None
            time.sleep(0.02)
        return address

    @property
    def address6(self) -> str | None:
        """IPv6 address that reaches beyond the link, None before a router advertised its prefix."""
        found = self.namespace.addresses6()
        return next((address for address in found if not is_link_local(ip(address))), None)

    def kernel_counters(self) -> dict[str, int]:
        """The kernel's protocol counters of this namespace."""
        text = self.namespace.run(["cat", "/proc/net/snmp", "/proc/net/netstat"], check=True).stdout
        found: dict[str, int] = {}
        lines = text.splitlines()
        for names, values in zip(lines[::2], lines[1::2]):
            prefix = names.split(":")[0]
            for key, value in zip(names.split()[1:], values.split()[1:]):
                found[prefix + key] = int(value)
        return found

    # Workloads ------------------------------------------------------------------------------------------------------

    def workload(self, name: str, timeout: float | None, parameters: dict[str, Any]) -> WorkloadResult:
        """Run a workload as a program in the guest. Raises :class:`subprocess.TimeoutExpired`."""
        from ..scripted.workloads import WorkloadResult, check_parameters, size_of

        function = programs.WORKLOADS.get(name)
        if function is None:
            raise UsageError(
                f"a tap guest's workload must be one of {', '.join(programs.WORKLOADS)}, or a command as a list of"
                f" words; not {name!r}"
            )
        known = list(inspect.signature(function).parameters)[1:]
        for parameter in parameters:
            if parameter not in known:
                raise UsageError(f"workload {name} takes {', '.join(known)}, not {parameter!r}")
        check_parameters(name, parameters)
        if "size" in parameters and name in programs.SIZED:
            parameters = {**parameters, "size": size_of(parameters["size"])}
        found = self._program(name, parameters, timeout)
        return WorkloadResult(**found)

    def _program(self, name: str, parameters: dict[str, Any], timeout: float | None) -> dict[str, Any]:
        path = os.pathsep.join(filter(None, (PACKAGE_ROOT, os.environ.get("PYTHONPATH"))))
        command = [sys.executable, "-m", programs.__name__, name, json.dumps(parameters)]
        done = self.namespace.run(command, timeout=timeout, env={**os.environ, "PYTHONPATH": path})
        if done.returncode != 0:
            said = done.stderr.strip().splitlines()
            raise AeroLabError(f"{name} in the guest ended with {done.returncode}" + (f": {said[-1]}" if said else ""))
        return json.loads(done.stdout)

    def __repr__(self) -> str:
        return f"<TapGuest {self.system}, {self.namespace!r}>"
