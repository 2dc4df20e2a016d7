"""The QEMU guest: the image of the Linux guest under QEMU, whose network card ends in a lab.

The map: ``command`` says what QEMU is started with, and what is missing where none can be; ``watch`` is the little
process that ends QEMU when its owner is gone; ``machine`` is QEMU as its owner holds it: console, control, life;
``qmp`` speaks to it; ``frames`` and ``nic`` move frames between its socket and the rings; ``guest`` is all that
together, with a shell.
"""
