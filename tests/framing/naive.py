"""The batch codec of the L2 tunnel as one would write it without thinking of speed: lists, and the plain codec."""

from aero_lab.framing import l2_tunnel as l2


def encap(frames, limits, room):
    """``(messages, taken, too_large)`` for frames into a target with ``room`` free places."""
    messages, taken, too_large = [], 0, 0
    for frame in frames:
        if len(frame.data) > limits.frame:
            too_large += 1
        elif len(messages) == room:
            break
        else:
            messages.append(frame._replace(data=l2.encode_frame(frame.data, limits)))
        taken += 1
    return messages, taken, too_large


def decap(messages, limits, frame_room, control_room):
    """``(frames, control, taken)``."""
    frames, control, taken = [], [], 0
    for message in messages:
        try:
            decoded = l2.decode(message.data, limits)
        except l2.BadMessage:
            decoded = None
        if decoded is not None and decoded.type == l2.FRAME:
            if len(frames) == frame_room:
                break
            frames.append(message._replace(data=decoded.payload))
        else:
            if len(control) == control_room:
                break
            control.append(message)
        taken += 1
    return frames, control, taken
