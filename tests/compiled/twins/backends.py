"""Twins in ``tests/backends``."""

TWINS: dict[str, dict[str, str]] = {
    "tests/backends/test_aipc.py::test_a_full_ring_drops_the_newest_or_waits": {
        "aero_lab.backends.aipc": "push_frames tally",
    },
    "tests/backends/test_aipc.py::test_any_sequence_is_the_plain_twins_byte_for_byte": {
        "aero_lab.backends.aipc": "next_record pop_frames push_record",
    },
    "tests/backends/test_aipc.py::test_frames_from_queue_to_queue": {
        "aero_lab.backends.aipc": "queue_frames",
    },
    "tests/backends/test_pump.py::test_frames_of_no_cards_size_take_budget_and_are_not_counted": {
        "aero_lab.backends.pump": "last_frames",
    },
}
