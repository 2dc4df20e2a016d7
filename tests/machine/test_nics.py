"""Network cards in a machine: windows, pins, messages, memory, sleep, and where a run ends for them."""

from __future__ import annotations

import hashlib
import json
import os

import pytest
import zstandard

from aero_lab.errors import UsageError
from aero_lab.machine.machine import Machine
from aero_lab.machine.nics import LOW, bell_heard
from aero_lab.machine.snapshot import _HEAD, MAGIC, VERSION

from .guest import CODE, DATA, gate, machine, word
from .mailbox import Mailbox

BASE = 0xE0000000
"""Where the first memory window is placed at power-on."""


def mov(address: int, value: int) -> bytes:
    """mov dword [address], value"""
    return b"\xc7\x05" + address.to_bytes(4, "little") + value.to_bytes(4, "little")


def load(address: int) -> bytes:
    """mov eax, [address]"""
    return b"\xa1" + address.to_bytes(4, "little")


def keep(address: int) -> bytes:
    """mov [address], eax"""
    return b"\xa3" + address.to_bytes(4, "little")


def config(register: int, value: int, slot: int = 5) -> bytes:
    """Write a word of configuration space."""
    address = 0x80000000 | slot << 11 | register
    out = b"\xb8" + address.to_bytes(4, "little") + b"\x66\xba\xf8\x0c\xef"
    return out + b"\xb8" + value.to_bytes(4, "little") + b"\x66\xba\xfc\x0c\xef"


MASTER = config(4, 0x107)
HALT, SPIN = b"\xf4", b"\xeb\xfe"


def with_card(code: bytes, **more) -> tuple[Machine, Mailbox]:
    m = machine(code + SPIN, **more)
    return m, m.attach(Mailbox())


def test_a_card_answers_in_both_of_its_windows_and_sends_what_lies_in_memory():
    m, card = with_card(MASTER + mov(BASE, DATA) + load(BASE) + keep(DATA + 64) + mov(BASE + 4, 60))
    m.write(DATA, bytes(range(60)))
    stop = m.run(frames=True)
    assert stop == "frames" and word(m, DATA + 64) == DATA
    frame = card.tx.pop()
    assert frame is not None and frame.data == bytes(range(60)) and frame.t_ns == m.now
    assert m.run(instructions=100) == "instructions" and len(card.tx) == 0


def test_the_run_ends_at_the_very_instruction_that_sent():
    code = MASTER + mov(BASE, DATA) + mov(BASE + 4, 60)
    m, card = with_card(code + b"\x40" * 9)
    assert m.run(frames=True) == "frames"
    assert m.registers.eip == CODE + len(code) and m.icount == 6 + 2
    assert m.run(frames=True) == "frames" and m.icount == 8, "as long as they wait"
    card.tx.clear()
    assert m.run(instructions=9, frames=True) == "instructions" and m.registers.eax == 0x107 + 9


def test_without_bus_mastering_memory_stays_as_it_is():
    m, card = with_card(mov(BASE, DATA) + mov(BASE + 4, 60) + b"\x90" * 8 + MASTER)
    assert m.run(instructions=9, frames=True) == "instructions" and len(card.tx) == 0
    assert m.run(frames=True, instructions=20) == "frames" and m.registers.eip == CODE + 20 + 8 + len(MASTER)


def test_a_frame_that_comes_in_lies_in_memory_and_wakes_a_sleeping_guest():
    irq = 10 + (5 + 1 - 2) % 4 // 2  # as the firmware routed the pin: slot 5, INTA
    # Both controllers at 20h and 28h, only the cascade and this line open; then take a frame and sleep.
    pic = "b011 e620 b020 e621 b004 e621 b001 e621 b0fb e621 b011 e6a0 b028 e6a1 b002 e6a1 b001 e6a1"
    pic += f"b0{0xFF & ~(1 << irq - 8):02x} e6a1 fb"
    m, card = with_card(MASTER + mov(BASE, DATA) + mov(BASE + 8, 1) + bytes.fromhex(pic) + HALT)
    m.write(0x101000, load(BASE + 8) + keep(DATA + 0x100) + bytes.fromhex("b020 e6a0 e620 cf"))
    gate(m, 0x20 + irq, 0x101000)
    assert m.run(ns=10_000_000) == "time" and m.icount < 100, "it sleeps"
    card.rx.push(b"frame for you", 0)
    m.run(ns=1000)
    assert word(m, DATA + 0x100) == 13 and m.read(DATA, 13) == b"frame for you"
    assert card.state.turns > 0 and not card.port.intx


