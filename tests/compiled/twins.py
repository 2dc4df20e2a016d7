"""Which test is the twin of which kernel: by test, then by module.

A new kernel needs a place here, under a test that compares it (or what it does in the whole) with something plain.
``test_twins.py`` believes none of it: it runs the tests without the kernels.
"""

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
    "tests/bench/test_nic.py::test_frames_that_are_sent_are_all_sent": {
        "aero_lab.bench.nic_e1000": "e1000_sends",
        "aero_lab.bench.nic_virtio": "notify put_available put_descriptor virtio_sends",
    },
    "tests/bench/test_nic.py::test_frames_that_wait_all_arrive": {
        "aero_lab.bench.nic_e1000": "e1000_receives",
        "aero_lab.bench.nic_virtio": "virtio_receives",
    },
    "tests/bench/test_nic.py::test_packets_are_cut_into_all_their_segments": {
        "aero_lab.bench.nic_e1000": "e1000_segments",
        "aero_lab.bench.nic_virtio": "virtio_segments",
    },
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
    "tests/capture/test_recorder.py::test_messages_that_hold_no_frames_keep_their_lengths_and_causes": {
        "aero_lab.capture.segment": "note",
    },
    "tests/capture/test_stream.py::test_of_each_kind_of_frame_the_headers_are_kept": {
        "aero_lab.capture.redact": "_transport_end headers_size",
    },
    "tests/capture/test_tables.py::test_keys_that_differ_little_fall_far_apart": {
        "aero_lab.capture.tables": "mixed",
    },
    "tests/lan/test_strip.py::test_frames_are_parted_as_a_plain_reading_parts_them": {
        "aero_lab.lan.strip": "_count answered_here find learn packet_size sort strip",
    },
    "tests/lan/test_strip.py::test_more_addresses_than_are_remembered_push_out_the_oldest": {
        "aero_lab.lan.strip": "note",
    },
    "tests/lan/test_strip.py::test_packets_get_the_header_of_the_neighbour_who_is_meant": {
        "aero_lab.lan.strip": "wrap",
    },
    "tests/paths/test_l3_tunnel.py::test_neither_link_layer_nor_dhcp_travels": {
        "aero_lab.capture.causes": "_bare _conversation",
    },
    "tests/compiled/test_memory.py::test_checksum": {
        "aero_lab.compiled.memory": "ones_complement_sum",
    },
    # The processor core -----------------------------------------------------------------------------------------------
    "tests/cpu/test_descriptors.py::test_a_segment_that_is_loaded_is_marked_in_its_table": {
        "aero_lab.cpu.segments": "mark_accessed",
    },
    "tests/cpu/test_descriptors.py::test_real_mode_knows_no_descriptors": {
        "aero_lab.cpu.op_system": "_no_descriptors",
    },
    "tests/cpu/test_descriptors.py::test_segment_registers_come_from_the_stack": {
        "aero_lab.cpu.op_stack": "pop_seg",
    },
    "tests/cpu/test_descriptors.py::test_task_and_table_registers": {
        "aero_lab.cpu.op_descriptor": "load_system_m load_system_r",
    },
    "tests/cpu/test_descriptors.py::test_verifying": {
        "aero_lab.cpu.op_descriptor": "_verify verify_m verify_r",
    },
    "tests/cpu/test_differential.py::test_a_comparison_and_its_jump": {
        "aero_lab.cpu.op_pair": """
            cmp_mi32_jcc cmp_mi8_jcc cmp_mr32_jcc cmp_mr8_jcc cmp_ri32_jcc cmp_ri8_jcc cmp_rm32_jcc cmp_rm8_jcc
            cmp_rr32_jcc test_ri8_jcc test_rr32_jcc test_rr8_jcc
        """,
        "aero_lab.cpu.pairs": "_met jump_compared jump_tested pair",
    },
    "tests/cpu/test_differential.py::test_a_jump_is_taken_and_not": {
        "aero_lab.cpu.op_jump": "ja jae jb jbe je jg jge jl jle jne jno jnp jns jo jp js",
    },
    "tests/cpu/test_differential.py::test_one_of_each": {
        "aero_lab.cpu.alu": "_keep_carry adc add and_ arithmetic dec inc neg or_ sbb sub xor",
        "aero_lab.cpu.blocks": "_look_up _make tag_of written",
        "aero_lab.cpu.core": "_refresh_first code_written read_eflags write_eflags",
        "aero_lab.cpu.decode": "code_bytes decode memory_operand16 memory_operand32 sign_extended",
        "aero_lab.cpu.dispatch": "dispatch",
        "aero_lab.cpu.dispatch_more": "dispatch_more",
        "aero_lab.cpu.execute": "execute run run_blocks",
        "aero_lab.cpu.flags": """
            arithmetic_flags carry condition eflags leave_flags leave_logical overflow parity put_carry_overflow
            set_arithmetic_flags set_eflags sign zero
        """,
        "aero_lab.cpu.interrupts": "deliver_exception interrupt",
        "aero_lab.cpu.memory": """
            load load16 load32 load8 load_linear load_slow modify modify16 modify32 modify8 raise_error ram_load
            ram_store store store16 store32 store8 store_linear store_slow system_load
        """,
        "aero_lab.cpu.op_alu": """
            add_mi8 add_mr8 add_ri8 add_rm8 add_rr8 alu_mi16 alu_mi8 alu_mr16 alu_mr8 alu_ri16 alu_ri8 alu_rm16
            alu_rm8 alu_rr16 alu_rr8 and_mi8 and_mr8 and_ri8 and_rm8 and_rr8 cmp_mi8 cmp_mr8 cmp_ri8 cmp_rm8 cmp_rr8
            dec_m16 dec_m8 dec_r16 dec_r8 inc_m16 inc_m8 inc_r16 inc_r8 neg_m16 neg_m8 neg_r16 neg_r8 not_m16 not_m8
            not_r16 not_r8 or_mi8 or_mr8 or_ri8 or_rm8 or_rr8 sub_mi8 sub_mr8 sub_ri8 sub_rm8 sub_rr8 test_mi8
            test_mr8 test_ri8 test_rr8 xor_mi8 xor_mr8 xor_ri8 xor_rm8 xor_rr8
        """,
        "aero_lab.cpu.op_alu32": """
            adc_mi32 adc_mr32 adc_ri32 adc_rm32 adc_rr32 add_mi32 add_mr32 add_ri32 add_rm32 add_rr32 and_mi32
            and_mr32 and_ri32 and_rm32 and_rr32 cmp_mi32 cmp_mr32 cmp_ri32 cmp_rm32 cmp_rr32 dec_m32 dec_r32 inc_m32
            inc_r32 neg_m32 neg_r32 not_m32 not_r32 or_mi32 or_mr32 or_ri32 or_rm32 or_rr32 sbb_mi32 sbb_mr32
            sbb_ri32 sbb_rm32 sbb_rr32 sub_mi32 sub_mr32 sub_ri32 sub_rm32 sub_rr32 test_mi32 test_mr32 test_ri32
            test_rr32 xor_mi32 xor_mr32 xor_ri32 xor_rm32 xor_rr32
        """,
        "aero_lab.cpu.op_data": """
            bswap bswap16 cbw cmov_rm cmov_rr cmpxchg8b cmpxchg_m cmpxchg_r cwd extend_m extend_r lea16 lea32
            mov_mi16 mov_mi32 mov_mi8 mov_mr16 mov_mr32 mov_mr8 mov_ri16 mov_ri32 mov_ri8 mov_rm16 mov_rm32 mov_rm8
            mov_rr16 mov_rr32 mov_rr8 movsx_m16 movsx_m8 movsx_r16 movsx_r8 movzx_m16 movzx_m8 movzx_r16 movzx_r8
            set_m set_r xadd_m xadd_r xchg_mr xchg_rr xchg_rr32 xlat
        """,
        "aero_lab.cpu.op_far": "pushf",
        "aero_lab.cpu.op_flow": """
            call16 call32 call_m call_m32 call_r call_r32 fall go jcc jmp16 jmp32 jmp_m jmp_m32 jmp_r jmp_r32 jumped
            loop next_eip ret16 ret32
        """,
        "aero_lab.cpu.op_shift": """
            _bit _count _mul_div _scan _szp aaa aad aam bit_mi bit_mr bit_ri bit_rr daa divide_signed
            divide_unsigned double_shift double_shift_m double_shift_r imul imul_rm imul_rmi imul_rr imul_rri
            mul_div_m mul_div_r multiply rol rol_ri32 ror ror_ri32 rotate_through_carry salc sar sar_ri32 scan_m
            scan_r shift shift_mc shift_mi shift_rc shift_ri shl shl_rc32 shl_ri32 shr shr_rc32 shr_ri32
        """,
        "aero_lab.cpu.op_stack": """
            enter leave leave32 pop_m pop_r16 pop_r32 popa push push16 push32 push_i push_i32 push_m push_m32
            push_r16 push_r32 pusha
        """,
        "aero_lab.cpu.op_string": "advance cmps lods movs repeated scas step stos",
        "aero_lab.cpu.op_system": "flag_op lahf nop sahf",
        "aero_lab.cpu.operands": "address get16 get8 get_register set16 set8 set_register signed",
        "aero_lab.cpu.paging": "_entry translate",
        "aero_lab.cpu.segments": """
            descriptor_attr descriptor_limit need_descriptor read_descriptor refresh refresh_mode set_sp stack_top
        """,
    },
    "tests/cpu/test_protection.py::test_a_fault_in_a_handlers_entry_is_a_double_fault_and_then_a_shutdown": {
        "aero_lab.cpu.interrupts": "_contributory",
        "aero_lab.cpu.op_system": "undefined",
    },
    "tests/cpu/test_protection.py::test_accessed_and_dirty_bits": {
        "aero_lab.cpu.paging": "_put_entry",
    },
    "tests/cpu/test_protection.py::test_arpl_adjusts_the_requested_level": {
        "aero_lab.cpu.op_descriptor": "arpl_r put_zero",
    },
    "tests/cpu/test_protection.py::test_call_gate_copies_parameters_and_returns": {
        "aero_lab.cpu.op_far": "_through_gate",
    },
    "tests/cpu/test_protection.py::test_far_calls_jumps_and_returns_inside_a_level": {
        "aero_lab.cpu.op_far": "_push_return _return_to call_far far_m ret_far",
    },
    "tests/cpu/test_protection.py::test_fault": {
        "aero_lab.cpu.memory": "linear_address probe_linear",
        "aero_lab.cpu.op_far": "_check_return",
        "aero_lab.cpu.op_string": "check_ports",
        "aero_lab.cpu.op_system": "_bad_cr0 _interrupt_flag_locked bound clts lmsw_r privileged_nop rdpmc too_long",
        "aero_lab.cpu.paging": "page_fault",
    },
    "tests/cpu/test_protection.py::test_global_pages_outlive_cr3": {
        "aero_lab.cpu.paging": "flush_tlb",
    },
    "tests/cpu/test_protection.py::test_interrupt_and_trap_gates_differ_by_the_interrupt_flag": {
        "aero_lab.cpu.op_far": "int_n software_interrupt",
    },
    "tests/cpu/test_protection.py::test_invlpg_and_cr3_end_what_the_tlb_remembers": {
        "aero_lab.cpu.op_system": "invlpg",
        "aero_lab.cpu.paging": "flush_page",
    },
    "tests/cpu/test_protection.py::test_loading_descriptor_tables": {
        "aero_lab.cpu.memory": "system_store",
        "aero_lab.cpu.op_descriptor": "_load_ldt _load_system _load_task _selector_operand",
        "aero_lab.cpu.op_system": "load_table",
        "aero_lab.cpu.segments": "descriptor_base descriptor_place",
    },
    "tests/cpu/test_protection.py::test_looking_at_descriptors": {
        "aero_lab.cpu.op_descriptor": "_load_rights _visible rights_r",
        "aero_lab.cpu.op_system": "smsw_m store_selector_m store_table",
    },
    "tests/cpu/test_protection.py::test_ports_of_a_task": {
        "aero_lab.cpu.interrupts": "_task_stack",
    },
    "tests/cpu/test_protection.py::test_returning_to_user_mode_drops_kernel_segments": {
        "aero_lab.cpu.op_far": "iret",
        "aero_lab.cpu.segments": "drop_data_segment",
    },
    "tests/cpu/test_protection.py::test_selectors_and_machine_status_in_memory_and_registers": {
        "aero_lab.cpu.op_descriptor": "arpl_m rights_m",
        "aero_lab.cpu.op_stack": "mov_to_seg_m",
        "aero_lab.cpu.op_system": "_lmsw lmsw_m smsw_r store_selector_r",
    },
    "tests/cpu/test_protection.py::test_virtual_8086_mode_is_entered_by_iret_and_left_by_a_fault": {
        "aero_lab.cpu.op_far": "_to_virtual_mode",
        "aero_lab.cpu.op_system": "cli general_protection",
        "aero_lab.cpu.segments": "set_real_segment",
    },
    "tests/cpu/test_running.py::test_a_budget_is_met_exactly_and_changes_nothing": {
        "aero_lab.cpu.blocks": "find",
    },
    "tests/cpu/test_running.py::test_a_device_beyond_ram": {
        "aero_lab.cpu.memory": "device_read device_write modify_slow",
    },
    "tests/cpu/test_running.py::test_a_page_may_be_written_to_straight_until_code_runs_in_it": {
        "aero_lab.cpu.paging": "allow_writes forbid_writes",
    },
    "tests/cpu/test_running.py::test_blocks_are_spread_over_their_chains": {
        "aero_lab.cpu.blocks": "_hash",
    },
    "tests/cpu/test_running.py::test_bound_into_and_the_one_byte_traps": {
        "aero_lab.cpu.op_far": "int1 int3 into",
    },
    "tests/cpu/test_running.py::test_breakpoints_stop_before_the_instruction_and_let_go": {
        "aero_lab.cpu.blocks": "_at_breakpoint",
    },
    "tests/cpu/test_running.py::test_code_beyond_a_limit": {
        "aero_lab.cpu.op_far": "_enter_code _left _paged_mode far_transfer jmp_far",
        "aero_lab.cpu.segments": "set_from_descriptor set_segment",
    },
    "tests/cpu/test_running.py::test_code_that_writes_code": {
        "aero_lab.cpu.blocks": "_mark_code drop_page drop_written",
        "aero_lab.cpu.memory": "note_code_write",
    },
    "tests/cpu/test_running.py::test_control_and_debug_registers": {
        "aero_lab.cpu.op_system": "mov_from_cr mov_from_dr mov_to_cr mov_to_dr",
    },
    "tests/cpu/test_running.py::test_cpuid_and_msrs_and_time": {
        "aero_lab.cpu.op_system": "cpuid rdmsr rdtsc timestamp wrmsr",
    },
    "tests/cpu/test_running.py::test_decoded_code_is_no_state": {
        "aero_lab.cpu.blocks": "flush_blocks",
        "aero_lab.cpu.core": "forget_code",
    },
    "tests/cpu/test_running.py::test_interrupts_wait_for_the_instruction_after_sti_and_after_a_stack_switch": {
        "aero_lab.cpu.op_stack": "after_segment mov_to_seg_r",
        "aero_lab.cpu.op_system": "sti",
    },
    "tests/cpu/test_running.py::test_ports_in_and_out": {
        "aero_lab.cpu.op_string": "in_ out port_read port_write",
    },
    "tests/cpu/test_running.py::test_real_mode": {
        "aero_lab.cpu.interrupts": "_real_mode",
        "aero_lab.cpu.segments": "load_segment refresh_segment",
    },
    "tests/cpu/test_running.py::test_segment_registers_on_the_stack_and_in_pointers": {
        "aero_lab.cpu.op_stack": "load_far_pointer mov_from_seg_m mov_from_seg_r push_seg",
    },
    "tests/cpu/test_running.py::test_single_step_traps_after_each_instruction": {
        "aero_lab.cpu.op_far": "_pop_at popf write_flags",
    },
    "tests/cpu/test_running.py::test_sixteen_bit_stack_wraps": {
        "aero_lab.cpu.segments": "check_stack_segment",
    },
    "tests/cpu/test_running.py::test_strings_of_ports_stop_at_each_item": {
        "aero_lab.cpu.op_string": "ins outs",
    },
    "tests/cpu/test_running.py::test_the_trace_remembers_blocks": {
        "aero_lab.cpu.execute": "_remember",
    },
    "tests/cpu/test_running.py::test_writes_from_outside_are_told": {
        "aero_lab.cpu.op_system": "hlt",
    },
    # End of the processor core
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
            flag fninit in_use pending pop push push_nothing put_st put_words refused status_word tag_word underflow
        """,
    },
    "tests/cpu/test_x87_core.py::test_a_fault_leaves_no_trace": {
        "aero_lab.cpu.memory": "probe_read",
        "aero_lab.cpu.x87": "load_operand store_operand",
    },
    "tests/cpu/test_x87_core.py::test_a_page_fault_is_made_good_and_nothing_is_seen_of_it": {
        "aero_lab.cpu.memory": "probe",
    },
    "tests/cpu/test_x87_core.py::test_an_image_comes_and_goes": {
        "aero_lab.cpu.x87": "environment x87_m",
        "aero_lab.cpu.x87_environment": "environment_word load_image load_registers save_image save_registers",
    },
    "tests/cpu/test_x87_core.py::test_environments": {
        "aero_lab.cpu.x87_environment": "real_mode",
    },
    "tests/cpu/test_x87_core.py::test_pending_exceptions_meet_the_next_waiting_instruction": {
        "aero_lab.cpu.x87": "fwait ready unmasked",
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
    "tests/experiment/test_reproduce.py::test_a_back_off_that_is_kept_costs_what_it_should": {
        "aero_lab.experiment.reproduce.race": "after_step",
    },
    "tests/experiment/test_reproduce.py::test_a_window_opened_by_acknowledgements_opens_half_as_fast": {
        "aero_lab.experiment.reproduce.race": "count_acks",
    },
    "tests/experiment/test_reproduce.py::test_going_back_sends_everything_again_and_arrives": {
        "aero_lab.experiment.reproduce.race": "before_step go_back known",
    },
    "tests/experiment/test_reproduce.py::test_means_are_those_of_a_window_in_flight": {
        "aero_lab.experiment.reproduce.race": "measure",
    },
    "tests/experiment/test_reproduce.py::test_readers_that_say_and_remember_less": {
        "aero_lab.experiment.reproduce.race": "refused",
    },
    "tests/experiment/test_reproduce.py::test_the_compiled_race_is_the_plain_one": {
        "aero_lab.experiment.reproduce.race": "race read",
    },
    "tests/framing/test_l2_tunnel.py::test_decap_is_its_twin": {
        "aero_lab.framing.l2_tunnel": "decap",
    },
    "tests/framing/test_l2_tunnel.py::test_encap_is_its_twin": {
        "aero_lab.framing.l2_tunnel": "encap",
    },
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
    "tests/link/test_direction.py::test_a_copy_keeps_its_identity_and_says_what_it_is": {
        "aero_lab.link.pipe": "duplicate",
    },
    "tests/link/test_direction.py::test_same_as_the_plain_twin": {
        "aero_lab.link.flight": "add allocate draw drop_top entry_at find_space free hit wait",
        "aero_lab.link.pipe": "advance drain fits poll_at sent_at step",
    },
    "tests/link/test_line.py::test_a_managed_line_is_its_plain_twin": {
        "aero_lab.link.codel": "above codel enlist fair relieve",
        "aero_lab.link.headers": "flow_hash ip_at mix",
        "aero_lab.link.line": "enqueue first_after moment seize send serve take",
        "aero_lab.link.pipe": "next_due",
        "aero_lab.link.queues": "chain discard mark unchain",
    },
    "tests/link/test_line.py::test_under_a_long_load_it_is_its_plain_twin_too": {
        "aero_lab.link.codel": "control_law",
        "aero_lab.link.headers": "mark_ce",
        "aero_lab.link.pie": "catch_up control early",
    },
    "tests/link/test_losses.py::test_losses_and_outages_are_their_plain_twins": {
        "aero_lab.link.pipe": "bursts quantile recorded up_again",
    },
    "tests/machine/test_machine.py::test_a_busy_guest_is_interrupted_at_the_instruction_where_the_deadline_falls": {
        "aero_lab.machine.run": "icount_at",
    },
    "tests/machine/test_machine.py::test_a_device_written_in_python_answers_and_interrupts": {
        "aero_lab.machine.pci": "pci_access pci_decode pci_intx_set pci_window",
        "aero_lab.machine.run": "answer",
    },
    "tests/machine/test_machine.py::test_looking_inside": {
        "aero_lab.machine.run": "core_access",
    },
    "tests/machine/test_machine.py::test_the_timer_ticks_at_its_rate_and_sleep_costs_nothing": {
        "aero_lab.machine.run": "doze now_of run_slice",
    },
    "tests/machine/test_nics.py::test_a_card_answers_in_both_of_its_windows_and_sends_what_lies_in_memory": {
        "aero_lab.machine.nics": "nic_access tell_pci",
    },
    "tests/machine/test_nics.py::test_memory_that_a_card_writes_to_is_not_run_as_it_was": {
        "aero_lab.machine.nics": "attend take_turn wants_turn",
    },
    "tests/machine/test_nics.py::test_the_bell_rings_once_until_somebody_has_heard_it": {
        "aero_lab.machine.nics": "bell_heard tell_side",
    },
    "tests/machine/test_pci.py::test_a_64_bit_window_above_4_gib_is_out_of_reach": {
        "aero_lab.machine.pci": "pci_find size_mask",
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
            elcr_write pic_ack pic_command pic_input pic_levels pic_pending pic_read pic_serve pic_update pic_write
            set_pci_lines
        """,
    },
    "tests/machine/test_pit.py::test_a_latch_keeps_its_value_and_the_status_comes_first": {
        "aero_lab.machine.pit": "pit_latch_count",
    },
    "tests/machine/test_pit.py::test_counter_2_is_its_twin": {
        "aero_lab.machine.pit": """
            pit_control pit_full pit_gate pit_high pit_latch_status pit_load pit_output pit_output_at pit_read
            pit_value pit_write
        """,
        "aero_lab.machine.ports": "byte_in byte_out port61_read port_in port_out",
    },
    "tests/machine/test_pit.py::test_irq_0_rises_with_the_output_of_counter_0": {
        "aero_lab.machine.pic": "set_irq",
        "aero_lab.machine.pit": "pit_advance pit_next_rise pit_rearm pit_sync",
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
    "tests/machine/test_uart.py::test_a_cleared_receiver_has_nothing_and_waits_for_nothing": {
        "aero_lab.machine.uart": "uart_clear_receiver",
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
        "aero_lab.machine.uart": "uart_fifo_control uart_read uart_take uart_trigger",
    },
    "tests/nic/e1000/test_eeprom_phy.py::test_a_new_negotiation_takes_its_time": {
        "aero_lab.nic.e1000.phy": "mdic_write phy_link phy_read phy_write update_link",
        "aero_lab.nic.e1000.registers": "e1000_poll",
    },
    "tests/nic/e1000/test_eeprom_phy.py::test_resets_of_the_phy": {
        "aero_lab.nic.e1000.phy": "phy_reset",
        "aero_lab.nic.e1000.registers": "_control",
    },
    "tests/nic/e1000/test_eeprom_phy.py::test_the_cable": {
        "aero_lab.nic.e1000.registers": "e1000_link",
    },
    "tests/nic/e1000/test_eeprom_phy.py::test_words_by_eerd": {
        "aero_lab.nic.e1000.eeprom": "eerd_write",
    },
    "tests/nic/e1000/test_eeprom_phy.py::test_words_by_the_bus": {
        "aero_lab.nic.e1000.eeprom": "_clock _command eecd_read eecd_write",
    },
    "tests/nic/e1000/test_eeprom_phy.py::test_writing_has_to_be_allowed": {
        "aero_lab.nic.e1000.eeprom": "_deselect",
    },
    "tests/nic/e1000/test_receive.py::test_checksums_are_looked_at": {
        "aero_lab.nic.e1000.filters": "_transport check_sums",
    },
    "tests/nic/e1000/test_receive.py::test_delay_timers": {
        "aero_lab.nic.e1000.interrupts": "expire flush_receive",
    },
    "tests/nic/e1000/test_receive.py::test_frames_come_in": {
        "aero_lab.nic.e1000.filters": "accept in_receive_addresses kind_of",
        "aero_lab.nic.e1000.interrupts": "cause received",
        "aero_lab.nic.e1000.receive": "_piece free_descriptors receive receive_frame ring_base store_frame",
    },
    "tests/nic/e1000/test_receive.py::test_large_buffers": {
        "aero_lab.nic.e1000.receive": "buffer_shift",
    },
    "tests/nic/e1000/test_receive.py::test_multicast_table": {
        "aero_lab.nic.e1000.filters": "in_multicast_table",
    },
    "tests/nic/e1000/test_receive.py::test_vlan_filter": {
        "aero_lab.nic.e1000.filters": "vlan_accepted",
    },
    "tests/nic/e1000/test_receive.py::test_vlan_tags_are_stripped_when_asked_for": {
        "aero_lab.nic.e1000.filters": "is_tagged",
    },
    "tests/nic/e1000/test_receive.py::test_what_the_ring_refused_was_missed": {
        "aero_lab.nic.e1000.receive": "_note_missed",
    },
    "tests/nic/e1000/test_registers.py::test_causes_masks_and_the_pin": {
        "aero_lab.nic.e1000.interrupts": "update_pin",
    },
    "tests/nic/e1000/test_registers.py::test_registers_keep_what_they_have_bits_for": {
        "aero_lab.nic.e1000.registers": "e1000_write word_of write_register",
    },
    "tests/nic/e1000/test_registers.py::test_statistics_of_what_came_and_went": {
        "aero_lab.nic.e1000.statistics": """
            bump bump_wide count_arrival count_received count_sent read_statistic size_class
        """,
    },
    "tests/nic/e1000/test_registers.py::test_what_a_card_looks_like_after_power_on": {
        "aero_lab.nic.e1000.eeprom": "load_address",
        "aero_lab.nic.e1000.registers": "e1000_read e1000_reset read_register reset_registers",
        "aero_lab.nic.e1000.serve": "e1000_serve",
    },
    "tests/nic/e1000/test_transmit.py::test_a_packet_in_pieces": {
        "aero_lab.nic.e1000.transmit": "_take",
    },
    "tests/nic/e1000/test_transmit.py::test_a_packet_whose_end_comes_later": {
        "aero_lab.nic.e1000.transmit": "hold",
    },
    "tests/nic/e1000/test_transmit.py::test_checksums_over_ipv4": {
        "aero_lab.nic.e1000.transmit": "_checksums kind_of_descriptor load_context",
    },
    "tests/nic/e1000/test_transmit.py::test_frames_go_out_and_their_descriptors_are_done": {
        "aero_lab.nic.e1000.interrupts": "transmitted",
        "aero_lab.nic.e1000.transmit": "_complete _next_packet _send _send_packet gather length_of ring_base transmit",
    },
    "tests/nic/e1000/test_transmit.py::test_loopback": {
        "aero_lab.nic.e1000.transmit": "_loop_back",
    },
    "tests/nic/e1000/test_transmit.py::test_resetting_the_ring_forgets_a_packet_under_way": {
        "aero_lab.nic.e1000.transmit": "forget_packet",
    },
    "tests/nic/e1000/test_transmit.py::test_segmentation": {
        "aero_lab.nic.e1000.transmit": "_seek _send_segments",
    },
    "tests/nic/test_dma.py::test_every_page_that_was_written_is_noted_once_it_counts": {
        "aero_lab.nic.dma": "note_write",
    },
    "tests/nic/test_dma.py::test_messages_wait_once_each_and_are_bounded": {
        "aero_lab.nic.dma": "send_message",
    },
    "tests/nic/test_dma.py::test_numbers": {
        "aero_lab.nic.dma": "dma_get16 dma_get32 dma_get64 dma_get8 dma_put16 dma_put32 dma_put64 dma_put8",
    },
    "tests/nic/test_dma.py::test_runs_of_bytes": {
        "aero_lab.nic.dma": "_there dma_inside dma_read dma_write",
    },
    "tests/nic/test_offload.py::test_insertion_is_its_twin_and_writes_nowhere_else": {
        "aero_lab.nic.offload": "put_checksum",
    },
    "tests/nic/test_offload.py::test_segmentation_is_its_twin": {
        "aero_lab.nic.offload": "fix_segment segment_count",
    },
    "tests/nic/test_offload.py::test_sound_checksums_are_told_from_others": {
        "aero_lab.nic.offload": "checksum_sound",
    },
    "tests/nic/test_virtqueue.py::test_any_chain_is_walked_as_the_standard_says": {
        "aero_lab.nic.virtqueue": "place_of",
    },
    "tests/nic/virtio_net/test_hostile.py::test_a_broken_ring_stops_the_device_until_a_reset": {
        "aero_lab.nic.virtio_net.interrupts": "judge",
    },
    "tests/nic/virtio_net/test_interrupts.py::test_each_side_raises_the_pin_and_the_isr_lowers_it": {
        "aero_lab.nic.virtio_net.interrupts": "interrupt_queue settle",
        "aero_lab.nic.virtio_net.registers": "read_isr read_memory",
    },
    "tests/nic/virtio_net/test_interrupts.py::test_messages_instead_of_the_pin": {
        "aero_lab.nic.virtio_net.interrupts": "interrupt_config message",
        "aero_lab.nic.virtio_net.registers": "vector_of",
    },
    "tests/nic/virtio_net/test_interrupts.py::test_the_device_asks_for_the_next_chain": {
        "aero_lab.nic.virtqueue": "queue_ask",
    },
    "tests/nic/virtio_net/test_interrupts.py::test_the_link_goes_and_comes": {
        "aero_lab.nic.virtio_net.serve": "set_link",
    },
    "tests/nic/virtio_net/test_receive.py::test_a_frame_takes_the_first_buffer_with_room_and_leaves_the_others": {
        "aero_lab.nic.virtio_net.receive": "choose let_go",
    },
    "tests/nic/virtio_net/test_receive.py::test_frames_arrive_in_whatever_buffers": {
        "aero_lab.nic.virtio_net.receive": "collect place put_header receive usable",
        "aero_lab.nic.virtqueue": "chain_write",
    },
    "tests/nic/virtio_net/test_receive.py::test_merged_frames_wait_until_there_is_room_for_the_whole": {
        "aero_lab.nic.virtio_net.receive": "gather",
    },
    "tests/nic/virtio_net/test_receive.py::test_the_filter_follows_its_commands": {
        "aero_lab.nic.virtio_net.control": "chain_mac chain_number control obey set_mode set_table",
        "aero_lab.nic.virtio_net.receive": "put_byte wanted",
    },
    "tests/nic/virtio_net/test_registers.py::test_a_reset_takes_everything_back": {
        "aero_lab.nic.virtio_net.registers": "common_word config_byte device_reset half has live queue_count "
        "read_config write_common write_memory write_status",
        "aero_lab.nic.virtqueue": "queue_reset",
    },
    "tests/nic/virtio_net/test_registers.py::test_features_are_refused_where_they_make_no_sense": {
        "aero_lab.nic.virtio_net.registers": "features_sound",
    },
    "tests/nic/virtio_net/test_registers.py::test_pcis_reset_masks_all_messages": {
        "aero_lab.nic.virtio_net.serve": "power_up",
    },
    "tests/nic/virtio_net/test_registers.py::test_sizes_are_powers_of_two_and_no_larger_than_offered": {
        "aero_lab.nic.virtqueue": "queue_placed",
    },
    "tests/nic/virtio_net/test_registers.py::test_the_legacy_interface_carries_frames": {
        "aero_lab.nic.virtio_net.registers": "place_legacy read_legacy write_legacy",
    },
    "tests/nic/virtio_net/test_transmit.py::test_a_checksum_is_put_where_the_driver_says": {
        "aero_lab.nic.virtio_net.transmit": "chain_u16 chain_u8",
    },
    "tests/nic/virtio_net/test_transmit.py::test_a_frame_arrives_however_it_is_cut": {
        "aero_lab.nic.virtio_net.serve": "virtio_net_serve",
        "aero_lab.nic.virtio_net.transmit": "header_size send_chain send_plain transmit",
        "aero_lab.nic.virtqueue": "chain_read chain_seek queue_give queue_publish queue_waiting queue_walk",
    },
    "tests/nic/virtio_net/test_transmit.py::test_a_full_ring_stops_the_guest_and_loses_nothing": {
        "aero_lab.nic.virtqueue": "queue_head queue_take",
    },
    "tests/nic/virtio_net/test_transmit.py::test_ecn_needs_to_be_agreed": {
        "aero_lab.nic.virtio_net.transmit": "gso_offered",
    },
    "tests/nic/virtio_net/test_transmit.py::test_segments_are_the_twins": {
        "aero_lab.nic.offload": "network_offset",
        "aero_lab.nic.virtio_net.transmit": "put_out send_segments",
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
    "tests/wire/test_checksum.py::test_pseudo_header": {
        "aero_lab.wire.checksum": "fold pseudo_sum_v4 pseudo_sum_v6",
    },
    "tests/wire/test_checksum.py::test_sums_of_pieces_add_up": {
        "aero_lab.wire.checksum": "checksum_kernel",
    },
}
"""``test -> module -> kernels``; the test is named as pytest names it, without parameters."""
