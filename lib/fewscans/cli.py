"""The `fewscans` command: every stage of the pipeline, without the pipeline."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Annotated

import typer

from fewscans import cli_own, ending, guard
from fewscans.errors import ParamsError, RunError, Stopped

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
data_app = typer.Typer(no_args_is_help=True, help="Your copies of public data sets, and sets of your own.")
app.add_typer(data_app, name="data")
cli_own.register(app, data_app)


@app.callback()
def look_around(context: typer.Context) -> None:
    """Before each command: code and project are of one clone, or both are named. `doctor` says so itself."""
    if context.invoked_subcommand != "doctor":
        guard.check_library()


@app.command()
def twin(
    name: Annotated[str, typer.Argument(help="a data set under `twins` in params.yaml, such as luna16-patches")],
    profile: Annotated[str | None, typer.Option(help="smoke, quick, long or paper; else params.yaml's")] = None,
) -> None:
    """Write a synthetic twin, in the data set's published layout, to build/twins/NAME."""
    from fewscans import params, paths, twins

    p = params.load()
    if name not in p.twins:
        raise ParamsError(f"unknown twin {name!r}; params.yaml has {', '.join(p.twins)}")
    profile = profile or p.profile
    if profile not in p.twins[name]:
        raise ParamsError(f"twins.{name} has no profile {profile!r}; it has {', '.join(p.twins[name])}")
    folder = twins.write(name, paths.build() / "twins" / name, twins.spec(name, p.twins[name][profile]))
    typer.echo(f"wrote {_short(folder)}")


