"""Replay guests: the frames that a host once sent, played into a lab again. See :mod:`.guest`."""
