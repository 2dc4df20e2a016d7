"""Twins in ``tests/cpu``."""

TWINS: dict[str, dict[str, str]] = {
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
}