@app.command()
def train(
    run: Annotated[str, typer.Argument(help="a run under `grids` in params.yaml, such as gcnn-luna16-patches-twin")],
    profile: Annotated[str | None, typer.Option(help="smoke, quick, long, paper or pilot; else params.yaml's")] = None,
    arm: Annotated[list[str] | None, typer.Option(help="only this arm; may be repeated")] = None,
    shard: Annotated[
        str, typer.Option(help="this process's share of the runs, such as 1/8; shards share the store")
    ] = "1/1",
    slots: Annotated[int | None, typer.Option(help="runs at a time; else one per core or GPU")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    threads: Annotated[int, typer.Option(help="CPU threads per run; part of what decides its bytes")] = 1,
    wait: Annotated[float, typer.Option(help="hours to wait for runs that other processes train")] = 12.0,
    engine: Annotated[str, typer.Option(help="local, or ray for the nodes of a Ray cluster")] = "local",
    address: Annotated[str | None, typer.Option(help="of a Ray cluster, such as auto; else one is started")] = None,
    gpus: Annotated[float | None, typer.Option(help="GPUs that Ray gives a run, such as 0.5; else 1 with cuda")] = None,
    network: Annotated[
        list[str] | None, typer.Option(help="a network of yours as one more arm, my_net:SmallNet; may be repeated")
    ] = None,
) -> None:
    """Train what the run store lacks and write the run's prediction table. May be killed and started again at any time.

    Told to stop by SIGTERM or SIGUSR1, it saves the runs at work, frees their locks and ends with exit code 75.
    With --arm the tables are runs/RUN.partial.*, to look at: notebooks and `publish` read the whole grid's. Those of
    the profile pilot, which no test case is part of, go to reports/pilots.
    """
    from fewscans import paths
    from fewscans.sweep.slurm import STOPPED

    ending.end_with_pipeline()
    share = _shard(shard)
    for option, value in (("--threads", threads), ("--slots", slots)):
        if value is not None and value < 1:
            raise ParamsError(f"{option} must be at least 1, got {value}")
    if engine not in ("local", "ray") or engine == "local" and (address, gpus) != (None, None):
        raise ParamsError(f"--engine is local, or ray, which alone has --address and --gpus; got {engine!r}")
    try:
        with ending.told_to_stop(), ExitStack() as stack:
            from fewscans.sweep.engine import LocalEngine, default_slots
            from fewscans.sweep.onerun import find_device
            from fewscans.sweep.sweep import sweep

            where = "cuda" if gpus else find_device(device)  # with Ray, GPUs are those of nodes
            setting = _setting(run, profile, where, threads, network or ())
            if engine == "ray":
                from fewscans.sweep.ray_engine import RayEngine

                each = (where == "cuda") if gpus is None else gpus
                runner = stack.enter_context(closing(RayEngine(address, slots, threads, each)))
            else:
                places = default_slots(where, threads)
                runner = LocalEngine([places[i % len(places)] for i in range(slots or len(places))])
            out = paths.pilots() if setting.profile == "pilot" else paths.runs()
            result = sweep(setting, arm or (), share, runner, out, wait_hours=wait)
    except KeyboardInterrupt:  # typer would leave without a word
        typer.echo("fewscans: interrupted; what is finished is kept, and the same command goes on from there", err=True)
        raise typer.Exit(130) from None
    except Stopped as told:
        typer.echo(f"fewscans: told to stop by {told}; all is saved, and the same command goes on from there", err=True)
        raise typer.Exit(STOPPED) from None
    trained = f"{result.trained} trained now, {result.total} in the table"
    if result.table is None:
        rest = f"other shards hold the rest; `fewscans train {run}` writes the table once they are done"
        typer.echo(f"{run}: {trained}; {rest}")
    else:
        typer.echo(f"{run}: {trained}; wrote {_short(result.table)}")


@app.command()
def slurm(
    run: Annotated[str, typer.Argument(help="a run under `grids` in params.yaml")],
    jobs: Annotated[int, typer.Option(help="jobs of the array, which share the work")] = 8,
    gpus: Annotated[int, typer.Option(help="GPUs of a job; 0 trains on its CPUs")] = 1,
    cpus: Annotated[int, typer.Option(help="CPUs of a job")] = 4,
    hours: Annotated[float, typer.Option(help="time limit of a job, which is then queued again")] = 4.0,
    profile: Annotated[str | None, typer.Option(help="smoke, quick, long, paper or pilot; else params.yaml's")] = None,
) -> None:
    """Print a batch script for Slurm, an array of `fewscans train RUN`: fewscans slurm RUN > train.sbatch."""
    from fewscans import params
    from fewscans.sweep.slurm import script

    for option, value, least in (("jobs", jobs, 1), ("gpus", gpus, 0), ("cpus", cpus, 1), ("hours", hours, 0.1)):
        if value < least:
            raise ParamsError(f"--{option} must be at least {least}, got {value}")
    params.load().grid(run, profile)  # which must exist
    typer.echo(script(run, jobs, gpus, cpus, hours, profile), nl=False)


@app.command()
def predict(
    run: Annotated[str, typer.Argument(help="a run whose tables are in runs/, such as gcnn-luna16-twin")],
    dataset: Annotated[str, typer.Argument(help="a data set of yours to ask it about, such as lidc-nodules")],
    profile: Annotated[str | None, typer.Option(help="the profile it was trained with; else params.yaml's")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    yes: Annotated[bool, typer.Option("--yes", help="ask even if the images show something else")] = False,
    published: Annotated[bool, typer.Option("--published", help="the networks that git keeps, untrained here")] = False,
) -> None:
    """Ask a finished run's networks about the cases of another data set; writes runs/RUN-on-DATASET.*.

    A run that was not trained here is asked by the networks that git keeps, if there are any.
    """
    from fewscans import params, paths, transfer
    from fewscans.data import registry
    from fewscans.sweep.onerun import find_device

    p = params.load()
    found = registry.find(dataset, paths.data_root())
    made = transfer.predict(run, p.run(run), p.grid(run, profile), dataset, found, find_device(device), yes, published)
    typer.echo(f"wrote {_short(made)}")


@app.command()
def scan(
    slides: Annotated[list[Path], typer.Argument(help="slides, such as slides/*.tif")],
    out: Annotated[Path, typer.Option(help="folder for heatmaps and detections; a second call goes on there")],
    run: Annotated[str, typer.Option(help="the run whose network is used")] = "camelyon16-camelyon16-twin",
    arm: Annotated[str, typer.Option(help="which of its networks")] = "40x-small",
    n_train: Annotated[int | None, typer.Option(help="its training size; else the largest")] = None,
    seed: Annotated[int | None, typer.Option(help="its seed; else 0, or the one that git keeps")] = None,
    profile: Annotated[str | None, typer.Option(help="the profile it was trained with; else params.yaml's")] = None,
    mpp: Annotated[str | None, typer.Option(help="µm per level-0 pixel, or a CSV file of slide,mpp")] = None,
    orientations: Annotated[int, typer.Option(help="1, or 8 to average over turned and mirrored copies")] = 1,
    threshold: Annotated[float, typer.Option(help="lowest probability of a detection")] = 0.5,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
) -> None:
    """Sweep whole slides with a trained network: a heatmap, detections as CSV and GeoJSON, and a summary of all."""
    import torch

    from fewscans import params, transfer
    from fewscans.experiments import camelyon16
    from fewscans.slides.scan import scan_slides
    from fewscans.sweep.onerun import find_device

    if orientations not in (1, 8):
        raise ParamsError(f"--orientations must be 1 or 8, got {orientations}")
    p = params.load()
    if (p.run(run).experiment, p.run(run).dataset) != ("camelyon16", "camelyon16"):
        raise ParamsError(f"--run {run}: its networks do not see slides; name a run such as camelyon16-camelyon16-twin")
    spec = camelyon16.ARMS.get(arm)
    networks = transfer.networks(run, p.run(run), p.grid(run, profile))
    grid, (_, weights) = networks.grid, networks.one(arm, n_train, seed)
    if spec.overview or spec.stain or spec.networks > 1:
        raise ParamsError(f"--arm {arm}: scans use one network on patches in the slide's own colours; name another arm")
    where = find_device(device)
    network = camelyon16.networks(spec, grid, weights, torch.device(where))[0]
    geometry = grid.geometry(spec.levels)
    summary = scan_slides(slides, network, geometry, grid.microns_per_pixel, out, mpp, where, orientations, threshold)
    typer.echo(f"wrote {len(summary)} slides to {out}; summary.csv lists them")


@app.command()
def segment(
    scans: Annotated[list[Path], typer.Argument(help="scans as NIfTI, such as scans/*.nii.gz")],
    out: Annotated[Path, typer.Option(help="folder for the labels, NIfTI in the frame of each scan")],
    run: Annotated[str, typer.Option(help="the run whose network is used")] = "volumes-msd-hippocampus-twin",
    arm: Annotated[str, typer.Option(help="how they are drawn: 3D, 2D, ensemble, ...")] = "3D",
    n_train: Annotated[int | None, typer.Option(help="its training size; else the largest")] = None,
    seed: Annotated[int, typer.Option(help="its seed")] = 0,
    profile: Annotated[str | None, typer.Option(help="the profile it was trained with; else params.yaml's")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
) -> None:
    """Draw the labels of a trained network on scans, cut around the structure as its training scans were."""
    import torch

    from fewscans import params, transfer
    from fewscans.experiments import volumes
    from fewscans.experiments.volumes import scans as drawing
    from fewscans.sweep.onerun import find_device

    p = params.load()
    if p.run(run).experiment != "volumes":
        raise ParamsError(f"--run {run}: its networks draw no labels; name a run such as volumes-msd-hippocampus-twin")
    if arm not in volumes.ARMS:
        raise ParamsError(f"--arm {arm}: unknown; it is one of {', '.join(volumes.ARMS)}")
    grid, trained = p.grid(run, profile), volumes.ARMS[arm].computed_with or arm
    _, weights = transfer.weights_of(run, grid, trained, n_train, seed)
    written = drawing.segment(scans, out, weights, grid, arm, torch.device(find_device(device)))
    for path, ml in written.items():
        typer.echo(f"wrote {path}: " + ", ".join(f"label {label} {volume:.3f} ml" for label, volume in ml.items()))


@app.command()
def source(name: Annotated[str, typer.Argument(help="a notebook's number, such as 01")]) -> None:
    """Write the notebook's normalised, stripped copy to build/source/, which the pipeline depends on."""
    from fewscans import notebook

    typer.echo(f"wrote {_short(notebook.source(name))}")


@app.command("notebook")
def notebook_command(
    name: Annotated[str, typer.Argument(help="a notebook's number, such as 01")],
    parameter: Annotated[
        list[str] | None, typer.Option("-p", "--parameter", help="name=value, a Python literal; may be repeated")
    ] = None,
) -> None:
    """Execute a notebook strictly and write it, with its HTML, to reports/notebooks/."""
    from fewscans import notebook

    executed = notebook.run(name, dict(_literal(text) for text in parameter or ()))
    typer.echo(f"wrote {_short(executed)}")


@app.command()
def code() -> None:
    """Write build/code/STAGE.json: the hash of the code that each stage of the pipeline depends on."""
    from fewscans import stages

    for path in stages.write():
        typer.echo(f"wrote {_short(path)}")


@app.command()
def scorecard() -> None:
    """Compute the verdict of every claim; write reports/scorecard.*, reports/results/ and the README's table."""
    from fewscans import cards
    from fewscans import scorecard as scores

    kept, written = scores.write_all()
    for path in [*written, *cards.write(kept)]:
        typer.echo(f"wrote {_short(path)}")


@app.command()
def explain(file: Annotated[Path, typer.Argument(help="a figure, table, page or executed notebook")]) -> None:
    """Say what made a file, from which runs, code and profile, and whether it is current."""
    from fewscans import provenance

    typer.echo(provenance.explain(file))


@app.command()
def record(why: Annotated[str, typer.Argument(help="why claims were added or changed")]) -> None:
    """Enter into claims/history.yaml what the claims name now and did not before."""
    from fewscans import claims_history

    if not why.strip():
        raise ParamsError("WHY is empty; say why claims were added or changed")
    typer.echo("\n".join(claims_history.record(why)) or "no claim changed since the last entry")


@app.command()
def publish(
    run: Annotated[str, typer.Argument(help="a run whose table is in runs/")],
    profile: Annotated[str | None, typer.Option(help="the profile that it must be of")] = None,
    incomplete: Annotated[str | None, typer.Option(help="why gaps or few seeds may be published; is recorded")] = None,
    weights: Annotated[bool, typer.Option("--weights", help="the best network of each arm too, with a card")] = False,
    add: Annotated[bool, typer.Option("--add", help="what is published and not in the table stays")] = False,
) -> None:
    """Copy a run's tables into reports/published/, to be kept in git. Weights above 200 KB go to build/weights/."""
    from fewscans import publish as publishing

    typer.echo(f"wrote {_short(publishing.publish(run, profile, incomplete, with_weights=weights, add=add))}")


@app.command()
def doctor() -> None:
    """Check Python, torch, device, OpenSlide, DVC, disk and data sets; say in words what to do about each."""
    from fewscans import doctor as doctors

    checks = doctors.checks()
    typer.echo(doctors.render(checks))
    if not doctors.ready(checks):
        raise typer.Exit(1)


@data_app.command()
def verify(name: Annotated[str, typer.Argument(help="a data set that `doctor` lists, such as luna16")]) -> None:
    """Check your copy of a data set and write a small manifest into the project, for the pipeline to depend on."""
    from fewscans import paths
    from fewscans.data import manifest

    typer.echo(manifest.verify(name, paths.data_root(), paths.root() / "data" / "manifests").summary())


@data_app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="a data set that needs no registration, such as adrenalmnist3d")],
) -> None:
    """Download a data set to its place under the data root, and check it. What broke off goes on with the same call."""
    from fewscans import paths
    from fewscans.data import fetch as downloads

    typer.echo(f"wrote {_short(downloads.fetch(name, paths.data_root()))}")
    verify(name)


