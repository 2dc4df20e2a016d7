"""The board around the processor core."""
