"""The replay guest as the user handles it."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

from .engine import TimedOut
from .errors import UsageError
from .handles import Guest
from .limits import NEVER, SECOND
from .paths.l2_tunnel import frame_limits
from .wire.address import ip_text
from .wire.address import mac as parse_mac

if TYPE_CHECKING:
    from .guests.replay.guest import Playback, ReplayGuest
    from .guests.replay.recording import Recording
    from .guests.scripted.workloads import WorkloadResult
    from .lab import Lab

OPTIONS = {"pcap", "mac", "direction", "gateway"}
PLAY = {"speed", "repeat", "pause", "delay"}
"""What a replay guest takes, and what says how it plays."""


class Replay(Guest):
    """A recording, played into the lab. It begins when it is plugged in."""

    kind = "replay"
    _host: ReplayGuest

    @classmethod
    def plug_in(cls, lab: Lab, name: str, number: int, options: dict[str, Any]) -> Replay:
        from .guests.replay.guest import Playback, ReplayGuest
        from .guests.replay.recording import read

        if unknown := sorted(set(options) - OPTIONS - PLAY):
            raise UsageError(f"a replay guest has no option {unknown[0]}; there is {', '.join(sorted(OPTIONS | PLAY))}")
        if options.get("pcap") is None:
            raise UsageError("a replay guest lacks the frames it is to play: pcap= a capture, or a file of one")
        mac = options.get("mac")
        if isinstance(mac, str):
            mac = parse_mac(mac)
        recording = read(options["pcap"], frame_limits(lab.mtu).frame, mac, options.get("direction"))
        how = {name: options[name] for name in PLAY & set(options)}
        Playback(recording, **how)  # what is wrong with it is said before anything is plugged in
        gateway = cls._gateway(lab, options.get("gateway", "lab"))

        def make_host(rng: random.Random, now: int) -> ReplayGuest:
            host = ReplayGuest(recording, gateway)
            host.play(**how)
            return host

        return cls(lab, name, *lab._engine.call(lab._connect, number, name, make_host))

    @staticmethod
    def _gateway(lab: Lab, wanted: str | None) -> bytes | None:
        """Where frames for one host are sent: the lab's gateway, whatever router they were sent to once."""
        if wanted is None:
            return None
        if wanted != "lab":
            return parse_mac(wanted)
        # A proxy elsewhere has a gateway of its own; the address that all of this kind have by default is likely.
        return lab._world.lan_config(lab.mtu, lab.ipv6).mac

    @property
    def recording(self) -> Recording:
        """The frames it plays: ``frames``, ``times``, ``skipped``."""
        return self._host.recording

    @property
    def address6(self) -> str | None:
        """IPv6 address that it speaks from, None before it has spoken."""
        return ip_text(self._host.address6) if self._host.address6 is not None else None

    def wait(self, timeout: float | None = None) -> WorkloadResult:
        """Wait until the recording has been played; what came of it. It plays on when the time is over.

        Parameters
        ----------
        timeout: seconds of the lab's time.
        """
        return self._wait(self._playback(), timeout)

    def run(self, workload: str = "replay", *, timeout: float | None = None, **parameters: Any) -> WorkloadResult:
        """Play the recording once more and wait until that is done.

        Parameters
        ----------
        workload: ``"replay"``, the only one: a recording reacts to nothing.
        timeout: seconds of the lab's time; then playing stops and an error is raised.
        parameters: ``speed``, ``repeat``, ``pause`` and ``delay``, see :class:`~aero_lab.guests.replay.guest.Playback`.
        """
        if workload != "replay":
            raise UsageError(f"a replay guest reacts to nothing and cannot run {workload!r}: its workload is 'replay'")
        if unknown := sorted(set(parameters) - PLAY):
            raise UsageError(f"workload replay takes {', '.join(sorted(PLAY))}, not {unknown[0]!r}")
        limit = NEVER if timeout is None else round(timeout * SECOND)
        self.wait(timeout)
        return self._lab._engine.run(lambda: self._host.play(**parameters), limit)

    def stop(self) -> None:
        """Send no further frame."""
        self._call(self._playback().cancel)

    def _playback(self) -> Playback:
        playback = self._host.playback
        assert playback is not None
        return playback

    def _wait(self, playback: Playback, timeout: float | None) -> WorkloadResult:
        limit = NEVER if timeout is None else round(timeout * SECOND)
        return self._lab._engine.run(lambda: _Watched(playback), limit)

    def wait_online(self, timeout: float = 60.0) -> str:
        """Wait until it has spoken from an IPv4 address; returns it."""
        if self.recording.address is None:
            raise UsageError("no frame of this recording comes from an IPv4 address")
        if self._lab.virtual:
            self._lab._engine.run(lambda: _Spoken(self._host), round(timeout * SECOND))
        end = time.monotonic() + timeout
        while (address := self.address) is None:
            if time.monotonic() > end:
                raise TimedOut(f"no frame went out within {timeout:g} s")
            time.sleep(0.01)
        return address

    def __repr__(self) -> str:
        playback = self._playback()
        total = playback.repeat * len(self.recording.frames)
        return f"<Guest {self.name}: replay of {self.mac}, {playback.sent} of {total} frames>"


class _Watched:
    """A task that is done when a playback is, and leaves it alone when nobody waits any more."""

    def __init__(self, playback: Playback):
        self._playback = playback

    @property
    def done(self) -> bool:
        return self._playback.done

    def cancel(self) -> None:
        """It plays on."""

    def value(self) -> WorkloadResult:
        return self._playback.value()


class _Spoken:
    """A task that is done when a guest has sent a frame."""

    def __init__(self, host: ReplayGuest):
        self._host = host

    @property
    def done(self) -> bool:
        return self._host.address is not None

    def cancel(self) -> None:
        """Nothing is under way."""

    def value(self) -> None:
        return None
