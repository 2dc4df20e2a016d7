"""Every bound of the processor core, each with its source. Sizes are bytes unless the name says otherwise."""

PAGE = 4096
"""Smallest page (Intel SDM volume 3, 4.3)."""
MAX_RAM = 1 << 30
"""Most memory of a machine: what a 32-bit kernel maps directly is less, and the tables by physical page stay small."""
MAX_PAGES = MAX_RAM // PAGE
LINEAR_PAGES = 1 << 20
"""Pages of the linear address space."""
TLB_ENTRIES = 1024
"""Entries of the soft TLB a privilege class (supervisor, user), direct-mapped by linear page."""
TLB_WORDS = 4
"""Words of a TLB entry: read tag, write tag, linear-to-RAM distance, global mark."""
BLOCKS = 1 << 17
"""Decoded blocks kept; when they run out all of them are dropped."""
INSNS = 1 << 20
"""Decoded instructions kept, likewise: 24 MB, several times the code that a boot of Linux runs."""
BLOCK_INSNS = 48
"""Most instructions of a block: longer straight code goes on in the next block."""
HASH_HEADS = 1 << 16
"""Chains of the table that finds a block by physical address."""
JUMP_ENTRIES = 1 << 12
"""Entries of the table that finds the block of an indirect jump by linear address."""
SMC_PAGES = 16
"""Pages of code that one instruction can write to: a task switch touches fewest, PUSHA and FXSAVE two."""
BREAKPOINTS = 16
"""Breakpoints that can be set at once: each block compares its address with all of them while there are any."""
TRACE = 1 << 12
"""Blocks that the trace remembers."""
INSN_BYTES = 15
"""Longest instruction (Intel SDM volume 2, 2.3.11)."""
REP_ITEMS = 1 << 16
"""Most items that one turn of a repeated string instruction moves before interrupts get a look."""
