"""Session descriptions that lead through a relay: the one candidate they keep is the relay's own."""

from __future__ import annotations

import re

_CANDIDATE = re.compile(r"a=candidate:(\S+) 1 udp ([0-9]+) (\S+) ([0-9]{1,5}) typ host\b.*", re.IGNORECASE)
_MEDIA = re.compile(r"(m=\S+) [0-9]+ (.*)")
_HELD = 1 << 16
"""Characters of a description that are looked at; those of the lab's peers have a thousand."""


class NoCandidate(ValueError):
    """A description without a UDP host candidate that a relay could stand in for."""


def through(sdp: str, address: str, port: int) -> tuple[str, tuple[str, int]]:
    """The same description with one candidate, at a relay's address, and where the first one of its own was.

    Its other candidates are left out: a peer that tries them would go around the relay.
    """
    if len(sdp) > _HELD:
        raise NoCandidate("the description is too long")
    own: tuple[str, int] | None = None
    out = []
    for line in re.split("\r?\n", sdp.rstrip("\r\n")):
        if line.startswith("a=candidate:"):
            found = _CANDIDATE.fullmatch(line)
            if own is not None or found is None or not 0 < int(found[4]) < 65536 or ":" in found[3]:
                continue
            own = found[3], int(found[4])
            line = f"a=candidate:{found[1]} 1 udp {found[2]} {address} {port} typ host"
        elif line.startswith("c=IN IP"):
            line = f"c=IN IP4 {address}"
        elif media := _MEDIA.fullmatch(line):
            line = f"{media[1]} {port} {media[2]}"
        out.append(line)
    if own is None:
        raise NoCandidate("the description names no UDP address of an IPv4 host")
    return "\r\n".join(out) + "\r\n", own
