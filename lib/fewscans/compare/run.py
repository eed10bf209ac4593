"""A comparison from the set's name to its page: pilot, plan, sweeps, page. Each step goes on where it stopped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from fewscans import params, paths, shortcuts
from fewscans.compare import ideas as known
from fewscans.compare import page, plan
from fewscans.data import own, registry
from fewscans.errors import DataError, ParamsError, RunError
from fewscans.experiments import get, own_arms
from fewscans.results import read_run
from fewscans.sweep.engine import Engine, LocalEngine, default_slots
from fewscans.sweep.onerun import Setting
from fewscans.sweep.sweep import sweep


def compare(
    name: str, ideas: str | None = None, hours: float = 1.0, networks: Sequence[str] = (), profile: str | None = None,
    device: str = "cpu", engine: Engine | None = None, tell: Callable[[str], None] = lambda text: None,
) -> Path:  # fmt: skip
    """Trains what a page about a user's own set needs and writes it; returns the page.

    ideas: see `ideas.chosen`.   networks: own ones, each "module:function" or a name under `networks` in params.yaml.
    profile: the grids of params.yaml for the runs <experiment>-<name>, in place of a plan.   tell: called with a
    sentence for each step.   Raises ParamsError, DataError or RunError.
    """
    if name not in own.names():
        raise DataError(f"'{name}' is no set of yours; `fewscans data add {name} FOLDER` makes it one")
    if not hours > 0:
        raise ParamsError(f"--hours must be above 0, got {hours:g}")
    mine, folder, place = own.load(name), paths.runs() / name, registry.find(name, paths.data_root())
    wanted, without = known.chosen(ideas, mine)
    taking = [get(experiment) for experiment in own_arms.TAKEN_BY]
    extra = [arm if arm in own_arms.specs() else own_arms.remember(arm, *taking) for arm in networks]
    arms = plan.arms_of(wanted, extra, mine)
    places = default_slots(device, 1)

    def planned() -> dict:
        tell("a pilot times a few updates of each network")
        every = {
            experiment: get(experiment).read(name, place, _smallest(experiment, mine), paths.build())
            for experiment in arms
        }
        some = plan.sizes(mine, next(iter(every.values())), 3, 10)
        costs = {e: plan.timed(e, mine, arms[e], every[e], some, device) for e in arms}
        if ideas is None:  # nobody asked for all of them
            (design, n, more), left = plan.lightest(mine, every, costs, hours, len(places))
        else:
            (design, n, more), left = plan.fitted(mine, every, costs, hours, len(places)), list(arms)
        return {e: plan.grid(e, mine, arms[e], n, design, more) for e in left}

    if profile is None:
        asked = {"content": mine.content, "arms": arms, "hours": hours, "code": plan.code_of(list(arms), name)}
        asked |= {"device": device, "slots": len(places)}
        grids = plan.kept(folder / "plan.json", asked, planned)
    else:
        p = params.load()
        grids = {experiment: p.grid(f"{experiment}-{name}", profile) for experiment in arms}
    for idea in [idea for idea in wanted if known.IDEAS[idea].experiment not in grids]:
        wanted.remove(idea)
        without[idea] = f"--hours {hours:g} are too few for it too; give more, or ask for it alone: --ideas {idea}"
    results = {}
    for experiment, grid in grids.items():
        run = f"{experiment}-{name}"
        n = ", ".join(map(str, sorted({n for some in grid.arms.values() for n in some})))
        tell(f"{run}: training sizes {n}; {grid.seeds} seeds or more, {grid.steps} updates")
        setting = Setting(run, experiment, name, grid, place, paths.store(), device, 1, profile or "compare")
        sweep(setting, engine=engine or LocalEngine(places), out=paths.runs())
        results[experiment] = read_run(run)
    tell("audit: what answers without a network")
    audited = shortcuts.lines(name, *shortcuts.at_hand(name))
    told = "".join(f" --{key} {value}" for key, value in (("ideas", ideas), ("profile", profile)) if value)
    told += "".join(f" --network {one}" for one in networks) + ("" if profile else f" --hours {hours:g}")
    try:
        return page.write(folder, mine, results, wanted, without, f"fewscans compare {name}{told}", audited)
    except ValueError as error:  # too few patients or seeds for an interval
        raise RunError(f"{name}: all is trained, but there is no page: {error}") from error


def _smallest(experiment: str, mine: own.Own):
    """A grid that reads the cases as all of the experiment's do."""
    idea = next(idea for idea in known.IDEAS.values() if idea.experiment == experiment)
    design = plan.Design(1, 1, 1, (1e-3,), 1)
    return plan.grid(experiment, mine, [idea.baseline[len(mine.patch)]], [plan.SMALLEST[mine.target]], design)
