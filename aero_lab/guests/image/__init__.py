"""Guest images: Debian packages in, kernel and initramfs out.

The map: ``deb`` reads packages, ``modules`` kernel modules, ``cpio`` is the archive of an initramfs; ``linux`` says
which files of which packages make the image, ``files`` are our own; ``apt`` fetches packages in a private directory,
``store`` keeps it all in the user's cache. No file of anybody else's is part of this package.
"""
