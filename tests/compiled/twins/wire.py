"""Twins in ``tests/wire``."""

TWINS: dict[str, dict[str, str]] = {
    "tests/wire/test_checksum.py::test_pseudo_header": {
        "aero_lab.wire.checksum": "fold pseudo_sum_v4 pseudo_sum_v6",
    },
    "tests/wire/test_checksum.py::test_sums_of_pieces_add_up": {
        "aero_lab.wire.checksum": "checksum_kernel",
    },
}
