"""From an archive to an image: what is fetched is what was signed, and the same packages give the same bytes."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aero_lab.errors import UsageError
from aero_lab.guests.image import apt as apt_module
from aero_lab.guests.image import cpio, linux
from aero_lab.guests.image.apt import Apt, host_mirror
from aero_lab.guests.image.deb import read_deb
from aero_lab.guests.image.fetch import build, fetch, get_image
from aero_lab.guests.image.store import Store

from . import archive
from .archive import BUSYBOX, LIBRARY, RELEASE, TOOL, kernel_deb
from .make import deb, module


@pytest.fixture(scope="module")
def signed(tmp_path_factory):
    """A signed archive: its URL, its keyring, its folder, the key's folder."""
    if why := archive.why_not():
        pytest.skip(why)
    home = tmp_path_factory.mktemp("key") / "home"
    keyring = archive.make_key(home)
    folder = tmp_path_factory.mktemp("archive") / "debian"
    archive.publish(folder, home, archive.packages())
    yield f"file:{folder}", keyring, folder, home
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], timeout=60)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def files(tmp_path):
    """The same packages as files."""
    made = {"kernel": kernel_deb(), "busybox": BUSYBOX, "tool": TOOL, "library": LIBRARY}
    for name, data in made.items():
        (tmp_path / f"{name}.deb").write_bytes(data)
    return {name: tmp_path / f"{name}.deb" for name in made}


def contents(image):
    return {entry.name: entry for entry in cpio.read_cpio(image.initrd.read_bytes())}


def state_of(*folders):
    return {
        str(path): (path.lstat().st_mtime_ns, path.lstat().st_size)
        for folder in folders
        for path in [Path(folder), *Path(folder).rglob("*")]
        if path.exists() and path.name not in ("lock", "lock-frontend")
    }


def test_packages_come_signed_and_leave_the_host_alone(signed, store):
    mirror, keyring, *_ = signed
    host = ("/var/lib/apt", "/var/lib/dpkg", "/var/cache/apt", "/etc/apt", "/var/log/apt")
    before = state_of(*host)
    seen: set[str] = set()
    got = fetch(store, mirror=mirror, keyring=keyring, extra=["tool"], progress=lambda what, share: seen.add(what))
    assert state_of(*host) == before
    assert set(got) == {f"linux-image-{RELEASE}", "busybox-static", "tool", "libtool9"}, "and no adduser, no dpkg"
    assert store.packages == got and got["tool"].libraries == ("libtool9",)
    assert all(hashlib.sha256(store.path(each).read_bytes()).hexdigest() == each.sha256 for each in got.values())
    assert not list((store.root / "apt" / "packages").iterdir()), "nothing is kept twice"


def test_what_is_there_is_not_fetched_again(signed, store):
    mirror, keyring, *_ = signed
    first = fetch(store, mirror=mirror, keyring=keyring)
    kernel = store.path(first[f"linux-image-{RELEASE}"])
    busybox = store.path(first["busybox-static"])
    was = kernel.stat().st_ino
    busybox.write_bytes(b"damaged")
    fetch(store, mirror=mirror, keyring=keyring)
    assert kernel.stat().st_ino == was, "whole: left alone"
    assert busybox.read_bytes() == BUSYBOX, "damaged: fetched anew"


def test_an_archive_by_somebody_else_is_refused(signed, store, tmp_path):
    mirror, _, _, _ = signed
    home = tmp_path / "stranger"
    stranger = archive.make_key(home)
    try:
        with pytest.raises(UsageError, match="index cannot be fetched.*sign|NO_PUBKEY|not signed") as raised:
            fetch(store, mirror=mirror, keyring=stranger)
    finally:
        subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], timeout=60)
    assert "\n" not in str(raised.value) and store.packages == {}


def test_a_package_that_is_not_the_signed_one_is_refused(signed, store, tmp_path):
    _, keyring, folder, _ = signed
    other = tmp_path / "debian"
    shutil.copytree(folder, other)
    path = other / "pool" / "busybox-static_1.35-4_i386.deb"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(UsageError, match="busybox-static cannot be fetched") as raised:
        fetch(store, mirror=f"file:{other}", keyring=keyring)
    assert "\n" not in str(raised.value)
    assert set(store.packages) == {f"linux-image-{RELEASE}"}, "what came before it is kept"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"mirror": "http://127.0.0.1:9/debian"}, "index cannot be fetched from http://127.0.0.1:9/debian: .*onnect"),
        ({"mirror": "not a url"}, "a mirror is a URL"),
        ({"mirror": 'http://x/"; evil'}, "a mirror is a URL"),
        ({"keyring": Path("/nowhere/keys.gpg")}, "keys are not at /nowhere/keys.gpg"),
        ({"extra": ["no-such-package"]}, "no-such-package cannot be fetched"),
        ({"debs": ["/nowhere/x.deb"]}, "/nowhere/x.deb: cannot be read"),
    ],
)
def test_what_cannot_be_fetched_is_one_clear_line(signed, store, arguments, says):
    mirror, keyring, *_ = signed
    with pytest.raises(UsageError, match=says) as raised:
        fetch(store, **{"mirror": mirror, "keyring": keyring, **arguments})
    assert "\n" not in str(raised.value)


