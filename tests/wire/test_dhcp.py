"""DHCP messages as clients and the gateway send them."""

from __future__ import annotations

import pytest

from aero_lab.errors import UsageError
from aero_lab.wire import dhcp
from aero_lab.wire.address import MAC_BROADCAST, ip, mac
from aero_lab.wire.dhcp import Dhcp
from aero_lab.wire.frame import dissect, udp_frame

GUEST = mac("02:00:00:00:00:15")
GATEWAY = ip("10.0.2.2")


def offer() -> Dhcp:
    return Dhcp(
        dhcp.BOOT_REPLY,
        0x12345678,
        GUEST,
        yiaddr=ip("10.0.2.15"),
        siaddr=GATEWAY,
        options=(
            dhcp.u8_option(dhcp.OPT_MESSAGE_TYPE, dhcp.OFFER),
            dhcp.ip_option(dhcp.OPT_SERVER_ID, GATEWAY),
            dhcp.ip_option(dhcp.OPT_MASK, ip("255.255.255.0")),
            dhcp.ip_option(dhcp.OPT_ROUTER, GATEWAY),
            dhcp.ip_option(dhcp.OPT_DNS, GATEWAY),
            dhcp.u32_option(dhcp.OPT_LEASE_TIME, 86400),
            dhcp.u32_option(dhcp.OPT_T1, 43200),
            dhcp.u32_option(dhcp.OPT_T2, 75600),
        ),
    )


def test_an_offer_of_the_synthetic_lan_fills_328_bytes():
    frame = udp_frame(
        mac("02:00:00:00:00:01"), MAC_BROADCAST, GATEWAY, ip("255.255.255.255"), 67, 68, offer().emit(), id=1
    )
    assert len(frame) == 328
    assert dissect(frame)[-1] == offer()


def test_typed_options():
    value = offer()
    assert value.message_type == dhcp.OFFER
    assert value.address(dhcp.OPT_ROUTER) == GATEWAY
    assert value.number(dhcp.OPT_T2) == 75600
    assert value.address(dhcp.OPT_REQUESTED_IP) is None
    assert value.text(dhcp.OPT_HOST_NAME) is None
    assert value.number(dhcp.OPT_HOST_NAME) is None


def test_a_windows_request():
    value = Dhcp(
        dhcp.BOOT_REQUEST,
        1,
        GUEST,
        flags=dhcp.FLAG_BROADCAST,
        options=(
            dhcp.u8_option(dhcp.OPT_MESSAGE_TYPE, dhcp.REQUEST),
            dhcp.client_id_option(GUEST),
            dhcp.ip_option(dhcp.OPT_REQUESTED_IP, ip("10.0.2.15")),
            dhcp.ip_option(dhcp.OPT_SERVER_ID, GATEWAY),
            dhcp.text_option(dhcp.OPT_HOST_NAME, "WIN7"),
            dhcp.client_fqdn_option("WIN7"),
            dhcp.text_option(dhcp.OPT_VENDOR_CLASS, "MSFT 5.0"),
            dhcp.u8_option(dhcp.OPT_PARAMETER_LIST, 1, 15, 3, 6, 44, 46, 47, 31, 33, 121, 249, 43),
        ),
    )
    data = value.emit(dhcp.BOOTP_SIZE)
    parsed = Dhcp.parse(data)
    assert parsed == value and len(data) >= 300
    assert [code for code, _ in parsed.options] == [53, 61, 50, 54, 12, 81, 60, 55]
    assert parsed.text(60) == "MSFT 5.0" and parsed.broadcast
    assert parsed.option(61) == b"\x01" + GUEST
    assert parsed.option(81) == b"\0\0\0WIN7"


def test_long_options_are_joined():
    data = bytes(range(256)) * 3
    value = Dhcp(1, 1, GUEST, dhcp.long_option(43, data))
    assert Dhcp.parse(value.emit()).option(43) == data
    assert dhcp.long_option(43, b"") == ((43, b""),)


def test_overloaded_fields_hold_options():
    value = Dhcp(2, 1, GUEST, ((52, b"\x03"),), file=b"\x0c\x02ab\xff", sname=b"\x0f\x03lab\xff")
    parsed = Dhcp.parse(value.emit())
    assert (parsed.text(12), parsed.text(15)) == ("ab", "lab")
    assert Dhcp(2, 1, GUEST, (), file=b"\x0c\x02ab\xff").option(12) is None
    assert Dhcp(2, 1, GUEST, ((52, b"\x01"),), file=b"\x0c\xffab").option(12) is None
    assert Dhcp(2, 1, GUEST, ((52, b"\x02"),), file=b"\x0c\x02ab\xff").option(12) is None


def test_odd_options_are_no_numbers_and_no_addresses():
    value = Dhcp(1, 1, GUEST, ((53, b"\1\2\3"), (6, b"abcde"), (12, b"\xff\x80\0")))
    assert value.message_type is None
    assert value.addresses(6) == ()
    assert value.text(12) == "\ufffd\ufffd"


@pytest.mark.parametrize(
    "arguments",
    [
        {"xid": 1 << 32},
        {"chaddr": b"abc"},
        {"yiaddr": b"abc"},
        {"options": ((0, b""),)},
        {"options": ((255, b""),)},
        {"options": ((12, bytes(256)),)},
        {"sname": b"x" * 65},
        {"file": b"x" * 129},
        {"hops": -1},
    ],
)
def test_what_cannot_be_sent(arguments):
    with pytest.raises(UsageError):
        Dhcp(**{"op": 1, "xid": 1, **arguments})


def test_option_helpers_check():
    with pytest.raises(UsageError):
        dhcp.ip_option(3, b"abc")
    with pytest.raises(UsageError):
        dhcp.u32_option(51, 1 << 32)
    assert dhcp.u16_option(57, 1500) == (57, b"\x05\xdc")
