"""The runbook agrees with the code."""

from __future__ import annotations

import re
from pathlib import Path

from aero_lab import bounds
from aero_lab.server.auth import MODES, choose_auth
from aero_lab.server.config import ServerConfig
from aero_lab.server.metrics import AUTH_COUNTER, COUNTERS, DROPS_COUNTER, GAUGES, RTT_HISTOGRAM
from aero_lab.server.routes import endpoints
from aero_lab.server.settings import variables

DOCS = Path(__file__).parents[2] / "docs"
RUNBOOK = (DOCS / "proxy.md").read_text()


def rows():
    """Variables of the table -> the cell beside them."""
    table = RUNBOOK[RUNBOOK.index("## Variables") : RUNBOOK.index("## Endpoints")]
    found = {}
    for line in table.splitlines():
        cells = line.split(" | ")
        for name in re.findall(r"`([A-Z][A-Z0-9_]+)`", cells[0]):
            found[name] = cells[1].strip() if len(cells) > 1 else ""
    return found


def test_every_variable_has_its_row_and_its_default():
    told = rows()
    for name, field in ServerConfig.model_fields.items():
        names = variables(field)
        assert names, name
        for variable in names:
            assert f"`{variable}`" in RUNBOOK, variable
        stated = told.get(names[0], "")
        if isinstance(field.default, int) and field.default and "," not in stated and stated:
            if name not in ("tokio_worker_threads", "tcp_send_buffer"):
                assert stated == str(field.default), names[0]
    known = {variable for field in ServerConfig.model_fields.values() for variable in variables(field)}
    assert set(told) <= known


def test_every_metric_is_named():
    text = re.sub(r"_\{([\w,]+)\}_", "_*_", RUNBOOK)
    for name in (*COUNTERS, *GAUGES, AUTH_COUNTER, DROPS_COUNTER, RTT_HISTOGRAM):
        grouped = re.sub(r"^l2_sessions_closed_\w+_total$", "l2_sessions_closed_*_total", name)
        grouped = re.sub(r"^l2_capture_\w+_total$", "l2_capture_*_total", grouped)
        if re.match(r"l2_upgrade_reject_\w+_total|l2_session_connection_denied_total", name):
            continue  # told as a group
        assert grouped in text, name


def test_endpoints_modes_and_bounds():
    for path in (path for each in endpoints() for path in each.paths):
        assert f"`{path}`" in RUNBOOK or f"GET {path}`" in RUNBOOK
    security = (DOCS / "security.md").read_text()
    for mode in MODES:
        assert f"`{mode}`" in security and choose_auth(mode, "t", None, False, "j").mode == MODES[mode]
    assert f"{bounds.HTTP_WAITING} at once" in RUNBOOK
    assert f"{bounds.HTTP_PATIENCE // 10**9} s, and" in RUNBOOK
    assert f"{bounds.SERVER_TOKEN_BYTES * 8} random bits" in security
    assert f"{bounds.AUDIT_RATE} records a second" in RUNBOOK
