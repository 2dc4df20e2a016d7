"""Commands over a serial console: typed at a shell's prompt, answered between marks.

The image's ``aero-run`` takes a token and a length, makes the terminal transparent, says so, reads the script, and
writes its output between two marks that hold the token; the shell's echo and prompts lie outside of them. Output is
binary: nothing is translated on the way.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from typing import Protocol

from ...errors import AeroLabError, UsageError

PROMPT = b" # "
"""What the shell's prompt ends with (``files/profile`` of the image)."""
MARK = b"\x1e"
"""ASCII record separator, which no text has."""
KILL_LINE, INTERRUPT = b"\x15", b"\x03"
"""Control-U and control-C: forget what is typed, end what runs."""
COMMAND_MOST = 1 << 20
"""Bytes of a command."""
ANSWER_PATIENCE = 20.0
"""Seconds for the shell to take a command, and to show its prompt again."""
INTERRUPTS = 10
"""How often a command is interrupted in that time before it is left alone."""


class NoAnswer(AeroLabError):
    """A command was not done in time, or the console's shell is not there. ``output`` is what came until then."""

    def __init__(self, message: str, output: bytes = b""):
        super().__init__(message)
        self.output = output.decode("utf-8", "replace")


class NotDone(NoAnswer):
    """A command was not done in time."""


class Line(Protocol):
    """A serial console, from outside."""

    def mark(self) -> int:
        """The offset of what is printed next; nobody asks for anything before it any more."""
        ...

    def write(self, data: bytes) -> None:
        """Type."""
        ...

    def since(self, offset: int) -> bytes:
        """What was printed from an offset on."""
        ...

    def wait(self, text: bytes, offset: int, timeout: float) -> bool:
        """Let time go by until ``text`` is printed at or after ``offset``; whether it was."""
        ...


@dataclass(frozen=True)
class Completed:
    """A command that ran to its end in the guest.

    Parameters
    ----------
    command: as it was given.
    status: exit status, 128 and the signal's number when a signal ended it.
    data: what it wrote, to both of its outputs.
    """

    command: str
    status: int
    data: bytes

    @property
    def output(self) -> str:
        """What it wrote, as text."""
        return self.data.decode("utf-8", "replace")

    @property
    def ok(self) -> bool:
        return self.status == 0

    def check(self) -> Completed:
        """This, unless the command failed: then :class:`AeroLabError` says how."""
        if self.status:
            last = self.output.strip().splitlines()[-1:]
            raise AeroLabError(f"{self.command!r} ended with status {self.status}" + "".join(f": {x}" for x in last))
        return self

    def __str__(self) -> str:
        return self.output

    def __repr__(self) -> str:
        return f"<Completed {self.command!r}: status {self.status}, {len(self.data):,} bytes>"

    def _repr_html_(self) -> str:
        status = "" if self.ok else f"<div>status {self.status}</div>"
        return f"<pre>{html.escape(self.output)}</pre>{status}"


class Session:
    """A shell on the other end of a :class:`Line`, standing at its prompt."""

    def __init__(self, line: Line, number: int = 0):
        self._line = line
        self.number = number
        """Commands given so far."""

    def run(self, command: str, timeout: float) -> Completed:
        """Run a command in a shell of its own; :class:`NoAnswer` when it is not done after ``timeout`` seconds."""
        script = command.encode()
        if not 0 < len(script) <= COMMAND_MOST or b"\0" in script:
            raise UsageError(f"a command has 1 to {COMMAND_MOST:,} bytes, none of them zero")
        self.number += 1
        token = b"%08x" % self.number
        begin, end = MARK + token + b"<", MARK + token + b">"
        line, start = self._line, self._line.mark()
        line.write(KILL_LINE + b"aero-run %b %d\n" % (token, len(script)))
        if not line.wait(begin, start, ANSWER_PATIENCE):
            said = printable(line.since(start))[-200:]
            raise NoAnswer(f"the console's shell does not answer; is something running there? It shows {said!r}")
        line.write(script)
        finished = line.wait(end, start, timeout)
        text = line.since(start)
        output = text.partition(begin)[2].partition(end)[0] if begin in text else text
        if not finished:
            self.recover()
            raise NotDone(f"{command!r} is not done after {timeout:g} s", output)
        line.wait(PROMPT, start + text.find(end), ANSWER_PATIENCE)
        status = re.search(re.escape(end) + rb"(\d{1,3})" + MARK, line.since(start))
        if status is None or begin not in text:
            raise NoAnswer(f"{command!r} wrote more than is kept of a console", output)
        return Completed(command, int(status[1]), output)

    def recover(self) -> None:
        """End what runs on the console, and get the shell's prompt back with a sane terminal."""
        start = self._line.mark()
        for _ in range(INTERRUPTS):
            # One that comes while the shell changes from its own terminal mode to the command's goes unheard.
            self._line.write(INTERRUPT)
            if self._line.wait(PROMPT, start, ANSWER_PATIENCE / INTERRUPTS):
                break
        start = self._line.mark()
        self._line.write(KILL_LINE + b"stty sane\n")
        self._line.wait(PROMPT, start, ANSWER_PATIENCE)


_ESCAPE = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()][0-9A-B]|[=>78DEHMNOZc])")


def printable(data: bytes) -> str:
    """Console output as text: without escape sequences, with line ends as they are shown."""
    plain = _ESCAPE.sub(b"", data).replace(MARK, b"").replace(b"\r\n", b"\n")
    text = plain.decode("utf-8", "replace")
    return "".join(character for character in text if character >= " " or character in "\n\t\r\b")
