"""Twins in ``tests/stack``."""

TWINS: dict[str, dict[str, str]] = {
    "tests/stack/test_adoption.py::test_a_keepalive_probe_teaches_the_right_numbers": {
        "aero_lab.stack.tcp_open": "doubt_numbers",
    },
    "tests/stack/test_adoption.py::test_numbers_come_from_the_first_segment": {
        "aero_lab.stack.core": "adopt",
        "aero_lab.stack.tcp_open": "learn",
    },
    "tests/stack/test_holding.py::test_last_ack_lasts_until_the_fin_was_acknowledged": {
        "aero_lab.stack.holding": "fin_held",
        "aero_lab.stack.tcp_output": "note_sent",
    },
    "tests/stack/test_holding.py::test_nothing_is_acknowledged_before_it_may_be": {
        "aero_lab.stack.core": "furthest_edge hold_acks release_acks",
    },
    "tests/stack/test_holding.py::test_remembered_timestamps_against_a_list": {
        "aero_lab.stack.holding": "ack_number note_timestamp settle_timestamps",
    },
    "tests/stack/test_kernels_naive.py::test_cube_root": {
        "aero_lab.stack.congestion": "cube_root",
    },
    "tests/stack/test_kernels_naive.py::test_newreno_against_the_formula": {
        "aero_lab.stack.congestion": "newreno_acked",
    },
    "tests/stack/test_model_cases.py::test_a_gateway_speaks_from_the_address_that_fits": {
        "aero_lab.stack.icmp": "own_address6",
    },
    "tests/stack/test_model_cases.py::test_a_path_that_swallows_large_segments": {
        "aero_lab.stack.tcp_timers": "suspect_black_hole",
    },
    "tests/stack/test_model_cases.py::test_a_receiver_that_throws_away_what_it_had_sacked": {
        "aero_lab.stack.tcp_timers": "renege",
    },
    "tests/stack/test_model_cases.py::test_a_syn_in_time_wait": {
        "aero_lab.stack.tcp_open": "new_incarnation",
    },
    "tests/stack/test_model_cases.py::test_flows_spread_over_the_table_and_every_word_counts": {
        "aero_lab.stack.connections": "flow_hash",
    },
    "tests/stack/test_model_cases.py::test_fragments_of_one_datagram_share_a_number_and_those_of_two_do_not": {
        "aero_lab.stack.world": "random32",
    },
    "tests/stack/test_model_cases.py::test_with_all_slots_taken_the_oldest_time_wait_gives_way": {
        "aero_lab.stack.connections": "recycle",
    },
    "tests/stack/test_model_exchange.py::test_a_conversation": {
        "aero_lab.stack.congestion": "cc_acked cc_loss cc_open cc_timeout cubic_acked slow_start",
        "aero_lab.stack.receive": "already_held join_blocks note_duplicate receive remember_block store",
        "aero_lab.stack.recovery": """
            acknowledge detect_losses enter_recovery first_at_or_after mark_all mark_head mark_lost rack_advance
            rack_detect rack_order sack_detect sample_rtt take_sack
        """,
        "aero_lab.stack.tcp_input": "enter_time_wait take_fin_acked",
        "aero_lab.stack.tcp_options": "put_block unwrap_left unwrap_right",
        "aero_lab.stack.tcp_output": "arm_tlp split window_used",
        "aero_lab.stack.tcp_timers": "tail_loss_probe",
    },
    "tests/stack/test_model_link.py::test_a_random_life_on_a_link": {
        "aero_lab.stack.core": "accept datagram error_about message refuse report_fragments",
        "aero_lab.stack.icmp": """
            error_arrived4 error_arrived6 lower_path_mtu neighbour_message put_icmp send_error send_icmp tcp_error
        """,
        "aero_lab.stack.ip_input": """
            arp_arrived destination4 frame_arrived hand_up icmp4_packet icmp6_packet ip_arrived learn_sender parse4
            parse6 source_allowed4 tcp_packet transport_arrived udp_packet
        """,
        "aero_lab.stack.neighbours": """
            find_neighbour learn neighbour_deadline neighbour_timers new_neighbour on_link put_link_option resolve
            solicit
        """,
        "aero_lab.stack.output": """
            finish leaves_headroom put_ethernet put_ip room_for room_for_segment send_packet transport_checksum
            transport_sum words
        """,
        "aero_lab.stack.reassembly": "next_deadline",
        "aero_lab.stack.udp": "send_udp",
    },
    "tests/stack/test_model_tcp.py::test_a_random_life": {
        "aero_lab.stack.connections": """
            close_slot free_slot hash_insert hash_remove initial_sequence lookup open_slot report_end
        """,
        "aero_lab.stack.core": "abort connect consume let_go next_due shutdown step take_events write",
        "aero_lab.stack.receive": "take_overrun_block",
        "aero_lab.stack.tcp_input": """
            acceptable arrives arrives_in_syn_sent challenge owe_ack refuse_segment send_reset take_ack
            take_connection take_fin take_window tcp_arrived
        """,
        "aero_lab.stack.tcp_open": "established take_syn",
        "aero_lab.stack.tcp_options": "blocks_to_send parse_options put_options put_syn_options ts_clock update_mss",
        "aero_lab.stack.tcp_output": """
            advance arm_rto emit in_flight next_payload peer_link retransmit send_ack send_new send_syn tcp_output
            window_field
        """,
        "aero_lab.stack.tcp_timers": """
            connection_timers keepalive_timeout persist_timeout retransmission_timeout send_probe
        """,
        "aero_lab.stack.world": "count drop raise_event rearm stop_timers unwrap want_output",
    },
    "tests/stack/test_reassembly.py::test_agrees_with_the_twin_on_anything": {
        "aero_lab.stack.reassembly": """
            chain_complete drop expire find_slot insert next_report reassemble_v4 reassemble_v6 refuse release
        """,
    },
    "tests/stack/test_siphash.py::test_kernel_agrees_with_the_twin": {
        "aero_lab.stack.siphash": "half_siphash",
    },
    "tests/stack/test_tcp_recovery.py::test_a_gateway_refuses": {
        "aero_lab.stack.core": "quote_tcp",
        "aero_lab.stack.icmp": "hard_error",
    },
}
