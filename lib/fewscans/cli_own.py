"""The commands for your own scans and your own method: data add, audit, compare, show."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer, data_app: typer.Typer) -> None:
    """Adds the commands to those of the library."""
    data_app.command()(add)
    for command in (audit, compare, show):
        app.command()(command)


def add(
    name: Annotated[str, typer.Argument(help="what to call it: lower-case letters, digits and -")],
    folder: Annotated[Path, typer.Argument(help="your folder: cases.csv, the pictures, perhaps dataset.yaml")],
) -> None:
    """Check a folder of your own scans and make it a data set of this project; docs/own-data.md describes it.

    The pictures stay where they are, and nothing of them enters git.
    """
    from fewscans.data import own_checks

    added = own_checks.add(name, folder, _tell)
    own, table = added.own, added.table
    what = f"{int(table['target'].sum())} positive" if own.target == "label" else f"a number each {own.unit}".strip()
    typer.echo(f"{name}: {len(table):,} cases of {table['patient'].nunique():,} patients, {what}")
    for note in added.notes:
        typer.echo(f"  {note}")
    typer.echo(f"next: fewscans audit {name}, then fewscans compare {name}")


def audit(
    name: Annotated[str, typer.Argument(help="a data set of yours, or one of the library's of which there is a copy")],
) -> None:
    """Look for leaks and shortcuts before any network: near-duplicates across splits, what tells the answer unseen."""
    from fewscans import shortcuts

    typer.echo(shortcuts.report(name))


def compare(
    name: Annotated[str, typer.Argument(help="a set that `fewscans data add` added")],
    ideas: Annotated[
        str | None, typer.Option(help="gcnn, sums, dynamic, pretrained, curriculum; else all that can")
    ] = None,
    hours: Annotated[float, typer.Option(help="about how long it may take on this machine")] = 1.0,
    network: Annotated[
        list[str] | None, typer.Option(help="a network of yours too, my_net:SmallNet; may be repeated")
    ] = None,
    profile: Annotated[str | None, typer.Option(help="grids of params.yaml in place of a plan")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
) -> None:
    """Find which ideas save labels on your data, and how many cases you would need; ends in one page.

    May be killed and started again at any time.
    """
    from fewscans.compare.run import compare as run
    from fewscans.sweep.onerun import find_device

    try:
        page = run(name, ideas, hours, network or (), profile, find_device(device), tell=_tell)
    except KeyboardInterrupt:
        typer.echo("fewscans: interrupted; what is finished is kept, and the same command goes on from there", err=True)
        raise typer.Exit(130) from None
    text = page.read_text(encoding="utf-8")
    typer.echo(text.partition("## Learning curves")[0].rstrip())
    typer.echo(f"wrote {_short(page)}")


def show(
    run: Annotated[str, typer.Argument(help="a run of this machine, or one that git keeps, such as gcnn-lidc-voi")],
    score: Annotated[str | None, typer.Option(help="another score than the data set's, such as brier")] = None,
    figure: Annotated[bool, typer.Option("--figure", help="draw the learning curves too, into runs/RUN.png")] = False,
) -> None:
    """Print a run's scores with 95 % intervals, an arm a row, a training size a column."""
    from fewscans import paths, results
    from fewscans.errors import RunError
    from fewscans.figures import curves, tables

    experiment, _, dataset = run.partition("-")
    found = results.this_machine(run) or results.published(experiment, dataset)
    if found is None:
        raise RunError(f"{run}: neither runs/{run}.parquet nor published; `fewscans train {run}` makes it")
    try:
        shown = tables.scores(found, found.arms, score)
    except ValueError as error:
        raise RunError(f"{run}: no table of scores: {error}") from error
    label = tables.score_label(score or found.score_name, found.dataset.unit)
    typer.echo(f"{label}, {found.label}\n\n{shown.to_markdown()}")
    if figure:
        title = f"{label} over training {found.dataset.plural}, {found.name}"
        picture = curves.over_n([curves.scores(found, found.arms, score, title="")], title)
        typer.echo(f"\nwrote {_short(picture.save(paths.runs() / f'{run}.png'))}")


def _tell(text: str) -> None:
    typer.echo(text, err=True)


def _short(path: Path) -> str:
    from fewscans import paths

    try:
        return str(Path(path).resolve().relative_to(paths.root()))
    except ValueError:
        return str(path)
