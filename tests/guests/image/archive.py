"""A Debian archive in a folder, signed with a key made for it."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

from .make import deb, module

SUITE = "bookworm"


def why_not() -> str | None:
    for program in ("apt-get", "gpg", "gpgv"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    return None


def make_key(folder: Path) -> Path:
    """A fresh signing key in ``folder``, and its public half as a keyring."""
    folder.mkdir(mode=0o700)
    gpg(folder, "--quick-generate-key", "--passphrase", "", "Archive <archive@example.org>", "default", "sign")
    keyring = folder / "keyring.gpg"
    keyring.write_bytes(gpg(folder, "--export"))
    keyring.chmod(0o644)
    return keyring


def gpg(home: Path, *arguments: str, data: bytes = b"") -> bytes:
    command = ["gpg", "--homedir", str(home), "--batch", "--yes", "--pinentry-mode", "loopback", *arguments]
    done = subprocess.run(command, input=data, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def publish(folder: Path, home: Path, packages: dict[str, tuple[bytes, str]]) -> None:
    """Write a suite: ``packages`` is file name -> (deb, further fields of its paragraph)."""
    paragraphs = ""
    for file, (data, fields) in packages.items():
        path = folder / "pool" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        name, version, architecture = file.removesuffix(".deb").split("_")
        paragraphs += (
            f"Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n{fields}"
            f"Filename: pool/{file}\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n\n"
        )
    index = "main/binary-i386/Packages"
    suite = folder / "dists" / SUITE
    (suite / index).parent.mkdir(parents=True, exist_ok=True)
    (suite / index).write_text(paragraphs)
    digest = hashlib.sha256(paragraphs.encode()).hexdigest()
    release = (
        f"Origin: Test\nSuite: {SUITE}\nCodename: {SUITE}\nDate: Sat, 01 Jan 2022 00:00:00 UTC\n"
        f"Architectures: i386\nComponents: main\nSHA256:\n {digest} {len(paragraphs)} {index}\n"
    )
    (suite / "InRelease").write_bytes(gpg(home, "--clearsign", data=release.encode()))


RELEASE = "6.1.0-99-686"
PARTS = f"lib/modules/{RELEASE}/kernel"


def kernel_deb(**changes: bytes) -> bytes:
    files: dict[str, bytes | str | None] = {
        f"./boot/vmlinuz-{RELEASE}": b"kernel!",
        f"./{PARTS}/drivers/virtio/virtio.ko": module("virtio"),
        f"./{PARTS}/drivers/virtio/virtio_ring.ko": module("virtio_ring"),
        f"./{PARTS}/drivers/virtio/virtio_pci.ko": module("virtio_pci", "virtio,virtio_ring", ("pci:v00001AF4d*",)),
        f"./{PARTS}/drivers/net/virtio_net.ko": module("virtio_net", "virtio_ring,virtio", ("virtio:d00000001v*",)),
        f"./{PARTS}/drivers/net/e1000/e1000.ko": module("e1000", "", ("pci:v00008086d0000100Esv*",)),
        f"./{PARTS}/drivers/net/other.ko": module("other"),
        "./usr/share/doc/linux/copyright": b"long",
    }
    files.update({f"./{name}": data for name, data in changes.items()})
    return deb(f"linux-image-{RELEASE}", files, version="6.1.99-1")


BUSYBOX = deb(
    "busybox-static", {"./bin/busybox": b"\x7fELF busybox", "./usr/share/doc/busybox/x": b"x"}, version="1.35-4"
)
TOOL = deb("tool", {"./usr/bin/tool": b"\x7fELF tool"}, version="2.0-1")
LIBRARY = deb("libtool9", {"./lib/libtool.so.9": b"\x7fELF library"}, version="9.1-1")


def packages() -> dict[str, tuple[bytes, str]]:
    return {
        "linux-image-686_6.1.99-1_i386.deb": (
            deb("linux-image-686", {"./usr/x": b""}, version="6.1.99-1"),
            f"Depends: linux-image-{RELEASE} (= 6.1.99-1)\n",
        ),
        f"linux-image-{RELEASE}_6.1.99-1_i386.deb": (kernel_deb(), "Depends: kmod, linux-base (>= 4.3~)\n"),
        "busybox-static_1.35-4_i386.deb": (BUSYBOX, ""),
        "tool_2.0-1_i386.deb": (TOOL, "Pre-Depends: dpkg (>= 1)\nDepends: libtool9 (>= 9) | other, adduser\n"),
        "libtool9_9.1-1_i386.deb": (LIBRARY, ""),
    }
