"""TCP options: the layouts that stacks are known by, defaults, and what cannot be built."""

from __future__ import annotations

import pytest
from hypothesis import given

from aero_lab.errors import UsageError
from aero_lab.wire import tcp
from aero_lab.wire.tcp import Tcp, TcpOptions

from . import strategies as s

MSS, WS, SOK, SACK, TS, NOP, EOL = 2, 3, 4, 5, 8, 1, 0


@pytest.mark.parametrize(
    "options, layout, data",
    [
        (
            TcpOptions(mss=1460, wscale=8, sack_permitted=True, layout=(MSS, NOP, WS, NOP, NOP, SOK)),
            (MSS, NOP, WS, NOP, NOP, SOK),
            "020405b4 01 030308 01 01 0402",  # Windows 7
        ),
        (
            TcpOptions(mss=1460, wscale=7, sack_permitted=True, timestamps=(1, 0)),
            (MSS, SOK, TS, NOP, WS),
            "020405b4 0402 080a0000000100000000 01 030307",  # Linux
        ),
        (TcpOptions(timestamps=(1, 2)), (NOP, NOP, TS), "0101 080a0000000100000002"),
        (TcpOptions(mss=1460), (MSS,), "020405b4"),
        (
            TcpOptions(sack=((1, 2), (3, 4)), timestamps=(1, 2)),
            (NOP, NOP, TS, NOP, NOP, SACK),
            "0101 080a0000000100000002 0101 051200000001000000020000000300000004",
        ),
        (TcpOptions(mss=1460, sack_permitted=True), (MSS, NOP, NOP, SOK), "020405b4 0101 0402"),
        (TcpOptions(wscale=0), (NOP, WS), "01030300"),
        (TcpOptions(wscale=0, layout=(WS,)), (WS, EOL), "03030000"),
        (TcpOptions(unknown=((30, b"\x00\x81"),)), (30,), "1e040081"),
        (TcpOptions(mss=536, layout=(MSS, EOL)), (MSS, EOL), "02040218 00000000"),
        (TcpOptions(), (), ""),
    ],
)
def test_layouts(options, layout, data):
    assert options.layout == layout
    assert options.emit() == bytes.fromhex(data)
    assert TcpOptions.parse(bytes.fromhex(data)) == options


@given(s.tcp_options())
def test_size_is_a_multiple_of_four_within_the_header(options):
    assert options.buffer_len() % 4 == 0 and options.buffer_len() <= 40


@pytest.mark.parametrize(
    "arguments",
    [
        {"mss": 65536},
        {"wscale": 256},
        {"timestamps": (1 << 32, 0)},
        {"sack": ((1, 2),) * 5},
        {"sack": ((-1, 2),)},
        {"unknown": ((0, b""),)},
        {"unknown": ((1, b""),)},
        {"unknown": ((256, b""),)},
        {"unknown": ((MSS, b"\x05\xb4"),)},  # goes into mss
        {"unknown": ((30, bytes(39)),)},
        {"mss": 1460, "layout": (WS,)},
        {"mss": 1460, "layout": (MSS, MSS)},
        {"mss": 1460, "layout": (EOL, MSS)},
        {"sack": ((1, 2),) * 4, "timestamps": (1, 2)},  # 44 bytes
    ],
)
def test_what_cannot_be_sent(arguments):
    with pytest.raises(UsageError):
        TcpOptions(**arguments)


def test_reserved_bits_are_flags():
    """As in Wireshark, whose ``tcp.flags`` has twelve bits."""
    data = Tcp(1, 2, flags=0xF00 | tcp.SYN).emit(bytes(4), bytes(4))
    assert data[12:14] == b"\x5f\x02"
    assert Tcp.parse(data, bytes(4), bytes(4)).flags == 0xF02


def test_sequence_numbers_taken():
    assert Tcp(1, 2, flags=tcp.SYN | tcp.FIN, payload=b"abc").seq_len == 5
    assert Tcp(1, 2).seq_len == 0
