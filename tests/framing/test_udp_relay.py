"""The UDP relay's datagrams: golden vectors, our own, and that each survives the way there and back."""

import base64
import json
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aero_lab.framing import udp_relay as relay
from aero_lab.framing.udp_relay import BadDatagram, RelayDatagram

GOLDEN = Path(__file__).parents[2] / "../shared/vectors"


def test_golden_vectors():
    if not GOLDEN.exists():
        pytest.skip("the golden vectors are not beside this checkout; our own are below")
    one = json.loads((GOLDEN / "udp-relay.json").read_text())["vectors"]
    two = json.loads((GOLDEN / "aero-vectors-v2.json").read_text())["aero-udp-relay-v1v2"]["vectors"]
    assert len(one) == len(two) == 9
    for case in [*one, *two]:
        wire = base64.b64decode(case["frame_b64"]) if "frame_b64" in case else bytes.fromhex(case["frameHex"])
        if case.get("expectError"):
            with pytest.raises(BadDatagram) as caught:
                relay.decode(wire)
            assert case["errorContains"] in str(caught.value)
            continue
        payload = base64.b64decode(case["payload_b64"]) if "payload_b64" in case else bytes.fromhex(case["payloadHex"])
        remote = ip_address(case["remoteIp"]).packed
        wanted = RelayDatagram(case["guestPort"], remote, case["remotePort"], payload, case["version"])
        assert relay.decode(wire) == wanted
        assert relay.encode(wanted.guest_port, remote, wanted.remote_port, payload, wanted.version) == wire


ports, payloads = st.integers(0, 65535), st.binary(max_size=1200)
remotes = st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16)


@given(ports | st.just(relay.V2_PORT), remotes, ports, payloads, st.sampled_from([1, 2]))
def test_there_and_back(guest_port, remote, remote_port, payload, version):
    wire = relay.encode(guest_port, remote, remote_port, payload, version)
    found = relay.decode(wire)
    assert (found.guest_port, found.remote, found.remote_port, found.payload) == (
        guest_port, remote, remote_port, payload,
    )  # fmt: skip
    v1 = version == 1 and len(remote) == 4 and guest_port != 0xA202
    assert found.version == (1 if v1 else 2)
    assert len(wire) - len(payload) == (8 if v1 else 12 if len(remote) == 4 else 24)


@given(st.binary(max_size=40) | st.binary(max_size=40).map(lambda rest: b"\xa2\x02" + rest))
def test_bytes_from_anybody(wire):
    try:
        found = relay.decode(wire)
    except BadDatagram as error:
        assert error.reason in ("too_short", "type", "family")
    else:
        assert relay.encode(found.guest_port, found.remote, found.remote_port, found.payload, found.version) == wire


def test_the_port_that_version_1_cannot_name():
    """As version 1 it reads as version 2, and not as what was meant: so it is sent as version 2."""
    bare = (0xA202).to_bytes(2, "big") + bytes([192, 0, 2, 1]) + b"\0\x35" + b"abc"
    with pytest.raises(BadDatagram):
        relay.decode(bare)
    wire = relay.encode(0xA202, bytes([192, 0, 2, 1]), 53, b"abc")
    assert wire[:4] == b"\xa2\x02\x04\x00" and relay.decode(wire).guest_port == 0xA202


def test_a_payload_over_the_limit():
    assert relay.decode(relay.encode(1, bytes(4), 2, bytes(1200))).payload == bytes(1200)
    for wire in (bytes(8 + 1201), b"\xa2\x02\x04\x00" + bytes(8 + 1201), b"\xa2\x02\x06\x00" + bytes(20 + 1201)):
        with pytest.raises(BadDatagram, match="payload too large: 1201 > 1200"):
            relay.decode(wire)
        assert len(relay.decode(wire, most=1201).payload) == 1201
    with pytest.raises(BadDatagram, match="payload too large"):
        relay.encode(1, bytes(4), 2, bytes(1201))
