"""The stub resolver: timing of repetitions per profile, what it believes, what it remembers."""

import pytest

from aero_lab.guests.scripted import TaskError, TaskTimeout, quiet
from aero_lab.limits import DNS_CACHE_NAMES, MS, SECOND
from aero_lab.wire import dns
from aero_lab.wire.address import ip
from aero_lab.wire.dns import DnsMessage, Question, Record

from .bench import Bench
from .peer import ADDRESS, ROUTER, Peer

FILES = ip("203.0.113.10")


def online(profile="windows7"):
    peer = Peer(quiet(profile))
    peer.run(5, lambda: peer.guest.online)
    return peer


def ask(peer, name="files.lab", seconds=60.0):
    return peer.run_task(peer.guest.resolve(name), seconds)


@pytest.mark.parametrize("profile, types", [("windows7", [dns.A]), ("linux", [dns.A, dns.AAAA])])
def test_an_address(profile, types):
    peer = online(profile)
    assert ask(peer) == FILES
    assert [query.questions[0].type for _, query in peer.queries] == types
    assert all(query.flags == dns.RD for _, query in peer.queries)


def test_text_of_an_address_is_no_name():
    peer = online()
    assert ask(peer, "192.0.2.7") == ip("192.0.2.7") and not peer.queries


@pytest.mark.parametrize("profile, times, give_up", [("windows7", [0, 1, 2, 4, 8], 10), ("linux", [0, 0, 5, 5], 10)])
def test_repetitions(profile, times, give_up):
    peer = online(profile)
    peer.names["files.lab"] = None
    start = peer.now
    with pytest.raises(TaskTimeout):
        ask(peer)
    assert [round((when - start) / SECOND) for when, _ in peer.queries] == times
    assert round((peer.now - start) / SECOND) == give_up
    for rtype in {query.questions[0].type for _, query in peer.queries}:
        assert len({query.id for _, query in peer.queries if query.questions[0].type == rtype}) == 1


def test_only_what_is_missing_is_asked_again():
    peer = online("linux")
    answer = peer._dns
    peer._dns = lambda query, client, port: (
        answer(query, client, port) if query.questions[0].type == dns.A else peer.queries.append((peer.now, query))
    )
    start = peer.now
    assert ask(peer) == FILES and peer.now - start == 10 * SECOND
    assert [query.questions[0].type for _, query in peer.queries] == [dns.A, dns.AAAA, dns.AAAA]


@pytest.mark.parametrize(
    "code, reason",
    [(dns.NXDOMAIN, "nxdomain"), (dns.SERVFAIL, "servfail"), (dns.REFUSED, "dns-refused"), (9, "dns-error")],
)
def test_failures_by_name(code, reason):
    peer = online()
    peer.names["files.lab"] = code
    with pytest.raises(TaskError) as caught:
        ask(peer)
    assert caught.value.reason == reason and len(peer.queries) == 1


def test_a_linux_guest_accepts_that_a_server_does_not_do_aaaa():
    peer = online("linux")
    answer = peer._dns

    def no_aaaa(query, client, port):
        if query.questions[0].type == dns.AAAA:
            peer.udp(53, client, port, query.reply(dns.NOTIMP).emit())
        else:
            answer(query, client, port)

    peer._dns = no_aaaa
    assert ask(peer) == FILES


def test_aliases_are_followed():
    peer = online()

    def alias(query, client, port):
        records = (
            Record("files.lab", dns.CNAME, dns.IN, 60, "cdn.lab"),
            Record("cdn.lab", dns.CNAME, dns.IN, 60, "edge.lab"),
            Record("other.lab", dns.A, dns.IN, 60, ip("192.0.2.1")),
            Record("edge.lab", dns.A, dns.IN, 60, FILES),
        )
        peer.udp(53, client, port, query.reply(answers=records).emit())

    peer._dns = alias
    assert ask(peer) == FILES


def test_an_alias_that_leads_in_a_circle_ends():
    peer = online()

    def circle(query, client, port):
        records = tuple(
            Record(a, dns.CNAME, dns.IN, 60, b) for a, b in (("files.lab", "b.lab"), ("b.lab", "files.lab"))
        )
        peer.udp(53, client, port, query.reply(answers=records).emit())

    peer._dns = circle
    with pytest.raises(TaskError, match="no-address"):
        ask(peer)


