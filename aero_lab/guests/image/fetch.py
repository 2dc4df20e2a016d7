"""Fetching and building: from nothing, or files at hand, to an image in the store."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable
from importlib.resources import files
from pathlib import Path

from ... import __version__
from ...errors import Malformed, UsageError
from . import linux
from .apt import Apt, Candidate, Progress
from .deb import Package, read_control, read_deb
from .store import Image, Store, Stored, digest

LIBRARIES_DEEP = 8
"""Steps from a package to the libraries its libraries need that are followed."""
PACKAGE_MOST = 512 << 20
"""Bytes of a .deb file that is read."""


def fetch(
    store: Store | None = None,
    *,
    mirror: str | None = None,
    keyring: Path | None = None,
    debs: Iterable[str | os.PathLike[str]] = (),
    extra: Iterable[str] = (),
    progress: Progress | None = None,
) -> dict[str, Stored]:
    """Get the packages the guest is made of; those in the store are not fetched again.

    Parameters
    ----------
    mirror: a Debian archive; by default the host's own.
    debs: files to take instead of asking an archive: ``FILE`` or ``FILE#sha256=HEX``.
    extra: further packages, with the libraries they need.

    Returns
    -------
    name -> package of those that were asked for.
    """
    store = store or Store()
    given = list(debs)
    with store.locked():
        if given:
            return dict(_take(store, str(each)) for each in given)
        apt = Apt(store.root / "apt", mirror, keyring=keyring)
        apt.update(progress)
        return _fetch(store, apt, list(extra), progress)


def build(store: Store | None = None, *, extra: Iterable[str] = (), default: bool = True) -> Image:
    """Make the guest's image of the packages in the store; the same packages give the same bytes.

    Parameters
    ----------
    extra: further packages of the store to put in, with the libraries they need.
    default: make it the image that is used when none is named.
    """
    store = store or Store()
    with store.locked():
        there = store.packages
        kernel = next((each for name, each in sorted(there.items(), reverse=True) if is_kernel(name)), None)
        if kernel is None or linux.BUSYBOX_PACKAGE not in there:
            missing = linux.KERNEL_PACKAGE if kernel is None else linux.BUSYBOX_PACKAGE
            raise UsageError(f"{missing} is not in {store.root}: run `aero-lab guest fetch linux` first")
        chosen = _with_libraries(there, [linux.BUSYBOX_PACKAGE, *extra])
        key = image_key([kernel, *chosen])
        image = store.image(key)
        if image is None:
            release, bzimage, modules = linux.split_kernel(_open(store, kernel))
            initrd = linux.build(release, modules, [_open(store, each) for each in chosen])
            versions = {each.name: each.version for each in (kernel, *chosen)}
            image = store.add_image(key, release, bzimage, initrd, versions, recipe())
        if default:
            store.make_default(image)
        return image


def get_image(store: Store | None = None, progress: Progress | None = None) -> Image:
    """The default image; fetched and built now where there is none yet, and built again where an earlier version of
    this program made it."""
    store = store or Store()
    image = store.image()
    if image is not None:
        there = store.packages
        if image.recipe == recipe() or not set(image.packages) <= set(there):
            return image
        return build(store, extra=[name for name in image.packages if not is_kernel(name)])
    if not any(is_kernel(name) for name in store.packages):
        fetch(store, progress=progress)
    return build(store)


def recipe() -> str:
    """What an image depends on beside its packages: our own files, and how it is put together (by our version)."""
    hashed = hashlib.sha256(__version__.encode())
    room = files("aero_lab.guests.image")
    for own in ("linux.py", "cpio.py", "modules.py"):
        hashed.update(room.joinpath(own).read_bytes())
    for name in sorted({*linux.SCRIPTS.values(), "profile"}):
        hashed.update(room.joinpath("files").joinpath(name).read_bytes())
    return hashed.hexdigest()[:16]


def image_key(packages: list[Stored]) -> str:
    """What an image depends on: its packages and the :func:`recipe`."""
    hashed = hashlib.sha256(recipe().encode())
    for package in packages:
        hashed.update(package.sha256.encode())
    return hashed.hexdigest()[:16]


def is_kernel(name: str) -> bool:
    """Whether a package of this name holds a kernel, not only a dependency on one."""
    return re.fullmatch(r"linux-image-\d.*", name) is not None


def _fetch(store: Store, apt: Apt, extra: list[str], progress: Progress | None) -> dict[str, Stored]:
    (meta,) = apt.candidates([linux.KERNEL_PACKAGE])
    kernel = next((name for name in meta.depends if is_kernel(name)), None)
    if kernel is None:
        raise UsageError(f"{apt.mirror}: {linux.KERNEL_PACKAGE} names no kernel")
    wanted = {each.name: each for each in apt.candidates([kernel, linux.BUSYBOX_PACKAGE, *extra])}
    libraries: dict[str, tuple[str, ...]] = {}
    fresh = [wanted[name] for name in dict.fromkeys(extra)]
    for _ in range(LIBRARIES_DEEP):
        names: list[str] = []
        for candidate in fresh:
            libraries[candidate.name] = tuple(name for name in candidate.depends if name.startswith("lib"))
            names += libraries[candidate.name]
        fresh = apt.candidates([name for name in dict.fromkeys(names) if name not in wanted])
        wanted.update((each.name, each) for each in fresh)
        if not fresh:
            break
    there = store.packages
    result = {}
    for candidate in wanted.values():
        stored = there.get(candidate.name)
        if stored is None or stored.sha256 != candidate.sha256 or digest(store.path(stored)) != candidate.sha256:
            stored = _download(store, apt, candidate, libraries.get(candidate.name, ()), progress)
        result[candidate.name] = stored
    return result


def _download(
    store: Store, apt: Apt, candidate: Candidate, libraries: tuple[str, ...], progress: Progress | None
) -> Stored:
    path = apt.download(candidate, progress)
    found = digest(path)
    if found != candidate.sha256:
        path.unlink()
        raise UsageError(f"{candidate.name}: its SHA-256 is {found}, the signed index says {candidate.sha256}")
    package = _read(str(path), path)
    stored = _stored(package, path, found, f"{apt.mirror} {apt.suite}", libraries)
    store.add(path, stored, move=True)
    return stored


def _take(store: Store, text: str) -> tuple[str, Stored]:
    """A package given as a file: ``FILE`` or ``FILE#sha256=HEX``."""
    name, _, expected = text.partition("#sha256=")
    path = Path(name)
    package = _read(name, path)
    found = digest(path)
    if expected and found != expected.lower():
        raise UsageError(f"{name}: its SHA-256 is {found}, not {expected}")
    if package.architecture not in (linux.ARCHITECTURE, "all"):
        raise UsageError(f"{name}: the package is for {package.architecture}, the guest is {linux.ARCHITECTURE}")
    depends = f"{package.fields.get('Pre-Depends', '')},{package.fields.get('Depends', '')}"
    libraries = tuple(re.findall(r"(?:^|,)\s*(lib[a-z0-9+.-]+)", depends))
    stored = _stored(package, path, found, "file", libraries)
    store.add(path, stored)
    return stored.name, stored


