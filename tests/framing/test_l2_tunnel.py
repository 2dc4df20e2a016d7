"""The L2 tunnel's messages: golden vectors, our own, and the batch codec against its plain twin."""

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aero_lab.errors import Malformed, UsageError
from aero_lab.framing import l2_tunnel as l2
from aero_lab.framing.l2_tunnel import BadMessage, ErrorCode, L2Codec, L2Limits
from aero_lab.rings import Frame, FrameRing

from . import naive

OURS = json.loads((Path(__file__).parents[1] / "vectors" / "l2_tunnel.json").read_text())
GOLDEN = Path(__file__).parents[2] / "../shared/vectors/l2-tunnel-v1.json"


def named(cases):
    return [pytest.param(case, id=case["name"]) for case in cases]


@pytest.mark.parametrize("case", named(OURS["valid"]))
def test_valid_messages(case):
    message, payload = bytes.fromhex(case["message"]), bytes.fromhex(case["payload"])
    decoded = l2.decode(message)
    assert (decoded.type, decoded.payload, decoded.flags) == (case["type"], payload, case.get("flags", 0))
    assert l2.decode(memoryview(message)) == decoded
    if case.get("encodes", True):
        assert l2.encode(case["type"], payload) == message
    if "code" in case:
        code, text = decoded.error
        assert code == case["code"] and text == case.get("text", text)
        if code is not None:
            assert l2.encode_error(text, code) == message


@pytest.mark.parametrize("case", named(OURS["invalid"]))
def test_invalid_messages(case):
    limits = L2Limits(case.get("frame", 2048), case.get("control", 256))
    with pytest.raises(Malformed) as caught:
        l2.decode(bytes.fromhex(case["message"]), limits)
    assert caught.value.reason == case["reason"] and str(caught.value) == case["text"]


def test_golden_vectors():
    if not GOLDEN.exists():
        pytest.skip("the golden vectors are not beside this checkout; tests/vectors has our own")
    vectors = json.loads(GOLDEN.read_text())
    assert (vectors["magic"], vectors["version"], vectors["flags"]) == (l2.MAGIC, l2.VERSION, 0)
    assert len(vectors["vectors"]) >= 10
    for case in vectors["vectors"]:
        wire = base64.b64decode(case["wire_b64"])
        if case.get("expectError"):
            with pytest.raises(BadMessage) as caught:
                l2.decode(wire)
            assert case["errorContains"] in str(caught.value)
            continue
        payload = base64.b64decode(case["payload_b64"])
        assert l2.decode(wire) == l2.L2Message(case["type"], payload, case["flags"])
        assert l2.encode(case["type"], payload) == wire
        if "code" in case:
            assert l2.decode(wire).error == (case["code"], case["message"])
            assert l2.encode_error(case["message"], case["code"]) == wire


@pytest.mark.parametrize("version", ["aero-vectors-v1.json", "aero-vectors-v2.json"])
def test_golden_conformance_vectors(version):
    path = GOLDEN.with_name(version)
    if not path.exists():
        pytest.skip("the golden vectors are not beside this checkout; tests/vectors has our own")
    vectors = json.loads(path.read_text())["aero-l2-tunnel-v1"]
    assert len(vectors["valid"]) >= 5 and len(vectors["invalid"]) >= 4
    for case in vectors["valid"]:
        wire, payload = bytes.fromhex(case["wireHex"]), bytes.fromhex(case["payloadHex"])
        assert l2.decode(wire) == l2.L2Message(case["msgType"], payload, case["flags"]), case["name"]
        assert l2.encode(case["msgType"], payload) == wire, case["name"]
        if told := case.get("structured"):
            assert l2.decode(wire).error == (told["code"], told["message"])
            assert l2.encode_error(told["message"], told["code"]) == wire
    for case in vectors["invalid"]:
        with pytest.raises(Malformed) as caught:
            l2.decode(bytes.fromhex(case["wireHex"]))
        assert caught.value.reason == case["errorCode"], case["name"]


def test_encoders_obey_the_limits():
    limits = L2Limits(frame=4, control=3)
    assert l2.encode_frame(b"1234", limits)[4:] == b"1234"
    assert l2.encode_ping(b"123", limits)[2] == l2.PING and l2.encode_pong(b"123", limits)[2] == l2.PONG
    for encode in (l2.encode_frame, l2.encode_ping, l2.encode_pong):
        with pytest.raises(BadMessage, match="payload too large: 5 >"):
            encode(b"12345", limits)
    assert limits.message == 8
    with pytest.raises(UsageError):
        L2Limits(-1)


