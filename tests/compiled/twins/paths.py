"""Twins in ``tests/paths``."""

TWINS: dict[str, dict[str, str]] = {
    "tests/paths/test_l3_tunnel.py::test_neither_link_layer_nor_dhcp_travels": {
        "aero_lab.capture.causes": "_bare",
    },
    "tests/paths/test_l3_tunnel.py::test_two_guests_with_one_address_keep_their_flows": {
        "aero_lab.capture.causes": "_conversation",
    },
}
