"""Programs of one boot sector each, for any PC emulator; see ``start.inc`` for what they do around their work.

``images.py`` holds them assembled: ``python -m aero_lab.bench.bare.assemble`` makes it from the sources beside it, with
nasm.
"""
