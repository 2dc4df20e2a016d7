"""Workloads of guests with a shell: the names, parameters and results that every guest has.

What busybox has no program for cannot be run here, and says so; what its programs do not tell is None in the result:
how long a connection took to open, say, or when the first byte came.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import re
from collections.abc import Callable
from typing import Any

from ...errors import UsageError
from ...services.content import content, content_md5
from ...services.http import body_size
from ..linux.session import Completed
from ..scripted.workloads.parameters import check_parameters
from ..scripted.workloads.result import WorkloadResult, median, size_of, spread
from . import scripts

PATIENCE = 3600.0
"""Seconds after which a workload is given up."""
PING_SIZE = 56
"""Bytes of payload of an echo request, as the system's ping has them."""
FIELDS = re.compile(r"^(\w+) ?(.*)$")

Run = Callable[..., Completed]


class Said:
    """What a script told."""

    def __init__(self, output: str):
        self.output = output
        self._lines: dict[str, list[list[str]]] = {}
        for line in output.splitlines():
            match = FIELDS.match(line)
            if match is not None:
                self._lines.setdefault(match[1], []).append(match[2].split())

    def all(self, key: str) -> list[list[str]]:
        """The values of every line of this name."""
        return self._lines.get(key, [])

    def one(self, key: str) -> list[str]:
        """The values of the first line of this name, none when there is none."""
        return next(iter(self.all(key)), [])

    @property
    def took(self) -> list[tuple[int, int]]:
        """When the parts began and ended, in ns of the guest's clock."""
        return [(nanoseconds(a), nanoseconds(b)) for a, b in self.all("took")]


def nanoseconds(text: str) -> int:
    """Seconds with a fraction, exactly."""
    whole, _, rest = text.partition(".")
    return int(whole) * 10**9 + int(rest.ljust(9, "0")[:9])


def run(shell: Run, name: str, parameters: dict[str, Any], timeout: float | None) -> WorkloadResult:
    """Run a workload and wait for what comes of it; what ``shell`` raises when its time is over goes through.

    Parameters
    ----------
    shell: runs a command in the guest, ``shell(text, timeout=seconds)``.
    """
    if name in MISSING:
        raise UsageError(f"busybox in the guest cannot run {name}: {MISSING[name]}; a scripted or a tap guest can")
    function = WORKLOADS[name]
    known = list(inspect.signature(function).parameters)[2:]
    for parameter in parameters:
        if parameter not in known:
            raise UsageError(f"workload {name} takes {', '.join(known)}, not {parameter!r}")
    if parameters.get("family", 4) is None:
        raise UsageError("family must be 4 or 6, not None")
    check_parameters(name, parameters)
    limit = PATIENCE if timeout is None else timeout

    def ask(script: str) -> Said:
        said = Said(shell(script, timeout=limit).output)
        for words in said.all("failed"):
            result.fail(" ".join(words))
        return said

    result = WorkloadResult(name)
    function(result, ask, **parameters)
    if result.digest_ok is False:
        result.fail("digest: the bytes that arrived are not those that were sent")
    return result


Ask = Callable[[str], Said]


def _timed(result: WorkloadResult, said: Said, size: int | None = None) -> bool:
    """Note when it began and ended; False when that is not known, because the script did not come so far."""
    if not said.took:
        result.fail(f"script: {said.output.strip()[-200:] or 'it said nothing'}")
        return False
    result.timed(min(began for began, _ in said.took), max(ended for _, ended in said.took), size)
    return True


def _statuses(result: WorkloadResult, said: Said, program: str) -> bool:
    """Whether every program ended well."""
    for words in said.all("status"):
        if words != ["0"]:
            result.fail(f"{program}: status {' '.join(words)}")
    return result.ok


def content_sha256(size: int) -> str:
    """Digest of the first ``size`` bytes of the content, in hexadecimal."""
    hashed = hashlib.sha256()
    position = 0
    while position < size:
        piece = content(position, size - position)
        hashed.update(piece)
        position += len(piece)
    return hashed.hexdigest()


