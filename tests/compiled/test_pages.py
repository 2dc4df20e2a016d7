"""Tables of untouched pages, and giving pages back."""

import mmap

import numpy as np
import pytest

from aero_lab.compiled.pages import LEAST, give_back, pages
from aero_lab.compiled.records import cells, new_records, words_of

ROW = np.dtype([("first", np.int64), ("list", np.int64, 3), ("last", np.int64)], align=True)


@pytest.mark.parametrize("size", [1, 4096, LEAST, LEAST + 12345])
def test_zeroed_and_writable(size):
    memory = pages(size)
    dense = pages(size, dense=True)
    assert len(memory) == len(dense) == size and not memory.any() and not dense.any() and memory.dtype == np.uint8
    memory[:] = dense[:] = 7
    assert memory.all() and dense.all()


def test_whole_pages_between_the_offsets_are_given_back():
    memory = pages(2 * LEAST)
    memory[:] = 7
    page = mmap.PAGESIZE
    give_back(memory, page + 1, 5 * page - 1)
    kept = 7 if not hasattr(mmap, "MADV_DONTNEED") else 0
    assert memory[: 2 * page].all() and memory[4 * page :].all()
    assert set(memory[2 * page : 4 * page].tolist()) == {kept}
    give_back(memory, 10, 20)
    give_back(memory[page:], 0, page)
    give_back(np.zeros(4 * page, np.uint8), 0, 4 * page)
    assert memory[:page].all(), "less than a page, or memory of another kind: nothing happens"


def test_cells_share_the_records():
    rows = new_records(ROW, 3)
    flat, at, size = cells(rows), words_of(ROW), ROW.itemsize >> 3
    assert at == {"first": 0, "list": 1, "last": 4} and size == 5
    flat[size + at["last"]] = -5
    flat[2 * size] = 1 << 62
    read = [rows[1].last, rows[2].first] if not isinstance(rows, np.ndarray) else [rows[1]["last"], rows[2]["first"]]
    assert read == [-5, 1 << 62] == [flat[size + at["last"]], flat[2 * size]]
