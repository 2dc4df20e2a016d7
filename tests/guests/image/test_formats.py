"""Archives, packages and modules: read what other tools wrote, written for other tools to read, safe with anything."""

from __future__ import annotations

import lzma
import shutil
import struct
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aero_lab.errors import Malformed, UsageError
from aero_lab.guests.image import cpio
from aero_lab.guests.image.deb import read_ar, read_deb, read_fields
from aero_lab.guests.image.modules import in_order, is_module, module_name, read_module, strip, unsigned

from .make import PACKERS, ar, deb, module, signed, tar

NAMES = st.lists(st.text("abcXYZ019_+-é ", min_size=1, max_size=8), min_size=1, max_size=4).map("/".join)


# cpio -----------------------------------------------------------------------------------------------------------------


@given(st.dictionaries(NAMES, st.binary(max_size=300), max_size=8), st.randoms())
def test_an_archive_holds_its_files_and_does_not_depend_on_their_order(contents, random):
    entries = [cpio.file(name, data) for name, data in contents.items()]
    try:
        archive = cpio.write_cpio(entries)
    except UsageError:
        assert any(a != b and b.startswith(a + "/") for a in contents for b in contents), "only a file as a folder"
        return
    random.shuffle(entries)
    assert cpio.write_cpio(entries) == archive and len(archive) % 512 == 0
    there = {entry.name: entry for entry in cpio.read_cpio(archive)}
    assert {name: entry.data for name, entry in there.items() if entry.type == cpio.FILE} == contents
    folders = {parent for name in contents for parent in cpio.parents(name)}
    assert {name for name, entry in there.items() if entry.type == cpio.DIRECTORY} == folders
    order = list(there)
    assert all(order.index(parent) < order.index(name) for name in contents for parent in cpio.parents(name))


def test_other_tools_read_the_archive(tmp_path):
    if shutil.which("busybox") is None:
        pytest.skip("busybox is not installed")
    archive = cpio.write_cpio(
        [
            cpio.file("etc/a", b"one\n", 0o640),
            cpio.file("bin/tool", b"#!", 0o755),
            cpio.symlink("bin/link", "tool"),
            cpio.directory("tmp", 0o1777),
        ]
    )
    for command in (["busybox", "cpio", "-tv"], ["busybox", "cpio", "-idm"]):
        done = subprocess.run(command, input=archive, capture_output=True, cwd=tmp_path, timeout=60)
        assert done.returncode == 0, done.stderr
        if "-tv" in command:
            listed = done.stdout.decode()
    assert "-rw-r-----" in listed and "bin/link -> tool" in listed and "drwxrwxrwt" in listed
    assert (tmp_path / "etc/a").read_bytes() == b"one\n"
    assert (tmp_path / "bin/tool").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "bin/link").readlink().name == "tool"


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../x", "a//b", "a/./b", "a/..", "a\0b", "x" * 5000])
def test_a_name_that_leads_elsewhere_is_not_written(name):
    with pytest.raises(UsageError, match="not a name"):
        cpio.write_cpio([cpio.file(name, b"")])


def test_a_name_twice_or_a_file_as_folder_is_not_written():
    with pytest.raises(UsageError, match="twice"):
        cpio.write_cpio([cpio.file("a", b"1"), cpio.file("a", b"2")])
    with pytest.raises(UsageError, match="which is a file"):
        cpio.write_cpio([cpio.file("a", b"1"), cpio.file("a/b", b"2")])


@given(st.binary(max_size=200), st.integers(0, 700))
def test_a_damaged_archive_is_read_or_malformed(noise, at):
    good = cpio.write_cpio([cpio.file("a/b", b"content" * 9), cpio.symlink("c", "a")])
    try:
        cpio.read_cpio(good[:at] + noise + good[at + len(noise) :])
    except Malformed:
        pass


# ar and deb -----------------------------------------------------------------------------------------------------------


@given(st.dictionaries(st.text("abc.-_xyz", min_size=1, max_size=15), st.binary(max_size=99), max_size=5))
def test_ar_members(members):
    assert read_ar(ar(members)) == members


def test_ar_by_another_tool(tmp_path):
    if shutil.which("ar") is None:
        pytest.skip("ar is not installed")
    for name, data in (("one", b"1" * 7), ("two", b"2" * 8)):
        (tmp_path / name).write_bytes(data)
    subprocess.run(["ar", "rcD", "x.a", "one", "two"], cwd=tmp_path, check=True, timeout=60)
    assert read_ar((tmp_path / "x.a").read_bytes()) == {"one": b"1" * 7, "two": b"2" * 8}


