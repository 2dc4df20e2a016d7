"""Where compiled kernels are kept and when they are stale.

numba stamps a cached function with the time and size of the file that defines it and so does not notice
an edited callee in another file. The stamp here is a digest of the defining module and of every module
of this package it imports, directly or not, so editing a low room invalidates the rooms above it and
nothing else.
"""

from __future__ import annotations

import glob
import hashlib
import os
import pickle
import re
import sys
import warnings
from functools import cache
from importlib.util import resolve_name
from pathlib import Path
from typing import Any

from numba.core import caching

from .inner import loading_inner

PACKAGE = __name__.partition(".")[0]
_ROOT = Path(__file__).resolve().parent.parent
_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+([.\w]+)[ \t]+import[ \t]+(\([^)]*\)|[^\n#]*)|import[ \t]+([.\w]+))", re.MULTILINE
)


def cache_dir() -> Path:
    """Directory of the compiled kernels: ``AERO_LAB_CACHE_DIR``, else the user's cache directory."""
    chosen = os.environ.get("AERO_LAB_CACHE_DIR")
    if chosen:
        return Path(chosen)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "aero_lab"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aero_lab"


def _module_path(name: str) -> Path | None:
    parts = name.split(".")
    if parts[0] != PACKAGE:
        return None
    base = _ROOT.joinpath(*parts[1:])
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


@cache
def _source(name: str) -> tuple[bytes, tuple[str, ...]]:
    """Text of a module of this package and the package modules it names in imports."""
    path = _module_path(name)
    if path is None:
        return b"", ()
    text = path.read_bytes()
    return text, _imports(text.decode(), name if path.name == "__init__.py" else name.rpartition(".")[0])


def _imports(text: str, package: str) -> tuple[str, ...]:
    """Modules of this package that ``text``, a module inside ``package``, names in imports."""
    found: set[str] = set()
    for match in _IMPORT.finditer(text):
        origin, names, plain = match.groups()
        if plain:
            found.add(plain)
            continue
        if origin.startswith(".") and package.partition(".")[0] != PACKAGE:
            continue
        module = resolve_name(origin, package) if origin.startswith(".") else origin
        # A name that is a module counts for itself; the package that it lies in does only for its other names.
        inside = [f"{module}.{name.split(' as ')[0].strip()}" for name in names.strip("()").split(",") if name.strip()]
        modules = [name for name in inside if _module_path(name) is not None]
        found.update(modules)
        if len(modules) < len(inside):
            found.add(module)
    return tuple(sorted(n for n in found if _module_path(n) is not None))


@cache
def source_digest(name: str) -> str:
    """Digest of module ``name`` and of all it imports inside the package."""
    return _digest_of((name,)).hexdigest()


def outside_digest(name: str, file: str) -> str:
    """The same for a module that is not of this package (a test's, a user's); without a file, never the same twice."""
    path = Path(file)
    if not path.is_file():
        return os.urandom(16).hex()
    text = path.read_bytes()
    digest = _digest_of(_imports(text.decode(), name.rpartition(".")[0]))
    digest.update(text)
    return digest.hexdigest()


def _digest_of(names: tuple[str, ...]) -> Any:
    seen: set[str] = set()
    todo = list(names)
    while todo:
        current = todo.pop()
        if current not in seen:
            seen.add(current)
            todo.extend(_source(current)[1])
    digest = hashlib.sha256()
    for module in sorted(seen):
        digest.update(module.encode() + b"\0" + _source(module)[0] + b"\0")
    return digest


class _Locator(caching._CacheLocator):
    """Puts a function's cache under :func:`cache_dir`, stamped by :func:`source_digest`."""

    def __init__(self, py_func, py_file):
        self._py_file = py_file  # numba names it when it finds that a function cannot be cached
        self._module = py_func.__module__
        self._line = py_func.__code__.co_firstlineno

    def get_cache_path(self):
        return str(cache_dir() / "kernels" / self._module)

    def get_source_stamp(self):
        if _module_path(self._module) is None:
            return outside_digest(self._module, self._py_file)
        return source_digest(self._module)

    def get_disambiguator(self):
        return str(self._line)

    @classmethod
    def from_function(cls, py_func, py_file):
        return cls(py_func, py_file)


class _CacheImpl(caching.CompileResultCacheImpl):
    _locator_classes = [_Locator]

    def rebuild(self, target_context, payload):
        if payload[0][1] == "bitcode":
            with loading_inner(target_context.codegen()):
                # No machine code, so no place in memory for environments either: the entry points bring their own.
                return super().rebuild(target_context, (*payload[:-1], ()))
        return super().rebuild(target_context, payload)


TOLD = 16
"""Hexadecimal digits, in a compiled form's name, of what it was made of."""


class _Files(caching.IndexDataCacheFile):
    """The index of a kernel and its compiled forms.

    numba numbers these files and names them in the index before it writes them. After an edit number 1 is the form that
    was compiled of the old source, and for a moment, or for ever if the process is killed in it or the disk is full,
    the index says that it is of the new one; and two processors that share a directory can both take number 1. Here a
    name says what is in the file, and the index names nothing that is not written.
    """

    def save(self, key, data):
        told = repr((self._source_stamp, *key[1:]))  # all of the key but the signature, of which a kernel has one
        base = self._index_name.removesuffix(".nbi")
        name = f"{base}.{hashlib.sha256(told.encode()).hexdigest()[:TOLD]}.nbc"
        self._save_data(name, data)
        overloads = {**self._load_index(), key: name}
        self._save_index(overloads)
        named = {*overloads.values()}
        # Of an older source; the variants of a kernel have names of their own that begin alike.
        for path in Path(self._cache_path).glob(f"{glob.escape(base)}.{'[0-9a-f]' * TOLD}.nbc"):
            if path.name not in named:
                path.unlink(missing_ok=True)

    def load(self, key):
        try:
            return super().load(key)
        except _DAMAGED:
            return None

    def _load_index(self):
        try:
            return super()._load_index()
        except _DAMAGED:
            return {}


_DAMAGED = (OSError, EOFError, pickle.UnpicklingError, ValueError, IndexError, TypeError, AttributeError, ImportError)
"""What reading a file that is cut off, or is none of numba's, may end in: the kernel is compiled anew."""

_told = False


class KernelCache(caching.FunctionCache):
    """A numba function cache that lives in the package's own directory.

    ``variant`` keeps a function that is compiled in two ways apart from itself. Where nothing can be kept kernels work
    all the same, and are compiled by each process that needs them.
    """

    _impl_class = _CacheImpl

    def __init__(self, py_func, variant: str = ""):
        super().__init__(py_func)
        self._cache_file = _Files(
            cache_path=self._cache_path,
            filename_base=".".join(filter(None, (self._impl.filename_base, variant))),
            source_stamp=self._impl.locator.get_source_stamp(),
        )

    def save_overload(self, sig, data):
        global _told
        try:
            super().save_overload(sig, data)
        except OSError as error:
            if not _told:
                _told = True
                why = f"cannot keep compiled kernels in {cache_dir()}: {error.strerror or error}"
                warnings.warn(f"{why}; every process will compile them again", RuntimeWarning, stacklevel=2)

    def holds(self, sig, target_context) -> bool:
        """Whether an up-to-date kernel waits on disk; loads nothing but the index."""
        key = self._index_key(sig, target_context.codegen())
        name = self._cache_file._load_index().get(key)
        return name is not None and Path(self._cache_file._data_path(name)).is_file()
