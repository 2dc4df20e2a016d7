"""From a grid, as a user writes it, to the runs it stands for: everything that can be wrong is said before one begins.

A key names an axis, its value the places on it: a list (a range, an array) has several, anything else is one. Where a
key belongs is found by its name:

* ``option``, ``transport``, ``workload``, ``guest``, ``profile``, ``mtu``, ``ack_policy``: of the run;
* parameters of :class:`~aero_lab.Link` (``rtt``, ``loss``, ``rate`` ...), or ``link`` for whole links;
* parameters of the workloads (``size``, ``count`` ...) and settings of the options (``connect``, ``mux`` ...).

``link__rate``, ``workload__rate``, ``option__mux`` and ``transport__congestion`` say it outright, and have to where a
name could be two things. A parameter or setting that only some of the workloads, options or transports take holds for
those, and the others run once.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import product
from typing import TYPE_CHECKING, Any

from ...bounds import SWEEP_RUNS
from ...errors import UsageError
from ..cases import Case, check_seed, check_timeout

if TYPE_CHECKING:
    from ...link import Link

RUN_AXES = ("option", "transport", "workload", "guest", "profile", "mtu", "ack_policy")
"""Keys that are fields of a run."""
SYNONYMS = {each + "s": each for each in ("option", "transport", "workload", "guest", "profile")}
ROOMS = ("link", "workload", "option", "transport")
"""What a key can belong to beside the run itself: ``room__name``."""
REFUSED = {
    "seed": "seeds are given by seeds=, not as an axis",
    "virtual": "a sweep runs in virtual time",
    "mode": "a sweep runs in virtual time",
    "repeat": "a run in virtual time repeats itself exactly: vary seeds= instead",
    "repeats": "a run in virtual time repeats itself exactly: vary seeds= instead",
    "settings": "settings are axes of their own: option__NAME=... or transport__NAME=...",
    "parameters": "parameters are axes of their own: NAME=... or workload__NAME=...",
    "box": "a box is of real time: give size=",
}


@dataclass(frozen=True)
class Plan:
    """What a grid stands for."""

    cases: tuple[Case, ...]
    """The runs, in the order of the grid: the first key turns slowest, the seed fastest."""
    link_keys: tuple[str, ...] = ()
    """Parameters of the link that the grid names: they are columns even where no value differs from the default."""
    left_out: tuple[dict[str, str], ...] = field(default=())
    """Combinations that cannot be: ``option``, ``transport``, ``reason``."""

    def __len__(self) -> int:
        return len(self.cases)


def config_of(case: Case) -> dict[str, Any]:
    """A run's configuration as plain values: two runs with the same are the same run."""
    config = case.to_dict()
    config.pop("repeat", None)  # which of several it is changes nothing
    return config