def _stored(package: Package, path: Path, sha256: str, source: str, libraries: tuple[str, ...]) -> Stored:
    version = re.sub(r"[^A-Za-z0-9.+~-]", "_", package.version)
    name = re.sub(r"[^A-Za-z0-9.+-]", "_", package.name)
    return Stored(
        package.name,
        package.version,
        package.architecture,
        f"{name}_{version}_{package.architecture}.deb",
        path.stat().st_size,
        sha256,
        source,
        libraries,
    )


def _open(store: Store, stored: Stored) -> Package:
    path = store.path(stored)
    if digest(path) != stored.sha256:
        raise UsageError(f"{path} is not what was fetched: run `aero-lab guest fetch linux` again")
    return _read(stored.name, path, lambda data: read_deb(data, linux.wanted))


def _read(name: str, path: Path, read: Callable[[bytes], Package] = read_control) -> Package:
    try:
        if path.stat().st_size > PACKAGE_MOST:
            raise UsageError(f"{name}: a package larger than {PACKAGE_MOST >> 20} MB is not read")
        return read(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{name}: cannot be read: {error.strerror or error}") from None
    except Malformed as error:
        raise UsageError(f"{name}: {error}") from None


def _with_libraries(there: dict[str, Stored], names: list[str]) -> list[Stored]:
    """Packages by name, and those of their libraries that are there, each once."""
    chosen: dict[str, Stored] = {}
    for name in names:
        if name not in there:
            raise UsageError(f"{name} is not in the store: run `aero-lab guest fetch linux --with {name}` first")
    waiting = list(names)
    while waiting:
        name = waiting.pop(0)
        if name in there and name not in chosen:
            chosen[name] = there[name]
            waiting += there[name].libraries
    return list(chosen.values())
