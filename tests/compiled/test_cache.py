"""The kernel cache: stamped by the source of a module and of all it imports inside the package."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import aero_lab
from aero_lab.compiled import cache
from aero_lab.compiled.registry import PLAIN

ROOT = Path(aero_lab.__file__).parent

FILES = {
    "__init__.py": "",
    "low.py": "ONE = 1\n",
    "mid/__init__.py": "",
    "mid/a.py": "from ..low import (\n    ONE,\n)\n",
    "mid/b.py": "import aero_lab.low\n",
    "top.py": "def late():\n    from .mid import a as renamed\n    return renamed\n",
    "aside.py": "import json  # nothing of ours\n",
    "circle.py": "from . import circle, top\n",
    "names.py": "from .mid import a, NAME\n",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    root = tmp_path / "aero_lab"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.setattr(cache, "_ROOT", root)

    def forget():
        cache._source.cache_clear()
        cache.source_digest.cache_clear()

    def digests():
        forget()
        return {
            name: cache.source_digest(f"aero_lab.{name}")
            for name in ("low", "mid.a", "mid.b", "top", "aside", "circle", "names")
        }

    yield root, digests
    monkeypatch.undo()
    forget()


@pytest.mark.parametrize(
    ("edited", "changes"),
    [
        ("low.py", {"low", "mid.a", "mid.b", "top", "circle", "names"}),
        ("mid/a.py", {"mid.a", "top", "circle", "names"}),
        ("mid/b.py", {"mid.b"}),
        ("mid/__init__.py", {"names"}),
        ("top.py", {"top", "circle"}),
        ("aside.py", {"aside"}),
    ],
)
def test_an_edit_makes_stale_what_imports_it_and_nothing_else(package, edited, changes):
    root, digests = package
    before = digests()
    assert digests() == before
    with (root / edited).open("a") as file:
        file.write("# edited\n")
    after = digests()
    assert {name for name in before if before[name] != after[name]} == changes


def test_kernels_of_a_room_do_not_hang_on_what_its_package_offers():
    """Or any edit anywhere would compile the capture's again: its package offers what all floors build on."""
    cache._source.cache_clear()
    seen, todo = set(), ["aero_lab.capture.columns"]
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo.extend(cache._source(name)[1])
    assert "aero_lab.capture.schema" in seen and "aero_lab.limits" in seen
    assert not {name for name in seen if name.startswith(("aero_lab.analysis", "aero_lab.lab", "aero_lab.viz"))}


def test_a_new_module_counts_from_the_import_on(package):
    root, digests = package
    before = digests()
    (root / "new.py").write_text("TWO = 2\n")
    assert digests() == before
    (root / "low.py").write_text("from .new import TWO\n")
    between = digests()
    (root / "new.py").write_text("TWO = 3\n")
    assert between["mid.a"] != digests()["mid.a"]


def test_modules_outside_the_package_are_stamped_too(package, tmp_path):
    root, digests = package
    outside = tmp_path / "mine.py"
    outside.write_text("from aero_lab.mid import a\nfrom . import other\n")

    def stamp():
        digests()
        return cache.outside_digest("mine", str(outside))

    before = stamp()
    assert stamp() == before
    (root / "aside.py").write_text("# edited\n")
    assert stamp() == before
    (root / "low.py").write_text("ONE = 2\n")
    between = stamp()
    assert between != before
    with outside.open("a") as file:
        file.write("# edited\n")
    assert stamp() != between
    assert cache.outside_digest("cell", "<cell 1>") != cache.outside_digest("cell", "<cell 1>")


def test_where_the_cache_lies(monkeypatch, tmp_path):
    monkeypatch.setenv("AERO_LAB_CACHE_DIR", str(tmp_path / "chosen"))
    assert cache.cache_dir() == tmp_path / "chosen"
    monkeypatch.delenv("AERO_LAB_CACHE_DIR")
    if sys.platform != "darwin":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert cache.cache_dir() == tmp_path / "aero_lab"
        monkeypatch.setenv("XDG_CACHE_HOME", "")
        assert cache.cache_dir() == Path.home() / ".cache" / "aero_lab"


CALLEE = """
from .compiled.registry import I64, kernel

@kernel(I64(I64))
def callee(a):
    return a + 1
"""
CALLER = """
from .compiled.registry import I64, entry, kernel
from .callee import callee

@entry
@kernel(I64(I64))
def caller(a):
    return callee(a) * 10
"""
RUN = """
from aero_lab.caller import caller
value = caller(1)
hits = sum(caller.stats.cache_hits.values()) if hasattr(caller, "stats") else -1
print(value, hits)
"""


