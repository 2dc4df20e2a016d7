"""The process that lives in a tap guest's namespaces. Standard library only: it starts in some 30 ms.

Run as a program with a JSON description as its argument and a Unix socket (``SOCK_SEQPACKET``) as standard input. It

1. enters new network, mount and process namespaces: as root, or in a user namespace of its own;
2. makes the TAP, turns the loopback up, puts a file of its own over ``/etc/resolv.conf``;
3. answers ``{"ok": true, "mode": ...}`` with the TAP's descriptor beside it, or ``{"ok": false, "error": ...}``;
4. serves requests until the other end of the socket is gone.

It is process 1 of its process namespace. When it ends, for whatever reason, the kernel ends every process in there,
and with the last of them the namespaces and the interface are gone too. It ends when the socket does, which is when
its owner closes it or dies.
"""

from __future__ import annotations

import array
import ctypes
import errno
import fcntl
import json
import os
import select
import shutil
import signal
import socket
import struct
import sys
import tempfile
from typing import Any

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x20000, 0x10000000, 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
PR_SET_PDEATHSIG = 1
TUNSETIFF, IFF_TUN, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0001, 0x0002, 0x1000
SIOCADDRT, SIOCDELRT = 0x890B, 0x890C
SIOCGIFFLAGS, SIOCSIFFLAGS, SIOCSIFADDR, SIOCSIFNETMASK = 0x8913, 0x8914, 0x8916, 0x891C
SIOCSIFMTU, SIOCSIFHWADDR = 0x8922, 0x8924
RTM_NEWLINK, RTM_NEWROUTE, NLM_F_REQUEST, NLM_F_ACK, NLMSG_ERROR, IFLA_TXQLEN = 16, 24, 1, 4, 2, 13
NLM_F_REPLACE, RT_TABLE_MAIN, RTPROT_STATIC, RT_SCOPE_LINK, RTN_UNICAST = 0x100, 254, 4, 253, 1
RTA_DST, RTA_OIF, RTA_PREFSRC, RTA_METRICS, RTAX_CC_ALGO, NLM_F_CREATE = 1, 4, 7, 8, 16, 0x400
IFF_UP, RTF_UP, RTF_GATEWAY, ARPHRD_ETHER = 1, 1, 2, 1
KINDS = {"tap": IFF_TAP, "tun": IFF_TUN}
MESSAGE = 1 << 17
"""Largest request: an environment of some kilobytes and a command line."""

libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


# Namespaces -----------------------------------------------------------------------------------------------------------


def enter() -> str:
    """Enter new namespaces; returns ``"root"`` or ``"user"``. The next child is process 1 of the new process one."""
    flags = CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID
    if os.geteuid() == 0 and libc.unshare(flags) == 0:
        return "root"
    uid, gid = os.geteuid(), os.getegid()
    try:
        check(libc.unshare(flags | CLONE_NEWUSER), "unshare")
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    except OSError as error:
        raise OSError(error.errno, f"this system allows no user namespaces ({os.strerror(error.errno or 0)})") from None
    return "user"


def mount(source: str, target: str, kind: str | None, flags: int) -> None:
    encoded = kind.encode() if kind is not None else None
    check(libc.mount(source.encode(), target.encode(), encoded, ctypes.c_ulong(flags), None), f"mount {target}")


def own_files(resolv: bool) -> int | None:
    """A ``/proc`` of this process namespace, and if wanted a file of our own as resolv.conf: its descriptor, None
    without one."""
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    try:
        mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    except OSError:
        pass  # containers may forbid it; then ps shows nothing sensible, and all else works
    if not resolv:
        return None
    fd, path = tempfile.mkstemp(prefix="resolv-")
    try:
        os.fchmod(fd, 0o644)
        mount(path, "/etc/resolv.conf", None, MS_BIND)
    except OSError:
        os.close(fd)
        return None  # there is no such file to cover
    finally:
        os.unlink(path)
    return fd