def _confirmed(text: str, size: int) -> bool:
    """Whether the service says that it got these bytes."""
    try:
        told = json.loads(text)
        return told["bytes"] == size and told["sha256"] == content_sha256(size)
    except (ValueError, KeyError, TypeError):
        return False


def download(
    result: WorkloadResult,
    ask: Ask,
    size: int | str = 10 << 20,
    host: str = "files.lab",
    port: int = 80,
    path: str | None = None,
    family: int = 4,
) -> None:
    """HTTP GET of ``size`` bytes, or of ``path``, by wget. Where the content is known md5sum digests it: afterwards;
    or meanwhile, when the guest's memory cannot hold it, and then the goodput is md5sum's (``details["digested"]``).
    """
    target = path if path is not None else f"/bytes/{size_of(size)}"
    known = body_size(target)
    said = ask(scripts.download(host, port, target, family, known))
    good = _statuses(result, said, "wget")
    words = said.one("said")
    if known is None:
        _timed(result, said, int(words[0]) if good and words and words[0].isdecimal() else None)
    elif _timed(result, said, known if good else None) and good:
        result.digest_ok = words == [content_md5(known).hex()]
        result.details["digested"] = " ".join(said.one("digested"))


def upload(
    result: WorkloadResult,
    ask: Ask,
    size: int | str = 10 << 20,
    host: str = "files.lab",
    port: int = 80,
    path: str = "/upload",
    family: int = 4,
) -> None:
    """HTTP POST of ``size`` bytes by nc; the service tells their number and digest."""
    total = size_of(size)
    said = ask(scripts.upload(host, port, path, total, family))
    if _timed(result, said, total) and _statuses(result, said, "nc"):
        result.digest_ok = _confirmed(" ".join(said.one("said")), total)


def parallel(
    result: WorkloadResult,
    ask: Ask,
    flows: int = 4,
    size: int | str = 4 << 20,
    direction: str = "down",
    host: str = "files.lab",
    port: int = 80,
    family: int = 4,
) -> None:
    """``flows`` transfers of ``size`` bytes each at once, ``direction`` ``down``, ``up`` or ``both`` (in turn)."""
    total = size_of(size)
    up = [direction == "up" or (direction == "both" and number % 2 == 1) for number in range(flows)]
    said = ask(scripts.parallel(host, port, up, total, family))
    answers = said.all("said")
    if not _timed(result, said, total * flows) or not _statuses(result, said, "a transfer"):
        return
    expected = content_md5(total).hex()
    verdicts = [
        _confirmed(" ".join(words), total) if upward else words == [expected] for upward, words in zip(up, answers)
    ]
    result.digest_ok = len(verdicts) == flows and all(verdicts)
    each = [total * 8e3 / max(ended - began, 1) for began, ended in said.took]
    result.details["flow_mbps"] = each
    result.details["fairness"] = sum(each) ** 2 / (len(each) * sum(rate * rate for rate in each))


def source(
    result: WorkloadResult,
    ask: Ask,
    size: int | str = 10 << 20,
    host: str = "source.lab",
    port: int = 19,
    family: int = 4,
) -> None:
    """``size`` bytes from the endless source by nc, digested; then a reset."""
    total = size_of(size)
    said = ask(scripts.source(host, port, total, family))
    if _timed(result, said, total):
        result.digest_ok = said.one("said") == [content_md5(total).hex()]


def sink(
    result: WorkloadResult,
    ask: Ask,
    size: int | str = 10 << 20,
    host: str = "sink.lab",
    port: int = 9,
    family: int = 4,
) -> None:
    """``size`` bytes to the discard service, until it has closed too, looked at each 10 ms. Nobody says whether they
    were right."""
    total = size_of(size)
    said = ask(scripts.sink(host, port, total, family))
    _timed(result, said, total)
    _statuses(result, said, "nc")


