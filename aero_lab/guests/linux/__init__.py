"""The Linux guest: Debian's kernel on the emulated PC."""
