"""The commands ``aero-lab guest ...``: get, build and run guests that have an image."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .errors import UsageError

if TYPE_CHECKING:
    from .guests.linux.boot import Boot

app = typer.Typer(
    name="guest",
    help="Guests with an operating system: fetch, build and run their images.",
    add_completion=False,
    rich_markup_mode=None,
)

GUESTS = ("linux",)
GuestName = Annotated[str, typer.Argument(metavar="GUEST", help="Which guest: linux.")]
Extra = Annotated[
    list[str] | None,
    typer.Option("--with", metavar="PACKAGE", help="A further Debian package, with the libraries it needs."),
]


@app.callback(invoke_without_command=True)
def top(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _check(name: str) -> None:
    if name not in GUESTS:
        raise UsageError(f"guest {name!r} has no image; there is {', '.join(GUESTS)}")


@app.command("list")
def list_command(
    json_file: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write it as JSON; '-' is standard output.")
    ] = None,
) -> None:
    """What was fetched and built, and where it is."""
    from .experiment.record import check_target, write_json
    from .guests.image.store import Store
    from .guests.linux.boot import ROOM

    check_target(json_file)
    store = Store()
    default = store.image()
    snapshots = sorted((store.root / ROOM).glob("*.machine"))
    found = {
        "guest": "linux",
        "folder": str(store.root),
        "packages": [each.to_dict() for each in store.packages.values()],
        "images": [
            {"key": each.key, "release": each.release, "packages": each.packages, "default": each == default}
            for each in store.images
        ],
        "snapshots": [{"file": path.name, "size": path.stat().st_size} for path in snapshots],
    }
    if json_file:
        write_json({"schema": 1, "guests": [found]}, json_file)
    if json_file == "-":
        return
    typer.echo(f"linux: {store.root}")
    for each in store.packages.values():
        typer.echo(f"  package   {each.name} {each.version} ({each.size / 1e6:.1f} MB, from {each.source})")
    for each in store.images:
        mark = ", the default" if each == default else ""
        typer.echo(f"  image     {each.key}: Linux {each.release}, {', '.join(list(each.packages)[1:])}{mark}")
    for path in snapshots:
        typer.echo(f"  snapshot  {path.name} ({path.stat().st_size / 1e6:.1f} MB)")
    if not store.packages and not store.images:
        typer.echo("  nothing yet: aero-lab guest fetch linux")


@app.command("fetch")
def fetch_command(
    guest: GuestName,
    mirror: Annotated[
        str | None, typer.Option("--mirror", metavar="URL", help="A Debian archive; by default this machine's own.")
    ] = None,
    keyring: Annotated[
        Path | None, typer.Option("--keyring", metavar="FILE", help="The archive's keys, where they are elsewhere.")
    ] = None,
    deb: Annotated[
        list[str] | None,
        typer.Option("--deb", metavar="FILE[#sha256=HEX]", help="Take this package instead of asking an archive."),
    ] = None,
    extra: Extra = None,
) -> None:
    """Get kernel and busybox: by this machine's apt, in a directory of its own, or from files."""
    from .guests.image.fetch import fetch

    _check(guest)
    with progress_bar() as progress:
        got = fetch(mirror=mirror, keyring=keyring, debs=deb or (), extra=extra or (), progress=progress)
    for each in got.values():
        typer.echo(f"{each.name} {each.version}")


@app.command("build")
def build_command(
    guest: GuestName,
    extra: Extra = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Copy kernel and initrd there too.")
    ] = None,
) -> None:
    """Make the guest's image of what was fetched."""
    from .guests.image.fetch import build

    _check(guest)
    image = build(extra=extra or ())
    typer.echo(f"image {image.key}: Linux {image.release}, {', '.join(list(image.packages)[1:])}")
    if out is not None:
        try:
            out.mkdir(parents=True, exist_ok=True)
            for path in (image.kernel, image.initrd):
                shutil.copyfile(path, out / path.name)
        except OSError as error:
            raise UsageError(f"{out}: cannot be written: {error.strerror or error}") from None
    kernel, initrd = ((out or image.kernel.parent) / path.name for path in (image.kernel, image.initrd))
    typer.echo(f"kernel {kernel}")
    typer.echo(f"initrd {initrd}")


@app.command("run")
def run_command(
    guest: GuestName,
    command: Annotated[
        str | None, typer.Argument(metavar="[COMMAND]", help="Run this and stop; without it a console.")
    ] = None,
    kernel: Annotated[
        Path | None, typer.Option("--kernel", metavar="FILE", help="A kernel of your own: bzImage or ELF, i386.")
    ] = None,
    initrd: Annotated[Path | None, typer.Option("--initrd", metavar="FILE", help="Its initrd.")] = None,
    append: Annotated[str | None, typer.Option("--append", metavar="TEXT", help="The kernel's command line.")] = None,
    ram: Annotated[int, typer.Option("--ram", metavar="MB", help="Memory of the machine.")] = 128,
    fresh: Annotated[bool, typer.Option("--fresh", help="Boot, even where a snapshot could be resumed.")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds for the command.")] = 60.0,
) -> None:
    """Boot the guest, or resume it from its last boot: a console in this terminal (control-] leaves), or one command.

    With a command, its output is printed and its status is the exit code.
    """
    from .compiled.registry import warmup
    from .guests.linux.guest import LinuxGuest
    from .guests.linux.terminal import attach

    _check(guest)
    boot = _boot(kernel, initrd, append, ram)
    own = kernel is not None or initrd is not None
    if own:
        boot.check()
    warmup(True, "cpu")
    if command is None:
        if own or fresh:
            machine = boot.power_on("host")
        else:
            machine = boot.resume(clock="host", progress=True)
            machine.console.write("\n")  # so that the shell prompts again: its first prompt was before the snapshot
        typer.echo(f"{machine!r}; control-] leaves", err=True)
        stop = attach(machine)
        typer.echo(f"aero-lab: {stop.meaning if stop.final else 'left'}", err=True)
        return
    machine = boot.start(progress=True) if own or fresh else boot.resume(progress=True)
    with LinuxGuest(machine) as host:
        done = host.run(command, timeout=timeout)
    typer.echo(done.output, nl=False)
    if done.status:
        raise typer.Exit(done.status)


def _boot(kernel: Path | None, initrd: Path | None, append: str | None, ram: int) -> Boot:
    from .guests.image.fetch import get_image
    from .guests.image.store import Store
    from .guests.linux.boot import Boot

    changes: dict[str, Any] = {"ram_mb": ram} if append is None else {"ram_mb": ram, "cmdline": append}
    if kernel is not None:
        return Boot(kernel, initrd, **changes)
    with progress_bar() as progress:
        image = get_image(Store(), progress)
    return Boot(image.kernel, initrd or image.initrd, **changes)


@contextlib.contextmanager
def progress_bar() -> Iterator[Callable[[str, float], None]]:
    """A bar for fetching, which appears with the first word of progress."""
    from tqdm.auto import tqdm

    bars: dict[str, tqdm] = {}

    def show(what: str, share: float) -> None:
        if what not in bars:
            for bar in bars.values():
                bar.close()
            bars[what] = tqdm(total=1.0, desc=what, bar_format="{desc}: {percentage:3.0f}%|{bar}|", leave=False)
        bars[what].update(max(share - bars[what].n, 0.0))

    try:
        yield show
    finally:
        for bar in bars.values():
            bar.close()
