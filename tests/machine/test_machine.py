"""A machine as its user has it: running, stopping with a reason, looking inside, devices, clocks."""

from __future__ import annotations

import threading
import time

import pytest

from aero_lab.compiled.registry import PLAIN
from aero_lab.errors import UsageError
from aero_lab.machine.console import Console
from aero_lab.machine.firmware import Bar
from aero_lab.machine.limits import CONSOLE_KEPT, NS, PIT_HZ
from aero_lab.machine.machine import Machine

from .guest import CODE, DATA, TICK_HANDLER, gate, machine, printer, ticker, word

MS = NS // 1000


def test_it_prints_and_halts():
    m = machine(printer(b"hello"))
    stop = m.run()
    assert stop == "halted" and stop.final and m.console.text == "hello"
    assert stop.instructions == m.icount == 1 + 2 * 5 + 2 and stop.now == m.icount
    assert m.run() == "halted", "and stays so"
    assert "halted" in repr(m) and "<table>" in m._repr_html_() and "halted" in repr(stop)


def test_a_text_ends_a_run_at_its_last_byte():
    m = machine(printer(b"login: login: x"))
    assert m.run("login: ") == "text" and m.console.read() == b"login: "
    assert m.run(b"login: ") == "text" and m.console.read() == b"login: "
    assert m.run("login: ") == "halted" and m.console.read() == b"x"
    with pytest.raises(UsageError, match="1 to 256 bytes"):
        m.run("")


def test_a_run_ends_exactly_where_it_should():
    m = machine("90" * 100 + "ebfe")
    assert m.run(instructions=7) == "instructions" and (m.icount, m.registers.eip) == (7, CODE + 7)
    assert m.run(ns=5) == "time" and (m.icount, m.now) == (12, 12)
    assert m.run(20) == "time" and m.now == 20
    assert m.run(lambda m: m.icount > 30) == "condition" and m.icount > 30
    assert "nop" in machine("9090").step()
    assert m.run(instructions=0) == "instructions" and m.run(timeout=0.0) == "timeout"


def test_the_timer_ticks_at_its_rate_and_sleep_costs_nothing():
    m = ticker()
    stop = m.run(ns=NS)
    ticks = word(m, DATA + 4)
    assert stop == "time" and m.now == NS and ticks == (PIT_HZ - 1) // 1193
    assert m.icount < 20 * ticks and m.counters["warped"] > 0.99 * NS - 30 * ticks
    assert word(m, DATA) == ticks and m.counters["interrupts"] == ticks


def test_a_busy_guest_is_interrupted_at_the_instruction_where_the_deadline_falls():
    m = ticker(busy=True, rate=100)
    m.run(instructions=30)  # the timer is set
    m.breakpoints = [TICK_HANDLER]
    for tick in range(1, 4):
        due = int(m.bus.row.deadline)
        assert 1193 * tick < due * PIT_HZ // NS < 1193 * tick + 10
        assert m.run(ns=10 * MS) == "breakpoint"
        assert due <= m.now < due + 100, "the first instruction behind it"
        m.run(instructions=8)
    m.breakpoints = []
    assert m.breakpoints == [] and m.run(ns=MS) == "time"


@pytest.mark.parametrize("rate", [1.0, 0.37, 12.5])
def test_time_is_the_instruction_count_at_any_rate(rate):
    m = machine("ebfe", rate=rate)
    for part in (1, 10, 1000):
        m.run(instructions=part)
        assert m.now == m.icount * round(rate * (1 << 20)) >> 20
    exact = m.now + 12_345
    m.run(until=exact)
    assert m.now >= exact and (m.icount - 1) * round(rate * (1 << 20)) >> 20 < exact


def test_rdtsc_is_the_boards_time():
    m = machine("90 0f31 a3 00800000 8915 04800000 f4")
    m.run()
    assert word(m, DATA) | word(m, DATA + 4) << 32 == 2, "the instruction before it and its own"


def test_what_a_guest_can_do_to_stop_a_machine():
    assert machine("b0fe e664 ebfe").run() == "reset"
    assert machine("66ba 0406 66b8 0020 66ef ebfe").run() == "power-off"
    stop = machine("b007 e6f4 ebfe").run()
    assert stop == "exit" and stop.status == 7
    m = machine("0f0b")
    m._cpu.idt_limit = 0
    stop = m.run()
    assert stop == "shutdown" and "triple fault" in stop.meaning
    m = machine("fb b0ff e621 e6a1 f4")
    m.bus.write(0, 0x43, 0x30)  # no timer
    assert m.run() == "asleep"