# The interface --------------------------------------------------------------------------------------------------------


class Interface:
    """One network interface, by ioctls."""

    def __init__(self, name: str):
        self.name = name.encode()
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def call(self, request: int, value: bytes) -> bytes:
        return fcntl.ioctl(self.sock, request, struct.pack("16s24s", self.name, value))

    def up(self, wanted: bool = True) -> None:
        (flags,) = struct.unpack_from("H", self.call(SIOCGIFFLAGS, b""), 16)
        self.call(SIOCSIFFLAGS, struct.pack("H", flags | IFF_UP if wanted else flags & ~IFF_UP))

    def address(self, address: str, prefix: int) -> None:
        self.call(SIOCSIFADDR, sockaddr(address))
        mask = (0xFFFFFFFF << (32 - prefix)) & 0xFFFFFFFF
        self.call(SIOCSIFNETMASK, sockaddr(socket.inet_ntoa(struct.pack("!I", mask))))

    def default_route(self, router: str) -> None:
        anywhere = sockaddr("0.0.0.0")
        route = struct.pack(
            "L16s16s16sHhLPhPLLH", 0, anywhere, sockaddr(router), anywhere, RTF_UP | RTF_GATEWAY, 0, 0, 0, 0, 0, 0, 0, 0
        )  # fmt: skip
        try:
            fcntl.ioctl(self.sock, SIOCDELRT, route)
        except OSError:
            pass  # there was none
        fcntl.ioctl(self.sock, SIOCADDRT, route)


def sockaddr(address: str) -> bytes:
    return struct.pack("=HH4s8x", socket.AF_INET, 0, socket.inet_aton(address))


def make_tap(name: str, mtu: int, mac: str | None, queue: int, kind: str = "tap") -> int:
    """A TAP, or a TUN, whose packets are bare IP; its descriptor, non-blocking."""
    try:
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise OSError(error.errno, f"cannot open /dev/net/tun ({os.strerror(error.errno or 0)})") from None
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), KINDS[kind] | IFF_NO_PI))
    interface = Interface(name)
    if mac is not None:
        interface.call(SIOCSIFHWADDR, struct.pack("H6s", ARPHRD_ETHER, bytes.fromhex(mac.replace(":", ""))))
    interface.call(SIOCSIFMTU, struct.pack("i", mtu))
    set_queue(name, queue)
    return fd


def set_queue(name: str, frames: int) -> None:
    """Length of the transmit queue, by netlink: the ioctl for it wants a capability outside a user namespace."""
    body = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, socket.if_nametoindex(name), 0, 0)
    ask_kernel(RTM_NEWLINK, 0, body + attribute(IFLA_TXQLEN, struct.pack("=I", frames)), f"transmit queue of {name}")


def set_congestion(name: str, address: str, prefix: int, algorithm: str) -> None:
    """Congestion control of all TCP by way of the interface, as a property of the route: a namespace's default may
    only be an algorithm that the system allows everybody, a route may name any that there is."""
    mask = (0xFFFFFFFF << (32 - prefix)) & 0xFFFFFFFF
    (number,) = struct.unpack("!I", socket.inet_aton(address))
    body = struct.pack(
        "=BBBBBBBBI", socket.AF_INET, prefix, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, RT_SCOPE_LINK, RTN_UNICAST, 0
    )  # fmt: skip
    body += attribute(RTA_DST, struct.pack("!I", number & mask))
    body += attribute(RTA_OIF, struct.pack("=i", socket.if_nametoindex(name)))
    body += attribute(RTA_PREFSRC, socket.inet_aton(address))
    body += attribute(RTA_METRICS, attribute(RTAX_CC_ALGO, algorithm.encode() + b"\0"))
    ask_kernel(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, body, f"congestion control {algorithm!r}")


