"""Records that kernels and Python share, in both modes."""

import numpy as np

from aero_lab.compiled.records import new_records, to_array
from aero_lab.compiled.registry import I64, PLAIN, kernel, record_type, records_type

PAIR = np.dtype([("left", np.int64), ("right", np.int64)])
ROW = np.dtype([("number", np.int64), ("share", np.float64), ("list", np.int64, 4), ("pairs", PAIR, 2)], align=True)


@kernel(I64(record_type(ROW), I64))
def fill(row, value):
    row.number = value
    row.share = 0.5
    row.list[3] = value + 1
    row.pairs[1].right = value + 2
    return row.list[3]


@kernel(I64(records_type(ROW), I64, I64))
def fill_at(rows, index, value):
    return fill(rows[index], value)


def test_both_modes_hold_the_same():
    rows = new_records(ROW, 3)
    assert len(rows) == 3
    assert fill_at(rows, 1, 40) == 41
    table = to_array(rows, ROW) if not PLAIN else None
    row = rows[1]
    if PLAIN:
        assert (row.number, row.share, row.list, row.pairs[1].right) == (40, 0.5, [0, 0, 0, 41], 42)
    else:
        assert table[1]["number"] == 40 and table[1]["list"].tolist() == [0, 0, 0, 41]
        assert table[1]["pairs"][1]["right"] == 42 and table[0]["number"] == 0


def test_a_table_of_plain_fields_in_both_modes():
    rows = new_records(PAIR, 2)
    rows[1] = rows[1]
    table = to_array(rows, PAIR)
    assert table.dtype == PAIR and table.tolist() == [(0, 0), (0, 0)]
