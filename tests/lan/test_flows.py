"""The flow table."""

from __future__ import annotations

from aero_lab.lan.flows import FlowTable, endpoint_text
from aero_lab.wire.address import ip

GUEST, TARGET = (ip("10.0.2.15"), 1000), (ip("8.8.8.8"), 53)


def test_numbers_are_unique_and_rows_in_order():
    table = FlowTable()
    records = [table.open("tcp", GUEST, TARGET, TARGET, now) for now in range(5)]
    table.end(records[3], "closed", 10)
    table.end(records[0], "refused", 11)
    table.end(records[0], "again", 12)
    assert [row["flow"] for row in table.rows()] == [1, 2, 3, 4, 5]
    assert table.rows()[0]["reason"] == "refused" and table.rows()[0]["ended_at"] == 11
    assert table.reasons == {"closed": 1, "refused": 1}
    assert len(table.live) == 3 and len(table) == 5


def test_memory_of_ended_flows_is_bounded():
    table = FlowTable(most_ended=3)
    for now in range(10):
        table.end(table.open("udp", GUEST, TARGET, TARGET, now), "idle", now)
    assert [row["flow"] for row in table.rows()] == [8, 9, 10]
    assert table.reasons == {"idle": 10}


def test_texts():
    assert endpoint_text(GUEST) == "10.0.2.15:1000"
    assert endpoint_text((ip("fd00::1"), 80)) == "[fd00::1]:80"
    row = FlowTable().open("tcp", GUEST, TARGET, (ip("127.0.0.1"), 9), 5, "files.lab").row()
    assert (row["guest"], row["outside"], row["name"], row["state"]) == (
        "10.0.2.15:1000",
        "127.0.0.1:9",
        "files.lab",
        "opening",
    )
