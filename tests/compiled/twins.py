"""Which test is the twin of which kernel: by test, then by module.

A new kernel needs a place here, under a test that compares it (or what it does in the whole) with something plain.
``test_twins.py`` believes none of it: it runs the tests without the kernels.
"""

TWINS: dict[str, dict[str, str]] = {
    "tests/bench/test_traffic.py::test_generated_segments_are_their_twins": {
        "aero_lab.bench.traffic": "generate",
    },
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
    "tests/capture/test_stream.py::test_of_each_kind_of_frame_the_headers_are_kept": {
        "aero_lab.capture.redact": "_transport_end headers_size",
    },
    "tests/capture/test_tables.py::test_keys_that_differ_little_fall_far_apart": {
        "aero_lab.capture.tables": "mixed",
    },
    "tests/compiled/test_memory.py::test_checksum": {
        "aero_lab.compiled.memory": "ones_complement_sum",
    },
    "tests/cpu/test_x87.py::test_every_form_is_the_processors": {
        "aero_lab.cpu.wide": "divide normalise shift_right",
        "aero_lab.cpu.x87_arith": """
            add_x below_unit compare_x div_x extract_x integer_x mul_x remainder_x round_x scale_x sqrt_x
        """,
        "aero_lab.cpu.x87_convert": "from_decimal narrow to_decimal to_integer whole widen",
        "aero_lab.cpu.x87_float": "kind propagate round_at rounded_to rounding unpacked",
        "aero_lab.cpu.x87_memory": "arithmetic compare compared load_form store_form stored",
        "aero_lab.cpu.x87_register": """
            against compare_flags control examine exchange finish move_if register_form special two_results
        """,
        "aero_lab.cpu.x87_stack": """
            flag fninit in_use pending pop push push_nothing put_st put_words refused status_word tag_word
            underflow
        """,
    },
    "tests/cpu/test_x87_core.py::test_a_fault_leaves_no_trace": {
        "aero_lab.cpu.x87": "load_operand store_operand",
    },
    "tests/cpu/test_x87_core.py::test_an_image_comes_and_goes": {
        "aero_lab.cpu.x87": "environment x87_m",
        "aero_lab.cpu.x87_environment": "environment_word load_image load_registers save_image save_registers",
    },
    "tests/cpu/test_x87_core.py::test_environments": {
        "aero_lab.cpu.x87_environment": "real_mode",
    },
    "tests/cpu/test_x87_core.py::test_pending_exceptions_meet_the_next_waiting_instruction": {
        "aero_lab.cpu.x87": "fwait ready",
    },
    "tests/cpu/test_x87_core.py::test_status_and_flags_reach_the_processor": {
        "aero_lab.cpu.x87": "x87_r",
    },
    "tests/cpu/test_x87_core.py::test_the_fast_image": {
        "aero_lab.cpu.x87": "fxrstor fxsave",
        "aero_lab.cpu.x87_environment": "fx_load fx_save",
    },
    "tests/cpu/test_x87_transcendental.py::test_arctangent": {
        "aero_lab.cpu.x87_trans": "arctangent arctangent_of",
    },
    "tests/cpu/test_x87_transcendental.py::test_circular_functions": {
        "aero_lab.cpu.x87_register": "trigonometric",
        "aero_lab.cpu.x87_trans": "circular fraction inexact reduced sine_cosine",
    },
    "tests/cpu/test_x87_transcendental.py::test_logarithms": {
        "aero_lab.cpu.x87_trans": "log2_times logarithm logarithm_of",
    },
    "tests/cpu/test_x87_transcendental.py::test_powers_of_two": {
        "aero_lab.cpu.x87_trans": "exp2_minus_1",
    },
    "tests/framing/test_l2_tunnel.py::test_decap_is_its_twin": {
        "aero_lab.framing.l2_tunnel": "decap",
    },
    "tests/framing/test_l2_tunnel.py::test_encap_is_its_twin": {
        "aero_lab.framing.l2_tunnel": "encap",
    },
    "tests/guests/test_tap_kernels.py::test_reading_is_its_twin": {
        "aero_lab.guests.tap.frames": "read_frames",
    },
    "tests/guests/test_tap_kernels.py::test_writing_is_its_twin": {
        "aero_lab.guests.tap.frames": "write_frames",
    },
    "tests/link/test_direction.py::test_a_copy_keeps_its_identity_and_says_what_it_is": {
        "aero_lab.link.pipe": "duplicate",
    },
    "tests/link/test_direction.py::test_same_as_the_plain_twin": {
        "aero_lab.link.pipe": """
            add advance allocate drain draw drop_top entry_at find_space fits free hit line poll_at step
            wait
        """,
    },
    "tests/machine/test_machine.py::test_a_device_written_in_python_answers_and_interrupts": {
        "aero_lab.machine.pci": "pci_access pci_decode pci_find pci_intx_set pci_window size_mask",
        "aero_lab.machine.run": "answer",
    },
    "tests/machine/test_machine.py::test_looking_inside": {
        "aero_lab.machine.run": "core_access",
    },
    "tests/machine/test_machine.py::test_a_busy_guest_is_interrupted_at_the_instruction_where_the_deadline_falls": {
        "aero_lab.machine.run": "icount_at",
    },
    "tests/machine/test_machine.py::test_the_timer_ticks_at_its_rate_and_sleep_costs_nothing": {
        "aero_lab.machine.run": "doze now_of run_slice",
    },
    "tests/machine/test_pci.py::test_configuration_space_is_words_with_masks": {
        "aero_lab.machine.pci": "pci_config_read pci_config_write",
    },
    "tests/machine/test_pci.py::test_pins_reach_the_controllers_through_the_routing_registers": {
        "aero_lab.machine.pci": "pci_route",
    },
    "tests/machine/test_pic.py::test_the_pair_is_its_twin": {
        "aero_lab.machine.bus": "bus_access",
        "aero_lab.machine.pic": """
            elcr_write pic_ack pic_command pic_input pic_levels pic_pending pic_read pic_serve pic_update
            pic_write set_pci_lines
        """,
    },
    "tests/machine/test_pit.py::test_counter_2_is_its_twin": {
        "aero_lab.machine.pit": """
            pit_control pit_full pit_gate pit_high pit_latch_count pit_latch_status pit_load pit_output
            pit_output_at pit_read pit_sync pit_value pit_write
        """,
        "aero_lab.machine.ports": "byte_in byte_out port61_read port_in port_out",
    },
    "tests/machine/test_pit.py::test_irq_0_rises_with_the_output_of_counter_0": {
        "aero_lab.machine.pic": "set_irq",
        "aero_lab.machine.pit": "pit_advance pit_next_rise pit_rearm",
        "aero_lab.machine.ports": "board_advance next_deadline",
    },
    "tests/machine/test_pit.py::test_ticks_and_time_are_exact": {
        "aero_lab.machine.pit": "pit_ticks pit_time",
    },
    "tests/machine/test_ports.py::test_memory_without_ram_reads_ones": {
        "aero_lab.machine.ports": "mmio_read mmio_write",
    },
    "tests/machine/test_ports.py::test_the_a20_gate_has_two_keepers": {
        "aero_lab.machine.keyboard": "kbc_output_port set_a20",
    },
    "tests/machine/test_ports.py::test_the_keyboard_controller_answers_for_itself": {
        "aero_lab.machine.keyboard": "kbc_answer kbc_read_data kbc_read_status kbc_write_command kbc_write_data",
    },
    "tests/machine/test_ports.py::test_video_registers_keep_what_is_written_and_retrace_goes_round": {
        "aero_lab.machine.video": "retrace vga_read vga_write",
    },
    "tests/machine/test_ports.py::test_where_nothing_is_reads_give_ones_and_are_counted": {
        "aero_lab.machine.ports": "count_port",
    },
    "tests/machine/test_rtc.py::test_alarm_and_update_interrupts": {
        "aero_lab.machine.rtc": "rtc_advance rtc_alarm rtc_rearm",
    },
    "tests/machine/test_rtc.py::test_periodic_interrupts_come_at_the_rate_of_table_5": {
        "aero_lab.machine.rtc": "rtc_periods rtc_shift",
    },
    "tests/machine/test_rtc.py::test_the_divider_chain_starts_half_a_second_before_an_update": {
        "aero_lab.machine.rtc": "rtc_running",
    },
    "tests/machine/test_rtc.py::test_the_time_is_the_calendars": {
        "aero_lab.machine.rtc": "days_in_month rtc_decode rtc_encode rtc_read rtc_second rtc_sync rtc_write",
    },
    "tests/machine/test_run.py::test_a_closed_gate_wraps_addresses_at_a_megabyte": {
        "aero_lab.machine.run": "apply_a20",
    },
    "tests/machine/test_run.py::test_host_time_is_followed_and_never_goes_back": {
        "aero_lab.machine.run": "follow_host",
    },
    "tests/machine/test_run.py::test_rebasing_rounds_nothing": {
        "aero_lab.machine.run": "rebase",
    },
    "tests/machine/test_uart.py::test_a_text_is_found_where_it_ends": {
        "aero_lab.machine.uart": "console_put",
    },
    "tests/machine/test_uart.py::test_characters_lose_the_bits_that_the_line_has_not": {
        "aero_lab.machine.uart": "uart_mask",
    },
    "tests/machine/test_uart.py::test_loopback_overruns_and_priorities": {
        "aero_lab.machine.uart": "uart_cause uart_errors uart_lsr uart_receive",
    },
    "tests/machine/test_uart.py::test_modem_lines_in_the_loop_and_outside": {
        "aero_lab.machine.uart": "uart_modem uart_rearm",
    },
    "tests/machine/test_uart.py::test_paced_characters_take_their_time": {
        "aero_lab.machine.uart": "uart_advance uart_char_time uart_emit uart_send uart_shift uart_write",
    },
    "tests/machine/test_uart.py::test_the_receiver_is_its_twin": {
        "aero_lab.machine.uart": "uart_clear_receiver uart_fifo_control uart_read uart_take uart_trigger",
    },
    "tests/rings/test_frame_ring.py::TestRingsAgainstDeques::runTest": {
        "aero_lab.rings.frame_ring": "commit count descriptor find_room has_room move push release reserve",
    },
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
            acknowledge detect_losses enter_recovery first_at_or_after mark_all mark_head mark_lost
            rack_advance rack_detect rack_order sack_detect sample_rtt take_sack
        """,
        "aero_lab.stack.tcp_input": "enter_time_wait take_fin_acked",
        "aero_lab.stack.tcp_options": "put_block unwrap_left unwrap_right",
        "aero_lab.stack.tcp_output": "arm_tlp split window_used",
        "aero_lab.stack.tcp_timers": "tail_loss_probe",
    },
    "tests/stack/test_model_link.py::test_a_random_life_on_a_link": {
        "aero_lab.stack.core": "accept datagram error_about message quote_tcp refuse report_fragments",
        "aero_lab.stack.icmp": """
            error_arrived4 error_arrived6 hard_error lower_path_mtu neighbour_message put_icmp
            send_error send_icmp tcp_error
        """,
        "aero_lab.stack.ip_input": """
            arp_arrived destination4 frame_arrived hand_up icmp4_packet icmp6_packet ip_arrived
            learn_sender parse4 parse6 source_allowed4 tcp_packet transport_arrived udp_packet
        """,
        "aero_lab.stack.neighbours": """
            find_neighbour learn neighbour_deadline neighbour_timers new_neighbour on_link
            put_link_option resolve solicit
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
            advance arm_rto emit in_flight next_payload peer_link retransmit send_ack send_new send_syn
            tcp_output window_field
        """,
        "aero_lab.stack.tcp_timers": """
            connection_timers keepalive_timeout persist_timeout retransmission_timeout send_probe
        """,
        "aero_lab.stack.world": "count drop raise_event rearm stop_timers unwrap want_output",
    },
    "tests/stack/test_reassembly.py::test_agrees_with_the_twin_on_anything": {
        "aero_lab.stack.reassembly": """
            chain_complete drop expire find_slot insert next_report reassemble_v4 reassemble_v6 refuse
            release
        """,
    },
    "tests/stack/test_siphash.py::test_kernel_agrees_with_the_twin": {
        "aero_lab.stack.siphash": "half_siphash",
    },
    "tests/transports/test_memory.py::test_a_full_transport_takes_less_and_says_when_there_is_room": {
        "aero_lab.transports.memory": "unstall",
    },
    "tests/transports/test_memory.py::test_messages_arrive_in_order_with_all_they_carry": {
        "aero_lab.transports.memory": "post",
    },
    "tests/wire/test_checksum.py::test_pseudo_header": {
        "aero_lab.wire.checksum": "fold pseudo_sum_v4 pseudo_sum_v6",
    },
    "tests/wire/test_checksum.py::test_sums_of_pieces_add_up": {
        "aero_lab.wire.checksum": "checksum_kernel",
    },
}
"""``test -> module -> kernels``; the test is named as pytest names it, without parameters."""
