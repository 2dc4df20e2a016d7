"""When the device speaks up, and how: ISR and pin, suppression, messages, the link."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from aero_lab.nic.port import LINK
from aero_lab.nic.virtio_net import VirtioNet

from .driver import CONFIG, ISR, RX, TX, Driver

FRAME = b"\xff" * 60
NO_EVENTS = {32, 5, 16}


def raised(d: Driver) -> bool:
    """Whether the pin is up; reading the ISR takes it down."""
    up = bool(d.nic.port.intx)
    assert up == bool(d.isr()) and d.nic.port.intx == 0
    return up


def test_each_side_raises_the_pin_and_the_isr_lowers_it():
    d = Driver(VirtioNet())
    d.send(FRAME)
    assert d.nic.port.intx == 1
    assert d.read(ISR, 1) == 1 and d.nic.port.intx == 0 and d.read(ISR, 1) == 0
    d.post(2000)
    d.kick(RX)
    assert not raised(d)
    d.nic.rx.push(FRAME)
    d.queues[RX].want_interrupt_at(0)
    d.poll()
    assert raised(d)


def test_the_flag_keeps_it_quiet():
    d = Driver(VirtioNet(), NO_EVENTS)
    d.queues[TX].quiet(True)
    d.send(FRAME)
    assert not raised(d) and len(d.queues[TX].collect()) == 1
    d.queues[TX].quiet(False)
    d.send(FRAME)
    assert raised(d) and d.queues[TX].wants_kick(0)


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 12), st.booleans()), min_size=1, max_size=30))
@settings(max_examples=60)
def test_event_indices_are_met_exactly(batches):
    """The driver is told when the used index passes the event it named (2.7.10), and only then. With the flag it would
    be told each time."""
    d = Driver(VirtioNet(), sizes=(4, 64))
    q = d.queues[TX]
    done = 0
    for number, event, flag in batches:
        q.want_interrupt_at(done + event)
        q.quiet(flag)  # means nothing with EVENT_IDX
        for _ in range(number):
            q.add([(0x800, 72, False)])
        d.kick(TX)
        assert raised(d) == any((done + i) % 65536 == (done + event) % 65536 for i in range(number))
        done += number
        assert len(q.collect()) == number and d.nic.tx.clear() == number


def test_the_device_asks_for_the_next_chain():
    d = Driver(VirtioNet())
    q = d.queues[TX]
    for _ in range(300):
        before = q.added
        q.add([(0x800, 72, False)])
        assert q.wants_kick(before)
        d.kick(TX)
        q.collect()
        d.nic.tx.clear()
    q.added += 1
    assert q.wants_kick(q.added - 1) and not q.wants_kick(q.added)


def test_indices_wrap_after_65536():
    d = Driver(VirtioNet(), NO_EVENTS, sizes=(4, 4))
    q = d.queues[TX]
    start = 65530
    q.added = q.seen = start
    for i in (RX, TX):
        nic_queue = d.nic.state.queue[i]
        nic_queue.next_avail = nic_queue.next_used = nic_queue.signalled = start if i == TX else 0
    d.ram.put(q.used + 2, start.to_bytes(2, "little"))
    for i in range(20):
        d.send(FRAME[:-1] + bytes([i]))
        assert len(q.collect()) == 1
    assert [f[-1] for f in d.sent()] == list(range(20)) and q.ram.u16(q.used + 2) == (start + 20) % 65536


def messages(nic: VirtioNet) -> list[tuple[int, int]]:
    port = nic.port
    out = [(int(port.message_address[i]), int(port.message_data[i])) for i in range(port.message_count)]
    port.message_count = 0
    return out


def with_vectors() -> Driver:
    nic = VirtioNet(msix=True)
    d = Driver(nic)
    nic.port.msix = 1
    for v in range(4):
        d.write(0x3800 + 16 * v, 0x1000 * (v + 1))
        d.write(0x3808 + 16 * v, 100 + v)
        d.write(0x380C + 16 * v, 0)
    d.write(0x10, 0, 2)
    for i in range(3):
        d.write(0x16, i, 2)
        d.write(0x1A, i + 1, 2)
        assert d.read(0x1A, 2) == i + 1
    return d


def test_messages_instead_of_the_pin():
    d = with_vectors()
    d.send(FRAME)
    assert messages(d.nic) == [(0x3000, 102)] and d.nic.port.intx == 0 and d.isr() == 0
    d.command(b"\0\0\0")
    assert messages(d.nic) == [(0x4000, 103)]
    d.post(2000)
    d.nic.rx.push(FRAME)
    d.poll()
    assert messages(d.nic) == [(0x2000, 101)]
    d.nic.link(False)
    d.nic.access(LINK)
    assert messages(d.nic) == [(0x1000, 100)] and d.isr() == 2
    assert d.nic.counters["messages"] == 4


def test_no_vector_is_silence():
    d = with_vectors()
    d.write(0x16, TX, 2)
    d.write(0x1A, 0xFFFF, 2)
    d.send(FRAME)
    assert messages(d.nic) == [] and d.nic.port.intx == 0
    d.write(0x1A, 4, 2)  # there are four, from 0
    assert d.read(0x1A, 2) == 0xFFFF
    d.write(0x10, 17, 2)
    assert d.read(0x10, 2) == 0xFFFF


def test_masked_messages_wait_and_are_sent_once():
    d = with_vectors()
    d.queues[TX].quiet(False)
    d.write(0x380C + 32, 1)
    for _ in range(3):
        d.queues[TX].want_interrupt_at(d.queues[TX].added)
        d.send(FRAME)
    assert messages(d.nic) == [] and d.nic.port.intx == 0 and d.read(0x3C00) == 1 << 2
    d.write(0x380C + 32, 0)
    assert messages(d.nic) == [(0x3000, 102)] and d.read(0x3C00) == 0
    d.nic.port.msix_masked = 1
    d.queues[TX].want_interrupt_at(d.queues[TX].added)
    d.send(FRAME)
    assert messages(d.nic) == [] and d.read(0x3C00) == 1 << 2
    d.nic.port.msix_masked = 0
    d.poll()
    assert messages(d.nic) == [(0x3000, 102)]


def test_the_link_goes_and_comes():
    d = Driver(VirtioNet())
    before = d.read(0x15, 1)
    assert d.read(CONFIG + 6, 2) == 1
    d.nic.link(False)
    d.nic.access(LINK)
    assert d.read(CONFIG + 6, 2) == 0 and d.read(0x15, 1) == before + 1 and d.nic.port.intx == 1
    assert d.isr() == 2 and d.nic.port.intx == 0
    d.nic.access(LINK)
    assert d.isr() == 0
    d.nic.link(True)
    d.nic.access(LINK)
    assert d.read(CONFIG + 6, 2) == 3 and d.isr() == 2  # up, and please make yourself known
    assert d.command(b"\3\0") == 0 and d.read(CONFIG + 6, 2) == 1


def test_a_driver_that_did_not_ask_is_not_told_of_the_link():
    d = Driver(VirtioNet(), {32})
    d.nic.link(False)
    d.nic.access(LINK)
    d.nic.link(True)
    d.nic.access(LINK)
    assert d.isr() == 0 and d.nic.registers["status"] == 1
