"""Debian packages by the machine's own apt, in a private directory.

apt checks the archive's signature against Debian's keyring, every index against that, and every package against its
index. It is given sources, state, cache and configuration of its own: nothing of what the host's apt keeps is read or
written, but for the mirror's address and the proxies it is reached through.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ...errors import UsageError
from .deb import read_fields

SUITE = "bookworm"
"""Debian 12, the last release with kernels for i386."""
ARCHITECTURE = "i386"
KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
)
"""Where the package debian-archive-keyring puts Debian's keys."""
PATIENCE = 1800.0
"""Seconds that fetching may take altogether."""
STALL, RETRIES = 20, 3
"""Seconds without a byte from the mirror, and attempts after the first."""
SOURCES = (Path("/etc/apt/sources.list"), Path("/etc/apt/sources.list.d"))

Progress = Callable[[str, float], None]
"""Called with what is being done and the share of it that is done."""


@dataclass(frozen=True)
class Candidate:
    """A package of the archive: where it is, and what it must be."""

    name: str
    version: str
    file: str
    size: int
    sha256: str
    depends: tuple[str, ...]


class Apt:
    """The host's apt with everything of its own in ``folder``.

    Parameters
    ----------
    mirror: base URL of a Debian archive; by default the one the host itself uses.
    keyring: file with the archive's keys.
    """

    def __init__(self, folder: Path, mirror: str | None = None, suite: str = SUITE, keyring: Path | None = None):
        if shutil.which("apt-get") is None:
            raise UsageError("there is no apt-get on this machine: give the packages as files (--deb FILE)")
        self.folder = folder.absolute()
        self.suite = suite
        self.mirror = _checked(mirror) if mirror is not None else host_mirror()
        self.keyring = keyring or next((path for path in KEYRINGS if path.is_file()), None)
        if self.keyring is None or not self.keyring.is_file():
            missing = keyring or KEYRINGS[0]
            raise UsageError(f"Debian's keys are not at {missing}: install debian-archive-keyring, or use --keyring")

    def update(self, progress: Progress | None = None) -> None:
        """Fetch the index of packages, when there is a newer one."""
        self._prepare()
        self._run("apt-get", "update", "-o", "APT::Update::Error-Mode=any", what="the index", progress=progress)

    def candidates(self, names: list[str]) -> list[Candidate]:
        """What the archive has under these names, in their order."""
        found = []
        for name in names:
            text = self._run("apt-cache", "show", "--no-all-versions", name, what=name)
            fields = read_fields(text)
            try:
                found.append(
                    Candidate(
                        fields["Package"],
                        fields["Version"],
                        fields["Filename"],
                        int(fields["Size"]),
                        fields["SHA256"].lower(),
                        _dependencies(f"{fields.get('Pre-Depends', '')},{fields.get('Depends', '')}"),
                    )
                )
            except (KeyError, ValueError):
                raise UsageError(f"{self.mirror} says nothing useful about {name}") from None
        return found

    def download(self, candidate: Candidate, progress: Progress | None = None) -> Path:
        """Fetch one package, going on where an earlier attempt ended; its file, which is the caller's to move."""
        target = self.folder / "packages"
        target.mkdir(parents=True, exist_ok=True)
        wanted = f"{candidate.name}={candidate.version}"
        self._run("apt-get", "download", wanted, what=candidate.name, progress=progress, cwd=target)
        made = sorted(target.glob(f"{candidate.name}_*.deb"), key=lambda path: path.stat().st_mtime)
        if not made:
            raise UsageError(f"apt-get download {wanted} left no file")
        return made[-1]

    def _prepare(self) -> None:
        for part in ("state/lists/partial", "cache/archives/partial", "log", "packages"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        (self.folder / "sources.list").write_text(
            f"deb [arch={ARCHITECTURE} signed-by={self.keyring}] {self.mirror} {self.suite} main\n"
        )
        here = self.folder
        settings = {
            "Dir::Etc::main": "/dev/null",
            "Dir::Etc::parts": "/dev/null",
            "Dir::Etc::sourcelist": here / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "Dir::State": here / "state",
            "Dir::State::lists": here / "state/lists",
            "Dir::State::status": "/dev/null",
            "Dir::Cache": here / "cache",
            "Dir::Log": here / "log",
            "APT::Architecture": ARCHITECTURE,
            "Acquire::Languages": "none",
            "Acquire::Retries": RETRIES,
            "Acquire::http::Timeout": STALL,
            "Acquire::https::Timeout": STALL,
        }
        lines = _proxies()  # first, so that the settings from here win
        lines += [f'{name} "{value}";' for name, value in settings.items()]
        lines.append(f'APT::Architectures {{ "{ARCHITECTURE}"; }};')
        (self.folder / "apt.conf").write_text("\n".join(lines) + "\n")

    def _run(self, *command: str, what: str, progress: Progress | None = None, cwd: Path | None = None) -> str:
        environment = {**os.environ, "APT_CONFIG": str(self.folder / "apt.conf"), "LC_ALL": "C"}
        reading, writing = os.pipe()
        program, *arguments = command
        options = ["-q", "-o", f"APT::Status-Fd={writing}"] if program == "apt-get" else ["-q"]
        try:
            process = subprocess.Popen(
                [program, *options, *arguments],
                env=environment,
                cwd=cwd or self.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                pass_fds=(writing,),
            )
        except OSError as error:
            os.close(reading)
            raise UsageError(f"{program} cannot be run: {error.strerror}") from None
        finally:
            os.close(writing)
        watcher = _watch(reading, what, progress)
        try:
            output, _ = process.communicate(timeout=PATIENCE)
        except BaseException as error:
            process.terminate()
            process.communicate()
            if isinstance(error, subprocess.TimeoutExpired):
                raise UsageError(f"{self.mirror}: {what} was not there after {PATIENCE:.0f} s") from None
            raise
        finally:
            watcher.join()
        if process.returncode:
            raise UsageError(f"{what} cannot be fetched from {self.mirror}: {_reason(output)}")
        return output


def host_mirror() -> str:
    """The Debian archive that this machine's own apt uses."""
    files = [path for path in SOURCES if path.is_file()]
    for folder in SOURCES:
        if folder.is_dir():
            files += sorted(path for path in folder.iterdir() if path.suffix in (".list", ".sources"))
    urls: list[str] = []
    for path in files:
        try:
            urls += _archives(path.read_text(errors="replace"))
        except OSError:
            continue
    if urls:
        return urls[0]
    raise UsageError("this machine's apt knows no Debian mirror: name one with --mirror URL, or give files with --deb")


def _archives(text: str) -> list[str]:
    """URLs in a file of sources (sources.list(5)) that are Debian's main archive: by their path, or by the suite."""
    entries = re.findall(r"^deb\s+(?:\[[^\]]*\]\s*)?(\S+)\s+(\S+)", text, re.MULTILINE)
    for stanza in re.split(r"\n\s*\n", text):
        urls = re.search(r"^URIs:\s*(\S+)", stanza, re.MULTILINE)
        suites = re.search(r"^Suites:\s*(.+)$", stanza, re.MULTILINE)
        if urls and suites:
            entries += [(urls[1], suite) for suite in suites[1].split()]
    return [
        url
        for url, suite in entries
        if re.match(r"(https?|mirror\+file|file):/", url)
        and (re.search(r"/debian/?$", url) or (suite == SUITE and not re.search(r"/debian-[a-z]+/?$", url)))
    ]


def _checked(mirror: str) -> str:
    if not re.fullmatch(r"(https?://|file:/)[^\s\"\[\]]+", mirror):
        raise UsageError(f"a mirror is a URL such as http://HOST/debian, not {mirror!r}")
    return mirror


def _dependencies(text: str) -> tuple[str, ...]:
    """Names in a Depends field; of alternatives the first."""
    names = (re.match(r"[a-z0-9][a-z0-9+.-]+", part.strip()) for part in text.split(","))
    return tuple(name[0] for name in names if name)


def _proxies() -> list[str]:
    """What the host's apt is told about reaching mirrors, as lines of a configuration file."""
    done = subprocess.run(["apt-config", "dump", "--no-empty"], capture_output=True, text=True, timeout=60)
    return [line for line in done.stdout.splitlines() if re.match(r"Acquire::https?::", line)]


def _watch(descriptor: int, what: str, progress: Progress | None):
    """A thread that reads apt's progress (``dlstatus:number:percent:text``) until the pipe closes."""
    import threading

    def read() -> None:
        with os.fdopen(descriptor, errors="replace") as lines:
            for line in lines:
                kind, _, rest = line.partition(":")
                share = rest.split(":")[1:2]
                if progress is not None and kind == "dlstatus" and share:
                    try:
                        progress(what, float(share[0]) / 100)
                    except ValueError:
                        continue

    thread = threading.Thread(target=read, name="aero-lab apt", daemon=True)
    thread.start()
    return thread


def _reason(output: str) -> str:
    """The line of apt's that says most."""
    lines = [" ".join(line.split()) for line in output.splitlines()]
    for pattern in (r"E: Failed to fetch \S+\s+(.*)", r"E: (.*)", r"Err:\d+ (.*)", r"W: (.*)"):
        for line in lines:
            match = re.match(pattern, line)
            if match and match[1]:
                return match[1]
    return lines[-1] if lines else "apt says nothing"
