"""A whole bench in virtual time, copied or written to a file: what hangs together, what stays outside, what may be
changed on the way.

Theory of operation
-------------------
What a lab is made of lies on one scheduler and hangs on a handful of objects (:func:`_parts`). A fork is a copy of all
of that (:mod:`aero_lab.keeping`), with a new engine and a new lab around it: from there the two do the same, and
neither sees the other. Left behind is what belongs to the notebook and not to the bench: dashboards, whoever waits for
answers to frames of his own, and the file that the capture is written to.

A file is the same, packed. It is read by the very version of this package that wrote it and by no other: what is in it
are the insides of parts that change.
"""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING, Any

from .engine import VirtualEngine
from .errors import UsageError
from .keeping import files, graph
from .link import Link
from .transports.impaired import put_link_between

if TYPE_CHECKING:
    from .lab import Lab

STAYS = frozenset("_engine _finalizer _end_stream capture_stream _dashboard".split())
"""What a lab has and its fork does not."""
KNOBS = ("link", "ack_policy")


def fork(lab: Lab, **knobs: Any) -> Lab:
    """See :meth:`aero_lab.Lab.fork`."""
    _check_knobs(lab, knobs)
    engine, shell = VirtualEngine(), type(lab).__new__(type(lab))
    outside, inside = _around(lab._engine, lab), _around(engine, shell)

    def take() -> Any:
        _check(lab)
        return graph.copied(_parts(lab), outside, inside)

    made = _assembled(shell, engine, lab._engine.call(take))
    _turn(made, knobs)
    return made


def save(lab: Lab, path: str | os.PathLike[str]) -> int:
    """See :meth:`aero_lab.Lab.save`."""
    _check_knobs(lab, {})

    def take() -> bytes:
        _check(lab)
        return graph.pack(_parts(lab), _around(lab._engine, lab))

    return files.write(path, lab._engine.call(take))


def load(kind: type[Lab], path: str | os.PathLike[str], progress: bool = True) -> Lab:
    """See :meth:`aero_lab.Lab.load`."""
    from .compiled.registry import warmup

    name, data = os.fspath(path), files.read(path)
    warmup(progress)
    engine, shell = VirtualEngine(), kind.__new__(kind)
    try:
        parts = graph.unpack(data, _around(engine, shell))
        return _assembled(shell, engine, parts)
    except (UsageError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{name} is no bench that can be loaded: {error}") from None


def _around(engine: Any, lab: Any) -> graph.Outside:
    """What is not copied with a bench, but there is one of each around every bench."""
    return graph.Outside(engine=engine, lab=lab)


def _check(lab: Lab) -> None:
    if lab.closed:
        raise UsageError("the lab is closed")
    if lab._tap._waiting:
        raise UsageError("somebody waits for answers to frames of his own just now: fork and save before or after srp")


def _parts(lab: Lab) -> dict[str, Any]:
    """Everything that a bench hangs on."""
    engine: Any = lab._engine
    return {
        "lab": {name: value for name, value in vars(lab).items() if name not in STAYS},
        "scheduler": engine.scheduler,
        "closing": [each for each in engine._closing if not isinstance(each, weakref.finalize)],
    }


def _assembled(shell: Lab, engine: VirtualEngine, parts: dict[str, Any]) -> Lab:
    """A lab around what was copied."""
    engine.take_over(parts["scheduler"], parts["closing"])
    vars(shell).update(parts["lab"])
    shell._engine = engine
    shell._dashboard = None
    shell.capture_stream = None
    shell.capture.taken = None  # nobody follows it
    shell._finalizer = weakref.finalize(shell, engine.close)
    return shell


# What may be changed --------------------------------------------------------------------------------------------------
def _check_knobs(lab: Lab, knobs: dict[str, Any]) -> None:
    from .lan.config import ACK_POLICIES
    from .tunnels import find

    if not lab.virtual:
        raise UsageError("only a bench in virtual time can be copied or kept: Lab(virtual=True)")
    if unknown := sorted(set(knobs) - set(KNOBS)):
        raise UsageError(f"a fork cannot be given {', '.join(unknown)}; there is {', '.join(KNOBS)}")
    if "link" in knobs:
        link = knobs["link"] = Link.of(knobs["link"])
        if why := find(lab.transport, True).why_not(lab.path, virtual=True, link=link, mtu=lab.mtu):
            raise UsageError(why)
        ordered = any(channel.ordered for channel in lab.path.channels(lab.mtu))
        linked = any(guest._links for guest in lab.guests)
        if link is not None and lab.link is None and ordered and lab.guests and not linked:
            raise UsageError(
                f"option {lab.path.letter} needs channels that lose nothing: begin with a link, such as 'rtt=0ms'"
            )
    if "ack_policy" in knobs and knobs["ack_policy"] not in ACK_POLICIES:
        raise UsageError(f"ack_policy must be one of {', '.join(ACK_POLICIES)}, not {knobs['ack_policy']!r}")


def _turn(lab: Lab, knobs: dict[str, Any]) -> None:
    if "link" in knobs:
        _change_link(lab, knobs["link"])
    if "ack_policy" in knobs:
        policy = knobs["ack_policy"]
        lab._tunnels.bench.ack_policy = policy
        lab._world._ack_policy = policy
        for guest in lab.guests:
            guest.lan.tcp.acknowledge(policy)


def _change_link(lab: Lab, link: Link | None) -> None:
    """Every guest's link becomes another one from now on; who had none gets one."""
    tunnels: Any = lab._tunnels
    engine: Any = lab._engine
    wanted = link or Link()
    for guest in lab.guests:
        if guest._links:
            for side, direction in enumerate(guest._links[:2]):  # behind them may be a hop that they share
                direction.change(wanted.stages(side), wanted.in_flight_bytes(side))
        elif link is not None:
            near, far = tunnels.made[guest.number]
            ends = {id(end) for end in (*near.values(), *far.values())}
            engine._closing = [each for each in engine._closing if id(getattr(each, "__self__", None)) not in ends]
            for name in near:
                rng = tunnels.bench.rng(guest.number)("link")
                guest._links = put_link_between(near[name], far[name], link, rng, engine.now())
                engine.add(*guest._links)
                for end in (near[name], far[name]):
                    engine.on_close(end.close)
    lab.link = tunnels.bench.link = link
    lab.capture.meta["link"] = link and link.to_dict()
