"""The DHCP client's state machine, message by message, without a stack (RFC 2131)."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aero_lab.guests.scripted.dhcp_client import (
    DECLINE_PAUSE,
    NAK_PAUSE,
    TRANSITIONS,
    DhcpClient,
    Input,
    State,
    classful_prefix,
    prefix_length,
)
from aero_lab.guests.scripted.profiles import LINUX, WINDOWS7
from aero_lab.limits import NEVER, SECOND
from aero_lab.wire import dhcp
from aero_lab.wire.address import IP4_ANY, IP4_BROADCAST, ip, mac
from aero_lab.wire.dhcp import Dhcp, ip_option, text_option, u8_option, u32_option

MAC = mac("52:54:00:12:34:56")
SERVER, ADDRESS = ip("10.0.2.2"), ip("10.0.2.15")


def client(profile=LINUX, **more):
    return DhcpClient(profile.dhcp, MAC, profile.host_name, random.Random(1), **more)


def sent(machine):
    """The one message in the outbox, with where it goes."""
    (message,) = machine.outbox
    machine.outbox.clear()
    return Dhcp.parse(message.payload), message


def answer(request, kind, lease=3600, t1=None, t2=None, **changes):
    options = [u8_option(53, kind), ip_option(54, SERVER), ip_option(1, ip("255.255.255.0"))]
    options += [ip_option(3, SERVER), ip_option(6, SERVER), text_option(15, "lab")]
    options += [u32_option(code, value) for code, value in ((51, lease), (58, t1), (59, t2)) if value is not None]
    fields = dict(op=2, xid=request.xid, chaddr=MAC, yiaddr=ADDRESS, options=tuple(options)) | changes
    return Dhcp(**fields).emit()


def bind(machine, now=0, **lease):
    """Through the whole exchange to BOUND."""
    machine.start(now)
    discover, _ = sent(machine)
    machine.receive(answer(discover, dhcp.OFFER, **lease), now)
    request, _ = sent(machine)
    machine.receive(answer(request, dhcp.ACK, **lease), now)
    assert machine.state is State.CHECKING
    machine.address_checked(True, now)
    assert machine.state is State.BOUND and not machine.outbox
    return request


def codes(message):
    return [code for code, _ in message.options]


def test_windows_options_in_order():
    machine = client(WINDOWS7, known=None)
    machine.start(0)
    discover, where = sent(machine)
    assert codes(discover) == [53, 61, 12, 60, 55]
    assert discover.option(55) == bytes((1, 15, 3, 6, 44, 46, 47, 31, 33, 121, 249, 43))
    assert discover.option(60) == b"MSFT 5.0" and discover.option(61) == b"\x01" + MAC
    assert (where.source, where.destination) == (IP4_ANY, IP4_BROADCAST) and len(where.payload) >= 300
    machine.receive(answer(discover, dhcp.OFFER), 0)
    request, _ = sent(machine)
    assert codes(request) == [53, 61, 50, 54, 12, 81, 60, 55]
    assert request.address(50) == ADDRESS and request.address(54) == SERVER
    assert request.option(81) == b"\0\0\0WIN7-PC"


def test_windows_discover_names_the_address_it_knows():
    machine = client(WINDOWS7, known=ADDRESS)
    machine.start(0)
    assert machine.state is State.REBOOTING
    request, _ = sent(machine)
    assert 54 not in codes(request) and request.address(50) == ADDRESS
    for _ in WINDOWS7.dhcp.retries:
        machine.timeout(machine.deadline)
    assert machine.state is State.SELECTING
    assert codes(Dhcp.parse(machine.outbox[-1].payload)) == [53, 61, 50, 12, 60, 55]


def test_linux_options_in_order():
    machine = client(LINUX)
    machine.start(0)
    discover, _ = sent(machine)
    assert codes(discover) == [53, 61, 57, 55, 60]
    assert discover.option(55) == bytes((1, 3, 6, 12, 15, 28, 42)) and discover.option(60).startswith(b"udhcp ")
    machine.receive(answer(discover, dhcp.OFFER), 0)
    request, _ = sent(machine)
    assert codes(request) == [53, 61, 50, 54, 57, 55, 60]


def test_lease_is_what_the_server_granted():
    machine = client()
    bind(machine, now=5 * SECOND, lease=3600, t1=1000, t2=2000)
    lease = machine.lease
    assert (lease.address, lease.prefix, lease.router, lease.dns) == (ADDRESS, 24, SERVER, (SERVER,))
    assert lease.domain == "lab" and lease.server == SERVER
    assert (lease.renew_at, lease.rebind_at, lease.expires_at) == (1005 * SECOND, 2005 * SECOND, 3605 * SECOND)
    assert machine.deadline == lease.renew_at


@pytest.mark.parametrize("t1, t2", [(None, None), (9000, 100), (0, 0), (3000, 4000)])
def test_times_that_make_no_sense_become_the_defaults(t1, t2):
    machine = client()
    bind(machine, lease=3600, t1=t1, t2=t2)
    assert (machine.lease.renew_at, machine.lease.rebind_at) == (1800 * SECOND, 3150 * SECOND)


def test_a_lease_of_a_second_is_not_renewed_without_end():
    machine = client()
    bind(machine, lease=1)
    assert machine.lease.renew_at == 8 * SECOND and machine.lease.expires_at == 16 * SECOND


def test_name_servers_that_cannot_be_one_are_left_out():
    servers = ip_option(6, ip("255.255.255.255"), ip("0.0.0.0"), ip("10.0.2.3"), ip("224.0.0.1"), ip("10.0.2.4"))
    machine = client()
    machine.start(0)
    options = (u8_option(53, dhcp.OFFER), ip_option(54, SERVER), u32_option(51, 60), ip_option(3, bytes(4)), servers)
    machine.receive(answer(sent(machine)[0], dhcp.OFFER, options=options), 0)
    lease = machine._answer
    assert lease.dns == (ip("10.0.2.3"), ip("10.0.2.4")) and lease.router is None and lease.prefix == 8


def test_an_infinite_lease_never_wakes():
    machine = client()
    bind(machine, lease=0xFFFFFFFF)
    assert machine.deadline == NEVER


def test_renewal_at_t1_is_unicast_and_extends():
    machine = client()
    bind(machine, lease=3600)
    now = machine.deadline
    assert now == 1800 * SECOND
    machine.timeout(now)
    request, where = sent(machine)
    assert machine.state is State.RENEWING
    assert (where.source, where.destination) == (ADDRESS, SERVER)
    assert request.ciaddr == ADDRESS and 50 not in codes(request) and 54 not in codes(request)
    machine.receive(answer(request, dhcp.ACK, lease=3600), now)
    assert machine.state is State.BOUND and machine.lease.expires_at == now + 3600 * SECOND


def test_silence_leads_over_rebinding_to_the_loss_of_the_lease():
    machine = client()
    bind(machine, lease=3600)
    destinations, times = [], []
    while machine.state is not State.SELECTING:
        now = machine.deadline
        machine.timeout(now)
        for message in machine.outbox:
            if machine.state in (State.RENEWING, State.REBINDING):
                destinations.append(message.destination)
                times.append(now // SECOND)
        machine.outbox.clear()
        assert len(times) < 50
    assert now == 3600 * SECOND and machine.lease is None
    first_broadcast = destinations.index(IP4_BROADCAST)
    assert set(destinations[:first_broadcast]) == {SERVER} and set(destinations[first_broadcast:]) == {IP4_BROADCAST}
    assert times[0] == 1800 and times[first_broadcast] == 3150
    assert times[1] == 1800 + (3150 - 1800) // 2  # half of what is left until T2
    assert all(later - earlier >= 60 for earlier, later in zip(times[:first_broadcast], times[1:first_broadcast]))


def test_a_rebound_lease_names_the_new_server():
    machine = client()
    bind(machine, lease=3600)
    machine.timeout(machine.lease.rebind_at)
    request, where = sent(machine)
    assert machine.state is State.REBINDING and where.destination == IP4_BROADCAST
    other = ip("10.0.2.3")
    options = (u8_option(53, dhcp.ACK), ip_option(54, other), u32_option(51, 100))
    machine.receive(answer(request, dhcp.ACK, options=options), 3150 * SECOND)
    assert machine.state is State.BOUND and machine.lease.server == other


def test_nak_while_renewing_loses_the_address_at_once():
    machine = client()
    bind(machine)
    machine.timeout(machine.deadline)
    request, _ = sent(machine)
    machine.receive(answer(request, dhcp.NAK), machine.lease.renew_at)
    assert machine.state is State.SELECTING and machine.lease is None and machine.known is None
    assert codes(sent(machine)[0])[0] == 53


def test_nak_to_a_remembered_address_begins_anew():
    machine = client(known=ip("192.168.7.7"))
    machine.start(0)
    request, _ = sent(machine)
    machine.receive(answer(request, dhcp.NAK), 0)
    discover, _ = sent(machine)
    assert machine.state is State.SELECTING and discover.message_type == dhcp.DISCOVER and 50 not in codes(discover)


def test_a_server_that_takes_its_offers_back_is_not_asked_at_line_rate():
    machine = client()
    machine.start(0)
    machine.receive(answer(sent(machine)[0], dhcp.OFFER), 0)
    machine.receive(answer(sent(machine)[0], dhcp.NAK), 0)
    assert machine.state is State.PAUSING and not machine.outbox and machine.deadline == NAK_PAUSE
    machine.timeout(machine.deadline)
    assert machine.state is State.SELECTING and sent(machine)[0].message_type == dhcp.DISCOVER


def test_an_address_in_use_is_declined_and_tried_again_after_ten_seconds():
    machine = client(WINDOWS7)
    machine.start(0)
    machine.receive(answer(sent(machine)[0], dhcp.OFFER), 0)
    machine.receive(answer(sent(machine)[0], dhcp.ACK), 0)
    machine.address_checked(False, 3 * SECOND)
    decline, where = sent(machine)
    assert decline.message_type == dhcp.DECLINE and decline.address(50) == ADDRESS and decline.address(54) == SERVER
    assert where.source == IP4_ANY and machine.lease is None and machine.state is State.PAUSING
    assert machine.deadline == 3 * SECOND + DECLINE_PAUSE
    machine.timeout(machine.deadline)
    assert machine.state is State.SELECTING


def test_losing_a_conflict_later_declines_too():
    machine = client()
    bind(machine)
    machine.address_checked(False, SECOND)
    assert sent(machine)[0].message_type == dhcp.DECLINE and machine.lease is None


def test_release_and_restart():
    machine = client()
    bind(machine)
    machine.release(SECOND)
    release, where = sent(machine)
    assert release.message_type == dhcp.RELEASE and release.ciaddr == ADDRESS and where.destination == SERVER
    assert machine.state is State.RELEASED and machine.lease is None and machine.deadline == NEVER
    machine.restart(2 * SECOND)
    assert machine.state is State.REBOOTING and sent(machine)[0].address(50) == ADDRESS


def test_linux_gives_up_after_three_and_pauses_twenty_seconds():
    machine = client(LINUX)
    machine.start(0)
    times = []
    while machine.state is State.SELECTING:
        times += [(machine.deadline if machine.attempts > 1 else 0) // SECOND] if machine.outbox else []
        machine.outbox.clear()
        machine.timeout(machine.deadline)
    assert machine.state is State.PAUSING and machine.attempts == 3
    assert machine.deadline == (9 + 20) * SECOND
    machine.timeout(machine.deadline)
    assert machine.state is State.SELECTING and machine.outbox


def test_windows_waits_four_eight_sixteen_with_jitter_and_counts_the_seconds():
    machine = client(WINDOWS7)
    machine.start(0)
    waits, last = [], 0
    for _ in range(3):
        waits.append(machine.deadline - last)
        last = machine.deadline
        machine.timeout(last)
    for wait, nominal in zip(waits, (4, 8, 16)):
        assert abs(wait - nominal * SECOND) <= SECOND
    messages = [Dhcp.parse(message.payload) for message in machine.outbox]
    assert len({message.xid for message in messages}) == 1
    assert [m.secs for m in messages] == [0, waits[0] // SECOND, sum(waits[:2]) // SECOND, sum(waits) // SECOND]


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"xid": 0}, "other-transaction"),
        ({"chaddr": b"\x02" * 6}, "not-for-us"),
        ({"op": 1}, "not-for-us"),
        ({"yiaddr": bytes(4)}, "address"),
        ({"yiaddr": ip("224.0.0.1")}, "address"),
        ({"yiaddr": ip("127.0.0.1")}, "address"),
        ({"options": (u8_option(53, 2), u32_option(51, 60))}, "no-server"),
        ({"options": (u8_option(53, 2), ip_option(54, SERVER))}, "no-lease-time"),
        ({"options": (u8_option(53, 2), ip_option(54, SERVER), u32_option(51, 0))}, "no-lease-time"),
        ({"options": (u8_option(53, 8),)}, "message-type"),
        ({"options": ()}, "message-type"),
    ],
)
def test_bad_answers_change_nothing_and_are_counted(changes, reason):
    machine = client()
    machine.start(0)
    discover, _ = sent(machine)
    machine.receive(answer(discover, dhcp.OFFER, **changes), 0)
    assert machine.state is State.SELECTING and not machine.outbox and machine.ignored == {reason: 1}


def test_an_answer_to_another_state_is_ignored():
    machine = client()
    request = bind(machine)
    machine.receive(answer(request, dhcp.ACK), SECOND)
    machine.receive(answer(request, dhcp.OFFER), SECOND)
    assert machine.state is State.BOUND and machine.ignored == {"ack-in-bound": 1, "offer-in-bound": 1}


def test_every_transition_names_a_method_and_every_state_can_be_left():
    for (state, _), (method, following) in TRANSITIONS.items():
        assert callable(getattr(DhcpClient, method))
        assert isinstance(state, State) and isinstance(following, State)
    assert {state for state, _ in TRANSITIONS} == set(State)


def test_prefix_lengths():
    assert [prefix_length(ip(mask)) for mask in ("255.255.255.0", "0.0.0.0", "255.255.255.255")] == [24, 0, 32]
    assert prefix_length(ip("255.0.255.0")) is None and prefix_length(b"") is None
    assert [classful_prefix(ip(a)) for a in ("10.0.0.1", "172.16.0.1", "192.168.0.1")] == [8, 16, 24]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("answer"), st.sampled_from([dhcp.OFFER, dhcp.ACK, dhcp.NAK]), st.integers(0, 5000)),
        st.tuples(st.just("time"), st.integers(0, 2), st.integers(0, 10_000)),
        st.tuples(st.just("checked"), st.booleans(), st.just(0)),
        st.tuples(st.just("tell"), st.sampled_from(["restart", "release", "start"]), st.just(0)),
        st.tuples(st.just("bytes"), st.binary(max_size=400), st.just(0)),
    ),
    max_size=60,
)


@given(STEPS, st.sampled_from([LINUX, WINDOWS7]))
def test_any_sequence_of_inputs_keeps_the_machine_whole(steps, profile):
    """Nothing raises; a lease is held exactly in the states that have one; there is always something to wait for."""
    machine, now = client(profile), 0
    machine.start(now)
    for what, argument, more in steps:
        if what == "answer":
            if machine._message is not None:
                machine.receive(answer(Dhcp(op=1, xid=machine.xid, chaddr=MAC), argument, lease=more), now)
        elif what == "time":
            now = machine.deadline if argument and machine.deadline < NEVER else now + more * SECOND
            machine.timeout(now)
        elif what == "checked":
            machine.address_checked(argument, now)
        elif what == "tell":
            getattr(machine, argument)(now)
        else:
            machine.receive(argument, now)
        assert (machine.lease is not None) == (machine.state in (State.BOUND, State.RENEWING, State.REBINDING))
        assert (machine.offered is not None) == (machine.state is State.CHECKING)
        assert machine.state not in (State.INIT, State.INIT_REBOOT)
        assert machine.deadline < NEVER or machine.state in (State.RELEASED, State.BOUND)
        for message in machine.outbox:
            assert Dhcp.parse(message.payload).xid == machine.xid or len(machine.outbox) > 1
        machine.outbox.clear()


def test_inputs_are_all_used():
    assert {what for _, what in TRANSITIONS} == set(Input)