@given(text=st.text(max_size=300), code=st.none() | st.sampled_from(ErrorCode), limit=st.integers(0, 300))
def test_error_text_is_cut_between_characters(text, code, limit):
    message = l2.encode_error(text, code, L2Limits(control=limit))
    decoded = l2.decode(message, L2Limits(control=limit))
    if code is not None and limit < 4:
        assert decoded.payload == b""
        return
    clean = text.encode(errors="replace").decode()
    head = 0 if code is None else 4
    cut = decoded.payload[head:].decode()
    assert clean.startswith(cut)
    if cut != clean:
        assert len((cut + clean[len(cut)]).encode()) > limit - head, "cut shorter than need be"
    if code is not None:
        assert decoded.error == (code, cut)


@given(
    data=st.binary(max_size=40) | st.binary(max_size=40).map(lambda raw: b"\xa2\x03" + raw), limit=st.integers(0, 20)
)
def test_any_bytes_give_a_message_or_a_named_reason(data, limit):
    limits = L2Limits(limit, limit)
    try:
        decoded = l2.decode(data, limits)
    except BadMessage as bad:
        assert bad.reason in ("too_short", "invalid_magic", "unsupported_version", "payload_too_large")
        return
    decoded.error  # noqa: B018 - it must not raise, whatever the payload
    assert l2.encode(decoded.type, decoded.payload, limits)[4:] == data[4:]


numbers = st.integers(-(1 << 62), 1 << 62)
frames = st.builds(Frame, st.binary(max_size=30), *[numbers] * 5)
messages = st.builds(
    Frame,
    st.one_of(
        st.binary(max_size=30),
        st.binary(max_size=30).map(lambda raw: b"\xa2\x03\x00\x00" + raw),
        st.tuples(st.integers(0, 255), st.binary(max_size=20)).map(lambda t: bytes((0xA2, 3, t[0], 0)) + t[1]),
    ),
    *[numbers] * 5,
)
limit_pairs = st.builds(L2Limits, st.integers(0, 30), st.integers(0, 30))


@settings(max_examples=60)
@given(
    waiting=st.lists(frames, max_size=12),
    limits=limit_pairs,
    room=st.sampled_from([1, 2, 8, 16]),
    most=st.integers(0, 14),
)
def test_encap_is_its_twin(waiting, limits, room, most):
    source, target, codec = FrameRing(16, 1 << 12), FrameRing(room, 1 << 12), L2Codec(limits)
    assert all(source.push(*frame) for frame in waiting)
    expected, taken, too_large = naive.encap(waiting[:most], limits, room)
    assert codec.encap(source, target, most) == taken
    assert target.pop_many(20) == expected and source.pop_many(20) == waiting[taken:]
    assert codec.counters["frames_wrapped"] == len(expected) and codec.counters["frame_too_large"] == too_large
    assert target.refused == 0


@settings(max_examples=80)
@given(
    waiting=st.lists(messages, max_size=12),
    limits=limit_pairs,
    rooms=st.tuples(*[st.sampled_from([1, 2, 8, 16])] * 2),
    most=st.integers(0, 14),
)
def test_decap_is_its_twin(waiting, limits, rooms, most):
    source, codec = FrameRing(16, 1 << 12), L2Codec(limits)
    inner, control = (FrameRing(room, 1 << 12) for room in rooms)
    assert all(source.push(*message) for message in waiting)
    expected, others, taken = naive.decap(waiting[:most], limits, *rooms)
    assert codec.decap(source, inner, control, most) == taken
    assert inner.pop_many(20) == expected and control.pop_many(20) == others
    assert source.pop_many(20) == waiting[taken:]
    counters = codec.counters
    assert (counters["frames_unwrapped"], counters["control_messages"]) == (len(expected), len(others))


def test_there_and_back_keeps_everything():
    codec = L2Codec()
    rings = [FrameRing(64, 1 << 16) for _ in range(4)]
    sent = [Frame(bytes([i]) * (14 + 30 * i), i, i + 1, i + 2, i % 5, i + 3) for i in range(40)]
    for frame in sent:
        assert rings[0].push(*frame)
    assert codec.encap(rings[0], rings[1]) == codec.decap(rings[1], rings[2], rings[3]) == 40
    assert rings[2].pop_many(64) == sent and not len(rings[3])


def test_what_a_ring_can_never_hold_is_dropped_and_others_go_on():
    codec = L2Codec()
    big, small, control = FrameRing(8, 4096), FrameRing(8, 64), FrameRing(8, 64)
    for size in (10, 61, 60):
        big.push(bytes(size))
    assert codec.encap(big, small) == 2 and len(small.pop().data) == 14
    assert codec.encap(big, small) == 1 and len(small.pop().data) == 64
    for message in (bytes(100), l2.encode_frame(bytes(65)), l2.encode_frame(b"ok"), l2.encode_ping(b"ok")):
        big.push(message)
    assert codec.decap(big, small, control) == 4
    assert small.pop().data == b"ok" and control.pop().data == l2.encode_ping(b"ok")
    assert codec.counters["never_fits"] == 3
