"""tcp-mux: golden vectors, our own, and the parser against a plain twin however the stream is cut."""

import base64
import json
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aero_lab.bounds import MUX_CONTROL_MOST, MUX_FRAME_MOST
from aero_lab.errors import UsageError
from aero_lab.framing import tcp_mux as mux
from aero_lab.framing.tcp_mux import BadMux, ErrorCode, Flags, MuxParser

GOLDEN = Path(__file__).parents[2] / "../shared/vectors"


def golden():
    """Both files that hold the vectors, in one form."""
    if not GOLDEN.exists():
        pytest.skip("the golden vectors are not beside this checkout; our own are below")
    one = json.loads((GOLDEN / "tcp-mux-v1.json").read_text())
    two = json.loads((GOLDEN / "aero-vectors-v2.json").read_text())["aero-tcp-mux-v1"]
    return [(one, lambda case, name: base64.b64decode(case[name + "_b64"])), (two, from_hex)]


def from_hex(case, name):
    return bytes.fromhex(case[name + "Hex"])


def pieces_of(parser, chunk):
    parser.feed(chunk)
    while (frame := parser.frame()) is not None:
        yield frame


def frames(parser, chunks):
    """What the parser makes of the chunks, pieces of DATA joined to their frames' whole."""
    out, pieces = [], []
    for chunk in chunks:
        for frame in pieces_of(parser, chunk):
            if frame.type == mux.DATA:
                pieces.append(bytes(frame.payload))
                if frame.last:
                    out.append((mux.DATA, frame.stream, b"".join(pieces)))
                    pieces.clear()
            else:
                out.append((frame.type, frame.stream, bytes(frame.payload)))
    return out


def test_golden_frames_and_payloads():
    for vectors, raw in golden():
        assert len(vectors["frames"]) == 6
        for case in vectors["frames"]:
            wire, payload = raw(case, "frame"), raw(case, "payload")
            assert mux.encode(case["msgType"], case["streamId"], payload) == wire
            assert frames(MuxParser(), [wire]) == [(case["msgType"], case["streamId"], payload)]
        for case in vectors["openPayloads"]:
            found = mux.decode_open(raw(case, "payload"))
            assert (found.host, found.port, found.metadata) == (case["host"], case["port"], case.get("metadata", ""))
            assert mux.encode_open(7, found.host, found.port, found.metadata)[9:] == raw(case, "payload")
        for case in vectors["closePayloads"]:
            assert mux.decode_close(raw(case, "payload")) == case["flags"]
            assert mux.encode_close(1, case["flags"])[9:] == raw(case, "payload")
        for case in vectors["errorPayloads"]:
            if case.get("expectError"):
                with pytest.raises(BadMux) as caught:
                    mux.decode_error(raw(case, "payload"))
                assert case["errorContains"] in str(caught.value)
            else:
                assert mux.decode_error(raw(case, "payload")) == (case["code"], case["message"])
                assert mux.encode_error(1, case["code"], case["message"])[9:] == raw(case, "payload")


def test_golden_streams():
    for vectors, raw in golden():
        for case in vectors["parserStreams"]:
            chunks = (
                [base64.b64decode(each) for each in case["chunks_b64"]]
                if "chunks_b64" in case
                else [bytes.fromhex(each) for each in case["chunksHex"]]
            )
            parser = MuxParser()
            found = frames(parser, chunks)
            if case.get("expectError"):
                with pytest.raises(BadMux) as caught:
                    parser.finish()
                assert case["errorContains"] in str(caught.value)
                continue
            parser.finish()
            assert found == [(each["msgType"], each["streamId"], raw(each, "payload")) for each in case["expectFrames"]]


def naive(wire):
    """The frames of a whole stream, read in the plainest way."""
    out = []
    while wire:
        kind, stream, size = struct.unpack("!BII", wire[:9])
        assert len(wire) >= 9 + size
        out.append((kind, stream, wire[9 : 9 + size]))
        wire = wire[9 + size :]
    return out


one_frame = st.tuples(st.integers(0, 255), st.integers(0, (1 << 32) - 1), st.binary(max_size=300))


@given(st.lists(one_frame, max_size=12), st.data())
def test_frames_are_found_however_the_stream_is_cut(wanted, data):
    wire = b"".join(mux.encode(*each) for each in wanted)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=10)))
    chunks = [wire[a:b] for a, b in zip([0, *cuts], [*cuts, len(wire)])]
    parser = MuxParser()
    assert frames(parser, chunks) == naive(wire) == wanted
    parser.finish()


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=5))
def test_no_bytes_break_more_than_their_stream(wire, cuts):
    parser = MuxParser(most=1 << 20)
    try:
        for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), len(wire)]):
            for frame in pieces_of(parser, wire[a:b]):
                for read in (mux.decode_open, mux.decode_close, mux.decode_error, mux.decode_credit):
                    try:
                        read(frame.payload)
                    except BadMux as error:
                        assert error.reason in ("open", "close", "error", "credit")
    except BadMux as error:
        assert error.reason == "frame_too_large"


