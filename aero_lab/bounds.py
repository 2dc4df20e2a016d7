"""Bounds of the rooms that have no kernels: proxy server, WebSocket transport, names, audit. The rest is in ``limits``.

Two files, because every kernel is stamped with ``limits``: a bound that no kernel reads must not make all of them
compile anew. Times are nanoseconds, sizes bytes, unless the name says otherwise.
"""

# Audit ----------------------------------------------------------------------------------------------------------------
AUDIT_RECORDS = 65_536
"""Records an audit remembers; the oldest go first. At some 300 bytes each that is 20 MB."""
AUDIT_RATE, AUDIT_BURST = 500, 5_000
"""Records a second, and at once, of one source; beyond that they are counted, and the number is recorded when there is
room again: a guest that floods must not fill its host's disk with what is said about it."""
AUDIT_DROPS_EVERY = 1_000_000_000
"""Least time between two looks at a network's drop counters."""
