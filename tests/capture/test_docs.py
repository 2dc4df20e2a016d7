"""``docs/columns.md`` says of columns what the schema says; ``python -m tests.capture.test_docs`` writes its table."""

from pathlib import Path

import pytest

from aero_lab.capture import schema as s
from aero_lab.causes import Cause

PAGE = Path(__file__).parents[2] / "docs" / "columns.md"
BEGIN, END = "<!-- columns -->\n", "<!-- end of columns -->\n"


def table() -> str:
    """The table of columns in Markdown."""
    lines = ["| Column | Type | Unit | tshark | Meaning | Formula | No value |", "|---|---|---|---|---|---|---|"]
    for column in s.COLUMNS:
        wireshark = f"`{column.wireshark}`" if column.wireshark else "–"
        null = "" if column.has == s.ALWAYS else ", null"
        cells = [f"`{column.name}`", column.dtype + null, column.unit or "–", wireshark, column.meaning]
        lines.append("| " + " | ".join([*cells, column.formula or "–", column.null or "–"]) + " |")
    return "\n".join(lines) + "\n"


@pytest.mark.skipif(not PAGE.exists(), reason="the documentation is not beside these tests")
def test_the_page_has_the_table_of_the_schema_and_every_cause():
    text = PAGE.read_text(encoding="utf-8")
    assert table() in text
    for cause in Cause:
        assert f"`{cause.name.lower()}`" in text


if __name__ == "__main__":
    page = PAGE.read_text(encoding="utf-8")
    head, rest = page.split(BEGIN)
    PAGE.write_text(head + BEGIN + "\n" + table() + "\n" + END + rest.split(END)[1], encoding="utf-8")