def test_a_frame_beyond_the_limit_is_refused_by_its_header():
    assert frames(MuxParser(), [mux.header(mux.DATA, 1, MUX_FRAME_MOST)]) == []
    with pytest.raises(BadMux, match="frame payload too large: 16777217 > 16777216"):
        frames(MuxParser(), [mux.header(mux.DATA, 1, MUX_FRAME_MOST + 1)])


def test_long_payloads_are_not_collected():
    """DATA is handed on as it comes, and what is no DATA is passed over beyond its bound: memory stays small."""
    parser, piece = MuxParser(), bytes(64 << 10)
    assert not list(pieces_of(parser, mux.header(mux.DATA, 1, 16 << 20)))
    for _ in range(256):
        assert [len(frame.payload) for frame in pieces_of(parser, piece)] == [len(piece)]
    for kind, size in ((mux.OPEN, 6 << 10), (mux.PING, MUX_CONTROL_MOST + 1)):
        list(pieces_of(parser, mux.header(kind, 1, size)))
        found = []
        for at in range(0, size, len(piece)):
            found += pieces_of(parser, piece[: min(len(piece), size - at)])
            assert parser._kept is None
        assert [(frame.type, frame.kept, len(frame.payload)) for frame in found] == [(kind, False, 0)]
    assert frames(parser, [mux.encode(mux.PING, 0, bytes(MUX_CONTROL_MOST))]) == [(5, 0, bytes(MUX_CONTROL_MOST))]
    parser.finish()


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (b"", "too short"), (b"\0", "too short"), (b"\0\1a", "too short"), (b"\0\1a\0\1", "too short"),
        (b"\0\1a\0\1\0\1", "too short"), (b"\0\1a\0\1\0\0x", "1 trailing bytes"), (b"\0\0\0\1\0\0", "empty"),
        (b"\0\1 \0\1\0\0", "spaces"), (b"\0\1\x7f\0\1\0\0", "control"), (b"\0\1\xff\0\1\0\0", "host is not UTF-8"),
        (b"\0\1a\0\1\0\1\xff", "metadata is not UTF-8"),
        (b"\x04\x01" + b"a" * 1025 + b"\0\1\0\0", "host too long: 1025 > 1024"),
        (b"\0\1a\0\1\x10\x01" + b"m" * 4097, "metadata too long: 4097 > 4096"),
    ],
)  # fmt: skip
def test_open_payloads_that_are_none(payload, text):
    with pytest.raises(BadMux, match=text) as caught:
        mux.decode_open(payload)
    assert caught.value.reason == "open"


def test_the_largest_open_fits():
    wire = mux.encode_open(1, "a" * 1024, 65535, "m" * 4096)
    (frame,) = pieces_of(MuxParser(), wire)
    assert frame.kept and mux.decode_open(frame.payload).host == "a" * 1024
    for host, port, metadata in (("", 1, ""), ("a b", 1, ""), ("a", 0, ""), ("a", 1, "m" * 4097), ("a" * 1025, 1, "")):
        with pytest.raises(UsageError):
            mux.encode_open(1, host, port, metadata)


def test_close_error_and_credit():
    assert mux.decode_close(b"\x03") == Flags.FIN | Flags.RST and mux.decode_close(b"\xfd") == Flags.FIN
    for payload in (b"", b"\1\1"):
        with pytest.raises(BadMux, match="CLOSE payload"):
            mux.decode_close(payload)
    code, text = mux.decode_error(mux.encode_error(1, ErrorCode.DIAL_FAILED, "a\r\n\tb \x01 c" + "é" * 2000)[9:])
    assert code == 2 and text.startswith("a b c") and 1000 < len(text.encode()) <= 1024 and set(text[5:]) == {"é"}
    for payload in (b"\0\1\0", b"\0\1\0\1\xff", b"\0\1\0\0x"):
        with pytest.raises(BadMux):
            mux.decode_error(payload)
    assert mux.decode_credit(mux.encode_credit(9, 123456)[9:]) == 123456
    for payload in (b"", bytes(4), b"\0\0\1", b"\x80\0\0\0", bytes(5)):
        with pytest.raises(BadMux, match="Invalid CREDIT payload"):
            mux.decode_credit(payload)
