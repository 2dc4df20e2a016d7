"""One run of a sweep, from its configuration to the row that is kept of it. Any process can make it: it is the same.

A row holds the configuration it was made of, what was measured, and the SHA-256 of the run's pcapng: two runs with one
configuration give one digest.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import AeroLabError
from ..cases import Case, run_virtual
from ..record import Run
from .grid import key_of

if TYPE_CHECKING:
    import pandas

Row = dict[str, Any]

INTEGERS = (
    "bytes", "frames_up", "frames_down", "messages_up", "messages_down", "tunnel_bytes_up", "tunnel_bytes_down",
    "wire_bytes_up", "wire_bytes_down", "retransmissions", "client_lines",
)  # fmt: skip
NUMBERS = (
    "seconds", "goodput_mbps", "connect_ms", "ttfb_ms", "rtt_ms", "overhead_ratio", "acks_per_data_segment",
    "messages_per_mb", "udp_delay_ms", "udp_jitter_ms", "udp_loss",
)  # fmt: skip
TAILS = {"p90_ms": "p90", "p99_ms": "p99"}
"""Tails of what the workload has many of: times of its requests, one-way delays of its datagrams."""
MEASURED = (
    *(each.name for each in fields(Run) if each.name in INTEGERS or each.name in NUMBERS or each.name == "digest_ok"),
    *TAILS,
)
"""What can be measured in virtual time, in the order of a run's fields."""
FAILED_RUN, FAILED_WORKER = "run", "worker"
"""Whose failure it was: the run's, which would fail again, or that of the process it was made in."""

_one_at_a_time = threading.Lock()


@cache
def program() -> str:
    """Digest of this package's source: rows of two programs do not belong in one table."""
    root = Path(__file__).resolve().parents[2]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def make_row(config: Mapping[str, Any], captures: str | None = None) -> Row:
    """Make a run and its row; whatever goes wrong in it is in the row.

    Parameters
    ----------
    config: of the run, see :func:`~.grid.config_of`.
    captures: folder for its pcapng.
    """
    key = key_of(config)
    try:
        # A worker of Dask's has several threads. They would take turns anyway, and a run is quick.
        with _one_at_a_time, _collected():
            run, digest = _run(config, key, captures)
    except AeroLabError as error:
        return failure(config, str(error))
    except Exception as error:  # a row, not the end of a sweep of thousands
        return failure(config, f"{type(error).__name__}: {error}")
    row = blank(config)
    row.update({name: getattr(run, name) for name in MEASURED if name not in TAILS})
    row.update(ok=bool(run.ok), error=run.error, capture_sha256=digest)
    details = run.extra.get("details") or {}
    row.update({name: (details.get("spread") or {}).get(tail) for name, tail in TAILS.items()})
    # Samples one by one would be most of a row; a run is soon made again.
    few = {name: value for name, value in details.items() if not isinstance(value, (list, tuple))}
    row["extra"] = json.dumps({**run.extra, "details": few}, sort_keys=True, default=str)
    if not run.ok:
        row["failed"] = FAILED_RUN
    return row


def _run(config: Mapping[str, Any], key: str, captures: str | None) -> tuple[Run, str | None]:
    run, capture = run_virtual(Case.from_dict(dict(config)))
    return run, _keep(capture, key, captures) if capture is not None else None


@contextlib.contextmanager
def _collected() -> Iterator[None]:
    """Let go of the bench that was used inside: it is large, and only cycles of its own hold it. What was there before
    (modules, kernels, a notebook's own) is not looked at: that would take longer than a small run."""
    before = gc.get_freeze_count()
    if not before:
        gc.freeze()
    try:
        yield
    finally:
        gc.collect()
        if not before:
            gc.unfreeze()


def blank(config: Mapping[str, Any]) -> Row:
    """A row with nothing measured."""
    return {
        "key": key_of(config),
        "config": json.dumps(config, sort_keys=True),
        "ok": False,
        "error": None,
        "failed": None,
        **dict.fromkeys(MEASURED),
        "capture_sha256": None,
        "extra": "{}",
    }