def attribute(kind: int, value: bytes) -> bytes:
    """An attribute of a netlink message."""
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def ask_kernel(kind: int, flags: int, body: bytes, what: str) -> None:
    """A request by netlink; raises :class:`OSError` when the kernel refuses it."""
    flags |= NLM_F_REQUEST | NLM_F_ACK
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as netlink:
        netlink.send(struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body)
        answer = netlink.recv(4096)
    _, kind, _, _, _, code = struct.unpack_from("=IHHIIi", answer)
    if kind == NLMSG_ERROR and code:
        raise OSError(-code, f"{what}: {os.strerror(-code)}")


def set_sysctls(values: dict[str, Any]) -> None:
    for name, value in values.items():
        path = "/proc/sys/" + name.replace(".", "/")
        try:
            with open(path, "w") as file:
                file.write(str(value))
        except OSError as error:
            raise OSError(error.errno, f"sysctl {name}={value}: {os.strerror(error.errno or 0)}") from None


# Requests -------------------------------------------------------------------------------------------------------------


class Server:
    """Serves one owner: configures the interface and starts programs."""

    def __init__(self, control: socket.socket, spec: dict[str, Any], mode: str):
        self.control, self.spec = control, spec
        self.resolv = own_files(spec["resolv"])
        Interface("lo").up()
        fds = []
        # Those of the namespace come before the interface, whose settings begin with the namespace's defaults.
        interface = {k: v for k, v in spec["sysctls"].items() if f".{spec['name']}." in k}
        set_sysctls({k: v for k, v in spec["sysctls"].items() if k not in interface})
        if spec["tap"]:
            fds.append(make_tap(spec["name"], spec["mtu"], spec["mac"], spec["queue"], spec["kind"]))
            set_sysctls(interface)
            if spec["up"]:
                Interface(spec["name"]).up()
        self.router: str | None = None
        self.running: dict[int, socket.socket] = {}  # process -> where its end is told
        self.poll = select.poll()
        self.poll.register(control, select.POLLIN)
        self.woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.poll.register(self.woken, select.POLLIN)
        self.answer({"ok": True, "mode": mode, "resolv": self.resolv is not None}, fds)
        for fd in fds:
            os.close(fd)

    def answer(self, message: dict[str, Any], fds: list[int] | None = None) -> None:
        send(self.control, message, fds or [])

    def serve(self) -> None:
        while True:
            for fd, _ in self.poll.poll():
                if fd == self.woken:
                    os.read(fd, 4096)
                    self.reap()
                elif fd != self.control.fileno():
                    self.abandoned(fd)
                elif not self.request():
                    return

    def request(self) -> bool:
        message, fds = receive(self.control)
        if message is None:
            return False
        try:
            what = message.pop("do")
            if what == "run":
                self.run(message, fds)
            else:
                self.answer({"ok": True, **getattr(self, f"do_{what}")(**message)})
        except OSError as error:
            self.answer({"ok": False, "error": str(error)})
        finally:
            for fd in fds:
                os.close(fd)
        return True

    def do_configure(
        self,
        address: str,
        prefix: int,
        router: str | None,
        dns: list[str],
        domain: str | None,
        congestion: str | None = None,
    ) -> dict[str, Any]:
        interface = Interface(self.spec["name"])
        interface.address(address, prefix)
        interface.up()
        if congestion is not None:
            set_congestion(self.spec["name"], address, prefix, congestion)
        self.router = router
        if router:
            interface.default_route(router)
        if self.resolv is not None:
            lines = [f"nameserver {server}" for server in dns] + ([f"search {domain}"] if domain else [])
            os.ftruncate(self.resolv, 0)
            os.pwrite(self.resolv, "".join(f"{line}\n" for line in lines).encode(), 0)
        return {}

    def do_relink(self) -> dict[str, Any]:
        """Off and on again: routes go and come back, the address is announced, a router is asked for."""
        interface = Interface(self.spec["name"])
        interface.up(False)
        interface.up()
        if self.router:
            interface.default_route(self.router)
        return {}

    def do_addresses6(self) -> dict[str, Any]:
        """IPv6 addresses in use, those whose uniqueness is still being checked left out."""
        found = []
        with open("/proc/net/if_inet6") as file:
            for line in file:
                raw, _, _, _, flags, name = line.split()
                if name == self.spec["name"] and not int(flags, 16) & 0x48:  # DADFAILED, TENTATIVE
                    found.append(socket.inet_ntop(socket.AF_INET6, bytes.fromhex(raw)))
        return {"addresses": found}

    def run(self, message: dict[str, Any], fds: list[int]) -> None:
        """Start a program. ``fds``: its standard input, output and error, and the socket that is told how it ended."""
        status = socket.socket(fileno=os.dup(fds[3]))
        argv, environment = message["argv"], message["env"]
        program = shutil.which(argv[0], path=environment.get("PATH"))
        if program is None:
            send(status, {"ok": False, "error": f"{argv[0]}: command not found"}, [])
            status.close()
            return
        pid = os.fork()
        if pid == 0:
            try:
                os.setsid()
                for target, fd in enumerate([fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in fds[:3]]):
                    os.dup2(fd, target)
                signal.set_wakeup_fd(-1)
                for number in (signal.SIGCHLD, signal.SIGPIPE):
                    signal.signal(number, signal.SIG_DFL)
                os.closerange(3, 256)
                os.chdir(message["cwd"])
                os.execve(program, argv, environment)
            except OSError as error:
                os.write(2, f"{argv[0]}: {error.strerror}\n".encode())
            finally:
                os._exit(126)
        self.running[pid] = status
        self.poll.register(status, select.POLLIN)
        send(status, {"ok": True, "pid": pid}, [])

    def reap(self) -> None:
        """Tell of every process that has ended. As process 1, orphans end here too."""
        while True:
            try:
                pid, state = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self.running:
                try:
                    send(self.running[pid], {"returncode": os.waitstatus_to_exitcode(state)}, [])
                except OSError:
                    pass  # nobody waits any more
                self.forget(pid)

    def abandoned(self, fd: int) -> None:
        """Something came on a program's socket: a signal to send, or its end, when nobody waits for the program."""
        found = [(pid, status) for pid, status in self.running.items() if status.fileno() == fd]
        if not found:
            return  # it ended a moment ago
        pid, status = found[0]
        try:
            message, _ = receive(status, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            message = None
        if message is None:
            self.forget(pid)
        try:
            os.killpg(pid, message["signal"] if message else signal.SIGKILL)
        except OSError as error:
            if error.errno != errno.ESRCH:
                raise

    def forget(self, pid: int) -> None:
        status = self.running.pop(pid)
        self.poll.unregister(status)
        status.close()


def send(sock: socket.socket, message: dict[str, Any], fds: list[int]) -> None:
    beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sock.sendmsg([json.dumps(message).encode()], beside)


def receive(sock: socket.socket, flags: int = 0) -> tuple[dict[str, Any] | None, list[int]]:
    """The next message and its descriptors; None at the end."""
    data, beside, _, _ = sock.recvmsg(MESSAGE, socket.CMSG_SPACE(4 * 8), flags)
    fds = array.array("i")
    for level, kind, raw in beside:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(raw[: len(raw) - len(raw) % fds.itemsize])
    return (json.loads(data) if data else None), list(fds)


def main() -> None:
    spec = json.loads(sys.argv[1])
    control = socket.socket(fileno=os.dup(0))
    try:
        mode = enter()
        child = os.fork()
        if child:
            control.close()
            os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
            os.waitpid(child, 0)
            return
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        server = Server(control, spec, mode)
    except OSError as error:
        send(control, {"ok": False, "error": error.strerror or str(error)}, [])
        return
    server.serve()


if __name__ == "__main__":
    main()
