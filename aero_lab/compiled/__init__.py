"""How compiled code is written here: the kernel registry, its cache, byte access and records.

Nothing in this room knows about networks. Everything that is compiled stands on it:

* :mod:`.registry` turns a function into a kernel (lazy, cached, GIL-free) and warms kernels up;
* :mod:`.cache` keeps compiled kernels, stamped by the source they were made from;
* :mod:`.memory` reads and writes bytes inside kernels;
* :mod:`.records` allocates the records that kernels share with Python.
"""
