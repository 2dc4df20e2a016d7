"""Every bound of the package, in one place, each with its source.

Times are nanoseconds, sizes bytes, unless the name says otherwise.
"""

US, MS, SECOND = 1_000, 1_000_000, 1_000_000_000
NEVER = (1 << 62) - 1
"""A deadline that never comes: larger than any time, with room to add to."""

# Frames and batches -------------------------------------------------------------------------------------------------
BATCH = 64
"""Frames handed to a kernel in one call; larger batches were measured to gain nothing."""
RING_SLOTS, RING_ARENA = 1024, 4 << 20
"""Default frame ring: as many frames as the original's backend queue, and bytes for 64 frames of the largest size."""
MTU_MIN, MTU_MAX, MTU_DEFAULT = 576, 65520, 1500
"""576 is what every IPv4 host must accept (RFC 791); 65520 is what slirp4netns and passt offer at most."""
IPV6_MTU_MIN = 1280
"""RFC 8200 section 5."""

# TCP ----------------------------------------------------------------------------------------------------------------
MAX_CONNECTIONS = 65536
"""Connection slots a stack's tables can index; ``StackConfig.max_connections`` sets how many are allocated."""
OVERRUN_PER_CONNECTION, OVERRUN_PER_STACK = 1 << 20, 16 << 20
"""In-order data accepted beyond the advertised edge: the original's probe sends 128 KiB to 1 MiB without looking."""
