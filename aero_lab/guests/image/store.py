"""What was fetched and built, in the user's cache directory.

::

    guests/linux/
      packages/NAME_VERSION_ARCH.deb     as fetched
      packages.json                      name -> version, file, size, digest, where it came from
      apt/                               apt's own state
      images/KEY/vmlinuz initrd image.json
      snapshots/                         booted machines

A file appears whole or not at all: it is written beside its place and renamed. Two processes take turns.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...compiled.cache import cache_dir
from ...errors import AeroLabError, UsageError

FORMAT = 1
"""Of the JSON files; others are as if they were not there."""


@dataclass(frozen=True)
class Stored:
    """A package in the store."""

    name: str
    version: str
    architecture: str
    file: str
    size: int
    sha256: str
    source: str
    libraries: tuple[str, ...] = ()
    """Packages it needs, those with libraries only."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Image:
    """A kernel and an initramfs, ready to boot."""

    key: str
    release: str
    kernel: Path
    initrd: Path
    packages: dict[str, str]
    """Name -> version of what is inside."""
    recipe: str = ""
    """How it was put together; another version of this program does it otherwise."""

    def __repr__(self) -> str:
        return f"<Image {self.key}: Linux {self.release}, {', '.join(self.packages)}>"


class Store:
    """The folder of one guest in the user's cache.

    Parameters
    ----------
    root: another folder.
    """

    def __init__(self, root: Path | None = None):
        self.root = root if root is not None else cache_dir() / "guests" / "linux"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One process at a time changes the store."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with open(self.root / "lock", "w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise UsageError(f"{self.root}: cannot be written: {error.strerror or error}") from None

    # Packages -------------------------------------------------------------------------------------------------------

    @property
    def packages(self) -> dict[str, Stored]:
        """What was fetched and is still there, by name."""
        found = {}
        for fields in self._read("packages.json").get("packages", []):
            try:
                stored = Stored(**{**fields, "libraries": tuple(fields.get("libraries", ()))})
            except TypeError:
                continue
            if self.path(stored).is_file():
                found[stored.name] = stored
        return found

    def path(self, stored: Stored) -> Path:
        return self.root / "packages" / Path(stored.file).name

    def add(self, source: Path, stored: Stored, *, move: bool = False) -> None:
        """Take a package's file into the store. Call it with the store locked."""
        target = self.path(stored)
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_suffix(".new")
        if move:
            shutil.move(source, beside)
        else:
            shutil.copyfile(source, beside)
        os.replace(beside, target)
        everything = {**self.packages, stored.name: stored}
        self._write("packages.json", {"packages": [each.to_dict() for _, each in sorted(everything.items())]})

    # Images ---------------------------------------------------------------------------------------------------------

    def image(self, key: str | None = None) -> Image | None:
        """An image by its key; by default the one that was built last. None when there is none."""
        key = key or self._read("default.json").get("image")
        if not key or not isinstance(key, str):
            return None
        folder = self.root / "images" / Path(key).name
        about = self._read(f"images/{folder.name}/image.json")
        if not about or not all((folder / name).is_file() for name in ("vmlinuz", "initrd")):
            return None
        made = str(about.get("recipe", ""))
        return Image(key, about["release"], folder / "vmlinuz", folder / "initrd", about["packages"], made)

    @property
    def images(self) -> list[Image]:
        folder = self.root / "images"
        names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        return [image for name in names if (image := self.image(name)) is not None]

    def add_image(
        self, key: str, release: str, kernel: bytes, initrd: bytes, packages: dict[str, str], recipe: str = ""
    ) -> Image:
        """Keep an image, and make it the default. Call it with the store locked."""
        folder = self.root / "images" / key
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=".new-", dir=folder.parent))
        try:
            (beside / "vmlinuz").write_bytes(kernel)
            (beside / "initrd").write_bytes(initrd)
            about = {"format": FORMAT, "release": release, "packages": packages, "recipe": recipe}
            (beside / "image.json").write_text(json.dumps(about, indent=1) + "\n")
            if folder.exists():
                shutil.rmtree(folder)
            beside.rename(folder)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        image = self.image(key)
        if image is None:
            raise AeroLabError(f"{folder}: what was written there is not there")
        return image

    def make_default(self, image: Image) -> None:
        self._write("default.json", {"image": image.key})

    # Files ----------------------------------------------------------------------------------------------------------

    def _read(self, name: str) -> dict[str, Any]:
        try:
            content = json.loads((self.root / name).read_text())
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) and content.get("format") == FORMAT else {}

    def _write(self, name: str, content: dict[str, Any]) -> None:
        beside = self.root / f".{name}.new"
        beside.write_text(json.dumps({"format": FORMAT, **content}, indent=1) + "\n")
        os.replace(beside, self.root / name)


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