def test_a_frame_for_which_there_is_no_room_waits_and_costs_nothing():
    m, card = with_card(MASTER + b"\x90" * 100)
    m.run(instructions=10)
    card.rx.push(b"x" * 60)
    turns = card.counters["turns"]
    m.run(instructions=500)
    for _ in range(20):
        m.run(instructions=50)
    assert card.port.rx_wait and card.counters["turns"] == turns + 1 and len(card.rx) == 1


def test_a_full_ring_holds_the_sender_up_until_there_is_room():
    m, card = with_card(MASTER + mov(BASE, DATA) + mov(BASE + 4, 1514))
    while card.tx.has_room(1 << 12):
        card.tx.push(b"y" * (1 << 12))
    while card.tx.has_room(1514):
        card.tx.push(b"y" * 1514)
    before = card.tx.given
    m.run(instructions=200)
    assert card.port.tx_wait and card.tx.given == before and card.tx.refused == 0
    card.tx.clear()
    m.run(instructions=1)
    assert not card.port.tx_wait and card.tx.given == before + 1


def test_a_deadline_of_a_card_is_met_at_its_instruction_and_wakes_a_sleeper():
    m, card = with_card(mov(BASE + 12, 5_000) + SPIN)
    m.run(instructions=1)
    due = int(card.port.due)
    assert due == m.now + 5_000
    m.breakpoints = []
    m.run(until=due - 1)
    assert not card.port.intx
    m.run(instructions=2)
    assert card.port.intx and int(m.bus.row.pci_intx[card.port.function])

    m, card = with_card(bytes.fromhex("b0ff e621 e6a1") + mov(BASE + 12, 5_000_000) + b"\xfb" + HALT)
    assert m.run(ns=20_000_000) == "time" and card.port.intx and m.icount < 20


def test_memory_that_a_card_writes_to_is_not_run_as_it_was():
    # A loop calls a function that a frame then overwrites: mov eax, 1; ret
    code = MASTER + mov(BASE, 0x110000) + mov(BASE + 8, 1)
    loop = CODE + len(code)
    code += b"\xe8" + (0x110000 - loop - 5).to_bytes(4, "little") + keep(DATA) + b"\xeb\xf4"
    m, card = with_card(code)
    m.write(0x110000, b"\xb8\x01\0\0\0\xc3")
    m.run(instructions=100)
    assert word(m, DATA) == 1
    card.rx.push(b"\xb8\x02\0\0\0\xc3")
    m.run(instructions=100)
    assert word(m, DATA) == 2


def test_messages_are_written_to_memory_once_they_are_enabled():
    enable = config(0x40, 0x80000000)
    m, card = with_card(MASTER + mov(BASE, DATA) + mov(BASE + 16, 77) + enable + mov(BASE + 16, 99))
    m.run(instructions=8)
    assert word(m, DATA) == 0
    m.run(instructions=8)
    assert word(m, DATA) == 99 and m.counters["messages_lost"] == 0
    m, card = with_card(MASTER + enable + mov(BASE, 0xFEE00000) + mov(BASE + 16, 99))
    m.run(instructions=20)
    assert m.counters["messages_lost"] == 1, "there is no local APIC"


def test_configuration_space_has_the_capabilities():
    m, card = with_card(b"")
    at = 64 * int(card.port.function)
    config = m.bus.row.pci_config
    assert int(config[at + 1]) & 1 << 20 and int(config[at + 13]) & 0xFF == 0x40
    assert int(config[at + 16]) == 0x00004C11, "one vector; the next capability behind it"
    assert int(config[at + 19]) == 0x61060009 and int(config[at + 20]) == 0x6362


def test_the_cable():
    m, card = with_card(b"")
    assert card.state.cable == 1
    card.link(False)
    assert card.state.cable == 1
    m.run(instructions=1)
    assert card.state.cable == 0
    card.link(True)
    m.run(instructions=1)
    assert card.state.cable == 1


