"""The commands for your own scans and your own method: data add, show, audit, compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer, data_app: typer.Typer) -> None:
    """Adds the commands to those of the library."""
    data_app.command()(add)


def add(
    name: Annotated[str, typer.Argument(help="what to call it: lower-case letters, digits and -")],
    folder: Annotated[Path, typer.Argument(help="your folder: cases.csv, the pictures, perhaps dataset.yaml")],
) -> None:
    """Check a folder of your own scans and make it a data set of this project; docs/own-data.md describes it.

    The pictures stay where they are, and nothing of them enters git.
    """
    from fewscans.data import own_checks

    added = own_checks.add(name, folder, lambda text: typer.echo(text, err=True))
    own, table = added.own, added.table
    what = f"{int(table['target'].sum())} positive" if own.target == "label" else f"a number each {own.unit}".strip()
    typer.echo(f"{name}: {len(table):,} cases of {table['patient'].nunique():,} patients, {what}")
    for note in added.notes:
        typer.echo(f"  {note}")
    typer.echo(f"next: fewscans audit {name}, then fewscans compare {name}")
