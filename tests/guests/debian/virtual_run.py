"""Boots Debian, downloads through a lab in virtual time and saves the captures: a process of its own for a test.

python -m tests.guests.debian.virtual_run FOLDER NIC...
"""

from __future__ import annotations

import sys
from typing import Any

import aero_lab as al


def main(folder: str, *nics: str) -> None:
    for nic in nics:
        with al.Lab(virtual=True, progress=False) as lab:
            guest = lab.guest("linux", nic=nic, fresh=True, progress=False)
            download(lab, f"{folder}/{nic}.pcapng")
            with lab.fork(link="rtt=20ms, loss=2%") as lossy:
                download(lossy, f"{folder}/{nic}-lossy.pcapng")
            print(nic, guest.address)


def download(lab: al.Lab, out: str) -> None:
    guest: Any = lab.guests[0]
    digest = guest.run("wget -q -O - http://files.lab/500KB | md5sum").check().output.split()[0]
    lab.capture.save(out)
    print(digest, lab.now, guest.machine.icount, guest.machine.state_hash())


if __name__ == "__main__":
    main(*sys.argv[1:])