def test_what_does_not_fit_is_one_line():
    m, card = with_card(b"")
    with pytest.raises(UsageError, match="plugged in already"):
        m.attach(card)
    with pytest.raises(UsageError, match="at most one"):
        m.attach(Mailbox())
    with pytest.raises(UsageError, match="no address of a single"):
        Mailbox("01:00:5e:00:00:01")
    assert m.nics == [card] and "Mailbox 52:54" in repr(card)


def test_a_host_clocked_guest_computes_and_hears_of_a_frame_meanwhile():
    m, card = with_card(MASTER + mov(BASE, DATA) + mov(BASE + 8, 1), clock="host")
    m.run(instructions=1000)
    card.rx.push(b"z" * 60)
    m.run(ns=50_000_000)
    assert m.read(DATA, 60) == b"z" * 60 and card.port.moved == 1


# Keeping --------------------------------------------------------------------------------------------------------------
ECHO = MASTER + mov(BASE, DATA)
ECHO += mov(BASE + 8, 1) + load(BASE + 8) + bytes.fromhex("85c0 74f7") + keep(BASE + 4) + b"\xeb" + bytes((0xE6,))
"""Sends every frame back: as long as none has come, it asks again."""


def echoing(**more) -> tuple[Machine, Mailbox]:
    m, card = with_card(ECHO, **more)
    for number in range(40):
        card.rx.push(bytes((number,)) * (60 + number), t_ns=number, frame_id=number + 1)
    m.run(instructions=100)
    return m, card


def sent(card: Mailbox) -> list[tuple]:
    return [(frame.data, frame.t_ns) for frame in card.tx.peek_many(1000)]


@pytest.mark.parametrize("how", ["fork", "file"])
def test_a_copy_goes_on_as_the_machine_does(how, tmp_path):
    m, card = echoing()
    if how == "fork":
        other = m.fork()
    else:
        m.save(tmp_path / "machine")
        other = Machine.load(tmp_path / "machine")
    (twin,) = other.nics
    assert isinstance(twin, Mailbox) and other.state_hash() == m.state_hash()
    assert twin.mac == card.mac and sent(twin) == sent(card) and len(twin.rx) == len(card.rx) > 0
    assert twin.rx.peek_many(100) == card.rx.peek_many(100)
    m.run(instructions=1000)
    assert other.state_hash() != m.state_hash()
    other.run(instructions=1000)
    assert sent(twin) == sent(card) and len(sent(card)) == 40 and other.state_hash() == m.state_hash()
    assert (twin.tx.used_bytes, twin.rx.used_bytes) == (card.tx.used_bytes, card.rx.used_bytes)
    twin.rx.push(b"only here" * 10)
    other.run(instructions=100)
    assert len(sent(twin)) == 41 and len(sent(card)) == 40


def test_a_ring_that_goes_round_is_kept_with_its_places(tmp_path):
    m, card = with_card(b"")
    for number in range(3000):
        card.rx.push(bytes(700 + number % 800))
        if len(card.rx) > 300:
            card.rx.pop()
    m.save(tmp_path / "machine")
    (twin,) = Machine.load(tmp_path / "machine").nics
    assert twin.rx.peek_many(1000) == card.rx.peek_many(1000) and twin.rx.given == card.rx.given == 3000
    while card.rx.has_room(1500):
        assert twin.rx.push(b"a" * 1500) and card.rx.push(b"a" * 1500)
    assert not twin.rx.has_room(1500) and twin.rx.used_bytes == card.rx.used_bytes


HEADER = _HEAD.size


def changed(path, change) -> None:
    """Change the description in a snapshot, and seal it again."""
    raw = path.read_bytes()
    _, _, size, _ = _HEAD.unpack_from(raw)
    description = json.loads(zstandard.ZstdDecompressor().decompress(raw[HEADER : HEADER + size]))
    change(description)
    body = zstandard.ZstdCompressor().compress(json.dumps(description).encode())
    rest = body + raw[HEADER + size :]
    path.write_bytes(_HEAD.pack(MAGIC, VERSION, len(body), hashlib.blake2b(rest, digest_size=32).digest()) + rest)


