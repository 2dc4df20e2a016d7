"""The network awareness probe (NCSI): what the network icon of Windows asks before it shows "Internet access"."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...limits import SECOND
from .http_client import HttpClient
from .tasks import TaskError, TaskGenerator

if TYPE_CHECKING:
    from .guest import ScriptedGuest

WEB_NAME, WEB_PATH, WEB_TEXT = "www.msftncsi.com", "/ncsi.txt", b"Microsoft NCSI"
WEB_HEADERS = (("Connection", "Close"), ("User-Agent", "Microsoft NCSI"), ("Host", WEB_NAME))
DNS_NAME, DNS_ADDRESS = "dns.msftncsi.com", bytes((131, 107, 255, 255))
PATIENCE = 30 * SECOND
"""Time for connection and answer."""
INTERNET, SIGN_IN, NONE = "internet", "sign-in", "none"


def probe(guest: ScriptedGuest) -> TaskGenerator:
    """Task: ``"internet"`` when text and address are right, ``"sign-in"`` when only the address is, else ``"none"``."""
    text = b""
    try:
        address = yield from guest.resolve(WEB_NAME)
        client = HttpClient(guest, WEB_NAME, address, 80, WEB_HEADERS)
        try:
            yield from client.open(guest.now + PATIENCE)
            answer = yield from client.get(WEB_PATH, guest.now + PATIENCE, keep=len(WEB_TEXT) + 1)
            text = answer.body if answer.status == 200 else b""
        finally:
            client.close()
    except TaskError:
        text = b""
    try:
        address = yield from guest.resolve(DNS_NAME)
    except TaskError:
        return NONE
    if address != DNS_ADDRESS:
        return NONE
    return INTERNET if text == WEB_TEXT else SIGN_IN
