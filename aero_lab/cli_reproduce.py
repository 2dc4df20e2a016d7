"""The command ``aero-lab reproduce``."""

from __future__ import annotations

from typing import Annotated

import typer

from .errors import UsageError


def reproduce_command(
    name: Annotated[str | None, typer.Argument(help="Which one; --list tells which there are.")] = None,
    listing: Annotated[bool, typer.Option("--list", help="Print the names and what they are.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="A part of the cases with few seeds: seconds.")] = False,
    seeds: Annotated[int | None, typer.Option(help="Seeds of what is random; by default as many as it needs.")] = None,
    json_file: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write the report as JSON; '-' is standard output.")
    ] = None,
) -> None:
    """Reproduce published figures in virtual time: theirs, ours, their ratio, a verdict. Exits 1 when it is no."""
    from .experiment.record import check_target, write_json
    from .experiment.reproduce import check, names, reproduce

    if listing:
        titles = names()
        width = max(map(len, titles))
        for known, title in titles.items():
            typer.echo(f"{known.ljust(width)}  {title}")
        return
    if name is None:
        raise UsageError("name a reproduction; 'aero-lab reproduce --list' tells which there are")
    check(name, seeds)
    check_target(json_file)
    from tqdm.auto import tqdm

    with tqdm(desc=name, leave=False, disable=None) as bar:

        def progress(done: int, total: int, what: str) -> None:
            bar.total, bar.n = total, done
            bar.set_postfix_str(what)

        report = reproduce(name, quick, seeds, progress)
    if json_file != "-":
        typer.echo(report.text())
    if json_file:
        write_json(report.document(), json_file)
    if not report.verdict:
        raise typer.Exit(1)