def test_a_machine_without_apt_is_told_what_to_do(store, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UsageError, match="no apt-get.*--deb FILE"):
        fetch(store)


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("sources.list", "# deb http://no/debian x\ndeb [arch=amd64] http://a.example/debian bookworm main\n", "a"),
        ("sources.list", "deb http://sec.example/debian-security x main\ndeb https://b.example/debian/ x main\n", "b"),
        ("debian.sources", "Types: deb\nURIs: http://c.example/debian\nSuites: trixie trixie-updates\n", "c"),
        (
            "a.sources",
            "URIs: http://x.example/tools\nSuites: x\n\nURIs: http://d.example/copy\nSuites: bookworm\n",
            "d",
        ),
        ("sources.list", "deb https://e.example/os/deb12 bookworm main\n", "e"),
    ],
)
def test_the_mirror_of_the_host_is_found(tmp_path, monkeypatch, name, text, found):
    (tmp_path / name).write_text(text)
    monkeypatch.setattr(apt_module, "SOURCES", (tmp_path / "sources.list", tmp_path))
    assert host_mirror().startswith((f"http://{found}.example/", f"https://{found}.example/"))


def test_a_host_without_a_mirror_is_told_what_to_do(tmp_path, monkeypatch):
    (tmp_path / "sources.list").write_text("deb http://archive.example/ubuntu jammy main\n")
    monkeypatch.setattr(apt_module, "SOURCES", (tmp_path / "sources.list",))
    with pytest.raises(UsageError, match="--mirror URL.*--deb"):
        host_mirror()


def test_packages_given_as_files(store, files):
    digest = hashlib.sha256(TOOL).hexdigest()
    got = fetch(store, debs=[files["kernel"], files["busybox"], f"{files['tool']}#sha256={digest}"])
    assert set(got) == {f"linux-image-{RELEASE}", "busybox-static", "tool"} == set(store.packages)
    with pytest.raises(UsageError, match="its SHA-256 is"):
        fetch(store, debs=[f"{files['library']}#sha256={digest}"])
    assert "libtool9" not in store.packages


def test_a_package_for_another_processor_is_refused(store, tmp_path):
    (tmp_path / "x.deb").write_bytes(deb("busybox-static", {"./bin/busybox": b""}, architecture="amd64"))
    with pytest.raises(UsageError, match="is for amd64, the guest is i386"):
        fetch(store, debs=[tmp_path / "x.deb"])


def test_the_same_packages_give_the_same_bytes(files, tmp_path):
    images = []
    for number, order in enumerate(
        (["kernel", "busybox", "library", "tool"], ["tool", "library", "busybox", "kernel"])
    ):
        store = Store(tmp_path / f"store{number}")
        fetch(store, debs=[files[name] for name in order])
        images.append(build(store, extra=["tool", "libtool9"]))
    one, two = images
    assert one.key == two.key and one.initrd.read_bytes() == two.initrd.read_bytes()
    assert one.kernel.read_bytes() == two.kernel.read_bytes() == b"kernel!"
    assert all(entry.mode for entry in contents(one).values())


def test_an_image_has_what_it_needs_and_no_more(store, files):
    fetch(store, debs=files.values())
    image = build(store)
    there = contents(image)
    assert image.release == RELEASE and image.packages == {
        f"linux-image-{RELEASE}": "6.1.99-1",
        "busybox-static": "1.35-4",
    }
    assert there["bin/busybox"].data == b"\x7fELF busybox" and there["bin/sh"].data == b"busybox"
    assert there["init"].data.startswith(b"#!/bin/busybox sh\n") and there["init"].mode & 0o111
    assert there["etc/udhcpc/default.script"].mode & 0o111
    assert there["dev/console"].device == (5, 1)
    assert not any("doc" in name or name.startswith(("boot", "usr/bin/tool")) for name in there)
    modules = {name for name in there if name.endswith(".ko")}
    assert {Path(name).stem for name in modules} == {"virtio", "virtio_ring", "virtio_pci", "virtio_net", "e1000"}
    assert b"d" * 100 not in there[f"{archive.PARTS}/drivers/net/virtio_net.ko"].data, "without debug sections"
    with_tool = contents(build(store, extra=["tool"]))
    assert "usr/bin/tool" not in there and with_tool["usr/bin/tool"].data == b"\x7fELF tool"
    assert "lib/libtool.so.9" not in with_tool, "a file was given without the archive's knowledge of what it needs"


def test_libraries_come_along_when_the_archive_says_so(signed, store):
    mirror, keyring, *_ = signed
    fetch(store, mirror=mirror, keyring=keyring, extra=["tool"])
    assert {"usr/bin/tool", "lib/libtool.so.9"} <= set(contents(build(store, extra=["tool"])))


