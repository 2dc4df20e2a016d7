"""A console without an emulated machine: busybox's shell on a pseudo-terminal, with the image's own scripts."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import time
from importlib.resources import files
from pathlib import Path

APPLETS = "sh stty head rm cat echo printf seq sleep kill ls true false dd tr wc md5sum"


class PtyLine:
    """A :class:`~aero_lab.guests.linux.session.Line` to a shell of this machine."""

    def __init__(self, folder: Path):
        busybox = shutil.which("busybox")
        assert busybox is not None
        tools = folder / "bin"
        tools.mkdir()
        for name in APPLETS.split():
            (tools / name).symlink_to(busybox)
        room = files("aero_lab.guests.image").joinpath("files")
        script = room.joinpath("aero-run").read_text().replace("/run/", f"{folder}/")
        (tools / "aero-run").write_text(script.replace("#!/bin/sh", f"#!{tools}/sh"))
        (tools / "aero-run").chmod(0o755)
        self._master, slave = pty.openpty()
        environment = {"PATH": str(tools), "PS1": r"\w # ", "HOME": str(folder), "TERM": "linux"}
        self._process = subprocess.Popen(
            [str(tools / "sh"), "-i"],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment,
            cwd="/",
            start_new_session=True,
            preexec_fn=lambda: __import__("fcntl").ioctl(0, __import__("termios").TIOCSCTTY, 0),
        )
        os.close(slave)
        self._text = bytearray()

    def mark(self) -> int:
        return len(self._text)

    def write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._master, data[:512]) :]
            self._read(0)

    def since(self, offset: int) -> bytes:
        return bytes(self._text[offset:])

    def wait(self, text: bytes, offset: int, timeout: float) -> bool:
        end = time.monotonic() + timeout
        while text not in self._text[offset:]:
            left = end - time.monotonic()
            if left <= 0 or not self._read(left):
                return False
        return True

    def _read(self, timeout: float) -> bool:
        if not select.select([self._master], [], [], timeout)[0]:
            return True
        try:
            data = os.read(self._master, 65536)
        except OSError:
            return False
        self._text += data
        return bool(data)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._master)
