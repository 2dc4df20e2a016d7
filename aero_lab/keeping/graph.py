"""Everything that hangs together, packed and made again as new objects.

Theory of operation
-------------------
The form is a pickle, with three differences.

* What must not be copied (the lab that owns the bench, its engine) is *outside*: it goes in by a name, and whoever
  unpacks says what stands for that name.
* What pickle does not know is taken apart here: memory with its views, generators, bound methods, digests under way.
* Nothing is believed of a file: a name in it is looked up in an allow-list of classes, of rooms that have no way out
  (no file, socket, thread or process), and of a handful of functions. Code is never in it; a generator is named by
  module and line, and made from the source that is installed here.

A copy within the process (:func:`copied`) goes the same way, but memory travels beside the pickle, once copied, and
whatever is defined in this process, such as a task written in a notebook, may take part.
"""

from __future__ import annotations

import builtins
import enum
import hashlib
import io
import os
import pickle
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import BuiltinFunctionType, FunctionType, GeneratorType, MethodType
from typing import Any

import numpy as np

from ..compiled.records import _zero
from ..compiled.registry import PLAIN
from ..errors import UsageError
from ..guests.linux.guest import LinuxGuest
from ..machine.machine import Machine
from . import arrays, generators
from .generators import ENDED, CannotCopy, Origin, Reviver

HERE = __name__
PACKAGE = HERE.partition(".")[0]
DEEP = 50_000
"""Depth to which objects may hang on one another: a chain of a few for each frame that is on its way."""
_ROOMS = tuple(
    f"{PACKAGE}.{room}"
    for room in """
    audit capture.recorder causes clock compiled.records egress.acks egress.contract egress.virtual errors framing
    guests.linux.guest guests.linux.scheduled guests.replay guests.scripted handles handles_linux handles_replay
    handles_shell injection keeping lan link machine.stop paths rings services stack transports.base
    transports.impaired transports.memory transports.sctp transports.simulated transports.simulated_rtc
    transports.simulated_stream tunnels.base tunnels.memory tunnels.simulated wire worlds
    """.split()
)
"""Whose classes a file may name."""
_TALKERS = tuple(
    f"{PACKAGE}.{room}"
    for room in """
    audit clock egress.virtual guests.replay guests.scripted lan link paths rings services stack transports tunnels
    worlds
    """.split()
)
"""Rooms whose objects may have methods of theirs in a file: what is called there, if a file has it called, goes
nowhere."""
_NOT = frozenset((f"{PACKAGE}.transports.memory", name) for name in ("SharedMemoryTransport", "Ticket"))
"""Classes of those rooms that hold something of the system's."""
_BUILTINS = frozenset("set frozenset bytearray range slice complex enumerate zip reversed iter map filter".split())
_COLLECTIONS = frozenset("deque OrderedDict Counter defaultdict".split())
_FUNCTIONS = frozenset({(f"{PACKAGE}.services.content", "content")})
"""Functions of ours that a file may name: (module, name)."""


class Outside:
    """What is not copied, by name."""

    def __init__(self, **named: Any):
        self.named = named
        self.names = {id(value): name for name, value in named.items()}