def test_modprobe_finds_modules_by_device_and_loads_what_they_need(store, files):
    fetch(store, debs=files.values())
    there = contents(build(store))
    folder = f"lib/modules/{RELEASE}"
    table = dict(line.split(":") for line in there[f"{folder}/modules.dep"].data.decode().splitlines())
    for place, needs in table.items():
        assert f"{folder}/{place}" in there and all(f"{folder}/{each}" in there for each in needs.split())
    order = table["kernel/drivers/net/virtio_net.ko"].split()
    assert set(order) == {"kernel/drivers/virtio/virtio.ko", "kernel/drivers/virtio/virtio_ring.ko"}
    aliases = there[f"{folder}/modules.alias"].data.decode().splitlines()
    assert "alias virtio:d00000001v* virtio_net" in aliases and "alias pci:v00008086d0000100Esv* e1000" in aliases


@pytest.mark.parametrize(
    ("given", "extra", "says"),
    [
        ([], [], "linux-image-686 is not in .*guest fetch linux"),
        (["kernel"], [], "busybox-static is not in .*guest fetch linux"),
        (["kernel", "busybox"], ["nothing"], "nothing is not in the store.*--with nothing"),
    ],
)
def test_an_image_that_cannot_be_built_says_what_is_missing(store, files, given, extra, says):
    if given:
        fetch(store, debs=[files[name] for name in given])
    with pytest.raises(UsageError, match=says):
        build(store, extra=extra)


def test_a_package_that_changed_in_the_store_is_noticed(store, files):
    got = fetch(store, debs=files.values())
    store.path(got["busybox-static"]).write_bytes(b"!<arch>\n")
    with pytest.raises(UsageError, match="is not what was fetched"):
        build(store)


@pytest.mark.parametrize(
    ("package", "says"),
    [
        (deb(f"linux-image-{RELEASE}", {"./x": b""}), "one kernel in it, not 0"),
        (kernel_deb(**{f"{archive.PARTS}/drivers/net/e1000/e1000.ko": b"junk"}), "e1000.ko: elf"),
        (kernel_deb(**{f"{archive.PARTS}/drivers/net/virtio_net.ko": module("virtio_net", "gone")}), "gone, needed by"),
    ],
)
def test_a_strange_kernel_package_says_what_is_wrong(store, files, tmp_path, package, says):
    (tmp_path / "kernel.deb").write_bytes(package)
    fetch(store, debs=[tmp_path / "kernel.deb", files["busybox"]])
    with pytest.raises(UsageError, match=says):
        build(store)


def test_an_image_in_the_store_is_used_as_it_is(store, files):
    fetch(store, debs=files.values())
    image = build(store)
    was = image.initrd.stat().st_mtime_ns
    assert get_image(store) == build(store) == image and image.initrd.stat().st_mtime_ns == was
    build(store, extra=["tool"])
    assert len(store.images) == 2 and "tool" in get_image(store).packages, "the one that was built last"


def test_a_damaged_store_is_as_if_empty(store, files):
    fetch(store, debs=files.values())
    build(store)
    for name, text in (("packages.json", "{"), ("default.json", "[]")):
        (store.root / name).write_text(text)
    assert store.packages == {} and store.image() is None
    (store.root / "default.json").write_text('{"format": 1, "image": "../../etc"}')
    assert store.image() is None


def test_a_store_that_cannot_be_written_is_one_clear_line(tmp_path, files):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        fetch(Store(tmp_path / "file" / "store"), debs=files.values())


def test_two_processes_take_turns(store, files):
    program = (
        "import sys; from pathlib import Path; from aero_lab.guests.image.fetch import fetch, build;"
        "from aero_lab.guests.image.store import Store;"
        "s = Store(Path(sys.argv[1])); fetch(s, debs=sys.argv[2:]); print(build(s).key)"
    )
    command = [sys.executable, "-c", program, str(store.root), *map(str, files.values())]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) for _ in range(2)]
    keys = {process.communicate(timeout=120)[0].strip() for process in both}
    assert len(keys) == 1 and [image.key for image in store.images] == list(keys)


def test_scripts_of_the_image_are_shell(tmp_path):
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("busybox is not installed")
    made = linux.build(RELEASE, {}, [read_deb(BUSYBOX)])
    for entry in cpio.read_cpio(made):
        if entry.data.startswith(b"#!"):
            script = tmp_path / "script"
            script.write_bytes(entry.data)
            done = subprocess.run([busybox, "sh", "-n", str(script)], capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, f"{entry.name}: {done.stderr}"


def test_apt_is_told_of_no_architecture_but_the_guests(signed, tmp_path):
    mirror, keyring, *_ = signed
    apt = Apt(tmp_path / "apt", mirror, keyring=keyring)
    apt.update()
    assert [each.version for each in apt.candidates(["tool"])] == ["2.0-1"]
    with pytest.raises(UsageError):
        apt.candidates(["apt"])
