"""The kernels of the package, read from its sources: what there is in either mode, compiled or plain."""

from __future__ import annotations

import ast
from pathlib import Path

import aero_lab

ROOT = Path(aero_lab.__file__).parent


def _is_kernel(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef) and any(
        isinstance(d, ast.Call) and isinstance(d.func, ast.Name) and d.func.id == "kernel" for d in node.decorator_list
    )


def defined() -> set[str]:
    """``module.kernel`` of every function under ``@kernel(...)`` in the package, nested ones too."""
    out = set()
    for path in sorted(ROOT.rglob("*.py")):
        module = ".".join(["aero_lab", *path.relative_to(ROOT).with_suffix("").parts])
        for node in ast.walk(ast.parse(path.read_text())):
            if _is_kernel(node):
                out.add(f"{module.removesuffix('.__init__')}.{node.name}")  # type: ignore[attr-defined]
    return out