@data_app.command()
def pack(
    name: Annotated[str, typer.Argument(help="a data set published in loose parts: luna16-patches")],
    images: Annotated[Path, typer.Option(help="the folder src/data of a clone of the repository that holds them")],
    candidates: Annotated[Path, typer.Option(help="LUNA16's candidates.csv")],
    out: Annotated[Path | None, typer.Option(help="the folder to write into; else NAME under the data root")] = None,
) -> None:
    """Pack a data set from the parts it is published in to the one file that is read here."""
    from fewscans import paths
    from fewscans.data import pack_luna16_patches
    from fewscans.errors import DataError

    packers = {"luna16-patches": pack_luna16_patches.pack}
    if name not in packers:
        raise DataError(f"no packing of {name!r}; there is one of {', '.join(packers)}")
    written = packers[name](images, candidates, paths.data_root() / name if out is None else out)
    typer.echo(f"wrote {_short(written)}" + (f"; `fewscans data verify {name}` checks it" if out is None else ""))


@app.command()
def profile() -> None:
    """Print the profile that params.yaml names."""
    from fewscans import params

    typer.echo(params.load().profile)


def _setting(run: str, profile: str | None, device: str, threads: int, networks: Sequence[str] = ()):
    """What a sweep of that run needs, with its data found: the twin that was written, or the user's verified copy."""
    from fewscans import experiments, params, paths
    from fewscans.data import registry
    from fewscans.experiments import own_arms
    from fewscans.sweep.onerun import Setting

    p = params.load()
    spec = p.run(run)
    grid = own_arms.added(p.grid(run, profile), experiments.get(spec.experiment), networks)
    if spec.twin:
        folder = paths.root() / spec.data
        if not folder.exists():
            raise RunError(f"{_short(folder)} does not exist; write the twin first: fewscans twin {spec.dataset}")
    else:
        folder = registry.find(spec.dataset, paths.data_root())
    named = profile or p.profile
    return Setting(run, spec.experiment, spec.dataset, grid, folder, paths.store(), device, threads, named)


def _shard(text: str) -> tuple[int, int]:
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise ParamsError(f"--shard must be i/n with 1 <= i <= n, such as 1/8; got {text!r}")
    return int(index), int(count)


def _literal(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ParamsError(f"-p wants name=value, got {text!r}")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def _short(path: Path) -> str:
    from fewscans import paths

    try:
        return str(Path(path).resolve().relative_to(paths.root()))
    except ValueError:
        return str(path)


def main() -> None:
    """Entry point; `guard.guarded` says how it ends."""
    with guard.guarded():
        app()
