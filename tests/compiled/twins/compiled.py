"""Twins in ``tests/compiled``."""

TWINS: dict[str, dict[str, str]] = {
    "tests/compiled/test_memory.py::test_checksum": {
        "aero_lab.compiled.memory": "ones_complement_sum",
    },
}