DAMAGES = {
    "another model": (lambda nic: nic.update(model="ne2000"), "'ne2000' does not exist"),
    "no card": (lambda nic: nic.clear(), "damaged"),
    "a register too many": (lambda nic: nic["state"].update(other=1), "fields of the mailbox card"),
    "a text for a register": (lambda nic: nic["state"].update(length="x"), "'length' of the mailbox card"),
    "a port at no function": (lambda nic: nic["port"].update(function=9), "at no place"),
    "a port at a bridge": (lambda nic: nic["port"].update(function=1), "not those that its PCI bus"),
    "a word beyond configuration space": (lambda nic: nic["port"].update(msix_word=64), "at no place"),
    "a bit of two": (lambda nic: nic["port"].update(intx=2), "'intx' of its network card's port"),
    "pages of nobody": (lambda nic: nic["port"].update(dirty_count=3), "'dirty_count'"),
    "a ring of another size": (lambda nic: nic["rx"].update(slots=1024), "another size"),
    "cursors the wrong way": (lambda nic: nic["rx"]["cursors"].__setitem__(0, 10**6), "do not fit"),
    "a cursor too many": (lambda nic: nic["rx"]["cursors"].append(1), "cursors that none"),
    "negative cursors": (lambda nic: nic["rx"]["cursors"].__setitem__(3, -8), "cursors that none"),
    "a place beyond the arena": (lambda nic: nic["rx"]["cursors"].__setitem__(5, 1 << 20), "do not fit"),
    "a frame too few": (lambda nic: nic["rx"]["frames"].pop(), "do not fit"),
    "a frame outside": (lambda nic: nic["rx"]["frames"][0][0].__setitem__(1, 1 << 40), "not whole"),
    "a frame cut off": (lambda nic: nic["rx"]["frames"][0][0].__setitem__(2, 5), "not whole"),
    "frames in no order": (lambda nic: nic["rx"]["frames"][1][0].__setitem__(7, 0), "in no order"),
    "an address of a group": (lambda nic: nic.update(mac="01005e000001"), "no address of a single"),
    "options nobody knows": (lambda nic: nic.update(options={"colour": 1}), "damaged"),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_card_in_a_file_is_one_line(what, tmp_path):
    change, message = DAMAGES[what]
    m, card = echoing()
    path = tmp_path / "machine"
    m.save(path)
    changed(path, lambda description: None)
    assert Machine.load(path).state_hash() == m.state_hash()
    changed(path, lambda description: change(description["nics"][0]))
    with pytest.raises(UsageError, match=message) as caught:
        Machine.load(path)
    assert "\n" not in str(caught.value)


def test_a_file_without_the_card_that_its_bus_tells_of_is_refused(tmp_path):
    m, _ = with_card(b"")
    m.save(tmp_path / "machine")
    changed(tmp_path / "machine", lambda description: description["nics"].clear())
    with pytest.raises(UsageError, match="not those that its PCI bus tells of"):
        Machine.load(tmp_path / "machine")


# Whoever takes the frames ---------------------------------------------------------------------------------------------
def test_the_bell_rings_once_until_somebody_has_heard_it():
    m, card = with_card(MASTER + mov(BASE, DATA) + (mov(BASE + 4, 60) + b"\x90") * 5)
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    try:
        card.bell = writer
        m.run(instructions=6 + 2)
        assert os.read(reader, 100) == (1).to_bytes(8, "little") and len(card.tx) == 1 and card.port.rung
        m.run(instructions=4)
        with pytest.raises(BlockingIOError):
            os.read(reader, 100)
        assert len(card.tx) == 3 and bell_heard(card.ports) == 1 and bell_heard(card.ports) == 0
        card.tx.clear()
        m.run(instructions=3)
        assert len(os.read(reader, 100)) == 8 and len(card.tx) == 1
        # Whoever has more frames than there was room for is woken when most of them are gone.
        m.run(instructions=20)
        card.tx.clear()
        bell_heard(card.ports)
        for _ in range(LOW + 2):
            card.rx.push(b"x" * 60)
        card.port.rx_more = 1
        card.write(8, 1, ram=m.ram)
        m.run(instructions=2)
        with pytest.raises(BlockingIOError):
            os.read(reader, 100)
        card.write(8, 1, ram=m.ram)
        card.port.due = m.now
        m.run(instructions=1)
        assert len(os.read(reader, 100)) == 8 and bell_heard(card.ports) == 1 and not card.port.rx_more
    finally:
        card.bell = -1
        os.close(reader)
        os.close(writer)