def failure(config: Mapping[str, Any], error: str, failed: str = FAILED_RUN) -> Row:
    """The row of a run of which nothing came."""
    return {**blank(config), "error": " ".join(error.split()), "failed": failed}


def _keep(capture: Any, key: str, folder: str | None) -> str:
    """Digest of the capture as pcapng, which goes into ``folder`` if there is one."""
    if folder is not None:
        path = capture.save(Path(folder) / f"{key}.pcapng")
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    with tempfile.TemporaryFile() as file:  # without a name: making and removing one takes longer than writing it
        capture.save(f"/dev/fd/{file.fileno()}")
        file.seek(0)
        return hashlib.file_digest(file, "sha256").hexdigest()


# Tables ---------------------------------------------------------------------------------------------------------------


def to_frame(rows: Sequence[Row], link_keys: Iterable[str] = ()) -> pandas.DataFrame:
    """One row a run: what was run, whether it succeeded, what was measured.

    ``link_keys``: parameters of the link that are columns even if no value differs from the default.
    """
    import pandas

    configs = [json.loads(row["config"]) for row in rows]
    columns: dict[str, list[Any]] = {}
    for name in ("option", "transport", "workload", "guest", "profile", "mtu", "ack_policy"):
        columns[name] = [config[name] for config in configs]
    columns["link"] = [_link_text(config["link"]) for config in configs]
    columns.update(_link_columns([config["link"] for config in configs], link_keys))
    for room, inside in (("workload", "parameters"), ("option", "settings"), ("transport", "transport_settings")):
        names = dict.fromkeys(name for config in configs for name in config[inside])
        for name in names:
            columns[f"{room}_{name}"] = [_plain(config[inside].get(name)) for config in configs]
    columns["seed"] = [config["seed"] for config in configs]
    columns["ok"] = [bool(row["ok"]) for row in rows]
    columns["error"] = [row["error"] for row in rows]
    frame = pandas.DataFrame(columns)
    for name in MEASURED:
        values = [row[name] for row in rows]
        kind = "Int64" if name in INTEGERS else "boolean" if name == "digest_ok" else "float64"
        frame[name] = pandas.array(values, dtype=kind) if kind != "float64" else pandas.Series(values, dtype=kind)
    frame["capture_sha256"] = [row["capture_sha256"] for row in rows]
    return frame


def _plain(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, (list, dict)) else value


def _link_text(link: dict[str, Any] | None) -> str | None:
    from ...link import Link

    return None if link is None else str(Link.from_dict(link))


def _link_columns(links: Sequence[dict[str, Any] | None], named: Iterable[str]) -> dict[str, list[Any]]:
    """A column for each parameter that matters, two where one is a pair (up, down)."""
    from ...link import Link
    from ...link.knobs import KNOBS

    default = Link().to_dict()
    wanted = {KNOBS[name].key for name in named if name in KNOBS}
    keys = dict.fromkeys([*default, *(key for link in links if link for key in link)])
    out: dict[str, list[Any]] = {}
    for key in keys:
        nothing = default.get(key)
        values = [nothing if link is None else link.get(key, nothing) for link in links]
        if key not in wanted and all(value == nothing for value in values):
            continue
        name, scale = _unit(key)
        if any(isinstance(value, list) and len(value) == 2 for value in values):
            pairs = [value if isinstance(value, list) else [value, value] for value in values]
            for side, way in enumerate(("up", "down")):
                out[f"link_{name}_{way}"] = [_scaled(pair[side], scale, name) for pair in pairs]
        else:
            out[f"link_{name}"] = [_scaled(value, scale, name) for value in values]
    return out


def _unit(key: str) -> tuple[str, float]:
    """A parameter's column, and what its numbers are divided by."""
    for ending, unit, scale in (("_ns", "_ms", 1e6), ("_bits_per_s", "_mbps", 1e6)):
        if key.endswith(ending):
            return key[: -len(ending)] + unit, scale
    return key, 0.0


def _scaled(value: Any, scale: float, name: str) -> Any:
    if value is None and name.endswith("_mbps"):
        return float("inf")  # no rate is no limit
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return _plain(value)
    return value / scale if scale else value
