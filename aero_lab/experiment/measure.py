"""From two looks at the counters, and the capture in between, to the figures of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .record import Run

if TYPE_CHECKING:
    import pandas

RESULT_FIELDS = (
    "ok",
    "error",
    "bytes",
    "digest_ok",
    "seconds",
    "goodput_mbps",
    "connect_ms",
    "ttfb_ms",
    "rtt_ms",
    "udp_delay_ms",
    "udp_jitter_ms",
    "udp_loss",
)
"""Fields of a run that the workload itself measures."""

REQUESTS = ("rr",)
"""Workloads whose round trips are those of requests."""
TUNNEL_FIELDS = {
    "frames_up": "frames_wrapped",
    "frames_down": "frames_unwrapped",
    "messages_up": "messages_sent",
    "messages_down": "messages_received",
    "tunnel_bytes_up": "bytes_sent",
    "tunnel_bytes_down": "bytes_received",
}
"""Fields of a run that are differences of the client half's counters."""

COLUMNS = ("direction", "point", "frame_time", "frame_len", "message_len", "cause", "tcp_seq", "tcp_len")
"""Columns of a capture that are looked at here."""


def take_result(run: Run, result: dict[str, Any]) -> None:
    """What the workload measured."""
    for name in RESULT_FIELDS:
        setattr(run, name, result.get(name))
    if run.workload in REQUESTS:
        run.request_ms = run.rtt_ms
    run.extra["details"] = result.get("details") or {}


def take_tunnel(run: Run, before: dict[str, int], after: dict[str, int]) -> None:
    """What went through the tunnel while the workload ran."""
    for name, counter in TUNNEL_FIELDS.items():
        if counter in after:
            setattr(run, name, after[counter] - before.get(counter, 0))
    if run.bytes and run.messages_up is not None and run.messages_down is not None:
        run.messages_per_mb = (run.messages_up + run.messages_down) * 1e6 / run.bytes


def take_frames(run: Run, frames: pandas.DataFrame, since: int, beyond: str = "tunnel") -> None:
    """ACKs and retransmissions, from the frames seen at or after ``since`` (frame time, ns).

    Each direction is looked at where it enters the path (what the guest sends at its NIC, what its peer sends at
    ``beyond``: the tunnel, or the NIC where the stack that speaks to it is before the tunnel), so that a link in
    between does not hide what it lost.
    """
    # A mask and then what it keeps, column by column: cutting rows out of a wide table takes far longer.
    point, direction, cause = frames["point"], frames["direction"], frames["cause"]
    sent: Any = ((point == "nic") & (direction == "tx")) | ((point == beyond) & (direction == "rx"))
    sent = (sent & (frames["frame_time"] >= since) & frames["tcp_seq"].notna()).to_numpy(bool)
    if not sent.any():
        return
    length: Any = frames["tcp_len"]
    data = int((length.to_numpy(np.int64, na_value=0)[sent] > 0).sum())
    run.retransmissions = int((cause == "retransmission").to_numpy(bool)[sent].sum())
    if data:
        run.acks_per_data_segment = int((cause == "ack").to_numpy(bool)[sent].sum()) / data


def take_cpu(run: Run, client_seconds: float, proxy_seconds: float) -> None:
    """CPU time of the two processes per 10^6 application bytes; nothing where no bytes were carried."""
    if run.bytes:
        run.client_cpu_us_per_mb = client_seconds * 1e12 / run.bytes
        run.proxy_cpu_us_per_mb = proxy_seconds * 1e12 / run.bytes


def take_rtt(run: Run, times: list[float]) -> None:
    """Median of the tunnel's own round-trip times, unless the workload measured one."""
    run.extra["tunnel_rtt_ms"] = times
    if run.rtt_ms is None and times:
        run.rtt_ms = sorted(times)[len(times) // 2]


def take_wire(run: Run, before: Sequence[int] | None, after: Sequence[int] | None, frames: pandas.DataFrame) -> None:
    """IP bytes of the tunnel's connection while the workload ran, and what they were spent for.

    ``before`` and ``after`` are :class:`~aero_lab.transports.tcp_info.WireCount` of the client's end; ``frames`` those
    recorded in between. By cause the bytes add up to those on the wire, exactly: what the tunnel's messages do not
    account for is the cost of the transport, its headers, masks and acknowledgements. Where there is no wire to count
    at they are those of the tunnel's messages.
    """
    from ..analysis.bandwidth import bytes_by_cause

    if before is not None and after is not None:
        run.wire_bytes_up, run.wire_bytes_down = after[0] - before[0], after[1] - before[1]
        if run.bytes:
            run.overhead_ratio = (run.wire_bytes_up + run.wire_bytes_down) / run.bytes
        run.extra["wire_segments_up"], run.extra["wire_segments_down"] = after[2] - before[2], after[3] - before[3]
    inside: Any = frames["point"] == "tunnel"
    narrow = frames[["frame_len", "message_len", "cause"]]
    spent: dict[str, dict[str, int]] = {}
    for name, direction, total in (("up", "tx", run.wire_bytes_up), ("down", "rx", run.wire_bytes_down)):
        rows: Any = narrow[inside & (frames["direction"] == direction)]
        bytes_of = bytes_by_cause(rows)
        spent[name] = bytes_of
        if total is None:  # there is no wire: what the messages held is all there is
            continue
        spent[name]["transport_overhead"] = total - sum(bytes_of.values())
        assert sum(spent[name].values()) == total, "the causes do not add up to the bytes on the wire"
    run.extra["causes"] = spent