def test_looking_inside():
    m = machine("b8 78563412 f9 bb 01000000 90 f4")
    assert m.disassemble(count=2).splitlines()[0].split()[-3:] == ["mov", "eax,", "0x12345678"]
    m.step(2)
    assert m.registers.eax == 0x12345678 and m.registers.eflags & 1 and "[CF]" in repr(m.registers)
    m.registers.ecx, m.registers.eflags = -1, 2
    assert m.registers.ecx == 0xFFFFFFFF and m.registers.as_dict()["eflags"] == 2
    m.registers.eip = CODE + 11
    assert m.disassemble(count=1).split()[-1] == "nop" and m.registers.cs == 0x10
    with pytest.raises(UsageError, match="cannot be set"):
        m.registers.cr0 = 1
    with pytest.raises(AttributeError, match="no register"):
        _ = m.registers.rax
    with pytest.raises(UsageError, match="do not lie"):
        m.write(len(m.ram) - 1, b"ab")
    assert m.read_linear(CODE, 2) == b"\xb8\x78" and m.translate(0x5000) == 0x5000
    assert "_repr_html_" in dir(m.disassemble()) and m.read_linear(len(m.ram), 4) == b""
    assert "not mapped" in m.disassemble(len(m.ram))


def test_the_trace_names_the_last_blocks():
    m = machine("b9 03000000 e2fe eb00 f4")
    m.tracing = True
    m.run()
    trace = m.trace(4)
    assert trace[-1] == CODE + 9 and CODE + 5 in trace and m.tracing


def test_memory_that_python_writes_is_executed():
    m = machine("ebfe")
    m.run(instructions=100)
    m.write(CODE, b"\xf4")
    assert m.run(instructions=100) == "halted"


def test_the_console_has_several_readers_and_a_bounded_memory():
    heard: list[bytes] = []
    console = Console()
    cancel = console.subscribe(heard.append)
    console.put(b"one")
    console.put(b"two")
    cancel()
    console.put(b"three")
    assert heard == [b"one", b"two"] and console.read() == b"onetwothree" and console.read() == b""
    assert console.since(6) == b"three" and console.size == 11 and console.text.startswith("one")
    console.put(bytes(2 * CONSOLE_KEPT))
    assert console.dropped >= CONSOLE_KEPT and console.size == 2 * CONSOLE_KEPT + 11
    assert len(console.since(0)) <= CONSOLE_KEPT * 5 // 4
    console.write("é")
    assert console.waiting == 2 and console.take(1) + console.take(9) == "é".encode()


ECHO = (
    "66ba fa03 b001 ee"  # FIFO on
    "66ba fd03 ec a801 74fb"  # wait for a character
    "66ba f803 ec ee ebef"  # echo it
)


def test_what_is_typed_arrives_whole_and_in_order():
    m = machine(ECHO)
    m.run(instructions=4)  # turning the FIFO on empties it
    text = bytes(range(32, 127)) * 100
    m.console.write(text)
    m.console.write(b"!end!")
    assert m.run("!end!", instructions=3_000_000) == "text"
    assert m.console.read() == text + b"!end!"


class Register:
    """A device with one register of 32 bits in its first window and a pin that follows bit 0."""

    def __init__(self) -> None:
        self.machine: Machine | None = None
        self.number = 0
        self.value = 0x11223344
        self.log: list[tuple] = []

    def read(self, bar: int, offset: int, size: int) -> int:
        self.log.append(("read", bar, offset, size))
        return self.value >> 8 * (offset & 3)

    def write(self, bar: int, offset: int, size: int, value: int) -> None:
        self.log.append(("write", bar, offset, size, value))
        self.value = value
        assert self.machine is not None
        self.machine.interrupt(self.number, bool(value & 1))


