"""The audit: records, their bounds, and what a LAN and a lab tell it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aero_lab import Lab
from aero_lab.audit import COLUMNS, KINDS, Audit, Drops
from aero_lab.bounds import AUDIT_BURST, AUDIT_RATE
from aero_lab.guests.scripted.tasks import TaskError
from aero_lab.limits import SECOND


def test_a_record_is_kept_counted_and_written_as_one_line_of_json():
    lines: list[str] = []
    audit = Audit(lines.append, epoch_ns=1000)
    audit.record("flow", 5, target="203.0.113.10:80", name="näme\n", reason=None)
    assert audit.rows() == [{"time": 1005, "kind": "flow", "target": "203.0.113.10:80", "name": "näme\n"}]
    assert audit.counts == {"flow": 1}
    assert [json.loads(line) for line in lines] == audit.rows()
    assert "\n" not in lines[0]


def test_a_kind_that_does_not_exist_is_a_defect_of_the_caller():
    with pytest.raises(ValueError, match="no kind"):
        Audit().record("payload", 0)


def test_a_writer_that_fails_ends_nothing():
    def full(line: str) -> None:
        raise OSError(28, "No space left on device")

    audit = Audit(full)
    audit.record("quota", 0)
    assert len(audit) == 1 and audit.counts["write-failed"] == 1


def test_the_oldest_records_go_first():
    audit = Audit(most=3)
    for i in range(5):
        audit.record("flow", i)
    assert [row["time"] for row in audit.rows()] == [2, 3, 4]
    assert audit.counts["flow"] == 5


@given(st.lists(st.integers(0, 2 * SECOND), min_size=1, max_size=30))
def test_a_source_never_exceeds_its_rate_and_every_record_is_accounted_for(gaps):
    audit = Audit(most=10**6)
    source = audit.source(0, session=7)
    now, offered = 0, 0
    for gap in gaps:
        now += gap
        for _ in range(AUDIT_BURST // 4):
            source.record("denied", now)
            offered += 1
    source.close(now)
    kept = audit.counts["denied"]
    assert kept <= AUDIT_BURST + AUDIT_RATE * now / SECOND + 1
    left_out = sum(row["count"] for row in audit.rows() if row["kind"] == "suppressed")
    assert kept + left_out == offered
    assert all(row["session"] == 7 for row in audit.rows())


def test_drops_are_told_as_differences_and_not_too_often():
    audit, counters = Audit(), {"stack.drop.short": 2}
    drops = Drops(audit.source(0), SECOND)
    drops.look(lambda: counters, 0)
    counters["stack.drop.short"] = 5
    drops.look(lambda: counters, SECOND - 1)
    assert [row["count"] for row in audit.rows()] == [2]
    drops.look(lambda: counters, SECOND)
    drops.look(lambda: counters, SECOND, at_once=True)
    assert [(row["reason"], row["count"]) for row in audit.rows()] == [("stack.drop.short", 2), ("stack.drop.short", 3)]


def test_an_empty_table_has_its_columns():
    assert tuple(Audit().frame().columns) == COLUMNS


def test_a_lab_tells_of_flows_denials_and_drops():
    def trespass(host):
        try:
            yield from host.connect("10.9.9.9", 80)
        except TaskError as error:
            return str(error)

    with Lab(virtual=True, capture=False, link="rtt=20ms") as lab:
        guest = lab.guest()
        guest.run("download", size="10KB")
        assert guest.do(trespass)
        guest._host.nic_tx.push(b"\xff" * 9, lab.now, 1)
        lab.advance(2)
        guest.run("ping", count=1)
        table = lab.audit
    assert set(table.kind) <= set(KINDS)
    flow = table[(table.kind == "flow") & (table.protocol == "tcp")].iloc[0]
    assert (flow["session"], flow["name"], flow["reason"]) == ("guest1", "files.lab", "closed")
    assert flow["target"] == "203.0.113.10:80" and flow["bytes_down"] > 10_000 and flow["duration"] >= 20_000_000
    denied = table[(table.kind == "denied") & (table.protocol == "tcp")].iloc[0]
    assert (denied["target"], denied["reason"]) == ("10.9.9.9:80", "denied-private")
    drop = table[table.kind == "drop"]
    assert list(drop["count"]) == [1] and drop["reason"].iloc[0].startswith("stack.drop.")