@pytest.mark.skipif(PLAIN, reason="nothing is cached in plain mode")
def test_an_edited_callee_in_another_file_is_noticed(tmp_path):
    package = tmp_path / "aero_lab"
    shutil.copytree(ROOT / "compiled", package / "compiled", ignore=shutil.ignore_patterns("__pycache__"))
    (package / "__init__.py").write_text("")
    (package / "caller.py").write_text(CALLER)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "AERO_LAB_CACHE_DIR": str(tmp_path / "cache")}

    def run():
        out = subprocess.check_output([sys.executable, "-c", RUN], env=environment, cwd=tmp_path, text=True)
        return [int(word) for word in out.split()]

    (package / "callee.py").write_text(CALLEE)
    assert run() == [20, 0]
    assert run() == [20, 1]
    (package / "callee.py").write_text(CALLEE.replace("a + 1", "a + 2"))
    assert run() == [30, 0]
    assert not (package / "__pycache__").joinpath("caller.nbi").exists()
    assert list((tmp_path / "cache").rglob("*.nbc")), "the cache lies where it was told to"


class Two:
    """The files of one kernel, as the program of two sources sees them."""

    KEY = (("the signature",), ("x86_64", "a processor"), ("code", "cells"))

    def __init__(self, path):
        self.path = path
        self.old, self.new = (cache._Files(str(path), "kernel-1.py311", stamp) for stamp in ("old", "new"))

    def names(self):
        return sorted(path.name for path in self.path.iterdir())


def test_an_index_never_names_what_was_compiled_of_another_source(tmp_path, monkeypatch):
    """A process that is killed between the two files, or that has room for the small one only, leaves the other out."""
    files = Two(tmp_path)
    files.old.save(Two.KEY, "compiled of the old source")
    assert files.old.load(Two.KEY) == "compiled of the old source" and files.new.load(Two.KEY) is None

    def full(name, data):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(files.new, "_save_data", full)
        files.new.save(Two.KEY, "compiled of the new source")
    assert files.new.load(Two.KEY) is None
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(files.new, "_save_index", lambda overloads: full("", overloads))
        files.new.save(Two.KEY, "compiled of the new source")
    assert files.new.load(Two.KEY) is None and files.old.load(Two.KEY) == "compiled of the old source"

    files.new.save(Two.KEY, "compiled of the new source")
    assert files.new.load(Two.KEY) == "compiled of the new source" and files.old.load(Two.KEY) is None
    assert len(files.names()) == 2, "what is of no use any more does not stay"


def test_what_one_variant_leaves_behind_is_not_the_others(tmp_path):
    files = Two(tmp_path)
    outer = cache._Files(str(tmp_path), "kernel-1.py311.outer", "old")
    outer.save(Two.KEY, "for Python")
    files.old.save(Two.KEY, "for kernels")
    files.new.save(Two.KEY, "for kernels, of the new source")
    assert outer.load(Two.KEY) == "for Python" and files.new.load(Two.KEY) == "for kernels, of the new source"


def test_two_processors_that_share_a_directory_do_not_share_code(tmp_path, monkeypatch):
    """Both look at an index that names nothing, one writes while the other does: numba calls both files number 1."""
    here, there = Two.KEY, (Two.KEY[0], ("x86_64", "another processor"), Two.KEY[2])
    files = Two(tmp_path)
    other = cache._Files(str(tmp_path), "kernel-1.py311", "old")
    write = files.old._save_data

    def interleaved(name, data):
        other.save(there, "for the other")
        write(name, data)

    with monkeypatch.context() as patch:
        patch.setattr(other, "_load_index", dict)
        patch.setattr(files.old, "_save_data", interleaved)
        files.old.save(here, "for this one")
    assert files.old.load(here) in ("for this one", None)  # what is lost is compiled again
    assert files.old.load(there) in ("for the other", None)
    for key, text in ((here, "for this one"), (there, "for the other")):
        files.old.save(key, text)
    assert (files.old.load(here), files.old.load(there)) == ("for this one", "for the other")


@pytest.mark.parametrize("ending", [".nbi", ".nbc"])
@pytest.mark.parametrize("left", [b"", b"\x80", b"nonsense", b"\x80\x04\x8c\x06nosuch\x94\x8c\x04name\x94\x93\x94."])
def test_a_damaged_file_is_compiled_anew(tmp_path, ending, left):
    files = Two(tmp_path)
    files.old.save(Two.KEY, "compiled")
    (damaged,) = [path for path in tmp_path.iterdir() if path.name.endswith(ending)]
    damaged.write_bytes(left)
    assert files.old.load(Two.KEY) is None
    files.old.save(Two.KEY, "compiled")
    assert files.old.load(Two.KEY) == "compiled"


@pytest.mark.skipif(PLAIN, reason="plain mode compiles nothing")
def test_kernels_work_where_nothing_can_be_kept(tmp_path):
    """A directory that cannot be: one warning, and what was compiled is used."""
    (tmp_path / "file").write_text("no directory")
    program = (
        "from aero_lab.framing import l2_tunnel\n"
        "from aero_lab.compiled import registry\n"
        "made = [k for k in registry._kernels if k.is_entry][:2]\n"
        "for k in made: k.prepare()\n"
        "print(sum(k.ready for k in made))\n"
    )
    environment = {**os.environ, "AERO_LAB_CACHE_DIR": str(tmp_path / "file" / "below"), "PYTHONPATH": str(ROOT.parent)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stdout == "2\n", done.stderr
    assert done.stderr.count("cannot keep compiled kernels in") == 1 and "Traceback" not in done.stderr
