"""The process between an owner and its QEMU: when the owner is gone, in whatever way, QEMU is.

``python -I -S watch.py DESCRIPTOR PROGRAM ARGUMENT...`` runs the program, ends it when the other end of the socket
``DESCRIPTOR`` is closed, and ends as it did. Standard library only: it starts in some 20 ms.

Why another process: what the kernel offers for this (``PR_SET_PDEATHSIG``) is tied to the *thread* that made the
process, and an owner's threads come and go. This one has a single thread, so it can use it.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(control: int, command: list[str]) -> int:
    """Run ``command`` until it ends or ``control`` does; its exit status, minus a signal's number."""
    ended, theirs = os.pipe()  # the program holds the other end for as long as it lives
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        _become(command, control, parent, theirs)
    os.close(theirs)
    while True:
        ready, _, _ = select.select([control, ended], [], [])
        if ended in ready:
            break
        if not os.read(control, 1):
            os.kill(child, signal.SIGKILL)
            break
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _become(command: list[str], control: int, parent: int, lifeline: int) -> None:
    """In the child: the program, which dies with this process."""
    try:
        if sys.platform.startswith("linux"):
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:  # it was too late
                os._exit(1)
        os.close(control)
        os.set_inheritable(lifeline, True)
        os.execv(command[0], command)
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(127)


if __name__ == "__main__":
    status = main(int(sys.argv[1]), sys.argv[2:])
    sys.exit(status if status >= 0 else 128 - status)
