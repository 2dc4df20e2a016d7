"""Network cards in a snapshot: registers, what they share with the machine, and their rings as they stand.

A ring is kept with its cursors and the places of its frames, not only with the frames: whether another one fits must be
answered alike by a machine and its copies. Everything from a file is checked before a kernel sees it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UsageError
from ..nic.base import Nic
from ..nic.models import make_nic
from ..nic.port import NEVER, PORT
from ..rings import FrameRing
from ..rings.frame_ring import DESCRIPTOR_SIZE, HEADER_SIZE
from .limits import PCI_FUNCTIONS
from .pci import NIC

if TYPE_CHECKING:
    from .machine import Machine

Fields = dict[str, np.ndarray]
CURSORS = (8, 9, 16, 17, 18, 19, 24, 25)
"""Words of a ring's header that change: head, head_bytes, tail, tail_bytes, given_bytes, tail_at, refused and bytes."""
WORDS = DESCRIPTOR_SIZE // 8
PASSING = frozenset("rung rx_more".split())
"""Fields of a port that are no state of the machine."""
BITS = frozenset("master msix msix_masked cable cable_seen rung rx_more intx rx_wait tx_wait".split())
LEFT_OVER = frozenset("message_address message_data dirty_first dirty_last".split())
"""Arrays of which nothing counts between two calls."""
DONE = frozenset("message_count dirty_count dirty_all".split())
"""Fields that are 0 between two calls."""


# Rings ----------------------------------------------------------------------------------------------------------------
def ring_image(ring: FrameRing) -> dict[str, Any]:
    """A ring as numbers and text. Its producer must stand still, or its consumer; the other may go on."""
    cells = ring.array.view(np.int64)
    cursors = [int(cells[at]) for at in CURSORS]
    head, tail = cursors[0], cursors[2]
    frames = []
    for number in range(head, tail):
        d = HEADER_SIZE // 8 + WORDS * (number & ring.slots - 1)
        words = [int(word) for word in cells[d : d + WORDS]]
        data = ring.array[words[1] : words[1] + words[2]].tobytes()
        frames.append([words, base64.b64encode(data).decode()])
    return {"slots": ring.slots, "arena": ring.arena, "cursors": cursors, "frames": frames}


def put_ring(ring: FrameRing, image: dict[str, Any]) -> None:
    """Make a fresh ring what another was; :class:`UsageError` for what no ring can be."""
    cursors, frames = image["cursors"], image["frames"]
    if (image["slots"], image["arena"]) != (ring.slots, ring.arena):
        raise UsageError("a ring of its network card has another size than in this version")
    if len(cursors) != len(CURSORS) or not all(isinstance(c, int) and 0 <= c < NEVER for c in cursors):
        raise UsageError("a ring of its network card has cursors that none can have")
    head, head_bytes, tail, tail_bytes, _, tail_at, _, _ = cursors
    start = HEADER_SIZE + DESCRIPTOR_SIZE * ring.slots
    fits = 0 <= tail - head <= ring.slots and 0 <= tail_bytes - head_bytes <= 2 * ring.arena
    if not fits or len(frames) != tail - head or tail_at >= ring.arena or tail_at % 8:
        raise UsageError("a ring of its network card has cursors that do not fit each other")
    cells = ring.array.view(np.int64)
    last = head_bytes
    for number, (words, text) in enumerate(frames, head):
        data = base64.b64decode(text, validate=True)
        whole = len(words) == WORDS and all(isinstance(word, int) and -1 <= word < NEVER for word in words)
        if not whole or words[2] != len(data) or not start <= words[1] <= len(ring.array) - len(data):
            raise UsageError("a frame in a ring of its network card is not whole")
        if not last <= words[-1] <= tail_bytes:
            raise UsageError("a ring of its network card has frames in no order")
        last = words[-1]
        d = HEADER_SIZE // 8 + WORDS * (number & ring.slots - 1)
        cells[d : d + WORDS] = words
        ring.array[words[1] : words[1] + len(data)] = np.frombuffer(data, np.uint8)
    for at, cursor in zip(CURSORS, cursors):
        cells[at] = cursor


