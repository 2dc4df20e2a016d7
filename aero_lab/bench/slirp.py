"""libslirp in this process, through cffi's ABI mode: the peer that does the same work as our LAN, NAT and stack.

libslirp (BSD licence) is a library with callbacks: it is given frames and ready sockets, and gives frames, timers and
wishes to poll. What lies around it here is what its users write, in Python: one ``poll`` over the TAP and its sockets,
frames read and written by libc's calls from memory that is never copied by Python.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from typing import Any

from ..limits import MTU_MAX

LIBRARY = "libslirp.so.0"
DECLARATIONS = """
typedef struct Slirp Slirp;
typedef int (*SlirpAddPollCb)(int fd, int events, void *opaque);
typedef int (*SlirpGetREventsCb)(int idx, void *opaque);
typedef void (*SlirpTimerCb)(void *opaque);
struct in_addr { uint32_t s_addr; };
struct in6_addr { uint8_t s6_addr[16]; };
typedef struct SlirpCb {
    ssize_t (*send_packet)(const void *buf, size_t len, void *opaque);
    void (*guest_error)(const char *msg, void *opaque);
    int64_t (*clock_get_ns)(void *opaque);
    void *(*timer_new)(SlirpTimerCb cb, void *cb_opaque, void *opaque);
    void (*timer_free)(void *timer, void *opaque);
    void (*timer_mod)(void *timer, int64_t expire_time, void *opaque);
    void (*register_poll_fd)(int fd, void *opaque);
    void (*unregister_poll_fd)(int fd, void *opaque);
    void (*notify)(void *opaque);
    void (*init_completed)(Slirp *slirp, void *opaque);
    void *(*timer_new_opaque)(int id, void *cb_opaque, void *opaque);
} SlirpCb;
typedef struct SlirpConfig {
    uint32_t version;
    int restricted;
    bool in_enabled;
    struct in_addr vnetwork, vnetmask, vhost;
    bool in6_enabled;
    struct in6_addr vprefix_addr6;
    uint8_t vprefix_len;
    struct in6_addr vhost6;
    const char *vhostname, *tftp_server_name, *tftp_path, *bootfile;
    struct in_addr vdhcp_start, vnameserver;
    struct in6_addr vnameserver6;
    const char **vdnssearch;
    const char *vdomainname;
    size_t if_mtu, if_mru;
    bool disable_host_loopback, enable_emu;
    void *outbound_addr, *outbound_addr6;
    bool disable_dns;
    bool disable_dhcp;
} SlirpConfig;
Slirp *slirp_new(const SlirpConfig *cfg, const SlirpCb *callbacks, void *opaque);
void slirp_cleanup(Slirp *slirp);
void slirp_pollfds_fill(Slirp *slirp, uint32_t *timeout, SlirpAddPollCb add_poll, void *opaque);
void slirp_pollfds_poll(Slirp *slirp, int select_error, SlirpGetREventsCb get_revents, void *opaque);
void slirp_input(Slirp *slirp, const uint8_t *pkt, int pkt_len);
const char *slirp_version_string(void);
ssize_t read(int fd, void *buf, size_t count);
ssize_t write(int fd, const void *buf, size_t count);
"""
FRAMES = 64
"""Frames read from the TAP before its sockets are looked at again: our own batch."""
_EVENTS = (
    (1, select.POLLIN),
    (2, select.POLLOUT),
    (4, select.POLLPRI),
    (8, select.POLLERR),
    (16, select.POLLHUP),
)  # SLIRP_POLL_*


def _poll_events(theirs: int) -> int:
    return sum(ours for bit, ours in _EVENTS if theirs & bit)


def _slirp_events(ours: int) -> int:
    return sum(bit for bit, event in _EVENTS if ours & event)


TO_POLL = [_poll_events(bits) for bits in range(32)]
TO_SLIRP = [_slirp_events(bits) for bits in range(64)]


class Libslirp:
    """libslirp behind a TAP, in a thread of its own, until closed.

    Parameters
    ----------
    fd: the TAP's descriptor, non-blocking; it stays its owner's.
    mtu: of the network 10.0.2.0/24; 10.0.2.2 leads to this host's loopback.

    Raises
    ------
    ImportError, OSError: cffi or the library is not installed.
    """

    def __init__(self, fd: int, mtu: int):
        from cffi import FFI

        self._ffi = ffi = FFI()
        ffi.cdef(DECLARATIONS)
        self._slirp_lib: Any = ffi.dlopen(LIBRARY)
        self._libc: Any = ffi.dlopen(None)
        self._fd = fd
        self._timers: dict[int, list] = {}
        self._handles = 0
        self._kept = self._callbacks()
        config: Any = ffi.new("SlirpConfig *")
        config.version = 4
        config.in_enabled = True
        for field, address in (
            ("vnetwork", "10.0.2.0"),
            ("vnetmask", "255.255.255.0"),
            ("vhost", "10.0.2.2"),
            ("vdhcp_start", "10.0.2.15"),
            ("vnameserver", "10.0.2.3"),
        ):
            getattr(config, field).s_addr = int.from_bytes(socket.inet_aton(address), "little")
        config.if_mtu = config.if_mru = mtu
        self._slirp = self._slirp_lib.slirp_new(config, self._kept[0], ffi.NULL)
        self._wake, self._woken = os.pipe()
        self._thread = threading.Thread(target=self._run, name="libslirp", daemon=True)
        self._thread.start()

    @property
    def version(self) -> str:
        return self._ffi.string(self._slirp_lib.slirp_version_string()).decode()

    def close(self) -> None:
        """End the thread and let libslirp close its sockets."""
        os.write(self._woken, b"x")
        self._thread.join()
        self._slirp_lib.slirp_cleanup(self._slirp)
        os.close(self._wake)
        os.close(self._woken)

    # Callbacks ------------------------------------------------------------------------------------------------------

    def _callbacks(self) -> tuple:
        """The callback table, and everything that has to live as long as it does."""
        ffi, write, fd, timers = self._ffi, self._libc.write, self._fd, self._timers

        def send_packet(buffer: Any, size: int, opaque: Any) -> int:
            return write(fd, buffer, size)

        def timer_new(callback: Any, argument: Any, opaque: Any) -> Any:
            self._handles += 1
            timers[self._handles] = [callback, argument, None]
            return ffi.cast("void *", self._handles)

        def timer_free(timer: Any, opaque: Any) -> None:
            timers.pop(int(ffi.cast("intptr_t", timer)), None)

        def timer_mod(timer: Any, expires: int, opaque: Any) -> None:
            timers[int(ffi.cast("intptr_t", timer))][2] = expires

        table: Any = ffi.new("SlirpCb *")
        kept = [
            ffi.callback("ssize_t(const void *, size_t, void *)", send_packet),
            ffi.callback("void(const char *, void *)", lambda text, opaque: None),
            ffi.callback("int64_t(void *)", lambda opaque: time.monotonic_ns()),
            ffi.callback("void *(SlirpTimerCb, void *, void *)", timer_new),
            ffi.callback("void(void *, void *)", timer_free),
            ffi.callback("void(void *, int64_t, void *)", timer_mod),
            ffi.callback("void(int, void *)", lambda number, opaque: None),
            ffi.callback("void(void *)", lambda opaque: None),
        ]
        table.send_packet, table.guest_error, table.clock_get_ns = kept[:3]
        table.timer_new, table.timer_free, table.timer_mod = kept[3:6]
        table.register_poll_fd = table.unregister_poll_fd = kept[6]
        table.notify = kept[7]
        return table, kept

    # The loop -------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        ffi, lib, libc, slirp, tap, null = self._ffi, self._slirp_lib, self._libc, self._slirp, self._fd, self._ffi.NULL
        buffer = ffi.new("uint8_t[]", MTU_MAX + 64)
        timeout = ffi.new("uint32_t *")
        wanted: list[tuple[int, int]] = []
        ready: dict[int, int] = {}

        def add_poll(fd: int, events: int, opaque: Any) -> int:
            wanted.append((fd, TO_POLL[events & 31]))
            return len(wanted) - 1

        def get_revents(index: int, opaque: Any) -> int:
            return TO_SLIRP[ready.get(wanted[index][0], 0) & 63]

        add = ffi.callback("SlirpAddPollCb", add_poll)
        get = ffi.callback("SlirpGetREventsCb", get_revents)
        while True:
            wanted.clear()
            timeout[0] = 1000
            lib.slirp_pollfds_fill(slirp, timeout, add, null)
            poller = select.poll()
            for fd in (tap, self._wake):
                poller.register(fd, select.POLLIN)
            for fd, events in wanted:
                poller.register(fd, events)
            ready.clear()
            ready.update(poller.poll(min(timeout[0], self._due())))
            if self._wake in ready:
                return
            if tap in ready:
                for _ in range(FRAMES):
                    size = libc.read(tap, buffer, MTU_MAX + 64)
                    if size <= 0:
                        break
                    lib.slirp_input(slirp, buffer, size)
            lib.slirp_pollfds_poll(slirp, 0, get, null)
            self._fire()

    def _due(self) -> float:
        """Milliseconds until the first timer."""
        times = [timer[2] for timer in self._timers.values() if timer[2] is not None]
        return max(0.0, min(times) - time.monotonic_ns() / 1e6) if times else 1000.0

    def _fire(self) -> None:
        if not self._timers:
            return
        now = time.monotonic_ns() // 1_000_000
        for timer in list(self._timers.values()):
            if timer[2] is not None and timer[2] <= now:
                timer[2] = None
                timer[0](timer[1])
