"""Twins in ``tests/transports``."""

TWINS: dict[str, dict[str, str]] = {
    "tests/transports/test_simulated_stream.py::test_identities_that_were_forgotten_are_none": {
        "aero_lab.transports.simulated_stream": "next_identity note_identity",
    },
    "tests/transports/test_simulated_stream.py::test_what_is_packed_is_what_the_rfcs_say": {
        "aero_lab.transports.simulated_stream": "close_record header_size pack put_header",
    },
    "tests/transports/test_simulated_stream.py::test_whatever_the_pieces_the_messages_come_out": {
        "aero_lab.transports.simulated_stream": "slide take_messages unpack",
    },
    "tests/transports/test_memory.py::test_a_full_transport_takes_less_and_says_when_there_is_room": {
        "aero_lab.transports.memory": "unstall",
    },
    "tests/transports/test_memory.py::test_messages_arrive_in_order_with_all_they_carry": {
        "aero_lab.transports.memory": "post",
    },
}
