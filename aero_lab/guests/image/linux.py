"""The image of the Linux guest: which files of which packages, our own few scripts, one archive.

The same packages give the same bytes, on any machine, at any time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.resources import files

from ...errors import Malformed, UsageError
from ...services.content import PERIOD, content_bytes
from . import cpio
from .cpio import Entry
from .deb import Package
from .modules import Module, in_order, is_module, module_name, read_module

KERNEL_PACKAGE, BUSYBOX_PACKAGE = "linux-image-686", "busybox-static"
ARCHITECTURE = "i386"
DRIVERS = ("e1000", "virtio_pci", "virtio_net")
"""Modules the image carries, with all they need: both NICs, and the bus one of them is found by."""
EXTRA_MODULES = ("virtio", "virtio_ring", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "failover", "net_failover")
"""What those need at least; other versions of the kernel divide them differently, which is no error."""
LEFT_OUT = ("usr/share/doc/", "usr/share/man/", "usr/share/locale/", "usr/share/lintian/", "usr/share/bug/")
"""Parts of a package that no program of it reads."""
SCRIPTS = {
    "init": "init",
    "usr/bin/aero-run": "aero-run",
    "usr/sbin/aero-net": "aero-net",
    "etc/udhcpc/default.script": "udhcpc.script",
}
"""Our own: name in the image -> file in the package."""
CONTENT = "usr/share/aero/content"
"""File in the image with what guests send: the lab's content, of which both ends know every byte."""
FOLDERS = ("dev", "proc", "sys", "run", "root", "usr/bin", "usr/sbin", "bin", "sbin", "lib", "mnt", "etc/udhcpc")


def wanted(name: str) -> bool:
    """Whether a file of a package is kept once it is unpacked."""
    if name.startswith("boot/"):
        return name.startswith("boot/vmlinuz-")
    if is_module(name):
        return module_name(name) in (*DRIVERS, *EXTRA_MODULES)
    return not name.startswith(LEFT_OUT) and not name.startswith("lib/modules/")


def split_kernel(package: Package) -> tuple[str, bytes, dict[str, Module]]:
    """Release, bzImage and modules (by file name in the image) of a kernel's package."""
    images = [name for name in package.files if name.startswith("boot/vmlinuz-")]
    if len(images) != 1:
        raise UsageError(f"{package.name}: there should be one kernel in it, not {len(images)}")
    modules = {}
    for name, entry in package.files.items():
        if is_module(name):
            try:
                module = read_module(name, entry.data)
            except Malformed as error:
                raise UsageError(f"{package.name}: {name}: {error}") from None
            modules[name.rpartition(".ko")[0] + ".ko"] = module
    release = images[0].removeprefix("boot/vmlinuz-")
    return release, package.files[images[0]].data, modules


def build(release: str, modules: Mapping[str, Module], packages: Iterable[Package]) -> bytes:
    """The initramfs: busybox and further packages, the modules of both NICs, and our scripts.

    Parameters
    ----------
    release: the kernel's, as ``uname -r`` says it.
    modules: by their name in the image.
    packages: busybox's, and others, whole but for their documentation.
    """
    entries: dict[str, Entry] = {name: cpio.directory(name) for folder in FOLDERS for name in _with_parents(folder)}
    for package in packages:
        if package.architecture not in (ARCHITECTURE, "all"):
            raise UsageError(f"{package.name} is for {package.architecture}, the guest is {ARCHITECTURE}")
        for name, entry in package.files.items():
            if wanted(name) and not name.startswith("boot/"):
                entries[name] = entry
    if entries.get("bin/busybox", entries["bin"]).type != cpio.FILE:
        raise UsageError(f"the image has no /bin/busybox: {BUSYBOX_PACKAGE} is missing")
    entries.update((entry.name, entry) for entry in _modules(release, modules))
    room = files("aero_lab.guests.image").joinpath("files")
    for name, source in SCRIPTS.items():
        entries[name] = cpio.file(name, room.joinpath(source).read_bytes(), 0o755)
    texts = {
        "etc/profile": room.joinpath("profile").read_bytes(),
        "etc/hostname": b"aero\n",
        "etc/hosts": b"127.0.0.1 localhost\n::1 localhost\n",
        "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
        "etc/group": b"root:x:0:\nnogroup:x:65534:\n",
        "etc/nsswitch.conf": b"passwd: files\ngroup: files\nhosts: files dns\n",
    }
    entries.update((name, cpio.file(name, data)) for name, data in texts.items())
    entries.update((name, cpio.directory(name)) for name in cpio.parents(CONTENT))
    entries[CONTENT] = cpio.file(CONTENT, content_bytes(PERIOD))
    entries["bin/sh"] = cpio.symlink("bin/sh", "busybox")
    entries["tmp"] = cpio.directory("tmp", 0o1777)
    entries["dev/console"] = cpio.character_device("dev/console", 5, 1)
    entries["dev/null"] = cpio.character_device("dev/null", 1, 3, 0o666)
    return cpio.write_cpio(list(entries.values()))


def _with_parents(name: str) -> list[str]:
    return [*cpio.parents(name), name]


def _modules(release: str, modules: Mapping[str, Module]) -> list[Entry]:
    """Module files, and the tables by which ``modprobe`` finds them (modules.dep(5))."""
    if not modules:
        return []
    by_name = {module.name: module for module in modules.values()}
    places = {module.name: place for place, module in modules.items()}
    try:
        order = in_order(by_name, [name for name in DRIVERS if name in by_name])
        needs = {module.name: in_order(by_name, [module.name])[:-1] for module in order}
    except Malformed as error:
        raise UsageError(f"kernel {release}: {error}") from None
    folder = f"lib/modules/{release}"
    entries = [cpio.file(places[module.name], module.data) for module in order]
    dependencies, aliases = [], []
    for module in order:
        paths = [places[each.name].removeprefix(f"{folder}/") for each in (module, *reversed(needs[module.name]))]
        dependencies.append(f"{paths[0]}: {' '.join(paths[1:])}".rstrip())
        aliases += [f"alias {alias} {module.name}" for alias in module.aliases]
    tables = {"modules.dep": dependencies, "modules.alias": aliases, "modules.symbols": []}
    entries += [
        cpio.file(f"{folder}/{name}", "".join(f"{x}\n" for x in lines).encode()) for name, lines in tables.items()
    ]
    return entries
