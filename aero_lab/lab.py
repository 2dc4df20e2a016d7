"""The bench of one notebook, script or test.

Theory of operation
-------------------
A :class:`Lab` is an engine (real time on its own thread, or virtual time), a world beyond the proxy, a recorder, and
for each guest a pipeline of its own::

    guest ── client half ══ transport, perhaps with a link ══ server half ── LAN ── egress ── world

The order of starting is: kernels first, with a progress bar; then the thread; then sockets, on loopback and on
ports that the kernel picks. The order of closing is the reverse, and nothing is left behind. A lab that is forgotten,
or whose process ends, closes itself.
"""

from __future__ import annotations

import gc
import os
import random
import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .errors import UsageError
from .flow_table import Flows
from .limits import CAPTURE_BYTES, MTU_DEFAULT, MTU_MAX, MTU_MIN, SECOND
from .tables import html_table

if TYPE_CHECKING:
    import pandas
    from scapy.plist import PacketList, SndRcvList

    from .capture import Recorder
    from .disk import CaptureStream
    from .forward import Forward
    from .handles import Guest
    from .injection import Injector
    from .lan import Lan, Policy
    from .lan.explain import Explanation
    from .lan.restoring import Restored
    from .link import Link
    from .tunnels import Tunnels
    from .widgets.dashboard import Dashboard


