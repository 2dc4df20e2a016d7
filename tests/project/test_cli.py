"""The command line: one clear line and exit code 2 for what is wrong, results where they are asked for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from aero_lab import __version__
from aero_lab.cli import run

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "line",
    [
        "compare --mtu x",
        "compare --mtu 9",
        "compare --option Z",
        "compare --transport pigeon",
        "compare --option A --transport webrtc-unordered --virtual",
        "compare --workload nap",
        "compare --workload ,",
        "compare --bytes 10XB",
        "compare --bytes -5",
        "compare --profile beos",
        "compare --link fast --virtual",
        "compare --link rtt=4ms --transport memory",
        "compare --repeat 0",
        "compare --timeout -1",
        "compare --out /dev/null/x",
        "compare --json /nowhere/at/all.json",
        "compare --colour",
        "probe",
        "probe nonsense",
        "probe ws://127.0.0.1:1 --bytes 0",
        "probe ws://127.0.0.1:1 --echo :",
        "probe ws://127.0.0.1:1 --token a,b --token-transport subprotocol",
        "probe ws://127.0.0.1:1 --json /nowhere/at/all.json",
        "bench nope",
        "bench stack --seconds 0",
        "bench stack --case nope",
        "bench sim --case nope",
        "sweep",
        "sweep /nowhere/at/all.toml",
        "sweep pyproject.toml",
        "sweep datasets/games-over-links.toml --out table.pdf",
        "sweep datasets/games-over-links.toml --json /nowhere/at/all.json",
        "inspect no-such-file.pcapng",
        "notebooks /dev/null --no-open",
        "guest fetch beos",
        "guest build beos",
        "guest run beos",
        "guest fetch linux --mirror nonsense",
        "guest fetch linux --deb /nowhere/at/all.deb",
        "guest fetch linux --keyring /nowhere/at/all.gpg",
        "guest run linux --kernel /nowhere/at/all",
        "guest run linux true --kernel /nowhere/at/all",
        "guest list --json /nowhere/at/all.json",
        "sing",
    ],
)
def test_a_wrong_value_is_one_line_and_exit_code_2(line, capfd):
    assert run(line.split()) == 2
    out, err = capfd.readouterr()
    assert out == ""
    lines = [part for part in err.replace("\r", "\n").split("\n") if part.strip()]
    assert len(lines) == 1 and lines[0].startswith("aero-lab: ") and "Traceback" not in err


def test_inspect_names_what_is_wrong_with_a_file(tmp_path, capfd):
    bad = tmp_path / "bad.pcapng"
    bad.write_bytes(b"this is no capture")
    assert run(["inspect", str(bad)]) == 2
    assert capfd.readouterr().err.count("\n") == 1
    assert run(["inspect", str(ROOT / "datasets" / "lossy-download.pcapng"), "--point", "egress"]) == 2
    assert "nic, tunnel" in capfd.readouterr().err


def test_inspect_shows_flows_acks_and_causes(capfd):
    capture = str(ROOT / "datasets" / "lossy-download.pcapng")
    assert run(["inspect", capture]) == 0
    out = capfd.readouterr().out
    assert "203.0.113.10:80" in out and "pure ACKs per data segment" in out and "retransmission" in out
    assert run(["inspect", capture, "--json", "-"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert document["frames"] > 100 and document["flows"] and 0 < document["acks_per_data_segment"] < 1.5


def test_compare_writes_json_to_standard_output_and_nothing_else(tmp_path, capfd):
    line = ["compare", "--virtual", "--transport", "memory", "--bytes", "20KB", "--out", str(tmp_path), "--json", "-"]
    assert run(line) == 0
    document = json.loads(capfd.readouterr().out)
    assert document["runs"][0]["ok"] and document["runs"][0]["bytes"] == 20_000


def test_compare_exits_1_when_a_run_fails(tmp_path, capfd):
    line = ["compare", "--virtual", "--transport", "memory", "--workload", "download", "--bytes", "5MB"]
    line += ["--link", "rtt=1s", "--timeout", "5", "--out", str(tmp_path)]
    assert run(line) == 1
    out, err = capfd.readouterr()
    assert "download over memory failed: not done within 5 s" in err and "no" in out


def test_help_and_version(capfd):
    from aero_lab import __version__

    assert run([]) == 0 and "compare" in capfd.readouterr().out
    assert run(["--version"]) == 0 and capfd.readouterr().out.strip() == __version__
    for command in ("compare", "sweep", "bench", "inspect", "notebooks", "warmup"):
        assert run([command, "--help"]) == 0
        assert "Usage" in capfd.readouterr().out


def test_notebooks_copies_and_keeps_what_is_there(tmp_path, capfd):
    folder = tmp_path / "walk"
    assert run(["notebooks", str(folder), "--no-open"]) == 0
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    assert {"01_first_frames.ipynb", "lossy-download.pcapng"} <= names
    (folder / "01_first_frames.ipynb").write_text("mine")
    assert run(["notebooks", str(folder), "--no-open"]) == 0
    assert (folder / "01_first_frames.ipynb").read_text() == "mine"
    assert run(["notebooks", str(folder), "--no-open", "--overwrite"]) == 0
    assert (folder / "01_first_frames.ipynb").read_text() != "mine"


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)],
    ids=["interrupted", "terminated", "killed"],
)
def test_compare_leaves_no_process_behind(number, code, tmp_path):
    program = [sys.executable, "-m", "aero_lab.cli", "compare", "--workload", "voip", "--out", str(tmp_path)]
    process = subprocess.Popen(program, stderr=subprocess.PIPE, text=True, start_new_session=True)
    psutil = pytest.importorskip("psutil")
    me = psutil.Process(process.pid)
    children: list = []
    while len(children) < 2 and process.poll() is None:
        children = [c for c in me.children() if "aero_lab.experiment.worker" in " ".join(c.cmdline())]
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    if number != signal.SIGKILL:
        assert "interrupted" in err and "Traceback" not in err
    assert psutil.wait_procs(children, timeout=60)[1] == []


def test_an_interrupt_is_an_exit_code_wherever_it_comes(tmp_path):
    """Python takes one that met text given to ``exec()`` for unhandled, and would end the process by its signal."""
    (tmp_path / "command.py").write_text(
        "from aero_lab import cli\ncli.app = lambda **_: exec('raise KeyboardInterrupt')\ncli.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "command"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert (done.returncode, done.stderr) == (130, "aero-lab: interrupted\n")


def test_the_package_is_the_command():
    """``python -m aero_lab`` is ``aero-lab``, and calls itself so."""
    answers = {}
    for arguments in (["--version"], ["--help"], ["compar"]):
        done = subprocess.run(
            [sys.executable, "-m", "aero_lab", *arguments], capture_output=True, text=True, timeout=240
        )
        answers[arguments[0]] = done.returncode, done.stdout, done.stderr
    assert answers["--version"] == (0, f"{__version__}\n", "")
    assert answers["--help"][0] == 0 and "Usage: aero-lab [OPTIONS] COMMAND" in answers["--help"][1]
    assert answers["compar"][0] == 2 and answers["compar"][2].startswith("aero-lab: No such command 'compar'")
