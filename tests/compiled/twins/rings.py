"""Twins in ``tests/rings``."""

TWINS: dict[str, dict[str, str]] = {
    "tests/rings/test_frame_ring.py::TestRingsAgainstDeques::runTest": {
        "aero_lab.rings.frame_ring": "commit count descriptor find_room has_room move push release reserve",
    },
}
