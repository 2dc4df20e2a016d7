"""Generators that can be copied.

Theory of operation
-------------------
Python copies no generator: where one stands is hidden in its frame. What can be seen of a suspended one is enough,
though: its code and where in it it waits (``f_lasti`` and the positions of a code object's instructions), its local
variables, and the iterators of the ``for`` loops around that place, which the garbage collector tells.

:func:`take_apart` notes these. :func:`Reviver.make` gives a generator of *another function*, made from the same source
for this one place: everything on the way to it is left out, the statements before as well as the conditions of loops
and branches around it, and what remains is the same code in the same lines::

    while not socket.readable:                      while resuming or not socket.readable:
        check(socket)                                   if not resuming: check(socket)
        if not (yield Wait(...)):            ->         if not ((yield) if resuming... else (yield Wait(...))):
            raise TaskTimeout                               raise TaskTimeout

Its first ``next`` goes straight to the place and waits there as the original does; from then on both do the same. One
that stands in a ``yield from`` gets the copy of the generator below, and that one is brought to its place by the same
``next``.

What is not understood is refused with the name of the function (:class:`CannotCopy`): a ``with`` block or an ``except``
clause around a wait, variables of an enclosing function, a wait behind a call in the same expression (that call would
be made twice).
"""

from __future__ import annotations

import ast
import gc
import inspect
import linecache
import sys
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType, GeneratorType
from typing import Any

from ..errors import UsageError

BOX, RESUMING, BELOW, LOOP = "__aero_box", "__aero_resuming", "__aero_below", "__aero_loop"
"""Names in the functions made here; no other local variable begins with ``__aero``."""
ENDED, FRESH = "ended", "fresh"
Place = tuple[int, int, int, int]
"""Line and column where an expression begins and ends."""


class CannotCopy(UsageError):
    """A generator stands where it cannot be copied."""


@dataclass(frozen=True)
class Origin:
    """Where a generator's function is written."""

    module: str
    qualname: str
    file: str
    line: int
    """That of its code object: of the first decorator."""


@dataclass
class Suspended:
    """A generator as data."""

    origin: Origin
    place: Place | str
    """The ``yield`` where it waits, or :data:`FRESH` (it never ran) or :data:`ENDED`."""
    variables: dict[str, Any]
    below: Any
    """The generator (or other iterator) that it waits for in ``yield from``."""
    loops: list[Any]
    """Iterators of the ``for`` loops around the place, the outer one first."""


class Rest:
    """What is left of an iterator, and before it the item that is being worked on."""

    __slots__ = ("item", "left", "told")

    def __init__(self, item: Any, left: Any):
        self.item, self.left, self.told = item, left, False

    def __iter__(self) -> Rest:
        return self

    def __next__(self) -> Any:
        if self.told:
            return next(self.left)
        self.told = True
        item, self.item = self.item, None
        return item


_origins: dict[CodeType, Origin] = {}
"""Of the functions made here."""


def origin_of(generator: GeneratorType) -> Origin:
    """The function that a generator, or the one it was copied from, is written as."""
    code = generator.gi_code
    known = _origins.get(code)
    if known is not None:
        return known
    frame = generator.gi_frame
    module = frame.f_globals.get("__name__", "") if frame is not None else ""
    return Origin(module, code.co_qualname, code.co_filename, code.co_firstlineno)


