"""A state machine of hypothesis drives two stacks against each other through a link that changes under them."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, precondition, rule

from aero_lab.limits import MS, SECOND
from aero_lab.link import Link
from aero_lab.stack import TcpConfig

from .net import End, Net, plain

SLOTS = 4
sides = st.sampled_from("ab")
sizes = st.one_of(st.integers(1, 50), st.sampled_from([1447, 1448, 1449, 4000, 20_000]))
configs = st.fixed_dictionaries(
    {
        "congestion": st.sampled_from(["cubic", "newreno", "none"]),
        "rack": st.booleans(),
        "sack": st.booleans(),
        "timestamps": st.booleans(),
        "ecn": st.booleans(),
        "nagle": st.booleans(),
        "send_buffer": st.sampled_from([1000, 4096, 64 << 10]),
        "recv_buffer": st.sampled_from([128, 2000, 64 << 10]),
        "window_scale": st.sampled_from([None, -1, 7]),
        "mss": st.sampled_from([None, 64, 536]),
        "delack_segments": st.sampled_from([1, 2, 8]),
    }
)
links = st.builds(
    Link,
    rtt=st.sampled_from([0, MS, 40 * MS, 300 * MS]),
    loss=st.sampled_from([0.0, 0.05, 0.3]),
    duplicate=st.sampled_from([0.0, 0.2]),
    reorder=st.sampled_from([0.0, 0.3]),
    corrupt=st.sampled_from([0.0, 0.05]),
)


class TwoStacks(RuleBasedStateMachine):
    """Up to :data:`SLOTS` connections at once, each with an :class:`End` on both sides that the rules write to and
    read from."""

    ends = Bundle("ends")

    @initialize(
        seed=st.integers(0, 1 << 20),
        one=configs,
        other=configs,
        link=links,
        role=st.sampled_from(["server", "gateway"]),
        family=st.sampled_from([4, 6]),
    )
    def begin(self, seed, one, other, link, role, family):
        short = {"time_wait": SECOND, "syn_retries": 3, "data_retries": 5, "rto_max": 10 * SECOND}
        self.net = Net(link, seed, TcpConfig(**one, **short), TcpConfig(**other, **short), family, role, slots=SLOTS)
        self.pairs: list[tuple[End, End]] = []
        self.written: dict[int, bytearray] = {}

    def settle(self) -> None:
        """Ends of ``b`` come about with their SYN: know each by the port of its ``a``."""
        for key, end in self.net.ends.items():
            if key[0] == "b" and id(end) not in self.written:
                end.shutdown_after, end.most = False, 0
                self.written[id(end)] = bytearray()
                near = [e for (side, _), e in self.net.ends.items() if side == "a" and e.conn.local == end.conn.remote]
                self.pairs.append((near[-1], end))

    @rule(target=ends)
    def connect(self):
        if self.net.a.free_slots == 0:
            return multiple()
        self.net.accept_with = End(shutdown_after=False, most=0)
        end = self.net.connect(shutdown_after=False, most=0)
        self.written[id(end)] = bytearray()
        return end

    def one_of(self, end: End, side: str) -> End | None:
        if side == "a":
            return end
        return next((far for near, far in self.pairs if near is end), None)

    @rule(end=ends, side=sides, size=sizes)
    def write(self, end, side, size):
        which = self.one_of(end, side)
        if which is not None:
            data = self.net.rng.randbytes(size)
            room = which.conn.room
            taken = which.conn.write(data, self.net.now)
            assert taken == min(room, size)
            self.written[id(which)] += data[:taken]

    @rule(end=ends, side=sides, size=sizes)
    def read(self, end, side, size):
        which = self.one_of(end, side)
        if which is not None:
            ready = which.conn.readable
            data = which.conn.read(size, self.net.now)
            assert len(data) == min(ready, size)
            which.got += data

    @rule(end=ends, side=sides)
    def shutdown(self, end, side):
        which = self.one_of(end, side)
        if which is not None:
            which.conn.shutdown(self.net.now)

    @rule(end=ends, side=sides)
    def abort(self, end, side):
        which = self.one_of(end, side)
        if which is not None:
            which.conn.abort(self.net.now)

    @rule(time=st.sampled_from([0, MS, 30 * MS, 250 * MS, 2 * SECOND, 30 * SECOND]))
    def wait(self, time):
        self.net.wait(time)

    @rule(link=links)
    def change_the_link(self, link):
        self.net.set_link(link)

    @rule()
    def close_the_link(self):
        self.net.set_link(Link(rtt=MS, loss=1.0))

    @precondition(lambda self: hasattr(self, "net"))
    @invariant()
    def what_always_holds(self):
        self.settle()
        self.net.check()
        for near, far in self.pairs:
            for here, there in ((near, far), (far, near)):
                sent = self.written[id(there)]
                assert sent[: len(here.got)] == here.got, "what arrives is what was sent, in order"
                assert len(here.got) + here.conn.readable <= len(sent)

    def teardown(self):
        if not hasattr(self, "net"):
            return
        net = self.net
        net.set_link(Link(rtt=10 * MS))
        for end in net.ends.values():
            end.most = 1 << 20
        self.settle()
        for end in net.ends.values():
            end.most = 1 << 20
            end.conn.shutdown(net.now)
        net.wait(200 * SECOND)
        self.settle()
        for near, far in self.pairs:
            for here, there in ((near, far), (far, near)):
                sent = self.written[id(there)]
                assert sent[: len(here.got)] == here.got
                if near.reason == far.reason == "closed":
                    assert sent == here.got, "an orderly end means that everything arrived"
        for end in net.ends.values():
            end.conn.abort(net.now)
        net.wait(60 * SECOND)
        net.check_over()


TwoStacks.TestCase.settings = settings(
    max_examples=plain(8, 60),
    stateful_step_count=plain(20, 40),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
TestTwoStacks = TwoStacks.TestCase
