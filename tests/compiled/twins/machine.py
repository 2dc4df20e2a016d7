"""Twins in ``tests/machine``."""

TWINS: dict[str, dict[str, str]] = {
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
}
