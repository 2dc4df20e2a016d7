"""Writes the handlers that differ only in operation, form and width, and the dispatch over all handlers.

``python -m aero_lab.cpu.generate`` rewrites them from the opcode table; a test
checks that what lies in the tree is what this makes.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

from .opcodes import CONDITIONS, NUMBERS, PAIR, PAIRED

HERE = Path(__file__).parent
GENERATED = ("op_alu", "op_alu32", "op_jump", "op_pair")

FUNCTION = {
    "add": "add", "or": "or_", "adc": "adc", "sbb": "sbb", "and": "and_", "sub": "sub", "xor": "xor", "cmp": "sub",
    "test": "and_", "inc": "inc", "dec": "dec", "neg": "neg",
}  # fmt: skip
GET = {8: "get8", 16: "get16", 32: "gpr"}
SET = {8: "set8", 16: "set16", 32: "put_gpr"}

HEADER = '''"""Arithmetic, logic, jumps and pairs of both by form and width: written by ``generate.py``, not by hand.

The forms: ``rr`` register with register, ``rm`` register with memory, ``mr`` memory with register, ``ri`` and ``mi``
with an immediate, ``r`` and ``m`` alone. ``alu_`` handlers take the operation from ``imm2``.
"""

from __future__ import annotations

'''

IMPORTS = (
    (".alu", ("adc", "add", "and_", "arithmetic", "dec", "inc", "neg", "or_", "sbb", "sub", "xor")),
    (".cells", ("gpr", "put_gpr")),
    (".flags", ("carry", "overflow", "parity", "sign", "zero")),
    (".inline", ("inlined", "kernel")),
    (".memory", ("load8", "load16", "load32", "modify8", "modify16", "modify32", "store8", "store16", "store32")),
    (".operands", ("OP", "address", "get8", "get16", "set8", "set16")),
    (".pairs", ("jump_compared", "jump_tested")),
    (".state", ("NEXT", "NOT_TAKEN", "TAKEN")),
)

CONDITION = {
    "o": "overflow(c)", "b": "carry(c)", "e": "zero(c)", "be": "carry(c) | zero(c)", "s": "sign(c)",
    "p": "parity(c)", "l": "sign(c) ^ overflow(c)", "le": "(sign(c) ^ overflow(c)) | zero(c)",
}  # fmt: skip


def _binary(name: str, form: str, bits: int) -> list[str]:
    """The body of a handler with two operands."""
    get, put = GET[bits], SET[bits]
    writes = name not in ("cmp", "test")
    generic = name == "alu"

    def result(a: str, b: str) -> str:
        if generic:
            return f"arithmetic(c, e.imm2, {a}, {b}, {bits})"
        return f"{FUNCTION[name]}(c, {a}, {b}, {bits})"

    other = {"rr": f"{get}(c, e.reg)", "ri": "e.imm", "mr": f"{get}(c, e.reg)", "mi": "e.imm"}.get(form)
    if form in ("rr", "ri"):
        value = result(f"{get}(c, e.rm)", str(other))
        return [f"{put}(c, e.rm, {value})" if writes else value, "return NEXT"]
    if form == "rm":
        lines = [f"value = load{bits}(c, ram, e.seg, address(c, e))", "if value < 0:", "    return value"]
        value = result(f"{get}(c, e.reg)", "value")
        return [*lines, f"{put}(c, e.reg, {value})" if writes else value, "return NEXT"]
    if not writes:
        lines = [f"value = load{bits}(c, ram, e.seg, address(c, e))", "if value < 0:", "    return value"]
        return [*lines, result("value", str(other)), "return NEXT"]
    lines = ["at = address(c, e)"]
    if generic:  # CMP and TEST among them must not need a writable operand
        read = f"load{bits}(c, ram, e.seg, at) if e.imm2 >= 7 else modify{bits}(c, ram, e.seg, at)"
    else:
        read = f"modify{bits}(c, ram, e.seg, at)"
    lines += [f"value = {read}", "if value < 0:", "    return value"]
    if generic:
        lines += [f"result = {result('value', str(other))}", "if e.imm2 >= 7:", "    return NEXT"]
        return [*lines, f"return store{bits}(c, k, ram, e.seg, at, result)"]
    return [*lines, f"return store{bits}(c, k, ram, e.seg, at, {result('value', str(other))})"]


def _unary(name: str, form: str, bits: int) -> list[str]:
    def result(a: str) -> str:
        return f"{a} ^ 0x{(1 << bits) - 1:X}" if name == "not" else f"{FUNCTION[name]}(c, {a}, {bits})"

    if form == "r":
        return [f"{SET[bits]}(c, e.rm, {result(f'{GET[bits]}(c, e.rm)')})", "return NEXT"]
    lines = ["at = address(c, e)", f"value = modify{bits}(c, ram, e.seg, at)", "if value < 0:", "    return value"]
    return [*lines, f"return store{bits}(c, k, ram, e.seg, at, {result('value')})"]


def _jump(name: str) -> list[str]:
    at = CONDITIONS.index(name)
    text = CONDITION[CONDITIONS[at & ~1]]
    test = f"if not {text}:" if at & 1 and " " not in text else f"if not ({text}):" if at & 1 else f"if {text}:"
    taken = ["    c.eip = (c.eip + e.imm) & M32", "    return TAKEN"]
    return [test, *taken, "c.eip = (c.eip + e.off) & M32", "return NOT_TAKEN"]


def _pair(name: str) -> list[str]:
    """A comparison and the jump behind it."""
    stem, form, bits = re.fullmatch(r"(\w+?)_(rr|rm|mr|ri|mi)(8|32)", name).groups()  # type: ignore[union-attr]
    get = GET[int(bits)]
    lines = []
    if "m" in form:
        lines = [f"value = load{bits}(c, ram, e.seg, address(c, e))", "if value < 0:", "    return value"]
    first = "value" if form[0] == "m" else f"{get}(c, e.{'reg' if form == 'rm' else 'rm'})"
    second = {"r": f"{get}(c, e.reg)", "m": "value", "i": "e.imm"}[form[1]]
    jump = "jump_compared" if stem == "cmp" else "jump_tested"
    return [*lines, f"return {jump}(c, e, e.{'rm' if 'm' in form else 'seg'}, {first}, {second}, {bits})"]


def body(name: str) -> list[str] | None:
    """The lines of a generated handler, or None if the name is not of that kind."""
    if name.endswith(PAIR) and name.removesuffix(PAIR) in PAIRED:
        return _pair(name.removesuffix(PAIR))
    if name[0] == "j" and name[1:] in CONDITIONS:
        return _jump(name[1:])
    found = re.fullmatch(r"(\w+?)_(rr|rm|mr|ri|mi|r|m)(8|16|32)", name)
    if not found:
        return None
    stem, form, bits = found[1], found[2], int(found[3])
    if form in ("r", "m"):
        return _unary(stem, form, bits) if stem in ("inc", "dec", "not", "neg") else None
    return _binary(stem, form, bits) if stem in FUNCTION or stem == "alu" else None


def home(name: str) -> str:
    """The generated module of a handler."""
    if name.endswith(PAIR):
        return "op_pair"
    return "op_alu32" if name.endswith("32") else "op_jump" if name[0] == "j" else "op_alu"


def module(which: str) -> str:
    """The text of a module of generated handlers."""
    handlers = ""
    for name in NUMBERS:
        lines = body(name)
        if lines is not None and home(name) == which:
            handlers += "\n\n" + ("" if name.startswith("alu_") else "@inlined\n")
            handlers += f"@kernel(OP)\ndef {name}(c, k, ram, e):\n" + "".join(f"    {line}\n" for line in lines)
    text = HEADER
    for origin, names in IMPORTS:
        used = [name for name in names if re.search(rf"\b{name}\b", handlers)]
        text += f"from {origin} import {', '.join(used)}\n" if used else ""
    if "M32" in handlers:
        text += "\nM32 = 0xFFFFFFFF\n"
    return text + handlers


def homes() -> tuple[dict[str, str], set[str]]:
    """Handler -> module of every handler that is written by hand, and those that are to be inlined."""
    found = {}
    hot = set()
    for path in sorted([*HERE.glob("op_*.py"), *HERE.glob("x87.py")]):
        if path.stem in GENERATED:
            continue
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.args.args and [a.arg for a in node.args.args][-1] == "e":
                found[node.name] = path.stem
                if any(isinstance(d, ast.Name) and d.id == "inlined" for d in node.decorator_list):
                    hot.add(node.name)
    return found, hot


def dispatch_module(function: str) -> str:
    """The text of ``dispatch.py`` or ``dispatch_more.py``."""
    where, hot = homes()
    modules = {name: home(name) if body(name) is not None else where[name] for name in NUMBERS}
    hot |= {name for name in NUMBERS if body(name) is not None and not name.startswith("alu_")}
    members = [name for name in NUMBERS if (name in hot) == (function == "dispatch")]
    text = '''"""The dispatch from operation number to handler: written by ``generate.py``, not by hand.

