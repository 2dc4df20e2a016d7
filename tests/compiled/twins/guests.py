"""Twins in ``tests/guests``."""

TWINS: dict[str, dict[str, str]] = {
    "tests/guests/test_qemu_frames.py::test_giving_is_its_twin": {
        "aero_lab.guests.qemu.frames": "give_frames",
    },
    "tests/guests/test_qemu_frames.py::test_taking_is_its_twin": {
        "aero_lab.guests.qemu.frames": "take_frames",
    },
    "tests/guests/test_tap_kernels.py::test_reading_is_its_twin": {
        "aero_lab.guests.tap.frames": "read_frames",
    },
    "tests/guests/test_tap_kernels.py::test_writing_is_its_twin": {
        "aero_lab.guests.tap.frames": "write_frames",
    },
}