FILES: dict[str, bytes | str | None] = {
    "./usr/": None,
    "./usr/bin/tool": b"\x7fELF tool",
    "./usr/share/doc/tool/copyright": b"ours",
    "./lib/libx.so.1": "libx.so.1.2",
    "./" + "deep/" * 40 + "file": b"a name longer than tar's header holds",
}


@pytest.mark.parametrize("packing", PACKERS)
def test_a_package_gives_the_files_that_are_wanted(packing):
    made = deb("tool", FILES, packing=packing, links={"./usr/bin/other": "./usr/bin/tool"})
    package = read_deb(made, lambda name: "doc" not in name)
    assert (package.name, package.version, package.architecture) == ("tool", "1.0-1", "i386")
    assert set(package.files) == {"usr", "usr/bin/tool", "usr/bin/other", "lib/libx.so.1", "deep/" * 40 + "file"}
    assert package.files["usr/bin/tool"].data == package.files["usr/bin/other"].data == b"\x7fELF tool"
    assert package.files["usr/bin/tool"].mode == cpio.FILE | 0o755
    link = package.files["lib/libx.so.1"]
    assert link.type == cpio.SYMLINK and link.data == b"libx.so.1.2"


def test_a_package_by_dpkg(tmp_path):
    if shutil.which("dpkg-deb") is None:
        pytest.skip("dpkg-deb is not installed")
    folder = tmp_path / "tree"
    (folder / "DEBIAN").mkdir(parents=True)
    (folder / "DEBIAN" / "control").write_text(
        "Package: mine\nVersion: 1:2.0\nArchitecture: i386\nMaintainer: me <me@example.org>\nDescription: x\n long\n"
    )
    (folder / "usr").mkdir()
    (folder / "usr" / "file").write_bytes(b"content")
    (folder / "DEBIAN").chmod(0o755)
    subprocess.run(
        ["dpkg-deb", "-b", str(folder), str(tmp_path / "x.deb")], check=True, capture_output=True, timeout=60
    )
    package = read_deb((tmp_path / "x.deb").read_bytes())
    assert (package.version, package.files["usr/file"].data) == ("1:2.0", b"content")


def test_fields_of_a_control_file():
    text = "Package: a\nDescription: short\n long\n  longer\nEmpty:\nno colon\n\nPackage: b\n"
    assert read_fields(text) == {"Package": "a", "Description": "short\nlong\nlonger", "Empty": ""}


GOOD_DEB = deb("tool", FILES)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "ar archive"),
        (b"!<arch>\nshort", "no member begins"),
        (GOOD_DEB[:-100], "cut short"),
        (ar({"debian-binary": b"3.0\n"}), "format 2"),
        (ar({"debian-binary": b"2.0\n"}), "no control.tar"),
        (ar({"debian-binary": b"2.0\n", "control.tar": tar({"./control": b"Package: x\n"})}), "no field Version"),
        (ar({"debian-binary": b"2.0\n", "control.tar.xz": lzma.compress(tar({"./no": b""}))}), "no control file"),
        (ar({"debian-binary": b"2.0\n", "control.tar.bz2": b"BZh9"}), "bzip2 is not supported"),
        (deb("x", {"../../etc/passwd": b"root::0:0"}), "points outside"),
        (deb("x", {"/etc/passwd": b"root::0:0"}), "points outside"),
        (deb("x", {"./a/../../b": b""}), "points outside"),
        (deb("x", {"./a": b""}, links={"./b": "./nowhere"}), "which is not there"),
        (deb("x", {"./a": b""}, links={"./b": "../../../etc/passwd"}), "points outside"),
        (GOOD_DEB.replace(b"data.tar.xz", b"data.tar.gz"), "control|no data|damaged"),
    ],
)
def test_a_bad_package_says_what_is_wrong(data, says):
    if says.startswith("control"):
        assert read_deb(data).name == "tool", "the first bytes decide, not the name"
        return
    with pytest.raises(Malformed, match=says):
        read_deb(data)


@given(st.binary(max_size=200), st.integers(0, len(GOOD_DEB)), st.booleans())
def test_a_damaged_package_is_read_or_malformed(noise, at, plain):
    good = deb("tool", FILES, packing="") if plain else GOOD_DEB
    at = at * len(good) // len(GOOD_DEB)
    try:
        package = read_deb(good[:at] + noise + good[at + len(noise) :])
    except Malformed:
        return
    for name in package.files:
        cpio.check_name(name)


