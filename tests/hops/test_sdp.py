"""Session descriptions through a relay: one candidate, the relay's, whatever else was there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aero_lab.hops.sdp import NoCandidate, through

OFFER = "\r\n".join(
    [
        "v=0",
        "o=- 1 1 IN IP4 0.0.0.0",
        "m=application 50000 UDP/DTLS/SCTP webrtc-datachannel",
        "c=IN IP4 192.0.2.1",
        "a=mid:0",
        "a=sctp-port:5000",
        "a=candidate:f00 1 udp 2130706431 fe80::1 50001 typ host",
        "a=candidate:f01 1 udp 2130706431 192.0.2.1 50000 typ host",
        "a=candidate:f02 1 udp 2130706430 192.0.2.7 50002 typ host",
        "a=candidate:f03 1 tcp 2130706430 192.0.2.7 9 typ host tcptype active",
        "a=candidate:f04 1 udp 1694498815 203.0.113.9 50003 typ srflx raddr 192.0.2.1 rport 50000",
        "a=end-of-candidates",
        "a=ice-ufrag:abcd",
        "",
    ]
)


def test_the_only_candidate_left_is_the_relays():
    sdp, own = through(OFFER, "127.0.0.1", 4321)
    assert own == ("192.0.2.1", 50000)
    lines = sdp.split("\r\n")
    assert [line for line in lines if "candidate:" in line] == [
        "a=candidate:f01 1 udp 2130706431 127.0.0.1 4321 typ host"
    ]
    assert "c=IN IP4 127.0.0.1" in lines and "m=application 4321 UDP/DTLS/SCTP webrtc-datachannel" in lines
    assert {"a=mid:0", "a=sctp-port:5000", "a=ice-ufrag:abcd", "a=end-of-candidates"} <= set(lines)
    assert "192.0.2" not in sdp and "203.0.113" not in sdp and "fe80" not in sdp


@pytest.mark.parametrize("sdp", ["", "v=0\r\n", OFFER.replace(" typ host", " typ relay"), "a=mid:0\r\n" * 10_000])
def test_a_description_that_leads_nowhere_is_refused(sdp):
    with pytest.raises(NoCandidate):
        through(sdp, "127.0.0.1", 1)


@given(st.text(max_size=300), st.integers(0, len(OFFER)))
def test_nonsense_is_refused_or_passed_on_and_nothing_else(text, at):
    try:
        sdp, _ = through(OFFER[:at] + text + OFFER[at:], "127.0.0.1", 1)
    except NoCandidate:
        return
    assert sum(line.startswith("a=candidate:") for line in sdp.split("\n")) == 1
