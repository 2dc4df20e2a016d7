"""Twins in ``tests/link``."""

TWINS: dict[str, dict[str, str]] = {
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
}
