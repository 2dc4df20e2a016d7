"""Twins in ``tests/capture``."""

TWINS: dict[str, dict[str, str]] = {
    "tests/capture/test_causes.py::test_against_a_byte_by_byte_oracle": {
        "aero_lab.capture.causes": "_advance _data _fill _half later",
    },
    "tests/capture/test_causes.py::test_causes_that_one_frame_tells": {
        "aero_lab.capture.causes": "_plain_cause",
    },
    "tests/capture/test_columns.py::test_every_kind_of_frame_agrees_with_the_twin": {
        "aero_lab.capture.columns": "_dhcp_type _frame _ip _network _tcp_options _transport dissect",
        "aero_lab.capture.segment": "describe record room",
        "aero_lab.capture.spread": "_codes _flag _missing spread",
        "aero_lab.capture.tables": "_take find_slot has_space intern",
    },
    "tests/capture/test_columns.py::test_guests_with_one_address_have_flows_of_their_own": {
        "aero_lab.capture.causes": "_segment classify",
    },
    "tests/capture/test_columns.py::test_many_names_make_the_table_grow": {
        "aero_lab.capture.causes": "_connection",
        "aero_lab.capture.columns": "_flow",
        "aero_lab.capture.tables": "rehash",
    },
    "tests/capture/test_files.py::test_classic_pcap": {
        "aero_lab.capture.pcap_scan": "scan_pcap",
    },
    "tests/capture/test_files.py::test_what_is_written_comes_back": {
        "aero_lab.capture.pcap_scan": "_put_row _u16 _u32 nanoseconds scan_pcapng",
        "aero_lab.capture.pcapng": "_packet_size _put_decimal packets_size put_packets",
    },
    "tests/capture/test_formats.py::test_options_interfaces_and_comments_survive_reading_and_writing": {
        "aero_lab.capture.pcapng": "_options",
    },
    "tests/capture/test_formats.py::test_packets_of_other_link_layers_have_their_columns": {
        "aero_lab.capture.columns": "_other_link",
    },
    "tests/capture/test_formats.py::test_pcap_records_are_as_written_down": {
        "aero_lab.capture.pcapng": "put_records",
    },
    "tests/capture/test_groups.py::test_frames_are_known_again_for_a_while": {
        "aero_lab.capture.causes": "_again _identity _recognised move_identities",
    },
    "tests/capture/test_recorder.py::test_any_tap_against_a_list": {
        "aero_lab.capture.segment": "tap",
    },
    "tests/capture/test_recorder.py::test_at_the_tunnel_the_frame_inside_the_message_is_kept": {
        "aero_lab.capture.segment": "message_kind",
    },
    "tests/capture/test_recorder.py::test_messages_that_hold_no_frames_keep_their_lengths_and_causes": {
        "aero_lab.capture.segment": "note",
    },
    "tests/capture/test_stream.py::test_of_each_kind_of_frame_the_headers_are_kept": {
        "aero_lab.capture.redact": "_transport_end headers_size",
    },
    "tests/capture/test_tables.py::test_keys_that_differ_little_fall_far_apart": {
        "aero_lab.capture.tables": "mixed",
    },
}