@given(st.binary(max_size=512), st.integers(0, 6000))
def test_a_damaged_tar_inside_a_package_is_read_or_malformed(noise, at):
    content = tar(FILES, {"./l": "./usr/bin/tool"})
    broken = content[:at] + noise + content[at + len(noise) :]
    control = tar({"./control": b"Package: x\nVersion: 1\nArchitecture: all\n"})
    made = ar({"debian-binary": b"2.0\n", "control.tar": control, "data.tar.xz": lzma.compress(broken, preset=0)})
    try:
        package = read_deb(made)
    except Malformed:
        return
    for name in package.files:
        cpio.check_name(name)


def test_a_header_that_claims_gigabytes_is_not_believed():
    import tarfile

    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 33
    header = info.tobuf(tarfile.GNU_FORMAT)
    control = tar({"./control": b"Package: x\nVersion: 1\nArchitecture: all\n"})
    with pytest.raises(Malformed):
        read_deb(ar({"debian-binary": b"2.0\n", "control.tar": control, "data.tar": header + bytes(10240)}))


# Modules --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packing", PACKERS)
def test_a_module_says_what_it_is_and_loses_what_only_debuggers_read(packing):
    plain = module("virtio_net", "virtio,net-failover", ("virtio:d00000001v*", "pci:v00001AF4d*"))
    found = read_module(f"kernel/virtio_net.ko{packing}", PACKERS[packing](signed(plain)))
    assert (found.name, found.depends) == ("virtio_net", ("virtio", "net_failover"))
    assert found.aliases == ("virtio:d00000001v*", "pci:v00001AF4d*") and found.vermagic == "6.1 SMP"
    assert b"d" * 100 not in found.data and len(found.data) < len(plain) - 4900
    assert b"init_module" in found.data and b"\xc3" * 77 in found.data
    assert strip(found.data) == found.data, "what is stripped stays as it is"


def test_a_stripped_module_is_what_readelf_expects(tmp_path):
    if shutil.which("readelf") is None:
        pytest.skip("readelf is not installed")
    path = tmp_path / "m.ko"
    path.write_bytes(read_module("m.ko", module("m")).data)
    done = subprocess.run(["readelf", "-SWs", str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "init_module" in done.stdout and "Warning" not in done.stdout + done.stderr
    assert ".debug" not in "".join(line for line in done.stdout.splitlines() if "PROGBITS" in line)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "magic"),
        (module("m")[:40], "header is cut short"),
        (module("m")[:-41], "table of sections"),
        (module("m").replace(b".modinfo", b".nothing"), "no section .modinfo"),
        (b"\x7fELF\2\1\1" + bytes(11) + struct.pack("<H", 62) + bytes(60), "x86-64"),
        (lzma.compress(module("m"))[:-30], "cut short|damaged"),
        (b"~Module signature appended~\n", "longer than the module"),
    ],
)
def test_a_bad_module_says_what_is_wrong(data, says):
    with pytest.raises(Malformed, match=says):
        read_module("m.ko", data)


@given(st.binary(max_size=60), st.integers(0, 6000))
def test_a_damaged_module_is_read_or_malformed(noise, at):
    good = signed(module("m", "a,b"))
    try:
        read_module("m.ko", good[:at] + noise + good[at + len(noise) :])
    except Malformed:
        pass


def test_a_signature_is_cut_off():
    assert unsigned(signed(module("m"))) == module("m") == unsigned(module("m"))


def test_modules_come_after_what_they_need():
    made = {
        name: read_module(name, module(name, needs)) for name, needs in {"c": "b,a", "b": "a", "a": "", "d": ""}.items()
    }
    order = [each.name for each in in_order(made, ["c"])]
    assert order == ["a", "b", "c"]
    with pytest.raises(Malformed, match="x, needed by the image, is not there"):
        in_order(made, ["x"])
    made["a"] = read_module("a", module("a", "c"))
    with pytest.raises(Malformed, match="c needs b needs a needs c"):
        in_order(made, ["c"])


def test_names_of_module_files():
    assert is_module("lib/virtio-pci.ko.xz") and is_module("a.ko") and not is_module("a.ko.d") and not is_module("a.o")
    assert module_name("lib/x/virtio-pci.ko.xz") == "virtio_pci"