def forge(peer, query, client, port, what):
    """A wrong answer of one kind."""
    record = (Record("files.lab", dns.A, dns.IN, 60, ip("192.0.2.66")),)
    reply, source, sport = query.reply(answers=record), ROUTER, 53
    if what == "identifier":
        reply = DnsMessage(reply.id ^ 1, reply.flags, reply.questions, reply.answers)
    elif what == "question":
        reply = DnsMessage(reply.id, reply.flags, (Question("evil.lab"),), reply.answers)
    elif what == "query":
        reply = query
    elif what == "server":
        source = ip("10.0.2.66")
    elif what == "port":
        sport = 5353
    payload = reply.emit() if what != "bytes" else b"\xff" * 30
    peer.udp(sport, client, port, payload, src=source)


@pytest.mark.parametrize("what", ["identifier", "question", "query", "server", "port", "bytes"])
def test_forged_answers_are_counted_and_the_right_one_is_taken(what):
    peer = online()
    answer = peer._dns

    def both(query, client, port):
        forge(peer, query, client, port, what)
        answer(query, client, port)

    peer._dns = both
    assert ask(peer) == FILES
    assert sum(peer.guest.counters.values()) == 1


@pytest.mark.parametrize("profile", ["linux", "windows7"])
def test_an_answer_that_was_cut_is_asked_for_again_over_tcp(profile):
    many = tuple(bytes((10, 9, i >> 8, i & 255)) for i in range(200))
    bench = Bench(profile, lan={"names": {"many.lab": many}})
    bench.run_task(bench.guest.wait_online())
    found = bench.run_task(bench.guest.resolver.lookup("many.lab"))
    assert found == {dns.A: many}
    assert bench.guest.resolver.over_tcp == 1 and bench.lan.dns.counters["truncated"] == 1
    bench.wait(300)
    assert bench.guest.stack.open_connections == bench.lan.stack.open_connections == 0


def test_truncated_answer():
    peer = online()
    peer._dns = lambda query, client, port: peer.udp(53, client, port, query.reply(flags=dns.TC).emit())
    with pytest.raises(TaskError, match="truncated"):
        ask(peer)


def test_windows_remembers_for_the_time_to_live_and_linux_does_not():
    peer = online("windows7")
    for _ in range(3):
        assert ask(peer, "FILES.lab.") == FILES
    assert len(peer.queries) == 1
    peer.run(61)
    ask(peer)
    assert len(peer.queries) == 2
    peer.guest.resolver.flush()
    ask(peer)
    assert len(peer.queries) == 3
    peer = online("linux")
    ask(peer), ask(peer)
    assert len(peer.queries) == 4


def test_memory_is_bounded():
    peer = online("windows7")
    for number in range(DNS_CACHE_NAMES + 20):
        peer.names[f"n{number}.lab"] = FILES
        ask(peer, f"n{number}.lab")
    assert len(peer.guest.resolver._cache) == DNS_CACHE_NAMES


def test_names_that_cannot_be_asked():
    peer = online()
    for name in ("", "a" * 64 + ".lab", ".".join(["abcdefgh"] * 40), "two..dots"):
        with pytest.raises(TaskError) as caught:
            ask(peer, name)
        assert caught.value.reason in ("name", "nxdomain"), name


def test_without_a_server():
    peer = online()
    peer.guest.dns_servers = ()
    with pytest.raises(TaskError, match="no-dns-server"):
        ask(peer)


def test_a_server_that_is_not_on_the_link():
    peer = online()
    del peer.arp[ROUTER]
    with pytest.raises(TaskError) as caught:
        ask(peer)
    assert caught.value.reason in ("unreachable", "timeout")


def test_the_first_query_leaves_as_soon_as_the_next_hop_is_known():
    peer = online()
    start = peer.now
    ask(peer)
    assert peer.queries[0][0] - start < MS


def test_port_is_free_again():
    peer = online()
    ask(peer)
    assert not peer.guest._udp and peer.guest.address == ADDRESS
