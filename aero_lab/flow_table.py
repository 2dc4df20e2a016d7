"""The table of a lab's flows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .tables import html_table, text_table

if TYPE_CHECKING:
    import pandas

    from .lab import Lab


class Flows:
    """The live table of flows: every look at it is a fresh one."""

    COLUMNS = ("guest", "protocol", "direction", "from", "to", "name", "state", "up", "down", "reason")

    def __init__(self, lab: Lab):
        self._lab = lab

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary a flow, oldest first, guests in order; times in ns of the lab's clock."""

        def collect() -> list[dict[str, Any]]:
            return [{"guest_name": guest.name, **row} for guest in self._lab.guests for row in guest.lan.flows.rows()]

        return self._lab._engine.call(collect)

    def frame(self) -> pandas.DataFrame:
        """The same as a DataFrame."""
        import pandas

        return pandas.DataFrame(self.rows())

    def _cells(self) -> list[tuple[str, ...]]:
        return [
            (
                row["guest_name"],
                row["protocol"],
                row["direction"],
                row["guest"] if row["direction"] == "out" else row["outside"],
                row["target"] if row["direction"] == "out" else row["guest"],
                row["name"] or "",
                row["state"],
                f"{row['bytes_up']:,}",
                f"{row['bytes_down']:,}",
                row["reason"] or "",
            )
            for row in self.rows()
        ]

    def __len__(self) -> int:
        return len(self.rows())

    def __iter__(self) -> Any:
        return iter(self.rows())

    def _repr_html_(self) -> str:
        return html_table(self.COLUMNS, self._cells())

    def __repr__(self) -> str:
        return text_table(self.COLUMNS, self._cells(), right=(7, 8))
