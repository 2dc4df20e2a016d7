"""Names the modules of this room that hold entries, so that importing this one registers them all."""
