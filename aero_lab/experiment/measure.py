"""From two looks at the counters, and the capture in between, to the figures of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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

TUNNEL_FIELDS = {
    "frames_up": "frames_wrapped",
    "frames_down": "frames_unwrapped",
    "messages_up": "messages_sent",
    "messages_down": "messages_received",
    "tunnel_bytes_up": "bytes_sent",
    "tunnel_bytes_down": "bytes_received",
}
"""Fields of a run that are differences of the client half's counters."""


def take_result(run: Run, result: dict[str, Any]) -> None:
    """What the workload measured."""
    for name in RESULT_FIELDS:
        setattr(run, name, result.get(name))
    run.extra["details"] = result.get("details") or {}


def take_tunnel(run: Run, before: dict[str, int], after: dict[str, int]) -> None:
    """What went through the tunnel while the workload ran."""
    for name, counter in TUNNEL_FIELDS.items():
        if counter in after:
            setattr(run, name, after[counter] - before.get(counter, 0))


def take_frames(run: Run, frames: pandas.DataFrame, since: int) -> None:
    """ACKs and retransmissions, from the frames seen at or after ``since`` (frame time, ns).

    Each direction is looked at where it enters the path (what the guest sends at its NIC, what the proxy sends at the
    tunnel), so that a link in between does not hide what it lost.
    """
    sent = frames[
        ((frames["point"] == "nic") & (frames["direction"] == "tx"))
        | ((frames["point"] == "tunnel") & (frames["direction"] == "rx"))
    ]
    sent = sent[(sent["frame_time"] >= since) & sent["tcp_seq"].notna()]
    if not len(sent):
        return
    data = len(sent[sent["tcp_len"] > 0])
    run.retransmissions = len(sent[sent["cause"] == "retransmission"])
    if data:
        run.acks_per_data_segment = len(sent[sent["cause"] == "ack"]) / data


def take_cpu(run: Run, client_seconds: float, proxy_seconds: float) -> None:
    """CPU time of the two processes per 10^6 application bytes; nothing where no bytes were carried."""
    if run.bytes:
        run.client_cpu_us_per_mb = client_seconds * 1e12 / run.bytes
        run.proxy_cpu_us_per_mb = proxy_seconds * 1e12 / run.bytes
