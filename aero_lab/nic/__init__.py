"""Network cards as drivers know them: registers, descriptor rings, interrupts; compiled, and without a machine."""
