"""Simulated connections in forks and files: a copy that is left alone goes on as the original does."""

from __future__ import annotations

import pytest

import aero_lab as al


@pytest.mark.parametrize("transport", ["websocket", "webrtc", "webrtc-lossy"])
def test_a_copy_does_the_same(transport, tmp_path):
    with al.Lab(virtual=True, transport=transport, link="rtt=40ms, loss=2%", progress=False) as lab:
        guest = lab.guest()
        guest.wait_online()
        download = guest.start("download", size="200KB")
        lab.advance(0.5)
        with lab.fork() as other:
            ours, theirs = download.wait(60), other.guests[0].pending[0].wait(60)
            assert ours.digest_ok and ours == theirs and guest.wire == other.guests[0].wire
            one, two = (bench.capture.save(tmp_path / f"{n}.pcapng") for n, bench in enumerate((lab, other)))
            assert one.read_bytes() == two.read_bytes()
        lab.advance(1)
        lab.save(tmp_path / "bench")
        with al.Lab.load(tmp_path / "bench", progress=False) as later:
            ours, theirs = (each.run("download", size="50KB", timeout=60) for each in (guest, later.guests[0]))
            assert ours.digest_ok and ours == theirs and guest.wire == later.guests[0].wire
