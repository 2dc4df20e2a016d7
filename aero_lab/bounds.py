"""Bounds of the rooms that have no kernels: proxy server, WebSocket transport, names, audit. The rest is in ``limits``.

Two files, because every kernel is stamped with ``limits``: a bound that no kernel reads must not make all of them
compile anew. Times are nanoseconds, sizes bytes, unless the name says otherwise.
"""