def request_response(
    result: WorkloadResult,
    ask: Ask,
    count: int = 200,
    size: int = 64,
    host: str = "echo.lab",
    port: int = 7,
    family: int = 4,
) -> None:
    """``count`` lines of ``size`` bytes each way on one connection, each waiting for the one before. The shell itself
    sends and reads, byte by byte as shells do."""
    if size < 1:
        raise UsageError("an exchange has at least one byte")
    said = ask(scripts.request_response(host, port, count, size, family))
    stamps = [nanoseconds(word) for word in said.one("times")]
    times = [(ended - began) / 1e6 for began, ended in zip(stamps[::2], stamps[1::2])]
    if not _timed(result, said, 2 * size * len(times)):
        return
    result.rtt_ms = median(times)
    result.digest_ok = said.one("wrong") == ["0"] if times else None
    result.details.update(rtt_ms=times, spread=spread(times))
    if times and stamps[-1] > stamps[0]:
        result.details["per_second"] = len(times) * 1e9 / (stamps[-1] - stamps[0])
    if len(times) < count:
        result.fail(f"end-of-stream: {count - len(times)} of {count} exchanges missing")


def burst(
    result: WorkloadResult,
    ask: Ask,
    count: int = 100,
    concurrency: int = 16,
    size: int = 16,
    host: str = "echo.lab",
    port: int = 7,
    family: int = 4,
) -> None:
    """``count`` connections, ``concurrency`` at a time, each a program (nc) exchanging ``size`` bytes."""
    said = ask(scripts.burst(host, port, count, min(concurrency, count), size, family))
    good, wrong, failed = (sum(int(words[place]) for words in said.all("worker")) for place in range(3))
    if not _timed(result, said, 2 * size * (good + wrong)):
        return
    result.digest_ok = not wrong if good and size else None
    result.details.update(connected=good + wrong, failures={"nc": failed} if failed else {})
    if result.seconds:
        result.details["per_second"] = (good + wrong) / result.seconds
    if good + wrong < count:
        result.fail(f"connections: {count - good - wrong} of {count} failed")


def ping(
    result: WorkloadResult,
    ask: Ask,
    host: str | None = None,
    count: int = 4,
    size: int = PING_SIZE,
    interval: float = 1.0,
    timeout: float = 4.0,
    family: int = 4,
) -> None:
    """``count`` echo requests with ``size`` bytes of payload, one each ``interval`` seconds; to the router by
    default."""
    said = ask(scripts.ping(host, count, size, interval, timeout, family))
    times = [float(text) for text in re.findall(r"\btime=([\d.]+) ms", said.output)]
    if not _timed(result, said):
        return
    result.rtt_ms = median(times)
    result.details.update(sent=count, received=len(times), rtt_ms=times, spread=spread(times))
    if not times:
        result.fail("timeout: no echo reply")


def dns(
    result: WorkloadResult,
    ask: Ask,
    names: tuple[str, ...] = ("files.lab", "echo.lab", "sink.lab", "source.lab"),
    count: int = 20,
    family: int = 4,
) -> None:
    """``count`` lookups by nslookup, the names in turn. How long the program takes to start is not told apart from the
    lookup, so ``details["lookup_ms"]`` has the sums and ``rtt_ms`` is None."""
    asked = [names[number % len(names)] for number in range(count)]
    said = ask(scripts.dns(asked, family))
    if not _timed(result, said):
        return
    found = said.all("lookup")
    stamps = [said.took[0][0], *(nanoseconds(words[0]) for words in found)]
    times = [(after - before) / 1e6 for before, after in zip(stamps, stamps[1:])]
    result.details.update(lookup_ms=times, spread=spread(times))
    for name, words in zip(asked, found):
        if len(words) < 2:
            result.fail(f"dns: {name}: no address")


WORKLOADS: dict[str, Callable[..., None]] = {
    "ping": ping,
    "dns": dns,
    "download": download,
    "upload": upload,
    "rr": request_response,
    "burst": burst,
    "parallel": parallel,
    "source": source,
    "sink": sink,
}
"""Name -> workload."""
MISSING = {
    **dict.fromkeys(("udp-echo", "voip", "game"), "it has no program that sends datagrams"),
    "ntp": "it has no NTP client",
}
"""Workloads of other guests that cannot be run, and why."""
NAMES = frozenset((*WORKLOADS, *MISSING))
"""Words that are no command for :meth:`aero_lab.handles_shell.Shell.run`."""
