"""The project itself: a light import, honest names, a wheel that carries what it should, no traces of a machine."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import aero_lab

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def python(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=240, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_loads_no_heavy_package_and_compiles_nothing():
    heavy = "numba numpy pandas matplotlib scapy aiohttp typer rich asyncio socket"
    program = f"import sys, aero_lab; print([name for name in {heavy.split()!r} if name in sys.modules])"
    assert python(program) == "[]"


def test_every_public_name_is_there():
    for name in aero_lab.__all__:
        assert getattr(aero_lab, name) is not None
    assert set(aero_lab.__all__) <= set(dir(aero_lab))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = aero_lab.nonsense


def test_the_core_imports_neither_sockets_nor_time():
    """DESIGN rules 1 and 6, seen from outside: importing the core brings in no asyncio, threads or sockets of ours."""
    forbidden = re.compile(r"^\s*(?:import|from)\s+(asyncio|socket|selectors|threading|time|random)\b", re.MULTILINE)
    core = "wire cpu rings stack lan framing link nic backends machine services guests/scripted capture paths compiled"
    edge = {"machine/machine.py", "machine/console.py"}  # where a machine meets the host's clock and threads
    found = [
        f"{path.relative_to(ROOT)}: {match[0].strip()}"
        for room in core.split()
        for path in sorted((ROOT / "aero_lab" / room).rglob("*.py"))
        if path.relative_to(ROOT / "aero_lab").as_posix() not in edge
        for match in forbidden.finditer(path.read_text())
    ]
    assert found == []


def test_floors_import_downwards_only():
    """Arrows point from the top floor down, no circles (DESIGN rule 6)."""
    floors = {
        name: level
        for level, names in enumerate(
            [
                "limits bounds errors causes compiled tables",
                "wire clock cpu",
                "rings link",
                "nic",
                "machine backends",
                "stack framing capture audit",
                "transports services analysis",
                "egress lan",
                "paths guests hostnet viz driver disk",
                "engine worlds keeping",
                "widgets",
                "server",
                "tunnels hops",
                "handles handles_linux handles_qemu handles_replay handles_shell "
                "injection forward lab flow_table starting forking warming experiment bench",
                "cli cli_guest cli_reproduce cli_server",
                "__main__",
            ]
        )
        for name in names.split()
    }
    upwards = []
    for path in sorted((ROOT / "aero_lab").rglob("*.py")):
        parts = path.relative_to(ROOT / "aero_lab").with_suffix("").parts
        here = parts[0]
        if here == "__init__":
            continue
        assert here in floors, f"{here} stands on no floor"
        for dots, target in re.findall(r"^\s*from (\.+)([\w.]*) import", path.read_text(), re.MULTILINE):
            above = list(parts[: len(parts) - len(dots)])
            room = [*above, *filter(None, target.split("."))][:1]
            if room and room[0] in floors and room[0] != here and floors[room[0]] > floors[here]:
                upwards.append(f"{path.relative_to(ROOT)} imports {room[0]}")
    assert upwards == []


def test_the_wheel_carries_every_notebook_and_data_set():
    included = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    there = [p for kind in ("notebooks", "datasets") for p in sorted((ROOT / kind).iterdir())]
    tracked = [p for p in there if p.suffix in (".ipynb", ".md") or p.parent.name == "datasets"]
    assert {str(p.relative_to(ROOT)) for p in tracked if p.is_file()} == set(included)
    assert all(target == f"aero_lab/share/{source}" for source, target in included.items())


def test_readme_has_two_commands_and_ci_runs_the_tests_as_printed():
    readme = (ROOT / "README.md").read_text()
    commands = re.findall(r"<!-- (\w+) -->\n```sh\n(.*?)```\n<!-- end -->", readme, re.DOTALL)
    assert [name for name, _ in commands] == ["compare", "tests"]
    for _, command in commands:
        assert command.count("\n") == 1 and command.startswith("python3 -m venv .venv && ")
    assert "<!-- tests -->" in (ROOT / ".ci" / "run").read_text()
    for picture in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", readme):
        assert (ROOT / picture).stat().st_size < 150_000


def test_every_part_of_the_package_is_the_right_size_and_says_what_it_is():
    for path in sorted((ROOT / "aero_lab").rglob("*.py")):
        text = path.read_text()
        if text.strip():
            assert text.lstrip().startswith(('"""', "#!", "from __future__")), f"{path} does not say what it is"
        assert text.count("\n") <= 700, f"{path} cannot be read in one sitting"


def test_no_path_of_a_machine_is_in_the_tree():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True)
    if listed.returncode:
        pytest.skip("not a git clone")
    machine = re.compile(rb"/(?:work|farm|root|home)/[\w.]+/|/opt/venv")
    found = [
        name
        for name in listed.stdout.decode().split("\0")
        if name and (ROOT / name).is_file() and machine.search((ROOT / name).read_bytes())
    ]
    assert [name for name in found if name != "tests/project/test_project.py"] == []


def test_notebooks_hold_no_traces_of_errors_or_machines():
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        notebook = json.loads(path.read_text())
        for cell in notebook["cells"]:
            for output in cell.get("outputs", []):
                assert output["output_type"] != "error"
                assert output.get("name") != "stderr"
            assert "execution" not in cell["metadata"]
