"""The command ``aero-lab``.

Exit codes, which scripts rely on: 0 when everything asked for succeeded, 1 when a run failed, 2 for a wrong command
line or value, with one line on standard error and no traceback, 130 after an interrupt, 143 after SIGTERM.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Annotated, Any

import typer

from . import cli_guest, cli_reproduce, cli_server
from .bounds import PROBE_BYTES, PROBE_STEP
from .errors import AeroLabError, UsageError

INTERRUPTED = 130
"""Exit code after an interrupt; also Typer's own, where it has caught one."""

app = typer.Typer(
    name="aero-lab",
    help="A lab bench for the network of a browser-hosted virtual machine.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

app.add_typer(cli_guest.app)

JsonOption = Annotated[
    str | None, typer.Option("--json", metavar="FILE", help="Write the results as JSON; '-' is standard output.")
]


@app.callback(invoke_without_command=True)
def top(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    if context.invoked_subcommand is None and not version:
        typer.echo(context.get_help())
    if version:
        from . import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.command("compare")
def compare_command(
    option: Annotated[
        str | None,
        typer.Option(
            "--option",
            "--options",
            help="Options to run, for instance BC, or with settings A,A:streams=socket,C; by default all.",
        ),
    ] = None,
    transport: Annotated[
        str | None,
        typer.Option(
            "--transport",
            "--transports",
            help="Transports, separated by commas: memory, websocket, webrtc, webrtc-unordered, webrtc-lossy.",
        ),
    ] = None,
    workload: Annotated[
        str | None,
        typer.Option(
            "--workload", "--workloads", help="Workloads, separated by commas; by default download, rr and voip."
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            "--bytes",
            help="Size of a transfer, for instance 16MiB; by default what 3 s carry, in virtual time 2MB.",
        ),
    ] = None,
    guest: Annotated[
        str,
        typer.Option(
            "--guest",
            help="scripted; tap: this machine's own kernel (Linux); linux: Debian on the emulated PC; or qemu.",
        ),
    ] = "scripted",
    profile: Annotated[
        str, typer.Option("--profile", help="Operating system the scripted guest looks like.")
    ] = "linux",
    virtual: Annotated[bool, typer.Option("--virtual", help="In virtual time: exact, repeatable, no sockets.")] = False,
    link: Annotated[
        list[str] | None,
        typer.Option(
            "--link",
            help="Impair the tunnel: 'rtt=40ms, loss=1%, rate=10Mbit/s', loopback, 20ms or 100ms-1%; may be repeated.",
        ),
    ] = None,
    hop: Annotated[
        str, typer.Option("--hop", help="What makes a link in real time: namespace, relay or auto.")
    ] = "auto",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A setting of the options, for instance connect=early."),
    ] = None,
    transport_settings: Annotated[
        list[str] | None,
        typer.Option(
            "--transport-set", metavar="NAME=VALUE", help="A setting of the transports, for instance congestion=reno."
        ),
    ] = None,
    mips: Annotated[
        bool, typer.Option("--mips/--no-mips", help="Measure what an emulated PC loses to the client (real time).")
    ] = True,
    mtu: Annotated[int, typer.Option(help="MTU of the guest's network, 576 to 65520.")] = 1500,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 1,
    repeat: Annotated[int, typer.Option(help="Runs of each combination.")] = 1,
    ack_policy: Annotated[
        str, typer.Option("--ack-policy", help="early: acknowledge what the proxy has; mirror: what the far TCP has.")
    ] = "early",
    out: Annotated[Path, typer.Option("--out", help="Folder for pcapng, parquet and the report.")] = Path(
        "aero-lab-out"
    ),
    json_file: JsonOption = None,
    timeout: Annotated[float, typer.Option(help="Seconds after which a run counts as failed.")] = 120.0,
    cell_timeout: Annotated[
        float | None,
        typer.Option(
            "--cell-timeout",
            metavar="SECONDS",
            help="For all workloads of one combination (real time); by default --timeout for each, and time to start.",
        ),
    ] = None,
) -> None:
    """Run workloads over options and transports; print the table, write pcapng, parquet, JSON and a report."""
    from .experiment.compare import BOX, BRIEF, compare
    from .experiment.plan import EVERY_OPTION, TRANSPORTS, VIRTUAL_SIZE, read_settings, usual_workloads
    from .experiment.record import check_target

    check_target(json_file)
    workloads = _split(workload) if workload is not None else usual_workloads(guest)
    table = compare(
        options=option or EVERY_OPTION,
        transports=_split(transport) if transport is not None else TRANSPORTS,
        workloads=workloads,
        parameters={name: BRIEF[name] for name in workloads if name in BRIEF} if workload is None else None,
        size=size or (VIRTUAL_SIZE if virtual else None),
        box=BOX,
        guest=guest,
        profile=profile,
        virtual=virtual,
        link=link or None,
        hop=hop,
        settings=read_settings(settings or ()),
        transport_settings=read_settings(transport_settings or ()),
        mtu=mtu,
        seed=seed,
        repeats=repeat,
        ack_policy=ack_policy,
        out=out,
        timeout=timeout,
        cell_timeout=cell_timeout,
        mips=mips and not virtual,
    )
    if json_file != "-":
        from rich.console import Console

        console = Console(width=None if sys.stdout.isatty() else 120)
        for part in table.summary_rich() if len(workloads) > 1 or table.many else (table.to_rich(),):
            console.print(part)
        console.print(f"written to {table.folder}: " + ", ".join(table.written()), soft_wrap=True)
    if json_file:
        table.save_json(json_file)
    for each in table.left_out if json_file != "-" else ():
        typer.echo(f"left out: {each['option']} over {each['transport']}: {each['reason']}", err=True)
    for run in table.runs:
        if why := run.extra.get("mips", {}).get("error"):
            typer.echo(f"aero-lab: {run.label} over {run.over}: MIPS were not measured: {why}", err=True)
        if not run.ok:
            typer.echo(f"aero-lab: {run.label}, {run.workload} over {run.over} failed: {run.error}", err=True)
    if not table.ok:
        raise typer.Exit(1)


@app.command("probe")
def probe_command(
    url: Annotated[str, typer.Argument(metavar="WS_URL", help="Tunnel server, for instance ws://127.0.0.1:8090/l2.")],
    token: Annotated[str | None, typer.Option("--token", help="Credential for the server.")] = None,
    token_transport: Annotated[
        str, typer.Option("--token-transport", help="How it travels: query, subprotocol or both.")
    ] = "query",
    origin: Annotated[
        str, typer.Option("--origin", help="Origin header: 'same' is that of the server, 'none' sends none.")
    ] = "same",
    echo: Annotated[
        str, typer.Option("--echo", metavar="HOST[:PORT]", help="TCP echo server as a guest would call it; port 7.")
    ] = "echo.local",
    size: Annotated[int, typer.Option("--bytes", help="Bytes to send there and get back.")] = PROBE_BYTES,
    dhcp: Annotated[bool, typer.Option("--dhcp", help="Get an address by DHCP instead of assuming 10.0.2.15.")] = False,
    gateway: Annotated[str, typer.Option("--gateway", help="Router to ask by ARP, without --dhcp.")] = "10.0.2.2",
    guest: Annotated[str, typer.Option("--guest", help="Own address, without --dhcp.")] = "10.0.2.15",
    json_file: JsonOption = None,
    timeout: Annotated[float, typer.Option(help="Seconds for each step.")] = PROBE_STEP,
) -> None:
    """Ask a tunnel server for ARP, DNS and a TCP echo, with hand-made frames; print what it answered as JSON."""
    from .experiment.probe import probe
    from .experiment.record import check_target, write_json

    check_target(json_file)
    found = probe(
        url,
        token=token,
        token_transport=token_transport,
        origin=None if origin == "none" else origin,
        echo=echo,
        size=size,
        dhcp=dhcp,
        guest=guest,
        gateway=gateway,
        step_timeout=timeout,
    )
    write_json(found, json_file or "-")
    if json_file not in (None, "-"):
        for step, answer in found.rows():
            typer.echo(f"{step}: {answer}")


app.command("proxy")(cli_server.proxy_command)
app.command("relay")(cli_server.relay_command)


@app.command("sweep")
def sweep_command(
    spec: Annotated[Path, typer.Argument(metavar="SPEC", help="TOML file with the grid, see docs/sweep.md.")],
    out: Annotated[str | None, typer.Option("--out", metavar="FILE", help="Write the table, .parquet or .csv.")] = None,
    store: Annotated[
        Path | None, typer.Option("--store", help="Folder that keeps the rows; one that is there is gone on with.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", help="Processes; by default one for each processor.")
    ] = None,
    client: Annotated[
        str | None, typer.Option("--client", metavar="ADDRESS", help="Dask scheduler to run it on instead.")
    ] = None,
    captures: Annotated[Path | None, typer.Option("--captures", help="Folder for the pcapng of each run.")] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Make runs again that failed earlier.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, say how many runs, make none.")] = False,
    json_file: JsonOption = None,
) -> None:
    """Run a grid in virtual time, with many seeds; print the table. One that was killed goes on where it stopped."""
    from .experiment.sweep.command import sweep_file

    raise typer.Exit(sweep_file(spec, out, store, workers, client, captures, retry, dry_run, json_file))


app.command("reproduce")(cli_reproduce.reproduce_command)


@app.command("bench")
def bench_command(
    name: Annotated[str, typer.Argument(help="What to measure: stack, proxy, capture, cpu, nic, guest or sim.")],
    seconds: Annotated[float, typer.Option(help="Time for each case.")] = 1.0,
    case: Annotated[list[str] | None, typer.Option("--case", help="Only cases that begin so; may be repeated.")] = None,
    no_peers: Annotated[bool, typer.Option("--no-peers", help="Leave other implementations out.")] = False,
    json_file: JsonOption = None,
) -> None:
    """Measure a part beside its peers in one interleaved run; ratios above 1 are in our favour."""
    from tqdm.auto import tqdm

    from .bench import KERNELS, check, run, table
    from .compiled.registry import warmup
    from .experiment.record import check_target, write_json

    check(name, seconds, case)
    check_target(json_file)
    warmup(True, KERNELS.get(name, "network"))
    with tqdm(desc=name, unit="case", leave=False, disable=None) as bar:

        def progress(done: int, total: int, what: str) -> None:
            bar.total, bar.n = total, done
            bar.set_postfix_str(what)

        document = run(name, seconds, case, not no_peers, progress)
    if json_file != "-":
        typer.echo(table(document))
    if json_file:
        write_json(document, json_file)


@app.command("inspect")
def inspect_command(
    file: Annotated[Path, typer.Argument(help="A pcapng or pcap file, plain, .gz or .zst, or parquet.")],
    point: Annotated[str | None, typer.Option(help="Capture point: nic, tunnel or egress.")] = None,
    filter_text: Annotated[
        str | None,
        typer.Option(
            "--filter", metavar="FILTER", help="Display filter, for instance 'tcp.port == 80 and tcp.len > 0'."
        ),
    ] = None,
    stall: Annotated[str, typer.Option(help="Shortest stall to tell, for instance 50ms.")] = "100ms",
    json_file: JsonOption = None,
    html_file: Annotated[
        str | None, typer.Option("--html", metavar="FILE", help="Write a report with pictures, in one file.")
    ] = None,
) -> None:
    """Show what a capture holds: flows, ACKs, bytes by cause, latency by hop, stalls and their reasons."""
    from .experiment.inspect import Inspection
    from .experiment.record import check_target, write_json, write_text

    check_target(json_file)
    check_target(html_file)
    found = Inspection(file, point, filter_text, stall)
    if "-" not in (json_file, html_file):
        from rich.console import Console

        found.print(Console())
    if json_file:
        write_json(found.document(), json_file)
    if html_file:
        write_text(found.html(), html_file)


@app.command("export")
def export_command(
    run_or_folder: Annotated[
        Path, typer.Argument(metavar="RUN", help="A capture file, a folder of compare's, or with --check an export.")
    ],
    out: Annotated[Path | None, typer.Option("--out", help="Folder to make; with --again for the new run.")] = None,
    check_only: Annotated[bool, typer.Option("--check", help="Check the checksums of an exported run.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Make an exported run again from its card.")] = False,
) -> None:
    """Turn a run into a folder: pcapng, parquet and a card with seed, configuration, versions, formulas, checksums."""
    from .experiment.export import check, export, recreate

    if not (check_only or again):
        typer.echo(f"exported to {export(run_or_folder, out or Path('aero-lab-export'))}")
        return
    problems = check(run_or_folder)
    for problem in problems:
        typer.echo(f"aero-lab: {run_or_folder}: {problem}", err=True)
    if problems:
        raise typer.Exit(1)
    typer.echo(f"{run_or_folder}: every checksum is that of the card")
    if again:
        capture, same = recreate(run_or_folder, out or Path("aero-lab-again"))
        typer.echo(f"{capture}: {'the same bytes' if same else 'other bytes than the card tells of'}")
        if not same:
            raise typer.Exit(1)


@app.command("warmup")
def warmup_command() -> None:
    """Compile the kernels now, with a progress bar."""
    from .compiled.cache import cache_dir
    from .compiled.groups import KERNEL_MODULES
    from .warming import warmup

    number = warmup(True, *KERNEL_MODULES)
    typer.echo(f"{number} kernels ready, kept in {cache_dir()}")


@app.command("notebooks")
def notebooks_command(
    folder: Annotated[Path, typer.Argument(help="Where to copy the walkthroughs to.")] = Path("aero-lab-notebooks"),
    no_open: Annotated[bool, typer.Option("--no-open", help="Copy only, do not start JupyterLab.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace notebooks that are already there.")] = False,
) -> None:
    """Copy the walkthroughs here and open JupyterLab."""
    from .experiment.walkthroughs import copy_walkthroughs, open_jupyterlab

    copied, kept = copy_walkthroughs(folder, overwrite)
    typer.echo(f"{len(copied)} files copied to {folder}" + (f", {len(kept)} that were there kept" if kept else ""))
    if not no_open:
        raise typer.Exit(open_jupyterlab(folder))


def _split(text: str) -> list[str]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise UsageError(f"{text!r} names nothing")
    return parts


def run(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    code = _run(arguments)
    if code == INTERRUPTED:
        # An interrupt that met text given to exec(), as numba does, counts as unhandled when ``python -m`` ends, and
        # the process as killed; the next text clears that.
        exec("")
        typer.echo("aero-lab: interrupted", err=True)
    return code


def _run(arguments: list[str] | None) -> int:
    try:
        result: Any = app(args=arguments, prog_name="aero-lab", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except UsageError as error:
        return _complain(str(error), 2)
    except AeroLabError as error:
        return _complain(str(error), 1)
    except BrokenPipeError:
        # Whoever read our output has gone; nothing is left to tell. Python would complain again when it flushes.
        sys.stdout = open("/dev/null", "w")
        return 1
    except Exception as error:
        # Typer's own refusals, whose class has moved between its versions.
        message = getattr(error, "format_message", None)
        if message is None:
            raise
        return _complain(message(), getattr(error, "exit_code", 2))
    return result if isinstance(result, int) else 0


def _complain(message: str, code: int) -> int:
    typer.echo("aero-lab: " + " ".join(message.split()), err=True)
    return code


def _end_in_order() -> list[int]:
    """Have SIGTERM end a command as Ctrl-C does, so that processes, namespaces and files of its own end with it; a
    second one does not wait for that. Returns a list that has the signal in it once it came."""
    came: list[int] = []
    owner = os.getpid()

    def told(number: int, _: Any) -> None:
        signal.signal(number, signal.SIG_DFL)
        if os.getpid() != owner:  # a copy of this process, which has nothing to put in order
            os.kill(os.getpid(), number)
        came.append(number)
        raise KeyboardInterrupt

    here = threading.current_thread() is threading.main_thread()
    if here and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, told)
    return came


def main() -> None:
    """Entry point of the console script."""
    terminated = _end_in_order()
    code = run()
    sys.exit(128 + signal.SIGTERM if terminated and code == INTERRUPTED else code)


if __name__ == "__main__":
    main()
