"""Twins in ``tests/nic``."""

TWINS: dict[str, dict[str, str]] = {
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
}
