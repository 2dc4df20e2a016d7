"""The card as one plugs it in: which interface, which features."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from ...errors import UsageError
from ..base import Nic
from ..function import Bar, Capability, Function, msix_capability
from ..limits import FRAME_MOST, JUMBO_MOST, QUEUE_MOST, SEGMENTS_MOST
from ..virtqueue import QUEUE, REASONS
from . import registers as r
from . import state as s
from .serve import virtio_net_serve

BEST = frozenset(
    {
        s.VERSION_1, s.RING_INDIRECT_DESC, s.RING_EVENT_IDX, s.MAC, s.STATUS, s.MRG_RXBUF, s.CSUM, s.GUEST_CSUM,
        s.HOST_TSO4, s.HOST_TSO6, s.HOST_ECN, s.CTRL_VQ, s.CTRL_RX, s.CTRL_VLAN, s.CTRL_RX_EXTRA, s.GUEST_ANNOUNCE,
        s.CTRL_MAC_ADDR,
    }
)  # fmt: skip
"""What the device offers unless told otherwise: all that it can do."""
CONTRACT = frozenset({s.VERSION_1, s.RING_INDIRECT_DESC, s.MAC, s.STATUS})
"""What contract AERO-W7-VIRTIO 1.0 offers."""
CONTRACTS = {"1.2": BEST, "w7": CONTRACT}
MTU_LEAST, MTU_MOST = 68, FRAME_MOST - 22
"""RFC 791; and a frame of the longest kind without its header and two tags."""

_BYTE, _SHORT, _WORD, _ANY = 0xFF, 0xFFFF, 0xFFFFFFFF, (1 << 63) - 1
BOUNDS = {
    "mac": (1 << 48) - 1, "mac_at_reset": (1 << 48) - 1, "mtu": _SHORT, "strict": 1, "legacy_bar": 5, "modern_bar": 5,
    "offered_low": _WORD, "offered_high": _WORD, "feature_select": _WORD, "driver_select": _WORD,
    "features_low": _WORD, "features_high": _WORD, "status": _BYTE, "legacy": 1, "isr": 3, "config_vector": _SHORT,
    "generation": _BYTE, "queue_select": _SHORT, "config_status": 3, "filtered": 3, "segment": SEGMENTS_MOST,
    "frame_most": JUMBO_MOST,
    "broken": 1, "reason": len(REASONS) - 1, "unicast_count": s.MACS, "multicast_count": s.MACS,
    "unicast": (1 << 48) - 1, "multicast": (1 << 48) - 1, "vlans": _WORD, "vectors": _WORD, "pending": 1,
    "queue.entries": _SHORT, "queue.enabled": 1, "queue.vector": _SHORT, "queue.next_avail": _SHORT,
    "queue.next_used": _SHORT, "queue.signalled": _SHORT, "queue.broken": len(REASONS) - 1,
    "queue.held_first": QUEUE_MOST - 1, "queue.held_count": QUEUE_MOST, "queue.held": QUEUE_MOST - 1,
}  # fmt: skip
"""The largest value of a register; none is negative but addresses beyond 2**63 and the place of a window not there."""
SIGNED = {"queue.desc", "queue.avail", "queue.used", "legacy_bar"}

PARTS = ((1, r.COMMON, 0x100), (2, r.NOTIFY, 0x100), (3, r.ISR, 0x20), (4, r.DEVICE, 0x100))
"""Vendor capabilities: type, offset, length (4.1.4)."""


def capabilities(bar: int, msix: bool) -> tuple[Capability, ...]:
    """The list of capabilities, with everything in one window."""
    out = []
    for kind, at, length in PARTS:
        more = r.NOTIFY_MULTIPLIER.to_bytes(4, "little") if kind == 2 else b""
        head = bytes((0x09, 0, 16 + len(more), kind, bar, 0, 0, 0))
        out.append(Capability(head + at.to_bytes(4, "little") + length.to_bytes(4, "little") + more))
    if msix:
        out.append(msix_capability(s.VECTORS, bar, r.TABLE, bar, r.PENDING))
    return tuple(out)


class VirtioNet(Nic):
    """A virtio network device.

    Parameters
    ----------
    mac: its address, as text or six bytes.
    transitional: speak the legacy interface (a window of ports, device 1000h) besides the modern one.
    contract: ``"1.2"`` offers all that the device can do; ``"w7"`` what AERO-W7-VIRTIO 1.0 has and nothing more, with
        its header of 10 bytes in front of each packet. Drivers that go by the standard, Linux's among them, use 12 in
        version 1 of the interface and cannot work with that.
    mtu: largest packet that the guest may send, told to its driver; ``None`` tells nothing.
    without: names of features that are not offered, of those of the standard: ``("MRG_RXBUF", "RING_EVENT_IDX")``.
    msix: have the capability MSI-X. A machine without a local APIC cannot take its messages as interrupts; Linux tries,
        unless told ``pci=nomsi``, complains in its log, and goes on with INTx.
    """

    model = "virtio-net"
    dtype = s.VIRTIO_NET
    serve = virtio_net_serve

    def __init__(
        self,
        mac: str | bytes = "52:54:00:12:34:56",
        *,
        transitional: bool = False,
        contract: str = "1.2",
        mtu: int | None = None,
        without: Collection[str] = (),
        msix: bool = False,
    ):
        if contract not in CONTRACTS:
            raise UsageError(f"no contract {contract!r}; there are {', '.join(map(repr, CONTRACTS))}")
        if mtu is not None and not MTU_LEAST <= mtu <= MTU_MOST:
            raise UsageError(f"an MTU is {MTU_LEAST} to {MTU_MOST}, not {mtu}")
        bits = {name: bit for bit, name in s.FEATURE_NAMES.items()}
        for name in without:
            if name not in bits:
                raise UsageError(f"no virtio feature {name!r}; there are {', '.join(sorted(bits))}")
        self.transitional, self.contract, self.mtu = transitional, contract, mtu
        self._without, self._msix = tuple(sorted(without)), msix
        offered = set(CONTRACTS[contract])
        if transitional:
            offered.add(s.ANY_LAYOUT)
        if mtu is not None:
            offered.add(s.MTU)
        offered -= {bits[name] for name in without}
        for bit, needed in s.NEEDS.items():  # in order: what others need comes behind none of them but these
            if needed and not offered & set(needed):
                offered.discard(bit)
        for bit in (s.GUEST_ECN, s.HOST_ECN):
            if not offered & set(s.NEEDS[bit]):
                offered.discard(bit)
        if s.VERSION_1 not in offered and not transitional:
            raise UsageError("a device without VERSION_1 has the legacy interface alone: it must be transitional")
        self.offered = frozenset(offered)
        """The features offered, by their bits."""
        window = Bar(0x4000, "memory64")
        self._legacy_bar, self._modern_bar = -1, 0
        bars: tuple[Bar | None, ...] = (window,)
        if transitional and contract == "w7":
            self._legacy_bar, bars = 2, (window, Bar(0x100, "io"))
        elif transitional:  # where legacy drivers look for it (4.1.4.8)
            self._legacy_bar, self._modern_bar, bars = 0, 4, (Bar(0x100, "io"), None, None, None, window)
        self.function = Function(
            vendor=s.VENDOR,
            product=s.TRANSITIONAL if transitional else s.MODERN,
            class_code=0x020000,
            slot=8,
            subsystem=(s.VENDOR, 1),
            revision=0 if transitional else 1,
            bars=bars,
            pin=1,
            capabilities=capabilities(self._modern_bar, msix),
        )
        super().__init__(mac)

    @property
    def options(self) -> dict[str, Any]:
        return {
            "transitional": self.transitional, "contract": self.contract, "mtu": self.mtu,
            "without": list(self._without), "msix": self._msix,
        }  # fmt: skip

    def setup(self, state: Any) -> None:
        state.mac = state.mac_at_reset = int.from_bytes(self.mac, "big")
        state.mtu = self.mtu or 0
        state.frame_most = FRAME_MOST
        state.strict = int(self.contract == "w7")
        state.legacy_bar, state.modern_bar = self._legacy_bar, self._modern_bar
        mask = sum(1 << bit for bit in self.offered)
        state.offered_low, state.offered_high = mask & 0xFFFFFFFF, mask >> 32

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features that the driver accepted."""
        accepted = int(self.state.features_low) | int(self.state.features_high) << 32
        return tuple(name for bit, name in sorted(s.FEATURE_NAMES.items()) if accepted >> bit & 1)

    @property
    def counters(self) -> dict[str, int]:
        state = self.state
        return {name: int(getattr(state, name)) for name in s.COUNTERS.split()} | {"bad_dma": int(self.port.bad_dma)}

    @property
    def registers(self) -> dict[str, int]:
        state = self.state
        out = {
            "device_feature": int(state.offered_low) | int(state.offered_high) << 32,
            "driver_feature": int(state.features_low) | int(state.features_high) << 32,
            "msix_config": int(state.config_vector),
            "num_queues": 3 if s.CTRL_VQ in self.offered else 2,
            "device_status": int(state.status),
            "config_generation": int(state.generation),
            "queue_select": int(state.queue_select),
            "ISR": int(state.isr),
            "status": int(state.config_status),
        }
        for i, name in enumerate(("rx", "tx", "control")):
            q = self._queue(i)
            out |= {
                f"{name}.queue_size": int(q.entries),
                f"{name}.queue_msix_vector": int(q.vector),
                f"{name}.queue_enable": int(q.enabled),
                f"{name}.queue_desc": int(q.desc),
                f"{name}.queue_driver": int(q.avail),
                f"{name}.queue_device": int(q.used),
            }
        return out

    def _queue(self, i: int) -> Any:
        return self.state.queue[i]

    def fields(self) -> dict[str, np.ndarray]:
        out = {}
        for name in self.dtype.names or ():
            if name == "queue":
                for part in QUEUE.names or ():
                    values = [getattr(self._queue(i), part) for i in range(s.QUEUES)]
                    out[f"queue.{part}"] = np.array(values, np.int64)
            elif name != "chain":  # which is walked anew whenever it is needed
                out[name] = np.array(getattr(self.state, name), np.int64)
        return out

    def set_fields(self, values: dict[str, np.ndarray]) -> None:
        own = {"offered_low", "offered_high", "strict", "legacy_bar", "modern_bar", "mtu"}
        if any(int(values[name]) != int(getattr(self.state, name)) for name in own):
            raise UsageError("the snapshot's virtio-net was made with other options")
        state = self.state
        for name, value in values.items():
            queue, _, part = name.rpartition(".")
            if queue:
                for i in range(s.QUEUES):
                    setattr(self._queue(i), part, value[i].tolist())
            else:
                setattr(state, name, value.tolist())

    @classmethod
    def check(cls, values: dict[str, np.ndarray]) -> None:
        for name, value in values.items():
            least = -1 if name == "legacy_bar" else 0
            if name not in SIGNED and np.any((value < least) | (value > BOUNDS.get(name, _ANY))):
                raise UsageError(f"a virtio-net has no {name} of {value.tolist()}")
        for i in range(s.QUEUES):
            if values["queue.enabled"][i] and not cls._placed(values, i):
                raise UsageError("a virtio-net's queue is enabled where none can be")

    @staticmethod
    def _placed(values: dict[str, np.ndarray], i: int) -> bool:
        size, desc, avail, used = (int(values[f"queue.{name}"][i]) for name in ("entries", "desc", "avail", "used"))
        sound = 1 <= size <= QUEUE_MOST and size & (size - 1) == 0
        return sound and desc & 15 == 0 and avail & 1 == 0 and used & 3 == 0

    @property
    def trouble(self) -> str:
        """Why the device stopped and wants a reset; empty while nothing is broken."""
        return REASONS[int(self.state.reason)] if self.state.broken else ""
