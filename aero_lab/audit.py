"""The audit: one structured record for each thing that somebody may have to answer for later.

===============  =======================================================================================
kind             one record for each
===============  =======================================================================================
session-open     tunnel that was let in
session-close    tunnel that ended: how long, how much, why
session-refused  upgrade that was turned away: which check said no
flow             flow that ended: addresses, bytes each way, reason
denied           thing that the policy forbade: a connection, a datagram, an echo, a name
quota            limit that was hit
drop             reason for which frames or messages were dropped since the last such record: how many
forward          inbound forward opened or closed
suppressed       gap: how many records of a source were not kept because they came too fast
===============  =======================================================================================

Payload is never recorded, nor is a credential. Memory is bounded (the oldest records go), and so is the rate of each
source, so that a guest cannot flood the log of its host.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .bounds import AUDIT_BURST, AUDIT_RATE, AUDIT_RECORDS
from .limits import SECOND

if TYPE_CHECKING:
    import pandas

KINDS = (
    "session-open",
    "session-close",
    "session-refused",
    "flow",
    "denied",
    "quota",
    "drop",
    "forward",
    "suppressed",
)
COLUMNS = (
    "time",
    "kind",
    "session",
    "protocol",
    "source",
    "target",
    "name",
    "reason",
    "count",
    "bytes_up",
    "bytes_down",
    "duration",
)
"""Columns that :meth:`Audit.frame` always has, in this order; further fields of records follow."""


class Audit:
    """A bounded list of records, and a line of JSON for each if somebody wants them.

    Parameters
    ----------
    write: given each record as one line of JSON, without its end of line. What it raises is counted, not passed on.
    epoch_ns: added to the ``now`` of a record, so that ``time`` is nanoseconds since 1970 (0 in virtual time).
    most: records that are remembered.
    """

    def __init__(self, write: Callable[[str], None] | None = None, epoch_ns: int = 0, most: int = AUDIT_RECORDS):
        self.records: deque[dict[str, Any]] = deque(maxlen=most)
        self.counts: Counter[str] = Counter()
        """Records by kind, the forgotten ones included."""
        self.epoch_ns = epoch_ns
        self._write = write

    def record(self, kind: str, now: int, **fields: Any) -> None:
        """Keep one record; fields that are None are left out."""
        if kind not in KINDS:
            raise ValueError(f"{kind!r} is no kind of record")
        entry = {"time": self.epoch_ns + now, "kind": kind}
        entry.update((name, value) for name, value in fields.items() if value is not None)
        self.records.append(entry)
        self.counts[kind] += 1
        if self._write is not None:
            try:
                self._write(json.dumps(entry, default=str, ensure_ascii=True))
            except (OSError, ValueError):  # a full disk or a closed pipe must not end anybody's connections
                self.counts["write-failed"] += 1

    def source(self, now: int, **fields: Any) -> Source:
        """Something that records with ``fields`` in each of its records, within a rate of its own."""
        return Source(self, now, fields)

    def rows(self) -> list[dict[str, Any]]:
        """The remembered records, oldest first."""
        return [dict(entry) for entry in self.records]

    def frame(self) -> pandas.DataFrame:
        """The same as a table: :data:`COLUMNS`, then whatever else records have. ``time`` is in nanoseconds."""
        import pandas

        rows = self.rows()
        more = dict.fromkeys(name for row in rows for name in row if name not in COLUMNS)
        table = pandas.DataFrame(rows, columns=[*COLUMNS, *more])
        for name in ("count", "bytes_up", "bytes_down", "duration"):
            table[name] = table[name].astype("Int64")
        return table

    def __len__(self) -> int:
        return len(self.records)

    def __repr__(self) -> str:
        return f"<Audit: {len(self.records)} records>"


class Source:
    """One source of records: a tunnel, the LAN behind it. Made by :meth:`Audit.source`."""

    def __init__(self, audit: Audit, now: int, fields: dict[str, Any]):
        self._audit, self._fields = audit, fields
        self._tokens, self._at = float(AUDIT_BURST), now
        self._suppressed = 0

    def record(self, kind: str, now: int, **fields: Any) -> bool:
        """Record, unless this source has said too much lately; False then."""
        self._tokens = min(AUDIT_BURST, self._tokens + (now - self._at) / SECOND * AUDIT_RATE)
        self._at = now
        if self._tokens < 1:
            self._suppressed += 1
            return False
        self._say_suppressed(now)
        self._tokens -= 1
        self._audit.record(kind, now, **{**self._fields, **fields})
        return True

    def close(self, now: int) -> None:
        """Tell how many records were left out, if any were."""
        self._say_suppressed(now)

    def _say_suppressed(self, now: int) -> None:
        if self._suppressed:
            number, self._suppressed = self._suppressed, 0
            self._audit.record("suppressed", now, **self._fields, count=number)


class Drops:
    """Turns drop counters into records: what was added since the last look, by reason."""

    def __init__(self, source: Source, every: int):
        self._source, self._every = source, every
        self._seen: dict[str, int] = {}
        self._next = 0

    def look(self, counters: Callable[[], dict[str, int]], now: int, at_once: bool = False) -> None:
        """Record what is new, if it is time. ``counters`` is called only then."""
        if now < self._next and not at_once:
            return
        self._next = now + self._every
        current = counters()
        for reason, total in current.items():
            new = total - self._seen.get(reason, 0)
            if new > 0:
                self._source.record("drop", now, reason=reason, count=new)
        self._seen = dict(current)
