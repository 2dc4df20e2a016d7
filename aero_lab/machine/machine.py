"""A PC: processor, memory and board, and the one way to drive it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from time import perf_counter_ns, time
from typing import Any, Protocol, TypeVar

import numpy as np

from ..compiled.pages import pages
from ..compiled.registry import PLAIN, warmup
from ..cpu import state
from ..cpu.core import Core
from ..cpu.limits import TRACE
from ..errors import UsageError
from ..nic.base import Nic
from . import stop
from .board import EXT_NONE, EXT_READ, GUEST_EXIT, HOST, INSTRUCTIONS, POWER_OFF, RESET, RUNNING
from .bus import Bus
from .cards import Cards
from .console import Console
from .debug import Listing, Registers, disassemble, physical, read_linear
from .firmware import Bar, add_function, power_on
from .limits import (
    CONSOLE_IN,
    CONSOLE_OUT,
    DEBUG_OUT,
    HOST_LEAP,
    MATCH_SIZE,
    NEVER,
    PACE,
    PACE_FIRST,
    PACE_LEAST,
    PACE_MOST,
    PAGE,
    RAM_LEAST,
    RAM_MOST,
    SLEEP_MOST,
    SLICE_INSTRUCTIONS,
    SLICE_LEAST,
    SLICE_TIME,
)
from .run import (
    ASLEEP,
    BREAKPOINT,
    DEVICE,
    FRACTION,
    GET_EFLAGS,
    HALTED,
    IDLE,
    MATCHED,
    REFRESH,
    SENT,
    SET_EFLAGS,
    SHUTDOWN,
    STOPPED,
    TIME,
    WRITTEN,
    core_access,
    run_slice,
)
from .screen import Screen, read_screen
from .stop import Stop

EPOCH = 1_767_225_600
"""1 January 2026: the date of seed 0."""
SEED_SPAN = 10 * 365 * 86_400
FLAT_CODE, FLAT_DATA = 0xC09B, 0xC093
"""Attributes of flat 32-bit segments of ring 0."""
Path = str | os.PathLike
ENDS = {POWER_OFF: stop.POWER_OFF, RESET: stop.RESET, GUEST_EXIT: stop.EXIT}


Card = TypeVar("Card", bound=Nic)


class Device(Protocol):
    """A device written in Python, plugged into PCI with :meth:`Machine.plug`."""

    def read(self, bar: int, offset: int, size: int) -> int:
        """The guest reads 1, 2 or 4 bytes of a window."""
        ...

    def write(self, bar: int, offset: int, size: int, value: int) -> None:
        """The guest writes 1, 2 or 4 bytes of a window."""
        ...


class Machine:
    """An emulated PC.

    Parameters
    ----------
    ram_mb: memory in megabytes.
    clock: what time is to the guest. ``"instructions"``: the number of instructions executed, at ``rate`` ns each;
        sleeping skips to the next event, and the same run is the same again, bit by bit. ``"host"``: the host's clock
        while :meth:`run` runs.
    seed: sets the date that the real-time clock starts with, in instruction-count time.
    rate: nanoseconds an instruction in instruction-count time.
    paced: let characters on the serial port take the time of the line's speed.
    nics: network cards to plug in, such as :class:`~aero_lab.nic.e1000.E1000`.
    """

    def __init__(
        self,
        ram_mb: int = 128,
        clock: str = "instructions",
        seed: int = 0,
        *,
        rate: float = 1.0,
        paced: bool = False,
        nics: Iterable[Nic] = (),
    ):
        size = int(ram_mb * 1024) << 10
        if not RAM_LEAST <= size <= RAM_MOST or size % PAGE:
            raise UsageError(f"ram_mb must be {RAM_LEAST >> 20} to {RAM_MOST >> 20}, not {ram_mb}")
        if clock not in ("instructions", "host"):
            raise UsageError(f"clock must be 'instructions' or 'host', not {clock!r}")
        if not 1e-3 <= rate <= 1e6:
            raise UsageError(f"rate must be 0.001 to 1,000,000 ns an instruction, not {rate}")
        warmup(True, "cpu")  # with a progress bar, where compiling takes its time
        self.clock, self.seed, self.rate = clock, seed, rate
        self._build(pages(size))
        epoch = int(time()) if clock == "host" else EPOCH + seed * 2_654_435_761 % SEED_SPAN
        power_on(self.bus, self.ram, epoch, paced)
        self.bus.row.mode = HOST if clock == "host" else INSTRUCTIONS
        for nic in nics:
            self.attach(nic)

    def _build(self, ram: np.ndarray) -> None:
        """Make the parts, all registers zero but for the processor's, which are those after a reset."""
        self.ram = ram
        """The memory: bytes by physical address."""
        self.core = Core(ram)
        self.bus = Bus()
        self._cards = Cards(self.bus)
        self._wake = threading.Event()
        self._running = threading.Lock()
        self._stop_asked = False
        self._ended: str | None = None
        self._pace = PACE_FIRST
        self._devices: dict[int, Device] = {}
        self.console = Console(self._wake.set)
        """The serial port's other end: a :class:`~aero_lab.machine.console.Console`."""
        self.last: Stop | None = None
        """How the last run ended."""
        c = self._cpu
        c.ns_mult = round(self.rate * (1 << FRACTION))

    @property
    def _cpu(self) -> Any:
        return state.row(self.core.cpu)

    def _core_access(self, what: int, address: int = 0, value: int = 0) -> int:
        return core_access(self.core.cpu, self.core.code, self.core.blocks, what, address, value)

    # Time -------------------------------------------------------------------------------------------------------------
    @property
    def icount(self) -> int:
        """Instructions executed since power-on."""
        return int(self._cpu.icount)

    @property
    def now(self) -> int:
        """The guest's time: nanoseconds since power-on."""
        c = self._cpu
        return int(c.ns_base) + ((int(c.icount) - int(c.ns_icount)) * int(c.ns_mult) >> FRACTION)

    # Running ----------------------------------------------------------------------------------------------------------
    def run(
        self,
        until: bytes | str | int | Callable[[Machine], Any] | None = None,
        *,
        ns: int | None = None,
        instructions: int | None = None,
        timeout: float | None = None,
        frames: bool = False,
    ) -> Stop:
        """Run the machine, and say why it stopped. Whatever comes first of those given ends the run.

        Parameters
        ----------
        until: text that the guest prints on its serial port from now on (the run ends at its last byte); or a time of
            the guest's clock in ns; or a function of the machine that is asked every few milliseconds.
        ns: guest time from now, in ns.
        instructions: instructions from now.
        timeout: seconds of the host's clock from now.
        frames: end the run, at the very instruction, when a network card has sent frames that wait in its ring.
        """
        with self._standing():
            try:
                self.last = self._run(until, ns, instructions, timeout, frames)
            finally:
                if isinstance(until, (bytes, str)):
                    self.watch(None)
            return self.last

    def watch(self, text: bytes | str | None) -> None:
        """End a run, whichever it is, at the last byte of ``text`` when the guest prints it from now on; None: do
        not."""
        if text is not None:
            self._wait_for(text)
        else:
            self.bus.row.match_size = 0

    @property
    def wakes_at(self) -> int:
        """The guest's time at which its own chips will wake a processor that sleeps: now when it is awake,
        :data:`~aero_lab.machine.limits.NEVER` when none will."""
        b, c = self.bus.row, self._cpu
        if not c.halted or c.intr_vector >= 0 or b.intr or b.in_tail != b.in_head or self.console.waiting:
            return self.now
        return min(int(b.deadline), self._cards.due)

    @contextmanager
    def _standing(self) -> Iterator[None]:
        """Keep the machine from running while it is looked at as a whole."""
        if not self._running.acquire(blocking=False):
            raise UsageError("this machine is running, in another thread: stop() it first")
        try:
            yield
        finally:
            self._running.release()

    def stop(self) -> None:
        """End a run in another thread at its next slice."""
        self._stop_asked = True
        self._wake.set()

    def step(self, count: int = 1) -> Listing:
        """Execute ``count`` instructions; what comes next, disassembled."""
        self.run(instructions=count)
        return self.disassemble(count=1)

    def _run(self, until: Any, ns: int | None, instructions: int | None, timeout: float | None, frames: bool) -> Stop:
        b, c = self.bus.row, self._cpu
        cards, held = self._cards, self._cards.arrays
        began, slept, first = perf_counter_ns(), 0, int(c.icount)
        self._stop_asked = False
        condition = until if callable(until) else None
        stop_ns = min(NEVER if ns is None else self.now + ns, until if isinstance(until, int) else NEVER)
        stop_icount = NEVER if instructions is None else first + instructions
        deadline = None if timeout is None else began + round(timeout * 1e9)
        if isinstance(until, (bytes, str)):
            self._wait_for(until)
        offset = self.now - began
        reason = self._ended
        while reason is None:
            self._wake.clear()
            self._type()
            before, started = int(c.icount), perf_counter_ns()
            if self.clock == "host":
                offset = min(offset, self.now + HOST_LEAP - started)
                slice_end = before + max(SLICE_LEAST, int(SLICE_TIME / self._pace))
            else:
                slice_end = (before // SLICE_INSTRUCTIONS + 1) * SLICE_INSTRUCTIONS
            why = run_slice(
                *self.core.arrays,
                self.bus.records,
                *held,
                min(slice_end, stop_icount),
                stop_ns,
                started + offset,
                round(self._pace * PACE * (1 << FRACTION)),
                int(frames),
            )
            self._measure(int(c.icount) - before, perf_counter_ns() - started)
            self._drain()
            if why == DEVICE:
                self._answer()
            reason = self._reason(why)
            if reason in stop.FINAL:
                self._ended = reason
            elif reason is None:
                if why == TIME:
                    reason = stop.TIME
                elif int(c.icount) >= stop_icount:
                    reason = stop.INSTRUCTIONS
                elif condition is not None and condition(self):
                    reason = stop.CONDITION
                elif self._stop_asked:
                    reason = stop.STOPPED
                elif deadline is not None and perf_counter_ns() >= deadline:
                    reason = stop.TIMEOUT
                elif why == IDLE:
                    slept += self._sleep(min(int(b.deadline), cards.due, stop_ns) - offset, deadline)
                elif why == ASLEEP and not self.console.waiting:
                    reason = stop.ASLEEP
        status = int(b.exit_status) if reason == stop.EXIT else None
        spent = perf_counter_ns() - began
        return Stop(reason, int(c.icount), self.now, int(c.icount) - first, spent / 1e9, slept / 1e9, status)

    def _wait_for(self, text: bytes | str) -> None:
        data = text.encode() if isinstance(text, str) else text
        if not 0 < len(data) <= MATCH_SIZE:
            raise UsageError(f"a text to wait for has 1 to {MATCH_SIZE} bytes, not {len(data)}")
        b = self.bus.row
        for at, byte in enumerate(data):
            b.match[at] = byte
        b.match_start, b.match_size, b.matched = b.out_tail, len(data), 0

    def _reason(self, why: int) -> str | None:
        """What ends a run whatever it waits for."""
        b = self.bus.row
        if why == MATCHED:
            b.matched = 0
            return stop.TEXT
        if why == STOPPED:
            return ENDS[int(b.stop)]
        return {SENT: stop.FRAMES, HALTED: stop.HALTED, SHUTDOWN: stop.SHUTDOWN, BREAKPOINT: stop.BREAKPOINT}.get(why)

    def _measure(self, instructions: int, spent: int) -> None:
        """Follow the pace at which instructions are executed."""
        if instructions >= SLICE_LEAST:
            pace = min(max(spent / instructions, PACE_LEAST), PACE_MOST)
            self._pace += (pace - self._pace) / 4

    def _sleep(self, until: int, deadline: int | None) -> int:
        """Sleep on the host's clock until ``until``, or something happens; nanoseconds slept."""
        started = perf_counter_ns()
        if deadline is not None:
            until = min(until, deadline)
        if until > started:
            self._wake.wait(min((until - started) / 1e9, SLEEP_MOST))
        return perf_counter_ns() - started

    # Console ----------------------------------------------------------------------------------------------------------
    def _type(self) -> None:
        """Move what was typed into the board's ring."""
        b = self.bus.row
        tail = int(b.in_tail)
        data = self.console.take(CONSOLE_IN - (tail - int(b.in_head)))
        for at, byte in enumerate(data):
            b.input[(tail + at) % CONSOLE_IN] = byte
        b.in_tail = tail + len(data)

    def _drain(self) -> None:
        """Hand what the guest printed to the console."""
        b = self.bus.row
        head, tail = int(b.out_head), int(b.out_tail)
        if head == tail:
            return
        first, last = head % CONSOLE_OUT, tail % CONSOLE_OUT
        ring = b.out
        data = bytes(ring[first:last]) if first < last else bytes(ring[first:]) + bytes(ring[:last])
        b.out_head = tail
        self.console.put(data)

    @property
    def debug_text(self) -> str:
        """The last of what the guest wrote to the debug port (E9h)."""
        b = self.bus.row
        count = int(b.debug_count)
        kept = min(count, DEBUG_OUT)
        return bytes(int(b.debug[i % DEBUG_OUT]) for i in range(count - kept, count)).decode("utf-8", "replace")

    # Devices ----------------------------------------------------------------------------------------------------------
    def plug(
        self,
        device: Device,
        slot: int,
        function: int = 0,
        *,
        vendor: int,
        product: int,
        class_code: int,
        bars: Iterable[Bar | None] = (),
        pin: int = 1,
        revision: int = 0,
        subsystem: tuple[int, int] = (0, 0),
    ) -> int:
        """Plug a device written in Python into PCI bus 0; the number by which :meth:`interrupt` knows it.

        A machine loaded from a snapshot has the function already; plugging the device in again gives it a body.
        """
        b = self.bus.row
        for at in range(int(b.pci_count)):
            same = int(b.pci_devfn[at]) == slot << 3 | function
            if same and int(b.pci_config[64 * at]) == product << 16 | vendor and at not in self._devices:
                self._devices[at] = device
                return at
        at = add_function(
            self.bus, slot, function, vendor, product, class_code,
            revision=revision, subsystem=subsystem, bars=tuple(bars), pin=pin,
        )  # fmt: skip
        self._devices[at] = device
        return at

    def attach(self, nic: Card, slot: int | None = None) -> Card:
        """Plug a network card into PCI, at the slot that it usually has or another; returns it."""
        with self._standing():
            self._cards.attach(nic, slot)
        return nic

    @property
    def nics(self) -> list[Nic]:
        """The network cards."""
        return list(self._cards.nics)

    def wake(self) -> None:
        """Let a machine that sleeps by the host's clock look around: a card has got frames. From any thread."""
        self._wake.set()

    def interrupt(self, function: int, up: bool) -> None:
        """Raise or lower the interrupt pin of a plugged device."""
        self.bus.interrupt(function, up)
        self._wake.set()

    def _answer(self) -> None:
        """Let a device answer the access that the processor waits for."""
        b, c = self.bus.row, self._cpu
        device = self._devices.get(int(b.ext_function))
        bar, offset, size = int(b.ext_bar), int(b.ext_offset), int(b.ext_size)
        every = (1 << 8 * size) - 1
        if int(b.ext_kind) == EXT_READ:
            c.io_value = every if device is None else device.read(bar, offset, size) & every
            c.io_ready = 1
        elif device is not None:
            device.write(bar, offset, size, int(b.ext_value) & every)
        b.ext_kind = EXT_NONE

    # Starting ---------------------------------------------------------------------------------------------------------
    def write(self, address: int, data: bytes) -> None:
        """Put bytes into memory at a physical address."""
        if not 0 <= address <= len(self.ram) - len(data):
            raise UsageError(f"{len(data)} bytes at {address:#x} do not lie in {len(self.ram) >> 20} MB of memory")
        self.ram[address : address + len(data)] = np.frombuffer(data, np.uint8)
        self._core_access(WRITTEN, address, len(data))

    def read(self, address: int, size: int) -> bytes:
        """Bytes of memory at a physical address."""
        if not 0 <= address <= len(self.ram) - size:
            raise UsageError(f"{size} bytes at {address:#x} do not lie in {len(self.ram) >> 20} MB of memory")
        return self.ram[address : address + size].tobytes()

    def enter(self, eip: int, *, code: int = 0x10, data: int = 0x18, **registers: int) -> None:
        """Let the processor go on at ``eip`` in flat 32-bit protected mode of ring 0, interrupts and paging off.

        Parameters
        ----------
        code, data: what the segment registers hold; the guest needs a descriptor table before it loads others.
        registers: general registers by name; the others are 0.
        """
        c = self._cpu
        self._ended, self.bus.row.stop, c.halted, c.shadow, c.intr_vector = None, RUNNING, 0, 0, -1
        for seg in range(6):
            c.seg_sel[seg] = code if seg == state.CS else data
            c.seg_base[seg], c.seg_limit[seg] = 0, 0xFFFFFFFF
            c.seg_attr[seg] = FLAT_CODE if seg == state.CS else FLAT_DATA
        c.cr0, c.cpl = 0x11, 0
        for number in range(8):
            c.gpr[number] = 0
        for name, value in registers.items():
            setattr(self.registers, name, value)
        c.eip = eip
        self._core_access(SET_EFLAGS, 0, 2)
        self._core_access(REFRESH)

    def load_linux(self, kernel: Any, initrd: Any = None, cmdline: str | None = None, *, screen: bool = True) -> None:
        """Put a Linux kernel into memory and the processor at its entry, as a boot loader does.

        Parameters
        ----------
        kernel, initrd: files, or their bytes.
        cmdline: the kernel's command line; the default puts the console on the serial port and leaves out what takes
            an emulated machine long.
        screen: announce a VGA text screen.
        """
        import hashlib

        from .boot import CONSOLE, TUNED, linux

        line = f"{CONSOLE} {TUNED}" if cmdline is None else cmdline
        seed = hashlib.blake2b(f"rng {self.seed}".encode(), digest_size=32).digest()
        image = linux(kernel, initrd, line, ram_bytes=len(self.ram), screen=screen, rng_seed=seed)
        for address, data in image.pieces:
            self.write(address, data)
        self.enter(image.entry, code=image.code, data=image.data, **image.registers)
        c = self._cpu
        c.gdt_base, c.gdt_limit = image.gdt_base, image.gdt_limit

    # Looking ----------------------------------------------------------------------------------------------------------
    @property
    def registers(self) -> Registers:
        """The processor's registers by name."""
        return Registers(
            self.core, lambda: self._core_access(GET_EFLAGS), lambda value: self._core_access(SET_EFLAGS, 0, value)
        )

    def screenshot(self) -> Screen:
        """The VGA text screen."""
        return read_screen(self.ram, self.bus.row)

    def disassemble(self, address: int | None = None, count: int = 10) -> Listing:
        """``count`` instructions from a linear address on, or from where the processor stands."""
        return disassemble(self.core, address, count)

    def read_linear(self, address: int, size: int) -> bytes:
        """Memory as the guest addresses it now, up to the first byte that is not there."""
        return read_linear(self.core, address, size)

    def translate(self, address: int) -> int | None:
        """The physical address behind a linear one; None when it is not mapped."""
        return physical(self.core, address)

    @property
    def breakpoints(self) -> list[int]:
        """Linear addresses at which a run stops; assign a list to change them."""
        c = self._cpu
        return [int(c.breakpoints[i]) for i in range(int(c.break_count))]

    @breakpoints.setter
    def breakpoints(self, addresses: Iterable[int]) -> None:
        wanted = list(addresses)
        c = self._cpu
        if len(wanted) > len(c.breakpoints):
            raise UsageError(f"a machine has {len(c.breakpoints)} breakpoints, not {len(wanted)}")
        for at, address in enumerate(wanted):
            c.breakpoints[at] = address & 0xFFFFFFFF
        c.break_count = len(wanted)

    @property
    def tracing(self) -> bool:
        """Whether the addresses of executed blocks are noted; see :meth:`trace`."""
        return bool(state.row(self.core.code).tracing)

    @tracing.setter
    def tracing(self, on: bool) -> None:
        state.row(self.core.code).tracing = int(on)

    def trace(self, count: int = 20) -> list[int]:
        """Linear addresses of the last ``count`` blocks executed while :attr:`tracing`, the newest last."""
        at = int(state.row(self.core.code).trace_at)
        return [trace_entry(self.core.code, i) for i in range(max(at - min(count, TRACE), 0), at)]

    @property
    def counters(self) -> dict[str, int]:
        """What was counted since power-on: interrupts, accesses nobody answered, sleeps."""
        b = self.bus.row
        names = "interrupts spurious exits port_exits mmio_exits warps warped unknown_in unknown_out mmio_lost "
        names += "messages_lost"
        return {name: int(getattr(b, name)) for name in names.split()}

    @property
    def unknown_ports(self) -> dict[int, int]:
        """Accesses by port to ports where nothing is, as far as they are told apart."""
        b = self.bus.row
        return {int(b.unknown_port[i]): int(b.unknown_hits[i]) for i in range(int(b.unknown_count))}

    # Keeping ----------------------------------------------------------------------------------------------------------
    def save(self, path: Path) -> int:
        """Write the whole machine to one file; its size in bytes."""
        from .snapshot import save

        return save(self, path)

    @classmethod
    def load(cls, path: Path, clock: str | None = None) -> Machine:
        """A machine as it was saved; ``clock`` lets it go on by another clock than it had."""
        from .snapshot import load

        return load(cls, path, clock)

    def fork(self) -> Machine:
        """A copy of this machine as it stands, which goes its own way from here."""
        from .snapshot import fork

        return fork(self)

    def state_hash(self) -> str:
        """A digest of all that the guest's machine is: equal digests go on equally, in instruction-count time."""
        from .snapshot import state_hash

        return state_hash(self)

    # Notebook ---------------------------------------------------------------------------------------------------------
    def close(self) -> None:
        """Stop a run in another thread."""
        self.stop()

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return (
            f"<Machine {len(self.ram) >> 20} MB, {self.clock} clock: {self.icount:,} instructions, "
            f"{self.now / 1e9:.6f} s{', ' + self._ended if self._ended else ''}>"
        )

    def _repr_html_(self) -> str:
        rows = {
            "memory": f"{len(self.ram) >> 20} MB",
            "clock": self.clock,
            "instructions": f"{self.icount:,}",
            "guest time": f"{self.now / 1e9:.6f} s",
            "last run": f"{self.last.reason}, {self.last.mips:.0f} MIPS" if self.last else "none",
            "console": f"{self.console.size:,} bytes",
            "interrupts": f"{self.counters['interrupts']:,}",
        }
        cells = "".join(
            f"<tr><th style='text-align:left'>{name}</th><td>{value}</td></tr>" for name, value in rows.items()
        )
        return f"<table><caption>Machine</caption>{cells}</table>"


def trace_entry(code: Any, number: int) -> int:
    """Entry ``number`` of the trace of a code cache (whose field has the name of a method of numpy's)."""
    ring = code[0].trace if PLAIN else code["trace"][0]
    return int(ring[number % TRACE])