def test_a_device_written_in_python_answers_and_interrupts():
    m = machine(
        "fa b011 e620 b020 e621 b004 e621 b001 e621 b0fb e621"
        "b011 e6a0 b028 e6a1 b002 e6a1 b001 e6a1 b000 e6a1"
        "a1 000000e0 a3 00800000"  # mov eax, [e0000000h]; mov [8000h], eax
        "a0 020000e0 a2 04800000"  # a byte of it
        "66ba 00c0 ed a3 08800000"  # the I/O window
        "fb c705 000000e0 01000000"  # raise the pin
        "f4 ebfd"
    )
    handler = TICK_HANDLER
    m.write(handler, bytes.fromhex("c705 0c800000 77000000 c705 000000e0 02000000 b020 e6a0 e620 cf"))
    device = Register()
    device.machine = m
    number = m.plug(device, 5, vendor=0x1234, product=0x5678, class_code=0xFF0000, bars=(Bar(0x1000), Bar(16, "io")))
    device.number = number
    m.bus.write(0, 0xCF8, 0x80002804, 4)
    m.bus.write(0, 0xCFC, 7, 2)
    irq = 10
    gate(m, 0x28 + irq - 8, handler)
    assert m.run(instructions=10_000, ns=MS) == "time"
    assert [word(m, DATA + at) for at in (0, 4, 8, 12)] == [0x11223344, 0x22, 0x11223344, 0x77]
    assert device.log == [
        ("read", 0, 0, 4), ("read", 0, 2, 1), ("read", 1, 0, 4), ("write", 0, 0, 4, 1), ("write", 0, 0, 4, 2),
    ]  # fmt: skip
    assert m.counters["interrupts"] == 1 and m.counters["mmio_exits"] == 4


def test_a_device_that_raises_leaves_the_machine_where_it_was():
    class Broken(Register):
        def read(self, bar, offset, size):
            if not self.log:
                self.log.append(("refused",))
                raise RuntimeError("not now")
            return 5

    m = machine("a1 000000e0 a3 00800000 f4")
    m.plug(Broken(), 5, vendor=1, product=2, class_code=0, bars=(Bar(0x1000),))
    m.bus.write(0, 0xCF8, 0x80002804, 4)
    m.bus.write(0, 0xCFC, 7, 2)
    with pytest.raises(RuntimeError, match="not now"):
        m.run()
    assert m.run() == "halted" and word(m, DATA) == 5


@pytest.mark.skipif(PLAIN, reason="host time is for compiled kernels")
def test_host_time_goes_on_while_the_guest_sleeps_and_a_key_wakes_it():
    m = ticker(clock="host")
    started = time.monotonic()
    stop = m.run(ns=300 * MS, timeout=30)
    elapsed = time.monotonic() - started
    assert stop == "time" and elapsed >= 0.29 and 1 <= word(m, DATA + 4) <= 301, "a busy host loses ticks, no more"
    assert stop.asleep > 0.0 and m.now >= 300 * MS
    before = m.now
    time.sleep(0.2)
    assert m.now == before, "time stands still between runs"


@pytest.mark.skipif(PLAIN, reason="host time is for compiled kernels")
def test_another_thread_types_and_stops():
    m = machine("fa b0ff e621 e6a1 fb f4 ebfd", clock="host")
    m.bus.write(0, 0x43, 0x30)
    results = []
    thread = threading.Thread(target=lambda: results.append(m.run(timeout=30)))
    thread.start()
    deadline = time.monotonic() + 30
    while not m._running.locked() and time.monotonic() < deadline:
        time.sleep(0.01)
    with pytest.raises(UsageError, match="running"):
        m.run()
    with pytest.raises(UsageError, match="running"):
        m.state_hash()
    m.console.write("x")
    while m.console.waiting and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not m.console.waiting
    m.stop()
    thread.join(30)
    assert results == ["stopped"]


def test_wrong_arguments_are_one_line():
    for bad in ({"ram_mb": 0}, {"ram_mb": 5000}, {"clock": "sundial"}, {"rate": 0}):
        with pytest.raises(UsageError) as error:
            Machine(**bad)
        assert "\n" not in str(error.value)
    with pytest.raises(UsageError, match="16 breakpoints"):
        machine("90").breakpoints = range(17)


def test_the_date_comes_from_the_seed():
    from aero_lab.machine.firmware import clock_seconds

    dates = [clock_seconds(Machine(2, seed=seed).bus.row) for seed in (0, 0, 1, 2)]
    assert dates[0] == dates[1] == 1_767_225_600 and len(set(dates)) == 3
