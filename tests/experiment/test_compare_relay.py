"""Option A in runs of processes of their own: the figures of its flows, and bytes by cause that add up."""

from __future__ import annotations

import pytest

from aero_lab.experiment.compare import compare


@pytest.mark.parametrize("transport", ["memory", "websocket"])
def test_an_upload_by_option_a(transport, tmp_path):
    (run,) = compare("A", (transport,), ("upload",), size=400_000, progress=False, out=tmp_path).runs
    assert run.ok and run.digest_ok, run.error
    assert 400_000 < run.tunnel_bytes_up < 410_000 and 0 < run.tunnel_bytes_down < 4_000
    assert run.frames_up > 270 and run.messages_up < 60, "flows travel, not frames"
    assert 0.3 < run.acks_per_data_segment < 1.1 and run.retransmissions == 0
    assert run.rtt_ms is not None and run.client_cpu_us_per_mb and run.proxy_cpu_us_per_mb
    if transport == "websocket":
        spent = run.extra["causes"]
        assert sum(spent["up"].values()) == run.wire_bytes_up > run.tunnel_bytes_up
        assert spent["up"]["payload"] > 400_000 and spent["up"]["tunnel_framing"] > 0
