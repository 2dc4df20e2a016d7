"""The i386 core: what a P6-class processor without its peripherals is. ``docs/cpu.md`` tells how it works."""
