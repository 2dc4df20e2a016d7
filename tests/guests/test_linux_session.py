"""guest.run over a console: what comes back is what was written, whatever shell, terminal and command do."""

from __future__ import annotations

import os
import shutil

import pytest

from aero_lab.errors import AeroLabError, UsageError
from aero_lab.guests.linux.session import INTERRUPT, PROMPT, NoAnswer, Session, printable

from .linux_line import PtyLine


@pytest.fixture
def session(tmp_path):
    if shutil.which("busybox") is None:
        pytest.skip("busybox is not installed")
    line = PtyLine(tmp_path)
    try:
        assert line.wait(PROMPT, 0, 30)
        yield Session(line)
    finally:
        line.close()


@pytest.mark.parametrize(
    ("command", "output", "status"),
    [
        ("echo hello", "hello\n", 0),
        ("printf 'no newline'", "no newline", 0),
        ("true", "", 0),
        ("false", "", 1),
        ("exit 42", "", 42),
        ("kill -9 $$", "", 137),
        ("echo out; echo err >&2; exit 3", "out\nerr\n", 3),
        ("no-such-command", "not found", 127),
        ("if then", "syntax error", 2),
        ("cat", "", 0),
        ("printf '\\r\\n\\t\\033[1mbold\\033[0m'", "\r\n\t\x1b[1mbold\x1b[0m", 0),
        ("echo 'a # b # '; echo aero-run 1 2", "a # b # \naero-run 1 2\n", 0),
        ("for i in 1 2 3\ndo\n  echo $i\ndone", "1\n2\n3\n", 0),
        ("# only a comment", "", 0),
        ("echo $((6 * 7)) \"$(echo inner)\" 'it'\\''s' `echo back` \\\\", "42 inner it's back \\\n", 0),
        ("echo ümläut ☃", "ümläut ☃\n", 0),
    ],
)
def test_output_and_status(session, command, output, status):
    done = session.run(command, timeout=30)
    assert done.status == status and done.ok == (status == 0)
    assert (done.output == output) or (status and output and output in done.output)
    assert session.run("echo again", timeout=30).output == "again\n", "and the shell stands at its prompt as before"


def test_every_byte_comes_through(session):
    every = bytes(range(256)) * 3
    escaped = "".join(f"\\{byte:03o}" for byte in every)
    assert session.run(f"printf '{escaped}'", timeout=30).data == every


def test_a_long_command_and_a_long_output(session):
    text = "x" * 20_000
    assert session.run(f"echo {text}", timeout=60).output == text + "\n"
    assert session.run("seq 20000", timeout=60).output == "".join(f"{n}\n" for n in range(1, 20_001))


def test_what_takes_too_long_is_ended_and_the_next_command_runs(session):
    with pytest.raises(NoAnswer, match="not done after 5 s") as raised:
        session.run("echo before; sleep 1000", timeout=5)
    assert raised.value.output == "before\n"
    assert session.run("echo next", timeout=30).output == "next\n"


def test_an_interrupt_that_went_unheard_is_repeated(session, monkeypatch):
    line, unheard = session._line, []

    def write(data, through=line.write):
        if data == INTERRUPT and len(unheard) < 2:
            unheard.append(data)
        else:
            through(data)

    monkeypatch.setattr(line, "write", write)
    with pytest.raises(NoAnswer, match="not done after 1 s"):
        session.run("sleep 1000", timeout=1)
    assert len(unheard) == 2 and session.run("echo next", timeout=30).output == "next\n"


def test_what_was_typed_and_not_sent_is_forgotten(session):
    session._line.write(b"rm -r / something half typed")
    assert session.run("echo clean", timeout=30).output == "clean\n"


def test_a_console_without_a_shell_is_no_hang(session, monkeypatch):
    monkeypatch.setattr("aero_lab.guests.linux.session.ANSWER_PATIENCE", 1.0)
    session._line.write(b"sleep 1000\n")
    with pytest.raises(NoAnswer, match="does not answer"):
        session.run("echo hello", timeout=5)


def test_bad_commands_and_failures_are_told(session):
    for command in ("", "a\0b", "x" * (1 << 20) + "y"):
        with pytest.raises(UsageError, match="1 to 1,048,576 bytes"):
            session.run(command, timeout=1)
    with pytest.raises(AeroLabError, match="'echo oops; exit 5' ended with status 5: oops"):
        session.run("echo oops; exit 5", timeout=30).check()
    done = session.run("echo '<b>'", timeout=30).check()
    assert "&lt;b&gt;" in done._repr_html_() and "status 0" in repr(done) and str(done) == "<b>\n"


def test_console_text_without_what_terminals_act_on():
    assert printable(b"\x1b[6n/ # \x1b[1;31mred\x1b[0m\r\n\x1e0001<x\x07\x1b]0;title\x07y") == "/ # red\n0001<xy"
    for _ in range(50):
        assert isinstance(printable(os.urandom(300)), str)