LLVM makes a jump table of each chain. What is hot is inlined into the first, all else is in the second, out of line;
more than some 350 branches in one function are too much for numba's analysis, which recurses.
"""

from __future__ import annotations

'''
    text += "from . import " + ", ".join(sorted({modules[name] for name in members})) + "\n"
    text += (
        "from .dispatch_more import dispatch_more\nfrom .inline import inlined, kernel\n"
        if function == "dispatch"
        else ""
    )
    text += "" if function == "dispatch" else "from .inline import kernel, out_of_line\n"
    text += "from .operands import OP\n"
    text += "\n\n@inlined" if function == "dispatch" else "\n"
    text += f"\n@kernel(OP)\ndef {function}(c, k, ram, e):\n"
    text += "" if function == "dispatch" else "    out_of_line()\n"
    text += "    op = e.op\n"
    for i, name in enumerate(members):
        call = f"return {modules[name]}.{name}(c, k, ram, e)\n"
        if i == len(members) - 1 and function == "dispatch_more":
            text += f"    {call}"
        else:
            text += f"    {'elif' if i else 'if'} op == {NUMBERS[name]}:\n        {call}"
    if function == "dispatch":
        text += "    return dispatch_more(c, k, ram, e)\n"
    return text


def texts() -> dict[str, str]:
    """All that is generated, by file name."""
    out = {f"{which}.py": module(which) for which in GENERATED}
    return out | {f"{which}.py": dispatch_module(which) for which in ("dispatch", "dispatch_more")}


def main() -> None:
    for name, text in texts().items():
        (HERE / name).write_text(text)


if __name__ == "__main__":
    main()