# Taking apart ---------------------------------------------------------------------------------------------------------
def take_apart(generator: GeneratorType) -> Suspended:
    """What there is to know of a generator that does not run just now; it goes on unharmed."""
    origin = origin_of(generator)
    state = inspect.getgeneratorstate(generator)
    if state == inspect.GEN_CLOSED:
        return Suspended(origin, ENDED, {}, None, [])
    if state == inspect.GEN_RUNNING:
        raise CannotCopy(f"{origin.qualname} is at work just now: it can be copied while it waits")
    code, frame = generator.gi_code, generator.gi_frame
    assert frame is not None
    if code.co_freevars:
        names = ", ".join(code.co_freevars)
        raise CannotCopy(f"{origin.qualname} uses {names} of a function around it, which a copy would share")
    variables = {name: value for name, value in frame.f_locals.items() if not name.startswith("__aero")}
    if state == inspect.GEN_CREATED:
        held = frame.f_locals.get(BOX) if code in _origins else None  # one that was made here, and never ran
        if held is not None:
            variables = {name: value for name, value in held.items() if name != BELOW}
        return Suspended(origin, FRESH, variables, None, [])
    where = list(code.co_positions())[frame.f_lasti // 2]
    if None in where:
        raise CannotCopy(f"{origin.qualname} was compiled without positions")
    place: Place = (where[0], where[2], where[1], where[3])  # type: ignore[assignment]
    below = generator.gi_yieldfrom
    around = _way(_function(origin), place, origin)
    loops = [node for node in around if isinstance(node, ast.For)]
    shared = sum(name in frame.f_locals for name in code.co_cellvars)
    found = _on_stack(generator, len(frame.f_locals), shared)[: len(loops)]
    if len(found) < len(loops) or not all(hasattr(each, "__next__") for each in found):
        raise CannotCopy(f"{origin.qualname} stands in a loop whose iterator cannot be found")
    rests = [_rest(node, each, variables, origin) for node, each in zip(loops, found)]
    return Suspended(origin, place, variables, below, rests)


def _on_stack(generator: GeneratorType, bound: int, shared: int) -> list[Any]:
    """What a suspended frame holds beside its variables: the garbage collector visits function, code, variables and
    then the rest, in that order."""
    code = generator.gi_code
    held = gc.get_referents(generator)
    for at in range(1, len(held)):
        if held[at] is code and getattr(held[at - 1], "__code__", None) is code:
            # A variable that nested functions share counts also while it has no value.
            cells = sum(type(each).__name__ == "cell" for each in held[at + 1 :])
            return held[at + 1 + bound - shared + cells :]
    return []


def _rest(loop: ast.For, iterator: Any, variables: dict[str, Any], origin: Origin) -> Rest:
    if isinstance(iterator, Rest) and iterator.told:
        iterator = iterator.left
    return Rest(_value(loop.target, variables, origin), iterator)


def _value(target: ast.expr, variables: dict[str, Any], origin: Origin) -> Any:
    if isinstance(target, ast.Name) and target.id in variables:
        return variables[target.id]
    if isinstance(target, ast.Tuple):
        return tuple(_value(each, variables, origin) for each in target.elts)
    raise CannotCopy(f"{origin.qualname} waits in a loop over something else than plain variables")


# Finding the source ---------------------------------------------------------------------------------------------------
@lru_cache(maxsize=256)
def _tree(file: str, _stamp: int) -> ast.Module:
    return ast.parse("".join(linecache.getlines(file)))


def _function(origin: Origin) -> ast.FunctionDef:
    module = sys.modules.get(origin.module)
    lines = linecache.getlines(origin.file, vars(module) if module is not None else None)
    if not lines:
        raise CannotCopy(f"the source of {origin.qualname} is not to be had")
    name = origin.qualname.rpartition(".")[2]
    for node in ast.walk(_tree(origin.file, hash(tuple(lines)))):
        if isinstance(node, ast.FunctionDef) and node.name == name:
            first = min((each.lineno for each in node.decorator_list), default=node.lineno)
            if origin.line == first:
                return node
    raise CannotCopy(f"the source of {origin.qualname} is not what it was")


def _place(node: ast.AST) -> Place:
    return (node.lineno, node.col_offset, node.end_lineno, node.end_col_offset)  # type: ignore[attr-defined]


def _way(function: ast.FunctionDef, place: Place, origin: Origin) -> list[ast.AST]:
    """The nodes from a function's body down to the ``yield`` at a place."""

    def search(node: ast.AST) -> list[ast.AST] | None:
        if isinstance(node, (ast.Yield, ast.YieldFrom)) and _place(node) == place:
            return [node]
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
                continue
            found = search(child)
            if found is not None:
                # A loop counts only where the place is inside of it, not in what it goes over.
                inside = not (isinstance(node, ast.For) and child is node.iter)
                return [node, *found] if inside else found
        return None

    for statement in function.body:
        found = search(statement)
        if found is not None:
            return found
    raise CannotCopy(f"{origin.qualname} waits at a place that is not in its source")


# Making the copy ------------------------------------------------------------------------------------------------------
class Reviver:
    """Makes generators of what :func:`take_apart` noted: first all of them, then what is in them, then :meth:`go`."""

    def __init__(self) -> None:
        self._boxes: dict[int, tuple[Any, dict[str, Any]]] = {}
        self._below: set[int] = set()
        self._waiting: list[Any] = []

    def make(self, origin: Origin, place: Place | str) -> Any:
        """A generator that is empty still: :meth:`fill` it."""
        box: dict[str, Any] = {}
        if place == ENDED:
            made = _nothing()
            made.close()
        else:
            made = _variant(origin, place)(box)
            if place != FRESH:
                self._waiting.append(made)
        self._boxes[id(made)] = made, box
        return made

    def fill(self, made: Any, state: tuple[dict[str, Any], Any, list[Any]]) -> None:
        """Give it its variables, the generator below and its loops."""
        variables, below, loops = state
        box = self._boxes[id(made)][1]
        box.update(variables)
        box[BELOW] = below
        self._below.add(id(below))
        for number, each in enumerate(loops):
            box[f"{LOOP}{number}"] = each

    def go(self) -> None:
        """Bring all of them to their places."""
        for each in self._waiting:
            if id(each) not in self._below and next(each) is not None:
                raise CannotCopy(f"{each.gi_code.co_qualname} did not get to where it was")
        self._boxes.clear()
        self._waiting.clear()
        self._below.clear()


def _nothing() -> Any:
    return
    yield


@lru_cache(maxsize=1024)
def _variant(origin: Origin, place: Place | str) -> Any:
    """A function of one dictionary whose generator begins at ``place``."""
    module = sys.modules.get(origin.module)
    if module is None:
        raise CannotCopy(f"{origin.module} is not there")
    function = _function(origin)
    way = [] if place == FRESH else _way(function, place, origin)  # type: ignore[arg-type]
    names = [name for name in _names(function) if not name.startswith("__aero")]
    maker = _Maker(origin, way)
    body = maker.block(function.body) if way else function.body
    begin = [f"if {name!r} in {BOX}: {name} = {BOX}[{name!r}]" for name in names]
    begin += [f"{LOOP}{number} = {BOX}['{LOOP}{number}']" for number in range(maker.loops)]
    begin += [f"{BELOW} = {BOX}.get({BELOW!r})", f"{RESUMING} = {bool(way)}", f"del {BOX}"]
    prologue = [ast.copy_location(each, function) for each in ast.parse("\n".join(begin)).body]
    argument = ast.arguments([], [ast.arg(BOX)], None, [], [], None, [])
    made = ast.FunctionDef(function.name, argument, [*prologue, *body], [], None)
    tree = ast.Module([ast.copy_location(made, function)], [])
    for node in ast.walk(tree):
        if isinstance(node, (ast.expr, ast.stmt)) and not hasattr(node, "end_lineno"):
            ast.copy_location(node, function)
    ast.fix_missing_locations(tree)
    place_in: dict[str, Any] = {}
    exec(compile(tree, origin.file, "exec", dont_inherit=True, optimize=-1), vars(module), place_in)
    variant = place_in[function.name]
    variant.__qualname__ = origin.qualname
    _origins[variant.__code__] = origin
    return variant


def _names(function: ast.FunctionDef) -> list[str]:
    """Every local variable of a function, its parameters first."""
    given = function.args
    every = [*given.posonlyargs, *given.args, given.vararg, *given.kwonlyargs, given.kwarg]
    names = dict.fromkeys(each.arg for each in every if each is not None)
    outside: set[str] = set()

    def look(node: ast.AST) -> None:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.setdefault(node.name)
            return
        if isinstance(node, (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
            names.update(dict.fromkeys(each.target.id for each in ast.walk(node) if isinstance(each, ast.NamedExpr)))
            return
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.setdefault(node.id)
        elif isinstance(node, (ast.Global, ast.Nonlocal)):
            outside.update(node.names)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names.update(dict.fromkeys((each.asname or each.name).partition(".")[0] for each in node.names))
        for child in ast.iter_child_nodes(node):
            look(child)

    for statement in function.body:
        look(statement)
    return [name for name in names if name not in outside]


class _Maker:
    """Rewrites the statements on the way to one place."""

    def __init__(self, origin: Origin, way: list[ast.AST]):
        self.origin = origin
        self.way = {id(node) for node in way}
        self.loops = 0

    def block(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        """What stands before the statement on the way is left out the first time."""
        for at, statement in enumerate(statements):
            if id(statement) in self.way or self._holds(statement):
                before = list(statements[:at])
                guarded = [ast.copy_location(ast.If(_not(_resuming()), before, []), before[0])] if before else []
                return [*guarded, self.statement(statement), *statements[at + 1 :]]
        raise CannotCopy(f"{self.origin.qualname} waits at a place that is not in its source")

    def _holds(self, node: ast.AST) -> bool:
        """Whether the place is inside of a node (which may not be on the way itself: see :func:`_way`)."""
        return any(id(child) in self.way for child in ast.walk(node))

    def statement(self, node: ast.stmt) -> ast.stmt:
        if isinstance(node, ast.While):
            if self._in(node.body):
                return self._with(node, test=_or(_resuming(), node.test), body=self.block(node.body))
            return self._with(node, test=self.expression(node.test))
        if isinstance(node, ast.If):
            if self._in(node.body):
                return self._with(node, test=_or(_resuming(), node.test), body=self.block(node.body))
            if self._in(node.orelse):
                return self._with(node, test=_and(_not(_resuming()), node.test), orelse=self.block(node.orelse))
            return self._with(node, test=self.expression(node.test))
        if isinstance(node, ast.For):
            if self._in(node.body):
                name = ast.Name(f"{LOOP}{self.loops}", ast.Load())
                self.loops += 1
                over = ast.IfExp(_resuming(), name, node.iter)
                return self._with(node, iter=over, body=self.block(node.body))
            return self._with(node, iter=self.expression(node.iter))
        if isinstance(node, ast.Try):
            if self._in(node.body):
                return self._with(node, body=self.block(node.body))
            if self._in(node.orelse):
                skipped = [ast.copy_location(ast.If(_not(_resuming()), list(node.body), []), node)]
                return self._with(node, body=skipped, orelse=self.block(node.orelse))
            raise CannotCopy(f"{self.origin.qualname} waits in an except or finally clause")
        if isinstance(node, (ast.Assign, ast.AnnAssign, ast.Return, ast.Expr)) and node.value is not None:
            return self._with(node, value=self.expression(node.value))
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            return self._with(node, value=self.expression(node.value))
        raise CannotCopy(f"{self.origin.qualname} waits in a statement that cannot be entered in its middle")

    def _in(self, nodes: list[ast.stmt]) -> bool:
        return any(self._holds(node) for node in nodes)

    @staticmethod
    def _with(node: Any, **changes: Any) -> Any:
        values = {name: getattr(node, name, None) for name in node._fields}
        return ast.copy_location(type(node)(**{**values, **changes}), node)

    def expression(self, node: ast.expr) -> ast.expr:
        """The way through an expression: what is worked out before the place may be so again, if that does nothing."""
        if isinstance(node, ast.Yield):
            waiting = ast.copy_location(ast.Yield(None), node)
            return ast.copy_location(ast.IfExp(_arrive(), waiting, node), node)
        if isinstance(node, ast.YieldFrom):
            below = ast.IfExp(_arrive(), ast.Name(BELOW, ast.Load()), node.value)
            return ast.copy_location(ast.YieldFrom(below), node)
        if isinstance(node, ast.BoolOp):
            return self._boolean(node)
        if isinstance(node, ast.IfExp):
            if self._holds(node.body):
                return self._with(node, test=_or(_resuming(), node.test), body=self.expression(node.body))
            if self._holds(node.orelse):
                return self._with(node, test=_and(_not(_resuming()), node.test), orelse=self.expression(node.orelse))
            return self._with(node, test=self.expression(node.test))
        known = (ast.Call, ast.Compare, ast.UnaryOp, ast.BinOp, ast.NamedExpr, ast.Attribute, ast.Subscript, ast.Tuple)
        if not isinstance(node, (*known, ast.List, ast.keyword)):
            raise CannotCopy(f"{self.origin.qualname} waits in the middle of an expression")
        changes: dict[str, Any] = {}
        for name, value in ast.iter_fields(node):
            parts = value if isinstance(value, list) else [value]
            done = []
            for part in parts:
                if changes or not isinstance(part, ast.AST) or not self._holds(part):
                    if not changes and isinstance(part, ast.expr) and not _quiet(part):
                        raise CannotCopy(f"{self.origin.qualname} waits behind a call in the same expression")
                    done.append(part)
                else:
                    done.append(self.expression(part))  # type: ignore[arg-type]
                    changes[name] = None
            if name in changes:
                changes[name] = done if isinstance(value, list) else done[0]
        return self._with(node, **changes)

    def _boolean(self, node: ast.BoolOp) -> ast.expr:
        """Operands before the place had their say when the original passed them."""
        values: list[ast.expr] = []
        passed = False
        for value in node.values:
            if passed:
                values.append(value)
            elif self._holds(value):
                values.append(self.expression(value))
                passed = True
            elif isinstance(node.op, ast.And):
                values.append(_or(_resuming(), value))
            else:
                values.append(_and(_not(_resuming()), value))
        return self._with(node, values=values)


def _quiet(node: ast.expr) -> bool:
    """Whether working out an expression does nothing but look."""
    quiet = (ast.Name, ast.Attribute, ast.Constant, ast.Tuple, ast.Subscript, ast.expr_context, ast.Starred)
    return all(isinstance(each, quiet) for each in ast.walk(node))


def _resuming() -> ast.expr:
    return ast.Name(RESUMING, ast.Load())


def _arrive() -> ast.expr:
    """True once: on the way to the place."""
    done = ast.NamedExpr(ast.Name(RESUMING, ast.Store()), ast.Constant(False))
    return _and(_resuming(), _not(done))


def _not(node: ast.expr) -> ast.expr:
    return ast.UnaryOp(ast.Not(), node)


def _or(first: ast.expr, second: ast.expr) -> ast.expr:
    return ast.BoolOp(ast.Or(), [first, second])


def _and(first: ast.expr, second: ast.expr) -> ast.expr:
    return ast.BoolOp(ast.And(), [first, second])
