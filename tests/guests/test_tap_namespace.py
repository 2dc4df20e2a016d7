"""The namespace of a tap guest: what runs in it, what it sees, that nothing of it stays, and where there is none."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aero_lab.errors import AeroLabError, UsageError
from aero_lab.guests.tap import namespace as module
from aero_lab.guests.tap.namespace import Namespace, Process, Unavailable

from .tap import why_not

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def inside():
    if why := why_not():
        pytest.skip(why)
    with Namespace(mtu=9000, mac="52:54:00:01:02:03", sysctls={"net.ipv4.tcp_ecn": 1}) as made:
        yield made


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] == "Z"


def eventually(condition) -> bool:
    end = time.monotonic() + 10
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


def test_programs_see_their_own_network(inside):
    assert inside.mode == ("root" if os.geteuid() == 0 else "user") or inside.mode == "user"
    links = inside.run(["cat", "/proc/net/dev"]).stdout
    assert [line.split(":")[0].strip() for line in links.splitlines()[2:]] == ["lo", "tap0"]
    assert inside.run(["cat", "/proc/sys/net/ipv4/tcp_ecn"]).stdout == "1\n"
    inside.configure("10.9.8.7", 20, "10.9.0.1", ["10.9.0.1", "10.9.0.2"], "lab.example")
    routes = [line.split() for line in inside.run(["cat", "/proc/net/route"]).stdout.splitlines()[1:]]
    assert sorted((r[1], r[2], r[7]) for r in routes) == [
        ("00000000", "0100090A", "00000000"),
        ("0000090A", "00000000", "00F0FFFF"),
    ]
    if inside.resolves:
        text = inside.run(["cat", "/etc/resolv.conf"]).stdout
        assert text == "nameserver 10.9.0.1\nnameserver 10.9.0.2\nsearch lab.example\n"
        inside.configure("10.9.8.7", 20, "10.9.0.1", ["10.9.0.2"], None)
        assert inside.run(["cat", "/etc/resolv.conf"]).stdout == "nameserver 10.9.0.2\n"
    assert Path("/etc/resolv.conf").read_text() != "nameserver 10.9.0.2\n"


def test_the_interface_is_as_asked_for(inside):
    code = (
        "import fcntl, socket, struct\n"
        "s = socket.socket()\n"
        "get = lambda request: fcntl.ioctl(s, request, struct.pack('16s24x', b'tap0'))[16:]\n"
        "print(struct.unpack('i', get(0x8921)[:4])[0], get(0x8927)[2:8].hex(), struct.unpack('i', get(0x8942)[:4])[0])"
    )
    assert inside.run([sys.executable, "-c", code]).stdout.split() == ["9000", "525400010203", "65536"]


def test_a_program_ends_as_it_would_outside(inside):
    done = inside.run(["sh", "-c", "cat; echo beside >&2; exit 3"], input="through")
    assert (done.returncode, done.stdout, done.stderr) == (3, "through", "beside\n")
    assert inside.run(["sh", "-c", "kill -TERM $$"]).returncode == -signal.SIGTERM
    assert inside.run(["cat"], input=b"\xff\0", text=False).stdout == b"\xff\0"
    assert (
        inside.run(["sh", "-c", "pwd; echo $A"], cwd="/usr", env={"A": "b", "PATH": os.defpath}).stdout == "/usr\nb\n"
    )
    with pytest.raises(subprocess.CalledProcessError):
        inside.run(["false"], check=True)


def test_wrong_commands_are_one_line(inside):
    for wrong, message in (("ls", "a list of words"), ([], "a list of words"), (["no-such-program"], "not found")):
        with pytest.raises(UsageError, match=message):
            inside.run(wrong)
    assert inside.run(["true"]).returncode == 0


def test_a_program_that_takes_too_long_is_killed_with_its_children(inside, tmp_path):
    with pytest.raises(subprocess.TimeoutExpired):
        inside.run(["sh", "-c", f"sleep 1000 & echo $! > {tmp_path}/pid; wait"], timeout=0.3)
    assert eventually(lambda: "sleep" not in inside.run(["ps", "ax"]).stdout if shutil.which("ps") else True)


def test_many_programs_at_once_each_tell_their_own_end(inside):
    running = [inside.spawn(["sh", "-c", f"sleep 0.{9 - n}; exit {n}"]) for n in range(10)]
    assert [process.wait(10) for process in running] == list(range(10))
    assert all(isinstance(process, Process) and "ended with" in repr(process) for process in running)


def test_a_program_whose_handle_is_forgotten_is_killed(inside, tmp_path):
    process = inside.spawn(["sh", "-c", f"trap 'echo told > {tmp_path}/t; exit 0' TERM; while :; do sleep 0.01; done"])
    time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0 and (tmp_path / "t").exists()
    other = inside.spawn(["sleep", "1000.25"])  # no other test sleeps so long, and `ps` sees theirs too
    assert other.poll() is None and eventually(lambda: "sleep 1000.25" in inside.run(["ps", "axww"]).stdout)
    del other
    assert eventually(lambda: "sleep 1000.25" not in inside.run(["ps", "axww"]).stdout)


def test_closing_ends_all_of_it(inside):
    process = inside.spawn(["sleep", "1000"])
    helper = inside.pid
    assert not gone(helper)
    inside.close()
    inside.close()
    assert process.wait(5) == -signal.SIGKILL and inside.closed
    assert gone(helper) and "closed" in repr(inside)
    with pytest.raises(AeroLabError):
        inside.run(["true"])
    with pytest.raises(OSError):
        os.fstat(inside.fd)


@pytest.mark.parametrize("how", ["killed", "forgotten"])
def test_nothing_is_left_when_the_owner_goes(how):
    if why := why_not():
        pytest.skip(why)
    code = (
        "import sys, time\n"
        "from aero_lab.guests.tap.namespace import Namespace\n"
        "n = Namespace()\n"
        "p = n.spawn(['sleep', '1000'])\n"
        "print(n.pid, flush=True)\n"
        f"{'time.sleep(1000)' if how == 'killed' else 'sys.exit(0)'}\n"
    )
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    owner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=env)
    assert owner.stdout is not None
    helper = int(owner.stdout.readline())
    if how == "killed":
        owner.kill()
    owner.wait(20)
    owner.stdout.close()
    assert eventually(lambda: gone(helper))


def test_the_mount_and_its_file_are_nobody_elses(inside):
    assert "resolv-" not in " ".join(os.listdir("/tmp"))
    assert not [line for line in Path("/proc/self/mounts").read_text().splitlines() if "resolv-" in line]


def test_without_privileges_it_says_user(tmp_path):
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root, to give it up, and setpriv")
    code = (
        "from aero_lab.guests.tap.namespace import Namespace, Unavailable\n"
        "try:\n"
        "    with Namespace(mtu=65520) as n:\n"
        "        n.configure('10.0.2.15', 24, '10.0.2.2')\n"
        "        print(n.mode, n.run(['id', '-u']).stdout)\n"
        "except Unavailable as error:\n"
        "    print(error)\n"
    )
    nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    again = (
        "import subprocess, sys; sys.exit(sys.version_info < (3, 11) or subprocess.call([sys.executable, '-c', '']))"
    )
    for python in (sys.executable, "/usr/bin/python3"):
        if subprocess.run([*nobody, python, "-c", again], stderr=subprocess.DEVNULL).returncode == 0:
            break
    else:
        pytest.skip("no Python that nobody may run")
    shutil.copytree(ROOT / "aero_lab", tmp_path / "aero_lab", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in (tmp_path, *tmp_path.parents):
        if not os.stat(folder).st_mode & 0o005 == 0o005:
            os.chmod(folder, os.stat(folder).st_mode | 0o055)
    env = {"PYTHONPATH": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([*nobody, python, "-c", code], capture_output=True, text=True, env=env, cwd="/")
    assert done.stderr == ""
    if "no user namespaces" in done.stdout:
        pytest.skip(done.stdout)
    assert done.stdout.split() == ["user", "0"]


def test_a_sysctl_that_does_not_exist_names_itself():
    if why := why_not():
        pytest.skip(why)
    with pytest.raises(UsageError, match="sysctl net.ipv4.nothing=1: No such file"):
        Namespace(sysctls={"net.ipv4.nothing": 1})


@pytest.mark.parametrize(
    ("what", "value", "message"),
    [
        ("platform", "darwin", "needs Linux, this is darwin"),
        ("exists", False, "not there"),
        ("access", False, "may not"),
    ],
)
def test_elsewhere_it_refuses_in_one_line(monkeypatch, what, value, message):
    if what == "platform":
        monkeypatch.setattr(module.sys, "platform", value)
    else:
        monkeypatch.setattr(module.sys, "platform", "linux")
        monkeypatch.setattr(module.os.path, "exists", lambda path: what != "exists")
        monkeypatch.setattr(module.os, "access", lambda path, mode: False)
    with pytest.raises(Unavailable, match=message) as caught:
        Namespace()
    assert "\n" not in str(caught.value) and isinstance(caught.value, UsageError)