class _Packer(pickle.Pickler):
    """``beside``: memory and whatever else travels beside the pickle; None for one that goes into a file."""

    def __init__(self, file: Any, outside: Outside, beside: list[Any] | None):
        super().__init__(file, protocol=5)
        self._outside = outside.names
        self._beside = beside

    def persistent_id(self, obj: Any) -> Any:
        return self._outside.get(id(obj))

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if issubclass(kind, np.ndarray):
            return self._array(obj)
        if kind is memoryview:
            return self._memoryview(obj)
        if isinstance(obj, enum.Enum):
            return kind, (obj.value,)  # some Pythons would look it up by name, with a function that no file may name
        if kind is MethodType:
            return _method, (obj.__self__, obj.__func__.__name__)
        if kind is GeneratorType:
            return self._generator(obj)
        if kind is FunctionType:
            return self._function(obj)
        if kind is Machine:
            return self._put(obj.fork(), "a machine") if self._beside is not None else (_machine, (_saved(obj),))
        if kind.__module__ == "_hashlib":
            if obj.digest() == hashlib.new(obj.name).digest():
                return _digest, (obj.name,)  # of nothing so far
            return self._put(obj.copy(), f"a {obj.name} digest under way")
        if isinstance(obj, np.dtype):
            return _dtype, (arrays.dtype_name(obj),)
        if PLAIN and kind.__name__ == "Record" and isinstance(getattr(kind, "dtype", None), np.dtype):
            values = {name: getattr(obj, name) for name in kind.__slots__}
            return _record, (kind.dtype,), (None, values)
        if _is_frozen(kind):
            values = {name: getattr(obj, name) for name in _slots(kind) if hasattr(obj, name)}
            return _new, (kind,), {**values, **getattr(obj, "__dict__", {})}, None, None, _set_slots
        if kind is BuiltinFunctionType and isinstance(obj.__self__, type(sys)) is False and obj.__self__ is not None:
            return _method, (obj.__self__, obj.__name__)
        if self._beside is None and isinstance(obj, type) and not _allowed(obj.__module__, obj.__qualname__, obj):
            raise CannotCopy(f"{_called(obj)} cannot be written to a file")
        if isinstance(obj, type) and self._beside is not None and not _found(obj):
            return self._put(obj, "a class")
        return NotImplemented

    def _put(self, value: Any, what: str) -> Any:
        if self._beside is None:
            raise CannotCopy(f"{what} cannot be written to a file; a fork can go on with it")
        self._beside.append(value)
        return _beside, (len(self._beside) - 1,)

    def _array(self, array: np.ndarray) -> Any:
        owner = arrays.owner_of(array)
        if owner is not array:
            return _view, (owner, arrays.dtype_name(array.dtype), *arrays.view_of(array, owner))
        if self._beside is not None:
            return self._put(arrays.copy(array), "an array")
        return _unpacked, arrays.pack(array)

    def _memoryview(self, view: memoryview) -> Any:
        holder = view.obj
        if isinstance(holder, (bytes, str)) or view.readonly:
            return _bytes_view, (view.tobytes(), view.format)
        if not isinstance(holder, (np.ndarray, bytearray)) or not view.contiguous:
            raise CannotCopy(f"a view of {_called(type(holder))} cannot be kept")
        owner = arrays.owner_of(holder) if isinstance(holder, np.ndarray) else holder
        first, base = np.frombuffer(view.cast("B"), np.uint8), np.frombuffer(owner, np.uint8)  # type: ignore[arg-type]
        start = first.__array_interface__["data"][0] - base.__array_interface__["data"][0]
        return _memoryview, (owner, start, view.nbytes, view.format)

    def _generator(self, generator: Any) -> Any:
        state = generators.take_apart(generator)
        origin = state.origin
        if self._beside is None and state.place != ENDED and not _inside(origin.module):
            raise CannotCopy(f"{origin.qualname} is a task of your own: it cannot be written to a file")
        file = origin.file if self._beside is not None else None
        made = (origin.module, origin.qualname, origin.line, file, state.place)
        return _generator, made, (state.variables, state.below, state.loops), None, None, _fill

    def _function(self, function: Any) -> Any:
        if function.__module__ == HERE:
            return NotImplemented
        if function.__closure__:
            raise CannotCopy(
                f"{function.__qualname__} (in {function.__module__}) holds variables that cannot be copied"
            )
        if self._beside is not None:
            return self._put(function, "a function")
        if not _allowed(function.__module__, function.__qualname__, function):
            raise CannotCopy(f"{function.__qualname__} (in {function.__module__}) cannot be written to a file")
        return NotImplemented


