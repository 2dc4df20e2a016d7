"""Twins in ``tests/paths``."""

TWINS: dict[str, dict[str, str]] = {
    "tests/paths/test_l3_tunnel.py::test_neither_link_layer_nor_dhcp_travels": {
        "aero_lab.capture.causes": "_bare _conversation",
    },
}