def key_of(config: Mapping[str, Any]) -> str:
    """Digest of a configuration: what a store knows its row by."""
    text = json.dumps(config, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def plan(grid: Mapping[str, Any], seeds: int | Iterable[int] = 1, timeout: float = 600.0) -> Plan:
    """The runs of a grid; :class:`UsageError`, one line, for whatever is wrong with it."""
    axes = _axes(grid)
    every_seed = seeds_of(seeds)
    check_timeout(timeout)
    total = len(every_seed)
    for axis in axes:
        total *= len(axis.values)
    if total > SWEEP_RUNS:
        raise UsageError(f"this grid has {total:,} runs; a sweep has at most {SWEEP_RUNS:,}")
    known = _Known(axes)
    cases: dict[str, Case] = {}
    left_out: dict[tuple[str, str, str], None] = {}
    refused: dict[str, str] = {}
    for values in product(*(axis.values for axis in axes)):
        point = [(axis, value) for axis, value in zip(axes, values) if known.taken(axis, values)]
        made = _case(point, float(timeout))
        key = key_of(config_of(made))
        if key in cases:  # a parameter that this one does not take has turned
            continue
        if key not in refused:
            refused[key] = known.why_not(point, made)
        if refused[key]:
            left_out[made.option, made.transport, refused[key]] = None
            continue
        made.check()
        cases[key] = made
    if not cases:
        raise UsageError("nothing of this grid can run: " + "; ".join(dict.fromkeys(why for _, _, why in left_out)))
    seeded = tuple(replace(case, seed=seed) for case in cases.values() for seed in every_seed)
    named = tuple(axis.name for axis in axes if axis.room == "link" and axis.name != "link")
    out = tuple({"option": o, "transport": t, "reason": why} for o, t, why in left_out)
    return Plan(seeded, named, out)


def seeds_of(seeds: int | Iterable[int]) -> tuple[int, ...]:
    """``20`` is the seeds from 1 to 20; a list is itself."""
    if isinstance(seeds, int) and not isinstance(seeds, bool):
        if seeds < 1:
            raise UsageError(f"seeds must be 1 or more, or a list of seeds, not {seeds}")
        if seeds > SWEEP_RUNS:
            raise UsageError(f"seeds: a sweep has at most {SWEEP_RUNS:,} runs, and as many seeds")
        return tuple(range(1, seeds + 1))
    try:
        given: list[Any] = [_plain(each) for each in seeds]  # type: ignore[union-attr]
    except TypeError:
        given = [None]
    if not given or not all(isinstance(each, int) and not isinstance(each, bool) for each in given):
        raise UsageError(f"seeds must be a number, or a list of whole numbers, not {seeds!r}")
    if len(set(given)) < len(given):
        raise UsageError("seeds names one seed twice: the same seed is the same run")
    for each in given:
        check_seed(each)
    return tuple(given)


# Axes -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Axis:
    room: str
    """``run``, or one of :data:`ROOMS`."""
    name: str
    values: tuple[Any, ...]

    @property
    def key(self) -> str:
        return self.name if self.room == "run" or self.name == self.room else f"{self.room}__{self.name}"


def _axes(grid: Mapping[str, Any]) -> list[_Axis]:
    """The axes, options, transports and workloads first."""
    flat = dict(_flattened(grid))
    for key in flat:
        if key in REFUSED:
            raise UsageError(f"{key}: {REFUSED[key]}")
    found: dict[tuple[str, str], _Axis] = {}

    def add(room: str, name: str, key: str, values: tuple[Any, ...]) -> None:
        if (room, name) in found:
            raise UsageError(f"{key} is given twice")
        found[room, name] = _Axis(room, name, _distinct(key, room, name, values))

    for key, value in flat.items():
        name = SYNONYMS.get(key, key)
        if name in RUN_AXES:
            add("run", name, key, _letters(value) if name == "option" else _places(key, value))
    for name, default in (("option", "C"), ("transport", "memory"), ("workload", "download")):
        found.setdefault(("run", name), _Axis("run", name, (default,)))
    parameters = _Parameters(found)
    for key, value in flat.items():
        if SYNONYMS.get(key, key) in RUN_AXES:
            continue
        room, name = parameters.place(key)
        add(room, name, key, _places(key, value, pairs=room == "link"))
    whole = found.get(("link", "link"))
    parts = [axis.name for axis in found.values() if axis.room == "link" and axis.name != "link"]
    if whole and parts:
        raise UsageError(f"link gives whole links, and {parts[0]} a part of one: give one or the other")
    first = {("run", name): n for n, name in enumerate(RUN_AXES)}
    return sorted(found.values(), key=lambda axis: first.get((axis.room, axis.name), len(first)))


def _flattened(grid: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """``{"link": {"rtt": ...}}`` is ``link__rtt``."""
    for key, value in grid.items():
        if not isinstance(key, str):
            raise UsageError(f"an axis has a name, not {key!r}")
        if isinstance(value, Mapping):
            if key not in ROOMS:
                raise UsageError(f"{key} is no group of axes; there is {', '.join(ROOMS)}")
            for name, inner in value.items():
                yield f"{key}__{name}", inner
        else:
            yield key, value


def _places(key: str, value: Any, pairs: bool = False) -> tuple[Any, ...]:
    """The places of an axis. A tuple (inside a list, a list) is a pair ``(up, down)`` where links are spoken of."""
    from ...link import Link

    if isinstance(value, (set, frozenset)):
        raise UsageError(f"{key} is a set, which has no order: give a list")
    if isinstance(value, (str, bytes, Link)) or value is None or (pairs and isinstance(value, tuple)):
        places = (value,)
    else:
        try:
            places = tuple(value)
        except TypeError:
            places = (value,)
        if not places:
            raise UsageError(f"{key} has no values")
        if len(places) > SWEEP_RUNS:
            raise UsageError(f"{key} has more than {SWEEP_RUNS:,} values")
    return tuple(_plain(each) for each in places)


def _plain(value: Any) -> Any:
    """A number of numpy's as Python's; a list of two as a pair."""
    if isinstance(value, (list, tuple)):
        return tuple(_plain(each) for each in value)
    item = getattr(value, "item", None)
    return item() if callable(item) and not isinstance(value, (str, bytes)) else value


def _letters(value: Any) -> tuple[Any, ...]:
    """``"ABC"`` is three options."""
    given = [value] if isinstance(value, str) else list(_places("option", value))
    letters = [letter for each in given for letter in (each if isinstance(each, str) else [each])]
    if not letters:
        raise UsageError("option has no values")
    return tuple(letter.upper() if isinstance(letter, str) else letter for letter in letters)


def _distinct(key: str, room: str, name: str, values: tuple[Any, ...]) -> tuple[Any, ...]:
    """The values, none of them twice, whatever way it is written."""
    seen = set()
    for value in values:
        canonical = _canonical(room, name, value)
        if canonical in seen:
            raise UsageError(f"{key} has {value!r} twice")
        seen.add(canonical)
    return values


def _canonical(room: str, name: str, value: Any) -> str:
    from ...link import Link

    if room == "link":
        try:
            made = _link([(name, value)])
            return repr(made.to_dict() if made is not None else None)
        except UsageError:
            return repr(value)
    if room == "workload" and name == "size":
        from ...guests.scripted.workloads import size_of

        return repr(value if value is None else size_of(value))
    return str(value) if isinstance(value, Link) else repr(value)


def parameters_of(workload: str) -> tuple[str, ...]:
    """Names of a scripted guest's workload's parameters."""
    from ...guests.scripted.workloads import WORKLOADS

    if workload not in WORKLOADS:
        return ()
    code = WORKLOADS[workload].__wrapped__.__code__  # type: ignore[attr-defined]
    return code.co_varnames[2 : code.co_argcount]


def near(name: str, known: Iterable[str]) -> str:
    """What may have been meant, as the middle of a message; nothing where no name is like it."""
    found = difflib.get_close_matches(name[:64], list(known), 1, 0.6)
    return f" (did you mean {found[0]}?)" if found else ""


class _Parameters:
    """Finds the room of a key."""

    def __init__(self, found: Mapping[tuple[str, str], _Axis]):
        from ...link import Link
        from ...paths import get_path

        self.links = {each.name for each in fields(Link)} | {"link"}
        self.workloads: dict[str, list[str]] = {}
        for workload in found["run", "workload"].values:
            for name in parameters_of(workload):
                self.workloads.setdefault(name, []).append(workload)
        self.options: dict[str, list[str]] = {}
        for letter in found["run", "option"].values:
            for each in fields(get_path(str(letter))):
                self.options.setdefault(each.name, []).append(letter)

    def place(self, key: str) -> tuple[str, str]:
        room, _, name = key.partition("__")
        if name:
            if room not in ROOMS:
                raise UsageError(f"{key}: {room} is no group of axes; there is {', '.join(ROOMS)}")
            self._check(room, name, key)
            return room, name
        rooms = [
            room
            for room, names in (("link", self.links), ("workload", self.workloads), ("option", self.options))
            if key in names
        ]
        if len(rooms) > 1:
            names = " or ".join(f"{room}__{key}" for room in rooms)
            raise UsageError(f"{key} could be two things here: write {names}")
        if not rooms:
            every = (*RUN_AXES, *self.links, *self.workloads, *self.options)
            raise UsageError(
                f"{key!r} is no axis{near(key, every)}: there is {', '.join(RUN_AXES)}; "
                f"of the link {', '.join(sorted(self.links))}; "
                f"of these workloads {', '.join(sorted(self.workloads)) or 'nothing'}; of these options "
                f"{', '.join(sorted(self.options)) or 'nothing'}; and transport__SETTING"
            )
        return rooms[0], key

    def _check(self, room: str, name: str, key: str) -> None:
        there = {"link": self.links - {"link"}, "workload": self.workloads, "option": self.options}.get(room)
        if there is not None and name not in there:
            what = {"link": "a link has no", "workload": "none of these workloads has", "option": "no option here has"}
            there = sorted(there)
            raise UsageError(f"{key}: {what[room]} {name}{near(name, there)}; there is {', '.join(there) or 'nothing'}")


# Cases ----------------------------------------------------------------------------------------------------------------


class _Known:
    """What takes which parameter, found out once."""

    def __init__(self, axes: Sequence[_Axis]):
        self.axes = list(axes)
        self.at = {axis.name: n for n, axis in enumerate(axes) if axis.room == "run"}
        self._errors: dict[tuple[str, str, str, str], str] = {}
        self._takers: dict[tuple[str, str, str], bool] = {}
        for axis in axes:
            if axis.room not in ("option", "transport"):
                continue
            owners = axes[self.at[axis.room]].values
            for owner in owners:
                errors = [self._error(axis, owner, value) for value in axis.values]
                self._takers[axis.room, axis.name, owner] = not all(errors)
            if not any(self._takers[axis.room, axis.name, owner] for owner in owners):
                raise UsageError(f"{axis.key}: {self._error(axis, owners[0], axis.values[0])}")

    def taken(self, axis: _Axis, values: Sequence[Any]) -> bool:
        """Whether this parameter means anything at a point of the grid."""
        if axis.room == "workload":
            return axis.name in parameters_of(values[self.at["workload"]])
        if axis.room in ("option", "transport"):
            return self._takers[axis.room, axis.name, values[self.at[axis.room]]]
        return True

    def _error(self, axis: _Axis, owner: Any, value: Any) -> str:
        """Why an option or transport does not take this value of a setting; empty when it does."""
        key = (axis.room, axis.name, str(owner), repr(value))
        if key not in self._errors:
            from ...paths import get_path
            from ...tunnels import check_settings

            try:
                if axis.room == "option":
                    get_path(owner, **{axis.name: value})
                else:
                    check_settings(owner, {axis.name: value}, virtual=True)
                self._errors[key] = ""
            except UsageError as error:
                self._errors[key] = str(error)
        return self._errors[key]

    def why_not(self, point: Sequence[tuple[_Axis, Any]], case: Case) -> str:
        """Why a combination cannot be, where that is no mistake: others of the grid can."""
        from ...paths import get_path
        from ...tunnels import why_not

        for axis, value in point:
            if axis.room in ("option", "transport"):
                owner = case.option if axis.room == "option" else case.transport
                if why := self._error(axis, owner, value):
                    return why
        path = get_path(case.option, **case.settings)
        return why_not(case.transport, path, virtual=True, link=case.link, mtu=case.mtu)


def _link(parts: Sequence[tuple[str, Any]]) -> Link | None:
    from ...link import Link

    if not parts:
        return None
    if parts[0][0] == "link":
        return Link.of(parts[0][1])
    given = {}
    for name, value in parts:
        if isinstance(value, str):  # as in the text of a link: "50kbit/s:10Mbit/s" is up and down, "none" is nothing
            ways = [None if way == "none" else way for way in value.split(":")]
            value = tuple(ways) if len(ways) > 1 else ways[0]
        given[name] = value
    return Link(**given)


def _case(point: Sequence[tuple[_Axis, Any]], timeout: float) -> Case:
    run: dict[str, Any] = {}
    parts: dict[str, list[tuple[str, Any]]] = {room: [] for room in ROOMS}
    for axis, value in point:
        if axis.room == "run":
            run[axis.name] = value
        else:
            parts[axis.room].append((axis.name, value))
    parameters = dict(parts["workload"])
    from ...guests.scripted.workloads import check_parameters, size_of

    check_parameters(run["workload"], parameters)
    if parameters.get("size") is not None:
        parameters["size"] = size_of(parameters["size"])  # written in two ways it is one run
    return Case(
        **run,
        parameters=parameters,
        link=_link(parts["link"]),
        settings=dict(parts["option"]),
        transport_settings=dict(parts["transport"]),
        timeout=timeout,
        virtual=True,
    )
