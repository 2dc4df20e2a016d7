"""Bounds of the backends, each with its source."""

from __future__ import annotations

FRAME_MOST = 2048
"""Bytes of the longest frame that a backend takes; longer ones are dropped and counted. A card sends and takes less."""
QUEUE_FRAMES = 1024
"""Frames of each of the queue backend's two queues."""
NET_RING, COMMAND_RING = 512 << 10, 32 << 10
"""Bytes of a ring for frames, and of one for commands or events, in a segment as browsers' runtimes lay it out."""
RING_LEAST, RING_MOST = 64, 1 << 30
"""Bytes of a ring: a power of two, or its cursors would lose their places when they wrap at 2**32."""
QUEUES_MOST = 64
"""Rings in one segment."""
SKIPPED_MOST = 64
"""Records longer than a frame that one poll skips."""
TRIES, YIELDS, SPINS = 1000, 1 << 12, 1 << 14
"""Attempts of a producer to reserve room against others; turns in which it waits for those before it to commit, and
looks in each of them, after which it lets others have the processor. A producer that died between the two must not hang
the others for ever, one that was only held up by the system (milliseconds, on a busy machine) must not be given up."""
PENDING_BYTES = 8 << 20
"""Bytes of frames that the forwarder keeps while the ring to the guest is full."""
BUDGET = 256
"""Frames each way in one tick of the pump."""
