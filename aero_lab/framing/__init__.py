"""Formats of what travels between the two halves of the lab: frames, packets or flows wrapped into messages."""
