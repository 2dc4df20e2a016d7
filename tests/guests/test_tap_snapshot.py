"""A real kernel's connection while the proxy behind it is replaced."""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest

from aero_lab.lab import Lab

from .tap import needs_tap  # noqa: F401

CLIENT = """
import socket, sys, threading
s = socket.create_connection((sys.argv[1], 7), timeout=20)
s.settimeout(None)  # or MSG_WAITALL would not wait
s.sendall(b"before")
assert s.recv(6, socket.MSG_WAITALL) == b"before"
print("ready", flush=True)
sys.stdin.readline()
data = bytes(range(256)) * 2000
errors = []
def attempt(call, *args):
    try:
        return call(*args)
    except OSError as error:
        errors.append(type(error).__name__)
sender = threading.Thread(target=attempt, args=(s.sendall, data), daemon=True)
sender.start()
got = attempt(s.recv, len(data), socket.MSG_WAITALL)
if got != data:
    sender.join(20)  # a reset is told once, to whichever of the two calls comes first
print(errors[0] if errors else got == data)
"""
ADDRESSES = {4: "203.0.113.11", 6: "2001:db8:113::11"}


@pytest.mark.root
@pytest.mark.usefixtures("needs_tap")
@pytest.mark.parametrize("family", [4, 6])
def test_a_kernel_goes_on_with_its_connection_or_hears_that_it_is_gone(family):
    with Lab() as lab:
        guest: Any = lab.guest("tap")
        guest.wait_online(family=family)
        outcomes = {}
        for policy in ("reconnect", "drop"):
            theirs, ours = os.pipe()
            heard, told = os.pipe()
            process = guest.spawn([sys.executable, "-c", CLIENT, ADDRESSES[family]], stdin=theirs, stdout=told)
            os.close(theirs), os.close(told)
            with os.fdopen(heard) as lines, os.fdopen(ours, "w") as go:
                assert lines.readline() == "ready\n"
                lab.restore(guest.snapshot(), tcp=policy)
                go.write("\n")
                go.flush()
                outcomes[policy] = lines.read().strip()
            process.wait(20)
        assert outcomes["reconnect"] == "True"
        assert outcomes["drop"] in ("ConnectionResetError", "BrokenPipeError")
