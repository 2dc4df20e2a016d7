"""Twins in ``tests/lan``."""

TWINS: dict[str, dict[str, str]] = {
    "tests/lan/test_strip.py::test_frames_are_parted_as_a_plain_reading_parts_them": {
        "aero_lab.lan.strip": "_count answered_here find learn packet_size sort strip",
    },
    "tests/lan/test_strip.py::test_more_addresses_than_are_remembered_push_out_the_oldest": {
        "aero_lab.lan.strip": "note",
    },
    "tests/lan/test_strip.py::test_packets_get_the_header_of_the_neighbour_who_is_meant": {
        "aero_lab.lan.strip": "wrap",
    },
}
