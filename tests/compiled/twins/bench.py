"""Twins in ``tests/bench``."""

TWINS: dict[str, dict[str, str]] = {
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
}
