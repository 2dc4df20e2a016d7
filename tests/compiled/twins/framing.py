"""Twins in ``tests/framing``."""

TWINS: dict[str, dict[str, str]] = {
    "tests/framing/test_l2_tunnel.py::test_decap_is_its_twin": {
        "aero_lab.framing.l2_tunnel": "decap",
    },
    "tests/framing/test_l2_tunnel.py::test_encap_is_its_twin": {
        "aero_lab.framing.l2_tunnel": "encap",
    },
}
