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
