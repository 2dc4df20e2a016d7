"""The console widget: what a terminal would show, and what is typed gets to the guest."""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aero_lab.machine.console import Console
from aero_lab.widgets.console import COLUMNS, STATIC, ConsoleView, lines_of

from ..guests.debian.image import missing
from ..notebooks.browser import CHROMIUM
from .page import notebook, wait


class Stub:
    """A guest with a console and nothing behind it."""

    def __init__(self):
        self.machine = SimpleNamespace(console=Console())
        self.state = "running"
        self.typed = b""
        self.at_close: list = []

    def answer(self, text, ns):
        self.typed += text
        self.machine.console.put(text.upper())

    def on_close(self, action):
        self.at_close.append(action)


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", [""]),
        (b"one\r\ntwo\r\n/ # ", ["one", "two", "/ # "]),
        (b"abc\rX", ["Xbc"]),
        (b"abc\b\bX", ["aXc"]),
        (b"abc\x1b[2DX", ["aXc"]),
        (b"abc\r\x1b[K/ # ", ["/ # "]),
        (b"ls\x08\x08\x1b[Jcd", ["cd"]),
        (b"a\tb\n\tc", ["a       b", "        c"]),
        (b"\x1b[1;31mred\x1b[0m \x1b]0;title\x07plain\x1b(B", ["red plain"]),
        (b"\x1b[6n/ # \x1b[2J\x1b[Hfresh", ["fresh"]),
        (b"\xe2\x98\x83 \xff", ["☃ �"]),
        (b"\b\b\x1b[99Dx", ["x"]),
    ],
)
def test_lines_are_those_of_a_terminal(data, lines):
    assert lines_of(data) == lines


@given(st.lists(st.sampled_from([b"x", b"yz", b"\n", b"\r", b"\b", b"\x1b[", b"9", b"K", b"J", b"C", b"\x1b", b"\t"])))
def test_lines_are_bounded_whatever_comes(pieces):
    lines = lines_of(b"".join(pieces) * 5, most=7)
    assert 1 <= len(lines) <= 7 and all(len(line) <= COLUMNS for line in lines)
    assert not any(c < " " for line in lines for c in line)


@given(st.binary(max_size=400))
def test_any_bytes_are_lines(data):
    assert all(len(line) <= COLUMNS for line in lines_of(data))


def test_a_long_line_and_many_lines_are_cut():
    assert lines_of(b"x" * 5000) == ["x" * COLUMNS]
    assert lines_of(b"".join(b"%d\n" % n for n in range(5000)), most=10)[:2] == ["4991", "4992"]


def test_without_a_notebook_it_is_the_last_lines_escaped():
    guest = Stub()
    guest.machine.console.put(b"".join(b"line %d <b>\r\n" % n for n in range(100)))
    view = ConsoleView(guest)  # type: ignore[arg-type]
    assert repr(view).count("\n") == STATIC - 1 and "line 99 <b>" in repr(view)
    assert "line 99 &lt;b&gt;" in view._repr_html_() and "<b>" not in view._repr_html_()


def test_what_is_typed_gets_there_and_what_comes_is_drawn():
    pytest.importorskip("ipywidgets")
    guest = Stub()
    view = ConsoleView(guest)  # type: ignore[arg-type]
    box = view.widget
    _, screen, row, foot = box.children
    field, *buttons = row.children
    field.value = "echo hi"
    field._handle_custom_msg({"event": "submit"}, [])
    assert guest.typed == b"echo hi\n" and field.value == ""
    names = {button.description: button for button in buttons}
    field.value = "ec"
    names["Tab"].click()
    names["Ctrl-C"].click()
    assert guest.typed == b"echo hi\nec\t\x03"
    view._refresh()
    assert "ECHO HI\nEC" in screen.value and "running" in foot.value


def test_it_is_live_when_shown_and_ends_with_the_guest():
    guest = Stub()
    view = ConsoleView(guest)  # type: ignore[arg-type]
    screen = view.widget.children[1]
    view._shown()
    view._shown()
    assert view._live.running and len(guest.at_close) == 1
    guest.machine.console.put(b"news\r\n")
    wait(lambda: "news" in screen.value, "the news")
    guest.at_close[0]()
    assert not view._live.running and view._live.error is None
    guest.machine.console.put(b"more")
    assert "more" not in screen.value


def test_a_view_that_is_forgotten_is_freed():
    guest = Stub()
    view = ConsoleView(guest)  # type: ignore[arg-type]
    gone = weakref.ref(view)
    del view
    gc.collect()
    assert gone() is None


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_a_shell_in_jupyterlab(tmp_path):
    """Three lines, a live console: a command typed in the browser is answered there while nothing else runs."""
    if why := missing():
        pytest.skip(why)
    cells = ["import aero_lab as al\nguest = al.Lab(progress=False).guest('linux')\nguest.console", "guest.close()"]
    with notebook(tmp_path, cells) as book:
        book.run(0)
        page = book.page
        field = page.locator(".al-typing input")
        field.wait_for(timeout=120_000)
        field.fill("echo typed $((40 + 2))")
        field.press("Enter")
        page.locator(".al-screen", has_text="typed 42").wait_for(timeout=120_000)
        field.fill("echo it $((4 + 4)) runs; sleep 1000")
        field.press("Enter")
        page.locator(".al-screen", has_text="it 8 runs").wait_for(timeout=120_000)
        page.get_by_role("button", name="Ctrl-C").click()
        field.fill("echo status $?")
        field.press("Enter")
        page.locator(".al-screen", has_text="status 130").wait_for(timeout=120_000)
        screen, text = (page.locator(name).bounding_box() for name in (".al-screen", ".al-screen pre"))
        assert text["height"] > screen["height"], "a boot is longer than the box"
        assert abs(text["y"] + text["height"] - screen["y"] - screen["height"]) < 5, "and its end is in view"
        page.locator(".al-console").screenshot(path=str(tmp_path / "console.png"))
        book.run(1)
        page.locator(".al-screen-foot", has_text="closed").wait_for(timeout=120_000)