class Lab:
    """A lab: guests, a proxy, services for them to talk to, and a capture of all that passes.

    Parameters
    ----------
    virtual: run in virtual time: nothing waits, no sockets are used, and the same seed gives the same bytes.
    seed: seed of everything random in the lab.
    option: where the pipeline is cut: ``"A"``, ``"B"`` or ``"C"``.
    transport: what carries the messages between guest and proxy: ``"memory"``, ``"websocket"`` for the real proxy
        server on loopback and a real WebSocket for each guest, or ``"datagram"`` for UDP on loopback, which promises
        neither order nor arrival.
    proxy_url, token: a proxy elsewhere that the guests connect to instead; its networks are its own.
    link: impairment between guest and proxy, a :class:`~aero_lab.Link` or text such as ``"rtt=40ms, loss=1%"``. Over
        WebSockets and WebRTC in real time a relay on loopback makes it: delay and rate alone of TCP, all of datagrams.
    mtu: MTU of the guests' network, 576 to 65520.
    ipv6: give guests an IPv6 prefix, router and name server beside IPv4 (where the MTU is 1280 or more).
    capture: record frames at the NIC and at the tunnel; a path also writes them to that pcapng file while they come
        (``.gz`` and ``.zst`` pack it), and memory then holds only the latest.
    capture_snap: keep at most so many bytes of each frame; 0 keeps frames whole.
    capture_headers: keep of each frame its headers only: no payload, no names.
    capture_bytes: bound of the capture's memory; when it is full new frames are counted and not kept.
    policy: what guests may reach beside the lab's own services (real time only); by default the public internet.
    ack_policy: when a guest's TCP hears that its bytes arrived: ``"early"``, when the proxy has them, or ``"mirror"``,
        when the far TCP acknowledged them. The column ``ack_policy`` of :attr:`flows` tells what came of it.
    progress: show a bar when kernels have to be compiled first.
    transport_settings: of the transport, see ``docs/transports.md``.
    settings: of the option: for A see ``docs/relay.md``; B and C have ``far="kernel"``, see ``docs/hostnet.md``.
    """

    def __init__(
        self,
        *,
        virtual: bool = False,
        seed: int = 1,
        option: str = "C",
        transport: str = "memory",
        proxy_url: str | None = None,
        token: str | None = None,
        link: Link | str | None = None,
        mtu: int = MTU_DEFAULT,
        ipv6: bool = True,
        capture: bool | str | os.PathLike[str] = True,
        capture_bytes: int = CAPTURE_BYTES,
        capture_snap: int = 0,
        capture_headers: bool = False,
        policy: Policy | None = None,
        ack_policy: str = "early",
        progress: bool = True,
        transport_settings: Mapping[str, Any] | None = None,
        **settings: Any,
    ):
        from .audit import Audit
        from .capture import Recorder
        from .injection import NicTap
        from .lan.config import ACK_POLICIES
        from .link import Link
        from .paths import get_path
        from .starting import ready_kernels, start_real, start_virtual, wall_offset
        from .tunnels import Bench, find

        if not isinstance(mtu, int) or not MTU_MIN <= mtu <= MTU_MAX:
            raise UsageError(f"mtu must be {MTU_MIN} to {MTU_MAX}, not {mtu!r}")
        if ack_policy not in ACK_POLICIES:
            raise UsageError(f"ack_policy must be one of {', '.join(ACK_POLICIES)}, not {ack_policy!r}")
        self.path = get_path(option, **settings)
        self.transport = transport if proxy_url is None or transport.startswith("webrtc") else "websocket"
        self._elsewhere = proxy_url is not None
        if self._elsewhere and virtual:
            raise UsageError("a proxy elsewhere lives in real time: leave out proxy_url= or virtual=True")
        if token is not None and proxy_url is None:
            raise UsageError("token= is for the proxy at proxy_url=; the lab's own mints one")
        kind = find(self.transport, virtual)
        if not isinstance(transport_settings or {}, Mapping):
            raise UsageError(f"transport_settings must be names and values, not {transport_settings!r}")
        kind.check_settings(transport_settings or {})
        self.link = Link.of(link)
        if why := kind.why_not(self.path, virtual=virtual, link=self.link, mtu=mtu):
            raise UsageError(why)
        if self.path.needs_kernel:
            from .hostnet import refusal

            if why := refusal(virtual=virtual, ack_policy=ack_policy, elsewhere=self._elsewhere):
                raise UsageError(why)
        self.mtu = mtu
        self.ipv6 = ipv6
        self.seed = seed
        self.virtual = virtual
        self.guests: list[Guest] = []
        self.unplugged: list[Guest] = []
        """Guests without a network card."""
        self._watcher: Lan | None = None
        ready_kernels(progress)
        start = start_virtual if virtual else start_real
        self._engine, self._world, self.services = start(policy, ack_policy, self.path.needs_kernel)
        self.capture: Recorder = Recorder(
            most_bytes=capture_bytes,
            snap=capture_snap,
            headers_only=capture_headers,
            epoch_ns=0 if virtual else wall_offset(self._engine),
            meta={"seed": seed, "mtu": mtu, "option": self.path.letter, "link": self.link and self.link.to_dict()},
        )
        """The recorder: ``frames()``, ``save(path)``, ``save_parquet(path)``, ``clear()``."""
        self.capture.enabled = bool(capture)
        self.capture_stream: CaptureStream | None = None
        """What writes the capture to a file, where :class:`Lab` was given one."""
        if not isinstance(capture, bool):
            from .disk import CaptureStream

            self.capture_stream = CaptureStream(self.capture, os.fspath(capture))
            self._end_stream = weakref.finalize(self, self.capture_stream.close)
        self._tap = NicTap(self.capture)
        self._injectors: dict[str, Injector] = {}
        self._gateways: dict[str, str] = {}  # MAC addresses of gateways that are not this lab's own
        self._dashboard: Dashboard | None = None
        self._audit = Audit(epoch_ns=self.capture.epoch_ns)
        bench = Bench(
            self._engine, self.path, self.capture, None if self._elsewhere else self._world, self._audit,
            nic=self._tap, mtu=mtu, ipv6=ipv6, ack_policy=ack_policy, seed=seed, link=self.link, url=proxy_url,
            token=token, transport_settings=transport_settings or {},
        )  # fmt: skip
        try:
            self._tunnels: Tunnels = kind(bench)
        except BaseException:
            self._engine.close()
            raise
        self._finalizer = weakref.finalize(self, self._engine.close)

    # Guests ---------------------------------------------------------------------------------------------------------

    def guest(
        self, kind: str = "scripted", *, profile: str | None = None, name: str | None = None, **options: Any
    ) -> Guest:
        """Plug a guest in, on a network of its own, and power it on.

        Parameters
        ----------
        kind: ``"scripted"``: a TCP/IP host with the habits of ``profile``. ``"tap"``: the host kernel's own TCP/IP,
            behind a TAP in a network namespace; Linux only, as root or with unprivileged user namespaces. ``"linux"``:
            Debian on the emulated PC, with ``nic="e1000"`` unless told ``"virtio-net"`` or None. ``"qemu"``: the same
            under QEMU. ``"replay"``: the frames of a host in the capture ``pcap=``.
        profile: of a scripted guest: ``"linux"`` or ``"windows7"``.
        name: how tables call it.
        options: further arguments of :class:`~aero_lab.guests.scripted.guest.ScriptedGuest`, such as ``tcp=``, or of
            :class:`~aero_lab.guests.tap.guest.TapGuest`, such as ``sysctls=``, or of
            :func:`~aero_lab.handles_linux.open_linux`, such as ``clock=``; of a replay guest ``pcap=`` and
            :class:`how it plays <aero_lab.guests.replay.guest.Playback>`.
        """
        from .handles_linux import HANDLES

        if kind not in HANDLES:
            raise UsageError(f"guest {kind!r} does not exist; there is {', '.join(map(repr, HANDLES))}")
        number = len(self.guests) + len(self.unplugged) + 1
        if kind == "scripted":
            options["profile"] = profile or "linux"
        elif profile is not None:
            raise UsageError(f"profile= is of scripted guests; a {kind} guest is what it is")
        self._engine.loaded()  # in the middle of a handshake, loading would look like a slow network
        guest = HANDLES[kind].plug_in(self, name or f"guest{number}", number, options)
        guest.number = number
        if not guest.networked:
            self.unplugged.append(guest)
            return guest
        self._tunnels.wait()
        self.guests.append(guest)
        guest.plugged_in()
        return guest

    def _connect(self, number: int, name: str, make_host: Callable[[random.Random, int], Any]) -> tuple:
        """On the engine's thread: a host, and the pipeline from its NIC to the world: host, client, server, links."""
        host = make_host(self._rng(number, "guest"), self._engine.now())
        return host, *self._tunnels.connect(number, name, host)

    def _rng(self, number: int, part: str) -> random.Random:
        from .tunnels import seeded

        return seeded(self.seed, number, part)

    # Forwards -------------------------------------------------------------------------------------------------------

    def forward(
        self,
        guest: Guest | str,
        port: int,
        *,
        host_port: int = 0,
        protocol: str = "tcp",
        host: str = "127.0.0.1",
    ) -> Forward:
        """Have this machine listen for a port of a guest's, so that whoever connects here reaches the guest.

        The guest sees the gateway. Real time only.

        Parameters
        ----------
        guest: the guest, or its name.
        port: the guest's port.
        host_port: port of this machine; 0 lets the kernel pick one, see :attr:`Forward.port`.
        protocol: ``"tcp"`` or ``"udp"``.
        host: address to listen at. Anything but loopback lets the network in.
        """
        from .forward import Forward

        return Forward(self, guest, port, host_port, protocol, host)

    def open_port(self, port: int) -> str:
        """Let guests reach a TCP port of this machine's loopback: programs of your own as servers.

        Holds for guests that are plugged in from now on. Real time only.

        Returns
        -------
        The address at which guests find it, which is their gateway's; the port is the same.
        """
        from .wire.address import ip, ip_text

        if self.virtual:
            raise UsageError("a lab in virtual time has no world outside: open_port is for real time")
        if not 0 < port < 1 << 16:
            raise UsageError(f"a port is 1 to 65535, not {port}")
        gateway = self._world.lan_config(self.mtu).gateway
        self._world.lead((gateway, port), (ip("127.0.0.1"), port))
        return ip_text(gateway)

    # Frames of one's own --------------------------------------------------------------------------------------------

    def send(self, packets: Any, guest: Guest | str | None = None) -> int:
        """Send frames from a guest's NIC, as if the guest had.

        Parameters
        ----------
        packets: a scapy packet, several, or whole frames as bytes, which go out as they are. A packet without a link
            layer gets an Ethernet header. What the packet leaves open is filled in: the guest's MAC and IP addresses as
            source; as destination MAC that of the group for multicast and broadcast, broadcast for an ARP request, and
            the gateway's for everything else. Fields with several values, such as ``dport=[80, 443]``, are as many
            packets.
        guest: which guest's, by name or itself; needed only where there are several.

        Returns
        -------
        The number of frames that went out.
        """
        from .injection import send

        return send(self, self._one(guest), packets)

    def srp(
        self, packets: Any, timeout: float = 2.0, guest: Guest | str | None = None, multi: bool = False
    ) -> tuple[SndRcvList, PacketList]:
        """Send frames as :meth:`send` does, and wait for what answers them, as scapy's ``srp`` does on a real network.

        An answer is what scapy's ``answers`` takes for one, seen at the guest's NIC; the guest sees it too. So its own
        TCP resets a connection that was opened here and of which it knows nothing, as any host's kernel does.

        Parameters
        ----------
        packets, guest: as for :meth:`send`.
        timeout: seconds of the lab's time to wait; it ends sooner when all are answered.
        multi: take every answer to a packet, not only the first, and wait until the time is over.

        Returns
        -------
        scapy's lists: pairs of packets sent and their answers, and packets that nobody answered. ``time`` and
        ``sent_time`` are those of the capture.
        """
        from .injection import srp

        return srp(self, self._one(guest), packets, timeout, multi)

    def _one(self, guest: Guest | str | None) -> Guest:
        """The guest that is meant, which need not be said while there is one alone."""
        if guest is None and len(self.guests) > 1:
            raise UsageError(f"which guest? There are {', '.join(each.name for each in self.guests)}")
        chosen = self._find(guest)
        if chosen is None:
            raise UsageError("there is no guest yet: lab.guest() plugs one in")
        return chosen

    # What can be looked at ------------------------------------------------------------------------------------------

    @property
    def flows(self) -> Flows:
        """The flows through the proxy, live: looking at it again shows what they are now."""
        return Flows(self)

    def restore(self, image: bytes, guest: Guest | str | None = None, tcp: str = "drop") -> Restored:
        """Replace the proxy's side of a guest's network by a fresh one that goes on from a snapshot of it.

        What a guest sees is a proxy that was restarted: its lease, the names it was told and its datagram flows go on;
        TCP connections are gone, or opened anew. Raises :class:`~aero_lab.lan.snapshot.SnapshotError`, and changes
        nothing, for what is no snapshot.

        Parameters
        ----------
        image: what :meth:`aero_lab.handles.Guest.snapshot` gave.
        guest: whose network, by name or itself; the first guest's by default.
        tcp: ``"drop"``, or ``"reconnect"``: open each connection to its target anew and go on where the guest is.
        """
        from .lan.restoring import POLICIES, restore
        from .lan.snapshot import LanState

        chosen = self._find(guest)
        if chosen is None:
            raise UsageError("there is no guest yet whose network could be restored")
        if tcp not in POLICIES:
            raise UsageError(f"tcp must be one of {', '.join(POLICIES)}, not {tcp!r}")
        state = LanState.parse(bytes(image))

        def replace() -> Restored:
            renew = getattr(chosen._server, "renew", None)
            if self.path.lan_side == "client":
                raise UsageError(
                    f"in option {self.path.letter} the network is at the guest: no proxy's is to be replaced"
                )
            if renew is None:
                raise UsageError("the network behind this transport cannot be replaced; use transport='memory'")
            return restore(renew(), state, self._engine.now(), tcp)

        try:
            return self._engine.call(replace)
        finally:
            gc.collect()  # the old network is large, and nothing but cycles of its own hold it

    def explain(
        self,
        target: str,
        *,
        protocol: str | None = None,
        guest: Guest | str | None = None,
        lookup: bool = True,
        timeout: float = 10.0,
    ) -> Explanation:
        """Why a guest reaches something or not: each rule in its order, what came of it last, and what decides.

        Parameters
        ----------
        target: ``"host:port"``, ``"[address]:port"``, ``"udp://host:port"``, ``"https://host/path"``; a host alone with
            ``protocol="icmp"``.
        protocol: ``"tcp"`` (unless the target says otherwise), ``"udp"`` or ``"icmp"``.
        guest: whose network, by name or itself; the first guest's by default, a fresh one where there is none.
        lookup: ask the world about a name that is neither known nor denied. Nobody's cache is touched.
        timeout: seconds of the lab's time for that.
        """
        from .lan.explain import Inquiry, parse_target

        wanted = parse_target(target, protocol)
        if self._elsewhere:
            raise UsageError("the proxy of this lab is elsewhere, and alone knows what it allows")
        chosen = self._find(guest)

        def ask() -> Inquiry:
            # The proxy's rules are asked: those of a LAN at the guest would pass everything on.
            ready = chosen is not None and self.path.lan_side == "proxy" and getattr(chosen._server, "has_lan", True)
            lan = chosen.lan if chosen is not None and ready else self._observer()
            name = chosen.name if chosen is not None else None
            denials = [each for each in self._audit.records if each["kind"] == "denied" and each.get("session") == name]
            return Inquiry(lan, wanted, self._engine.now(), name, denials, lookup)

        return self._engine.run(ask, round(timeout * SECOND))

    def _find(self, guest: Guest | str | None) -> Guest | None:
        if guest is None:
            return self.guests[0] if self.guests else None
        for each in self.guests:
            if guest is each or guest == each.name:
                return each
        names = ", ".join(each.name for each in self.guests) or "none"
        raise UsageError(f"guest {guest!r} is none of this lab's: {names}")

    def _observer(self) -> Lan:
        """A network without a guest, to ask what one would meet."""
        if self._watcher is None:
            from .lan import Lan

            def make_egress(sink: Any) -> Any:
                egress = self._world.make_egress(sink, self._rng(0, "egress"), self._engine.now())
                self._engine.add(egress)
                return egress

            config = self._world.lan_config(self.mtu, self.ipv6)
            self._watcher = Lan(config, make_egress, self._rng(0, "lan"), self._engine.now())
        return self._watcher

    def dashboard(self) -> Dashboard:
        """The lab's dashboard, live in a notebook: throughput, frames, ACKs, RTT, drops by reason, active flows, and
        buttons to start and stop the recording of frames and to save them. Always the same one."""
        from .widgets.dashboard import Dashboard

        if self._dashboard is None:
            self._dashboard = Dashboard(self)
        return self._dashboard

    @property
    def audit(self) -> pandas.DataFrame:
        """What somebody may have to answer for: a row for each ended flow, denial, limit hit and reason for drops.

        See :mod:`aero_lab.audit` for the kinds and columns. Payload is never among them.
        """
        return self._engine.call(self._audit.frame)

    @property
    def now(self) -> int:
        """Nanoseconds of the lab's clock: virtual time, or the machine's monotonic clock."""
        return self._engine.now()

    @property
    def closed(self) -> bool:
        return self._engine.closed

    def advance(self, seconds: float) -> None:
        """Let virtual time go by; in real time it goes by itself."""
        if not self.virtual:
            raise UsageError("only a lab in virtual time can be advanced: Lab(virtual=True)")
        self._engine.advance(round(seconds * SECOND))  # type: ignore[union-attr]

    def fork(self, **knobs: Any) -> Lab:
        """Another lab that goes on from here by itself (virtual time only): guests and their tasks, tunnels with what
        is under way in them, networks, far ends, the capture.

        Left alone, the two do the same, byte for byte. With something changed the difference is what the change did.

        Parameters
        ----------
        knobs: what is otherwise from now on. ``link``: a :class:`~aero_lab.Link` or text such as ``"rtt=80ms"``, or
            None; what is under way arrives when it would have. ``ack_policy``: of connections that begin from now on.

        Returns
        -------
        The other lab; its :attr:`guests` are in the same order. Where this one's capture goes to a file, that of the
        fork does not.
        """
        from .forking import fork

        return fork(self, **knobs)

    def save(self, path: str | os.PathLike[str]) -> int:
        """Write the whole bench to a file (virtual time only), and return its size; :meth:`load` reads it."""
        from .forking import save

        return save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], progress: bool = True) -> Lab:
        """A lab that goes on where :meth:`save` wrote one, in any process of the same version of this package.

        Raises :class:`~aero_lab.UsageError` for any other file. Load what people gave you whom you trust: what is in it
        is checked, but it becomes the insides of this lab.
        """
        from .forking import load

        return load(cls, path, progress)

    def close(self) -> None:
        """End everything: guests, proxy, services, thread. May be called twice."""
        self._finalizer()
        if self.capture_stream is not None:
            self._end_stream()

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        time = "virtual time" if self.virtual else "real time"
        state = "closed" if self.closed else time
        return f"<Lab option {self.path.letter} ({self.path.name}), {state}, {len(self.guests)} guests>"

    def _repr_html_(self) -> str:
        rows = [
            ("option", f"{self.path.letter}: {self.path.name}, {self.path.carries} in the messages"),
            ("time", "closed" if self.closed else "virtual" if self.virtual else "real"),
            ("transport", self._tunnels.caption),
            ("link", str(self.link) if self.link is not None else "none"),
            ("services", ", ".join(f"{name}:{port}" for name, port in self.services.items()) or "in virtual time"),
            ("guests", ", ".join(guest.name for guest in self.guests) or "none yet"),
            ("capture", repr(self.capture).strip("<>")),
        ]
        return html_table(("lab", ""), rows)
