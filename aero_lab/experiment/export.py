"""A run as a folder that can be given away: its capture, its columns, and a card that says what it is.

``card.json`` has what it takes to make the run again (seed and configuration, and the command where there is one), with
which versions it was made, what was measured, what each column means with its formula, and the checksum of each file.
A run in virtual time comes out again byte for byte: :func:`recreate` makes it from the card alone.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
from pathlib import Path
from typing import Any

from ..capture import schema
from ..errors import UsageError
from .record import machine

CARD_SCHEMA = 1
CAPTURE, COLUMNS, CARD, README = "capture.pcapng", "frames.parquet", "card.json", "README.md"
SECTION = b"\x0a\x0d\x0d\x0a"
"""How a pcapng file begins."""
CONFIGURATION = (
    "option", "transport", "guest", "profile", "workload", "parameters", "mode", "mtu", "seed", "ack_policy", "link"
)  # fmt: skip
"""What has to be known of a run to make it again."""
SETTINGS = ("settings", "transport_settings")
"""What a run says only where it is not as usual."""
FORMULAS = {
    "tcp_len": "end of the IP packet (ip_len, at most the end of the frame) - start of the TCP header - tcp_hdr_len",
    "tunnel_delay": "frame_time - frame_time of the first row with the same frame_id and direction at another point",
    "frame bytes": "sum of frame_len over the rows of one point; over causes it is the same sum",
    "tunnel_bytes": "sum of message_len over the rows of the tunnel; message_len - frame_len is tunnel_framing",
}
"""Of what is computed, beside the meaning of each column."""


def export(source: str | Path, folder: str | Path) -> Path:
    """Turn a run into a folder: ``capture.pcapng``, ``frames.parquet``, ``card.json``, ``README.md``.

    Parameters
    ----------
    source: a capture file, or the folder that ``aero-lab compare --out`` wrote, when it holds one run. What was
        measured is taken from the ``runs.json`` beside the capture.
    folder: to be made; it must be new or empty.

    Returns the folder.
    """
    from ..capture import load_pcap

    path, run = _find(Path(source))
    capture = load_pcap(path)
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UsageError(f"{folder} is not empty")
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}") from None
    with open(path, "rb") as file:
        plain = file.read(len(SECTION)) == SECTION
    if plain:
        shutil.copyfile(path, folder / CAPTURE)
    else:
        capture.save(folder / CAPTURE)
    capture.save_parquet(folder / COLUMNS)
    card = _card(path.name, capture, run)
    card["files"] = {name: _file(folder / name) for name in (CAPTURE, COLUMNS)}
    (folder / CARD).write_text(json.dumps(card, indent=2, sort_keys=True, default=str) + "\n", encoding="utf-8")
    (folder / README).write_text(_readme(card), encoding="utf-8")
    return folder


def _find(source: Path) -> tuple[Path, dict[str, Any] | None]:
    """The capture file, and the record of its run if there is one."""
    if not source.exists():
        raise UsageError(f"there is no {source}")
    folder = source if source.is_dir() else source.parent
    try:
        runs = json.loads((folder / "runs.json").read_text(encoding="utf-8"))["runs"]
        named = {Path(run["capture"]).name: run for run in runs if run.get("capture")}
    except (OSError, ValueError, KeyError, TypeError):
        named = {}
    if not source.is_dir():
        return source, named.get(source.name)
    if not named:
        raise UsageError(f"{source} holds no run: name a capture file, or a folder that compare --out wrote")
    if len(named) > 1:
        raise UsageError(f"{source} holds {len(named)} runs: name the capture of one, {', '.join(sorted(named))}")
    ((name, run),) = named.items()
    return source / name, run


def _card(name: str, capture: Any, run: dict[str, Any] | None) -> dict[str, Any]:
    meta = dict(capture.meta)
    whole = all(key in meta for key in CONFIGURATION)
    told = [*CONFIGURATION, *(key for key in SETTINGS if key in meta)]
    configuration = {key: meta[key] for key in told} if whole else None
    return {
        "schema": CARD_SCHEMA,
        "source": name,
        "seed": meta.get("seed"),
        "configuration": configuration,
        "command": _command(configuration),
        "repeatable": configuration is not None and configuration["mode"] == "virtual",
        "meta": meta,
        "run": run,
        "versions": machine(),
        "frames": len(capture),
        "drops": dict(capture.drops),
        "snap": capture.snap,
        "columns": {
            c.name: {"dtype": c.dtype, "unit": c.unit, "wireshark": c.wireshark, "meaning": c.meaning}
            for c in schema.COLUMNS
        },
        "formulas": FORMULAS,
    }


def _command(configuration: dict[str, Any] | None) -> str | None:
    """The command line that makes the run again, None where it takes more than a command line can say."""
    from ..link import Link

    if configuration is None or set(configuration["parameters"]) - {"size"}:
        return None
    said = configuration
    words = ["aero-lab", "compare", "--options", said["option"], "--transport", said["transport"]]
    words += ["--workload", said["workload"], "--guest", said["guest"], "--profile", said["profile"]]
    if "size" in said["parameters"]:
        words += ["--bytes", str(said["parameters"]["size"])]
    if said["mode"] == "virtual":
        words.append("--virtual")
    if said["link"] is not None:
        words += ["--link", str(Link.from_dict(said["link"]))]
    for name, option in zip(SETTINGS, ("--set", "--transport-set")):
        for key, value in said.get(name, {}).items():
            words += [option, f"{key}={value}"]
    words += ["--mtu", str(said["mtu"]), "--seed", str(said["seed"]), "--ack-policy", said["ack_policy"]]
    return shlex.join(words)


def _file(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def _readme(card: dict[str, Any]) -> str:
    lines = ["# A run of aero_lab", "", f"{card['frames']:,} frames, from `{card['source']}`.", ""]
    if card["command"]:
        again = "byte for byte" if card["repeatable"] else "with other times"
        lines += [f"Made by, and made again {again} by:", "", "    " + card["command"], ""]
    lines += [
        f"* `{CAPTURE}` opens in Wireshark; its interfaces are the capture points.",
        f"* `{COLUMNS}` has a row a frame and point; what each column means stands in it and in the card.",
        f"* `{CARD}`: seed, configuration, versions, what was measured, formulas, checksums.",
        "",
        "| File | Bytes | SHA-256 |",
        "|---|---|---|",
    ]
    lines += [f"| `{name}` | {about['bytes']:,} | `{about['sha256']}` |" for name, about in card["files"].items()]
    return "\n".join(lines) + "\n"


def read_card(folder: str | Path) -> dict[str, Any]:
    """The card of an exported run."""
    path = Path(folder) / CARD
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        if card["schema"] > CARD_SCHEMA:
            raise UsageError(f"{path} is of a newer version: schema {card['schema']}, this reads {CARD_SCHEMA}")
        return card
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(f"{folder} holds no card of an exported run") from None


def check(folder: str | Path) -> list[str]:
    """What is wrong with the files of an exported run, by their checksums; nothing when all is well."""
    card, problems = read_card(folder), []
    for name, about in card["files"].items():
        path = Path(folder) / Path(name).name
        if not path.is_file():
            problems.append(f"{name} is missing")
        elif _file(path) != about:
            problems.append(f"{name} is not the file that the card tells of: its checksum is another")
    return problems


def recreate(folder: str | Path, out: str | Path) -> tuple[Path, bool]:
    """Make an exported run again from its card, into ``out``.

    Returns the new capture, and whether it has the checksum of the card's, as a run in virtual time must.
    """
    from ..link import Link
    from .compare import compare

    card = read_card(folder)
    said = card.get("configuration")
    if said is None:
        raise UsageError(f"the card in {folder} does not tell the whole configuration: its run was made by hand")
    table = compare(
        options=said["option"],
        transports=[said["transport"]],
        workloads=[said["workload"]],
        parameters=said["parameters"],
        guest=said["guest"],
        profile=said["profile"],
        virtual=said["mode"] == "virtual",
        link=Link.from_dict(said["link"]) if said["link"] is not None else None,
        mtu=said["mtu"],
        seed=said["seed"],
        ack_policy=said["ack_policy"],
        settings=said.get("settings"),
        transport_settings=said.get("transport_settings"),
        out=out,
        progress=False,
    )
    if not table.ok:
        raise UsageError(f"the run failed: {table.runs[0].error}")
    capture = Path(str(table.runs[0].capture))
    return capture, _file(capture) == card["files"][CAPTURE]
