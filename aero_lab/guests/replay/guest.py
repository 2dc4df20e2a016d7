"""The replay guest: it sends what a host once sent, and is deaf.

Frames go out at the distances of their recording, or as fast as the tunnel takes them, and are carried, recorded and
answered like any guest's. Answers are counted and thrown away: nothing here reacts. So datagrams, ARP, ICMP and DHCP
are served again as they were; a TCP connection is not, unless the other side happens to choose the numbers it chose
before (in virtual time it does, with the same seed and at the same times): the gateway answers the SYN with a number of
its own and takes nothing that acknowledges another one.
"""

from __future__ import annotations

from typing import Any, TypeGuard

from ...bounds import REPLAY_BATCH, REPLAY_LAPS, REPLAY_WAIT
from ...errors import AeroLabError, UsageError
from ...limits import NEVER, RING_ARENA, RING_SLOTS, SECOND
from ...rings import FrameRing
from ..scripted.workloads import WorkloadResult
from .recording import Recording

MAX = "max"
"""The speed of frames that wait for nothing but room."""


def _number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


class Playback:
    """One go through a recording: a task of the engine's.

    Parameters
    ----------
    recording: what is played.
    speed: 1.0 keeps the distances in time, 2.0 halves them; ``"max"`` has none.
    repeat: how often it is played.
    pause: seconds from the last frame of one time to the first of the next.
    delay: seconds until the first frame.
    """

    def __init__(
        self,
        recording: Recording,
        speed: float | str = 1.0,
        repeat: int = 1,
        pause: float = 0.0,
        delay: float = 0.0,
    ):
        if speed != MAX and not (_number(speed) and 1e-6 <= speed <= 1e9):
            raise UsageError(f"speed is a factor above 0, or 'max', not {speed!r}")
        if isinstance(repeat, bool) or not isinstance(repeat, int) or not 1 <= repeat <= REPLAY_LAPS:
            raise UsageError(f"repeat is 1 to {REPLAY_LAPS}, not {repeat!r}")
        for name, seconds in (("pause", pause), ("delay", delay)):
            if not (_number(seconds) and 0 <= seconds <= REPLAY_WAIT):
                raise UsageError(f"{name} is 0 to {REPLAY_WAIT} seconds, not {seconds!r}")
        self.recording, self.speed, self.repeat = recording, speed, repeat
        self._pause, self._delay = round(pause * SECOND), round(delay * SECOND)
        self.sent = self.sent_bytes = self.readdressed = 0
        self.latest = 0
        """Most nanoseconds that a frame went out after its time: there was no room, or nobody looked."""
        self.first_at = self.last_at = -1
        self.heard = self.heard_bytes = 0
        self._start = -1
        self._at = self._lap = 0
        self._cancelled = False

    @property
    def done(self) -> bool:
        return self._cancelled or self._lap >= self.repeat

    def cancel(self) -> None:
        """Send no further frame of it."""
        self._cancelled = True

    def begin(self, now: int) -> None:
        """Count its time from now on."""
        if self._start < 0:
            self._start = now + self._delay

    def due(self) -> int:
        """When the next frame is to go out."""
        if self.done or self._start < 0:
            return NEVER
        if isinstance(self.speed, str):
            return self._start
        return self._start + round(self.recording.times[self._at] / self.speed)

    @property
    def next(self) -> bytes:
        """That frame."""
        return self.recording.frames[self._at]

    def went(self, size: int, now: int, changed: bool) -> None:
        """The next frame went out."""
        if self.first_at < 0:
            self.first_at = now
        if self.speed != MAX:
            self.latest = max(self.latest, now - self.due())
        self.last_at = now
        self.sent += 1
        self.sent_bytes += size
        self.readdressed += changed
        self._at += 1
        if self._at == len(self.recording.frames):
            self._at = 0
            self._lap += 1
            self._start = now + self._pause

    def value(self) -> WorkloadResult:
        """What came of it."""
        result = WorkloadResult("replay")
        if self._cancelled:
            result.fail(f"cancelled: after {self.sent} of {self.repeat * len(self.recording.frames)} frames")
        if self.sent:
            result.seconds = (self.last_at - self.first_at) / SECOND
        result.details = {
            "frames_sent": self.sent, "bytes_sent": self.sent_bytes, "frames_heard": self.heard,
            "bytes_heard": self.heard_bytes, "readdressed": self.readdressed, "late_ms": self.latest / 1e6,
            **{f"skipped_{reason}": number for reason, number in self.recording.skipped.items()},
        }  # fmt: skip
        if self.recording.warning:
            result.details["warning"] = self.recording.warning
        return result


class ReplayGuest:
    """A node that plays recordings.

    Parameters
    ----------
    recording: the frames of one host.
    gateway: the MAC address that frames for one host go to; ``None`` leaves every frame as it is. What goes to groups
        is never changed, and nothing but this one field is.
    """

    name = "replay"

    def __init__(self, recording: Recording, gateway: bytes | None = None):
        self.recording = recording
        self.mac = recording.mac
        self.nic_tx = FrameRing(RING_SLOTS, RING_ARENA)
        """Frames from the guest."""
        self.nic_rx = FrameRing(RING_SLOTS, RING_ARENA)
        """Frames to the guest."""
        self.playback: Playback | None = None
        """The latest."""
        self.relinks = 0
        self._gateway = gateway
        self._identity = 0

    @property
    def address(self) -> bytes | None:
        """The IPv4 address that it speaks from, once it has spoken."""
        return self.recording.address if self.nic_tx.given else None

    @property
    def address6(self) -> bytes | None:
        return self.recording.address6 if self.nic_tx.given else None

    def number_frames(self, first: int) -> None:
        """Give its frames the identities behind ``first``, every second number."""
        self._identity = first + 1

    def play(self, **how: Any) -> Playback:
        """Begin to play, from the next step on; parameters of :class:`Playback`."""
        playback = Playback(self.recording, **how)
        if self.playback is not None and not self.playback.done:
            raise AeroLabError("this guest is still playing: wait() for it, or stop() it")
        self.playback = playback
        return playback

    def relink(self) -> None:
        """The cable was pulled and plugged in: what is played does not know."""
        self.relinks += 1

    def step(self, now: int) -> None:
        playback = self.playback
        heard = self.nic_rx.pop_many(REPLAY_BATCH)
        if playback is None:
            return
        playback.heard += len(heard)
        playback.heard_bytes += sum(len(frame.data) for frame in heard)
        playback.begin(now)
        for _ in range(REPLAY_BATCH):
            if playback.due() > now:
                return
            frame = playback.next
            if not self.nic_tx.has_room(len(frame)):
                return
            changed = self._gateway is not None and not frame[0] & 1 and frame[:6] != self._gateway
            if changed:
                assert self._gateway is not None
                frame = self._gateway + frame[6:]
            self.nic_tx.push(frame, now, self._identity)
            if self._identity:
                self._identity += 2
            playback.went(len(frame), now, changed)

    def poll_at(self, now: int) -> int:
        if len(self.nic_rx):
            return now
        playback = self.playback
        if playback is None or playback.done:
            return NEVER
        playback.begin(now)
        due = playback.due()
        if due <= now and not self.nic_tx.has_room(len(playback.next)):
            return NEVER  # whoever takes frames out is a node too, and this is asked again after it
        return due

    def __repr__(self) -> str:
        played = self.playback.sent if self.playback is not None else 0
        return f"<ReplayGuest {len(self.recording.frames)} frames, {played} played>"
