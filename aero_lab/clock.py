"""Clocks. ``now`` is an int of nanoseconds everywhere."""
