"""The Linux guest: Debian's kernel on the emulated PC, with a shell on its serial console.

The map: ``boot`` gets a machine to its prompt, once, and from a snapshot ever after; ``guest`` drives it, in a thread
of its own where time is the host's; ``session`` runs commands over the console; ``terminal`` is a console in a
terminal. The image comes from :mod:`aero_lab.guests.image`.
"""
