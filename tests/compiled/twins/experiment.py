"""Twins in ``tests/experiment``."""

TWINS: dict[str, dict[str, str]] = {
    "tests/experiment/test_reproduce.py::test_a_back_off_that_is_kept_costs_what_it_should": {
        "aero_lab.experiment.reproduce.race": "keep_backoff",
    },
    "tests/experiment/test_reproduce.py::test_a_window_opened_by_acknowledgements_opens_half_as_fast": {
        "aero_lab.experiment.reproduce.race": "count_acks",
    },
    "tests/experiment/test_reproduce.py::test_going_back_sends_everything_again_and_arrives": {
        "aero_lab.experiment.reproduce.race": (
            "after_step after_write before_step go_back note_duplicates resend_oldest send_window"
        ),
    },
    "tests/experiment/test_reproduce.py::test_means_are_those_of_a_window_in_flight": {
        "aero_lab.experiment.reproduce.race": "measure",
    },
    "tests/experiment/test_reproduce.py::test_readers_that_say_and_remember_less": {
        "aero_lab.experiment.reproduce.race": "batch_acks refused",
    },
    "tests/experiment/test_reproduce.py::test_what_was_forgotten_and_has_arrived_is_acknowledged": {
        "aero_lab.experiment.reproduce.race": "known",
    },
    "tests/experiment/test_reproduce.py::test_the_compiled_race_is_the_plain_one": {
        "aero_lab.experiment.reproduce.race": "race read",
    },
}
