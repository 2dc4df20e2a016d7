"""What managed queues are for: TCP that fills a line, and somebody who waits beside it. All in virtual time.

Against what is published of them: a queue that nobody looks after fills up (RFC 8289 section 1), CoDel brings the delay
near its target, FQ-CoDel keeps the sparse flow out of it (RFC 8290 section 1.3), PIE keeps 15 ms (RFC 8033 section 4),
and all of them leave the line busy.
"""

from statistics import median

import pytest

from aero_lab.compiled.registry import PLAIN
from aero_lab.limits import MS, SECOND
from aero_lab.link import Link
from aero_lab.stack import TcpConfig

from ..stack.net import Net

pytestmark = pytest.mark.skipif(PLAIN, reason="thousands of segments; the twins run in either mode")
RTT = 20 * MS
RATE = 10_000_000


class Beside(Net):
    """A flow that fills the way up, and one that sends a line every 20 ms; looks at both round trips meanwhile."""

    def set_link(self, link):
        self.up, self.down = link.build(self.rng, (self.a.tx, self.b.rx), (self.b.tx, self.a.rx), medium="ethernet")

    def watch(self, seconds, settle):
        self.bulk = self.connect(bytes(40_000_000), shutdown_after=False)
        self.sparse = self.connect(shutdown_after=False)
        self.rtts, self.sparse_rtts, self._next = [], [], 0
        self.script = self.look
        self.run(limit=settle * SECOND)
        got = len(self.others_got())
        self.rtts.clear(), self.sparse_rtts.clear()
        self.run(limit=(settle + seconds) * SECOND)
        return (len(self.others_got()) - got) * 8 / seconds

    def others_got(self):
        return next((end.got for (side, _), end in self.ends.items() if side == "b" and len(end.got) > 10_000), b"")

    def look(self):
        if self.now < self._next:
            return
        self._next = self.now + 20 * MS
        if self.sparse.established:
            self.sparse.conn.write(bytes(100), self.now)
            self.rtts.append(self.bulk.conn.info()["srtt"] - RTT)
            self.sparse_rtts.append(self.sparse.conn.info()["srtt"] - RTT)


def beside(aqm, ecn=False, seconds=3, settle=4, congestion="cubic"):
    link = Link(rtt=RTT, rate=(RATE, None), queue=(500_000, None), aqm=(aqm, None), ecn=(ecn, False))
    tcp = TcpConfig(send_buffer=1 << 20, recv_buffer=1 << 20, ecn=ecn, congestion=congestion, nagle=False)
    net = Beside(link, tcp=tcp)
    goodput = net.watch(seconds, settle)
    return {
        "goodput": goodput / RATE,
        "queue_ms": median(net.rtts) / MS,
        "sparse_ms": median(net.sparse_rtts) / MS,
        "retransmits": net.bulk.conn.info()["retransmits"],
        **net.up.counters,
    }


def test_a_queue_that_nobody_looks_after_fills_up():
    seen = beside(None)
    assert seen["goodput"] > 0.85 and seen["queue_ms"] > 150 and seen["sparse_ms"] > 150


@pytest.mark.parametrize(("aqm", "least", "most"), [("codel", 1, 25), ("fq_codel", 1, 25), ("pie", 5, 30)])
@pytest.mark.parametrize("ecn", [False, True])
def test_a_managed_one_does_not_and_the_line_stays_busy(aqm, least, most, ecn):
    seen = beside(aqm, ecn, seconds=4, settle=8 if aqm == "pie" else 4)
    assert seen["goodput"] > 0.85 and least < seen["queue_ms"] < most and seen["queue_full"] == 0
    assert seen["sparse_ms"] < (3 if aqm == "fq_codel" else most)
    if ecn and aqm != "pie":  # PIE drops all the same while slow start has its chance above a tenth
        assert seen["marked"] > 0 and seen["not_ect"] == seen["aqm_dropped"] <= 2 and seen["retransmits"] <= 2
    elif ecn:
        assert seen["marked"] > 0 == seen["not_ect"]
    else:
        assert seen["marked"] == 0 < seen["aqm_dropped"] <= seen["retransmits"] + 5