class _Unpacker(pickle.Unpickler):
    def __init__(self, file: Any, outside: Outside, beside: list[Any] | None):
        super().__init__(file)
        self._outside = outside.named
        self._beside = beside
        self.reviver = Reviver()
        self._own = {
            "_view": arrays.view,
            "_unpacked": arrays.unpack,
            "_dtype": arrays.dtype_named,
            "_method": self._method,
            "_record": _record,
            "_new": _new,
            "_machine": _machine,
            "_digest": _digest,
            "_set_slots": _set_slots,
            "_memoryview": _memoryview,
            "_bytes_view": _bytes_view,
            "_beside": self._take,
            "_generator": self._generator,
            "_fill": self.reviver.fill,
        }

    def persistent_load(self, name: Any) -> Any:
        if not isinstance(name, str) or name not in self._outside:
            raise UsageError(f"it refers to something that is not there: {name!r}")
        return self._outside[name]

    def find_class(self, module: str, name: str) -> Any:
        if module == HERE and name in self._own:
            return self._own[name]
        if self._beside is not None:
            return super().find_class(module, name)
        if not _may_load(module):
            raise UsageError(f"it names {module}.{name}, which no bench is made of")
        found = super().find_class(module, name)
        if not _allowed(module, name, found):
            raise UsageError(f"it names {module}.{name}, which no bench is made of")
        return found

    def _take(self, number: int) -> Any:
        if self._beside is None or not 0 <= number < len(self._beside):
            raise UsageError("it refers to memory that is not there")
        return self._beside[number]

    def _method(self, owner: Any, name: str) -> Any:
        if self._beside is None:
            module = type(owner).__module__
            talks = any(module == room or module.startswith(room + ".") for room in _TALKERS)
            if not talks and not (type(owner) is LinuxGuest and name == "close"):
                raise UsageError(f"it names the method {name!r} of {_called(type(owner))}, which no bench keeps")
        return _method(owner, name)

    def _generator(self, module: str, qualname: str, line: int, file: str | None, place: Any) -> Any:
        if self._beside is None and place != ENDED:
            # Whatever the file says: the source is that of the module as it is installed here.
            if file is not None or not _inside(module) or not _may_load(module):
                raise UsageError(f"it names {module}.{qualname}, which is no task of a bench")
            __import__(module)
            file = sys.modules[module].__file__
        return self.reviver.make(Origin(module, qualname, str(file), line), place)


def pack(root: Any, outside: Outside) -> bytes:
    """Everything that hangs on ``root``, for a file. :class:`CannotCopy` names what cannot go into one."""
    return _packed(root, outside, None)


def unpack(data: bytes, outside: Outside) -> Any:
    """The inverse, of data that nobody vouches for: :class:`UsageError` for anything that is not what it should be."""
    try:
        return _unpacked_from(data, outside, None)
    except UsageError:
        raise
    except MemoryError:
        raise UsageError("it would take more memory than there is") from None
    except Exception as error:  # whatever a damaged pickle makes of its reader
        raise UsageError(f"it is damaged ({type(error).__name__}: {error})") from None


def copied(root: Any, outside: Outside, inside: Outside) -> Any:
    """A copy of everything that hangs on ``root``; what ``outside`` names is replaced by what ``inside`` does."""
    beside: list[Any] = []
    return _unpacked_from(_packed(root, outside, beside), inside, beside)


def _packed(root: Any, outside: Outside, beside: list[Any] | None) -> bytes:
    file = io.BytesIO()
    with _deep():
        try:
            _Packer(file, outside, beside).dump(root)
        except (TypeError, AttributeError, pickle.PicklingError) as error:
            raise CannotCopy(f"this bench holds something that cannot be copied: {error}") from error
    return file.getvalue()


def _unpacked_from(data: bytes, outside: Outside, beside: list[Any] | None) -> Any:
    unpacker = _Unpacker(io.BytesIO(data), outside, beside)
    with _deep():
        made = unpacker.load()
        unpacker.reviver.go()
    return made


_depth = threading.Lock()


@contextmanager
def _deep() -> Iterator[None]:
    """Let objects hang on one another as deep as they do."""
    with _depth:
        before = sys.getrecursionlimit()
        sys.setrecursionlimit(max(before, DEEP))
        try:
            yield
        finally:
            sys.setrecursionlimit(before)


# The allow-list -------------------------------------------------------------------------------------------------------
def _inside(module: str) -> bool:
    return any(module == room or module.startswith(room + ".") for room in _ROOMS)


def _may_load(module: str) -> bool:
    """Whether a file may have this module imported (which runs it)."""
    return _inside(module) or module in ("builtins", "collections", "functools", "random") or module.startswith("h11._")


