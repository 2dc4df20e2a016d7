"""How much of each option stands at the client: lines of code of this package, comments and documentation left out.

What is counted is what the client half runs for a guest's frames: from the NIC's rings to the tunnel's messages. The
transports are the same for all and not in it. A browser's client would be another program; the ratio is what tells.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

_STACK = ("stack/*.py", "wire/*.py")
PARTS: dict[str, tuple[str, ...]] = {
    "A": (
        *_STACK, "lan/*.py", "paths/relay_egress.py", "paths/mux_port.py", "paths/mux_stream.py",
        "paths/socket_relay.py", "framing/tcp_mux.py", "framing/udp_relay.py",
    ),
    "B": (
        *_STACK, "lan/edge.py", "lan/strip.py", "lan/dhcp.py", "lan/router6.py", "lan/config.py", "paths/l3_tunnel.py",
        "paths/l2_tunnel.py", "paths/l2_control.py", "framing/l2_tunnel.py", "framing/l3_tunnel.py",
    ),
    "C": ("paths/l2_tunnel.py", "paths/l2_control.py", "framing/l2_tunnel.py"),
}  # fmt: skip
"""Files by option. B answers ARP, neighbour discovery and DHCP with the same stack that stands at the proxy in C."""


@cache
def client_lines(option: str) -> int | None:
    """Lines of code at the client; None for an option that is not known."""
    root = Path(__file__).resolve().parents[1]
    files = {path for pattern in PARTS.get(option, ()) for path in root.glob(pattern)}
    return sum(map(lines_of_code, sorted(files))) or None


def lines_of_code(path: Path) -> int:
    """Lines that hold code: none that are blank, comments, or documentation alone."""
    text = path.read_text(encoding="utf-8")
    said: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            said.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return sum(
        1
        for number, line in enumerate(text.splitlines(), 1)
        if number not in said and line.strip() and not line.lstrip().startswith("#")
    )