def copy_ring(source: FrameRing, target: FrameRing) -> None:
    """Make a ring of the same size a copy of another."""
    target.array[:HEADER_SIZE] = source.array[:HEADER_SIZE]  # first: what comes in meanwhile is then not seen
    target.array[HEADER_SIZE:] = source.array[HEADER_SIZE:]


# Cards ----------------------------------------------------------------------------------------------------------------
def describe(machine: Machine, pack: Callable[[Fields], Any], fields: Callable[..., Fields]) -> list[dict[str, Any]]:
    """The cards of a machine that stands still."""
    return [
        {
            "model": nic.model,
            "mac": nic.mac.hex(),
            "options": nic.options,
            "state": pack(nic.fields()),
            "port": pack(fields(nic.ports, PORT)),
            "tx": ring_image(nic.tx),
            "rx": ring_image(nic.rx),
        }
        for nic in machine.nics
    ]


def restore(image: Any, board: Fields, unpack: Callable[..., Fields], set_fields: Callable[..., None]) -> list[Nic]:
    """The cards that :func:`describe` described, looked at as what they are: bytes from outside."""
    nics = []
    for part in image:
        nic = make_nic(str(part["model"]), bytes.fromhex(part["mac"]), **part["options"])
        values = unpack(part["state"], nic.fields(), f"{nic.model} card")
        nic.check(values)
        port = unpack(part["port"], PORT, "network card's port")
        _check_port(port, board)
        nic.set_fields(values)
        set_fields(nic.ports, PORT, port)
        put_ring(nic.tx, part["tx"])
        put_ring(nic.rx, part["rx"])
        nics.append(nic)
    places = sorted(int(nic.port.function) for nic in nics)
    plugged = np.flatnonzero(board["pci_kind"][: int(board["pci_count"])] == NIC)
    if places != plugged.tolist():
        raise UsageError("its network cards are not those that its PCI bus tells of")
    return nics


def _check_port(values: Fields, board: Fields) -> None:
    for name, value in values.items():
        most = 1 if name in BITS else 0 if name in DONE else NEVER
        if name not in LEFT_OVER and (value.min() < 0 or value.max() > most):
            raise UsageError(f"field {name!r} of its network card's port is out of its bounds")
    function, word = int(values["function"]), int(values["msix_word"])
    if not 0 < function < min(int(board["pci_count"]), PCI_FUNCTIONS) or word >= 64:
        raise UsageError("its network card is at no place of its PCI bus")


def copy(machine: Machine, fields: Callable[..., Fields], set_fields: Callable[..., None]) -> list[Nic]:
    """Cards in the state of a machine's."""
    nics = []
    for nic in machine.nics:
        other = make_nic(nic.model, nic.mac, **nic.options)
        other.set_fields(nic.fields())
        set_fields(other.ports, PORT, fields(nic.ports, PORT))
        copy_ring(nic.tx, other.tx)
        copy_ring(nic.rx, other.rx)
        nics.append(other)
    return nics


def digest(machine: Machine, fields: Callable[..., Fields]) -> bytes:
    """What the cards add to a digest of the machine."""
    hashed = hashlib.blake2b(digest_size=32)
    for nic in machine.nics:
        port = fields(nic.ports, PORT)
        for values, left_out in ((nic.fields(), frozenset()), (port, PASSING | LEFT_OVER)):
            for name in sorted(set(values) - left_out):
                hashed.update(name.encode() + b"=" + values[name].tobytes())
        hashed.update(json.dumps([nic.model, nic.mac.hex(), nic.options]).encode())
        for ring in (nic.tx, nic.rx):
            hashed.update(json.dumps(ring_image(ring)).encode())
    return hashed.digest()
