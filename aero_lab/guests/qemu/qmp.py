"""QEMU's control channel: one question, one answer, each a line of JSON (QEMU Machine Protocol)."""

from __future__ import annotations

import json
import socket
import threading
from typing import Any

from ...errors import AeroLabError

PATIENCE = 30.0
"""Seconds for an answer: QEMU's main loop gives them between other work, within milliseconds."""
LINE_MOST = 1 << 20
"""Bytes of an answer."""


class QmpError(AeroLabError):
    """QEMU refused a command, or does not answer."""


class Qmp:
    """The asking end. Any thread may use it.

    Parameters
    ----------
    sock: connected to a monitor in control mode.
    """

    def __init__(self, sock: socket.socket):
        sock.settimeout(PATIENCE)
        self._sock = sock
        self._lock = threading.Lock()
        self._data = b""
        self._greeted = False

    def execute(self, command: str, **arguments: Any) -> Any:
        """Run a command; what it returns."""
        with self._lock:
            try:
                if not self._greeted:
                    self._line()  # the greeting
                    self._ask("qmp_capabilities", {})
                    self._greeted = True
                return self._ask(command, arguments)
            except (OSError, ValueError) as error:
                raise QmpError(f"QEMU does not answer to {command}: {error}") from None

    def _ask(self, command: str, arguments: dict[str, Any]) -> Any:
        question: dict[str, Any] = {"execute": command}
        if arguments:
            question["arguments"] = {name.replace("_", "-"): value for name, value in arguments.items()}
        self._sock.sendall(json.dumps(question).encode() + b"\n")
        while True:
            answer = json.loads(self._line())
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise QmpError(f"{command}: {answer['error'].get('desc', 'refused')}")
            # Anything else tells of an event, which nobody here waits for.

    def _line(self) -> bytes:
        while b"\n" not in self._data:
            more = self._sock.recv(65536)
            if not more or len(self._data) > LINE_MOST:
                raise OSError("its end is closed" if not more else "a line without an end")
            self._data += more
        line, _, self._data = self._data.partition(b"\n")
        return line

    def close(self) -> None:
        self._sock.close()
