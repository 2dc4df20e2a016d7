"""``compare`` with a real kernel as the guest: the same workloads, the same columns."""

from __future__ import annotations

import pytest

from aero_lab.errors import UsageError
from aero_lab.experiment.compare import compare

from ..guests.tap import needs_tap  # noqa: F401


@pytest.mark.root
@pytest.mark.usefixtures("needs_tap")
@pytest.mark.parametrize("transport", ["memory", "websocket"])
def test_a_real_kernel_fills_the_same_row(transport):
    table = compare(transports=[transport], workloads=["download"], size="2MB", guest="tap", progress=False)
    (run,) = table.runs
    assert (run.ok, run.error, run.guest, run.bytes, run.digest_ok) == (True, None, "tap", 2_000_000, True)
    assert run.frames_down > 1000 and run.acks_per_data_segment > 0 and run.goodput_mbps > 0 and run.connect_ms > 0
    assert run.client_cpu_us_per_mb > 0 and run.proxy_cpu_us_per_mb > 0


def test_what_a_real_kernel_cannot_do_is_one_line():
    with pytest.raises(UsageError, match="guest must be one of scripted, tap, linux, qemu"):
        compare(guest="cray", progress=False)
    with pytest.raises(UsageError, match="real time"):
        compare(guest="tap", virtual=True, progress=False)


@pytest.mark.usefixtures("needs_tap")
def test_a_workload_that_only_scripted_guests_have():
    with pytest.raises(UsageError, match="workload must be one of download"):
        compare(guest="tap", workloads=["ntp"], progress=False)