def _allowed(module: str, name: str, found: Any) -> bool:
    if module == "builtins":
        exception = isinstance(found, type) and issubclass(found, Exception)
        return name in _BUILTINS or (exception and getattr(builtins, name, None) is found)
    if module == "collections":
        return name in _COLLECTIONS
    if (module, name) in (("functools", "partial"), ("random", "Random")):
        return True
    if module.startswith("h11._"):
        return isinstance(found, type) or (
            module in ("h11._readers", "h11._writers") and isinstance(found, FunctionType)
        )
    if not _inside(module):
        return False
    if isinstance(found, FunctionType):
        return (module, name) in _FUNCTIONS
    return isinstance(found, type) and found.__module__ == module and (module, name) not in _NOT


def _found(cls: type) -> bool:
    """Whether a class can be found by its name."""
    place: Any = sys.modules.get(cls.__module__)
    for part in cls.__qualname__.split("."):
        place = getattr(place, part, None)
    return place is cls


def _called(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


# What a pickle calls --------------------------------------------------------------------------------------------------
def _method(owner: Any, name: str) -> Any:
    """A method of an object that was unpacked, never one of Python's own machinery."""
    if not isinstance(name, str) or name.startswith("__") or isinstance(owner, type(sys)):
        raise UsageError(f"it names a method that cannot be kept: {name!r}")
    if isinstance(owner, type):
        found = owner.__dict__.get(name)
        if not isinstance(found, classmethod):
            raise UsageError(f"{_called(owner)} has no method {name!r} of its own")
        return found.__get__(None, owner)
    found = getattr(type(owner), name, None)
    if found is None or not callable(found):
        raise UsageError(f"{_called(type(owner))} has no method {name!r}")
    return found.__get__(owner, type(owner))


def _is_frozen(kind: type) -> bool:
    """Whether it is a data class that pickle cannot fill again: frozen, with slots, and without a way of its own."""
    settings = kind.__dict__.get("__dataclass_params__")
    return settings is not None and settings.frozen and bool(_slots(kind)) and not hasattr(kind, "__setstate__")


def _slots(kind: type) -> list[str]:
    """Names of the slots of a class and those above it."""
    every = [name for each in kind.__mro__ for name in _listed(each.__dict__.get("__slots__", ()))]
    return [name for name in every if name not in ("__dict__", "__weakref__")]


def _listed(names: str | Iterable[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _new(kind: Any) -> Any:
    if not isinstance(kind, type) or not _is_frozen(kind):
        raise UsageError("it makes something of a class that is not made so")
    return object.__new__(kind)


def _set_slots(made: Any, values: dict[str, Any]) -> None:
    if not _is_frozen(type(made)):
        raise UsageError("it fills an object that is not filled so")
    for name, value in values.items():
        object.__setattr__(made, name, value)


def _record(dtype: np.dtype) -> Any:
    return _zero(dtype)


def _digest(name: str) -> Any:
    if name not in ("md5", "sha1", "sha256"):
        raise UsageError(f"there is no digest {name!r} on a bench")
    return hashlib.new(name)


def _saved(machine: Machine) -> bytes:
    """A machine as its own snapshots are."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "machine")
        machine.save(path)
        with open(path, "rb") as file:
            return file.read()


def _machine(data: bytes) -> Machine:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "machine")
        with open(path, "wb") as file:
            file.write(data)
        return Machine.load(path)


def _bytes_view(data: bytes, form: str) -> memoryview:
    return memoryview(data).cast("B").cast(form)  # type: ignore[call-overload]


def _memoryview(owner: Any, start: int, size: int, form: str) -> memoryview:
    held: Any = arrays.raw(owner) if isinstance(owner, np.ndarray) else owner
    whole = memoryview(held).cast("B")
    if start < 0 or size < 0 or start + size > len(whole):
        raise UsageError("a view beyond its memory")
    return whole[start : start + size].cast(form)  # type: ignore[call-overload]


def _by_unpacker(name: str) -> Any:
    """A name in pickles that only an unpacker knows the meaning of."""

    def stand_in(*_: Any) -> Any:
        raise UsageError("made by an unpacker alone")

    stand_in.__name__ = stand_in.__qualname__ = name
    return stand_in


_view, _unpacked, _dtype = _by_unpacker("_view"), _by_unpacker("_unpacked"), _by_unpacker("_dtype")
_beside, _generator, _fill = _by_unpacker("_beside"), _by_unpacker("_generator"), _by_unpacker("_fill")
