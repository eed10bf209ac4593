"""Equal parameters, equal compute: what the two budgets of the paper make of its network, and how we train it."""

from __future__ import annotations

from fewscans import params
from fewscans.experiments import gcnn
from fewscans.figures.arms import look
from fewscans.figures.sources import Source
from fewscans.figures.wording import markdown

ARMS = ("Z2", "p4", "p4m", "p4-compute", "p4m-compute", "Z2-wide")


def table(width: int, arms=ARMS) -> str:
    """Markdown: channels, parameters and multiply-adds of each arm, and what they are of the plain network's.

    width: channels of the plain network's first layer.
    """
    made = {arm: gcnn.model(arm, width, 0) for arm in arms}
    plain = made["Z2"]
    rows = []
    for arm, net in made.items():
        convolution, macs = net.convolution_parameters(), net.macs()
        channels = " ".join(f"{c}×{net.group.order}" if net.group.order > 1 else str(c) for c in net.channels[::2])
        parameters = sum(p.numel() for p in net.parameters())
        shares = (convolution / plain.convolution_parameters(), macs / plain.macs())
        rows.append([look(arm).label, channels, f"{convolution:,}", f"{parameters:,}", f"{macs / 1e6:.1f}",
                     *(f"{share:.2f}" for share in shares)])  # fmt: skip
    head = ["", "channels × orientations", "convolution parameters", "all parameters", "million multiply-adds",
            "parameters / plain", "compute / plain"]  # fmt: skip
    return markdown(head, rows)


def protocol_of(source: Source) -> str:
    """Markdown: how a source's networks were trained, from the grid that decided it; a line if no profile fits."""
    loaded = params.load()
    if source.profile not in loaded.grids.get(source.run, {}):
        return "Its settings are in no profile of params.yaml."
    return protocol(loaded.grids[source.run][source.profile])


def protocol(grid: gcnn.Grid) -> str:
    """Markdown: how each network was trained, from the grid that decided it."""
    rates = ", ".join(f"{rate:g}" for rate in grid.learning_rates)
    chosen = f"{rates}; chosen on {grid.tuning_seeds} seeds' validation loss" if len(grid.learning_rates) > 1 else rates
    rows = [
        ["window", f"{gcnn.SIZE} × {gcnn.SIZE} voxels"],
        ["first layer's channels, plain network", grid.width],
        ["updates, batch", f"{grid.steps:,}, {grid.batch_size}"],
        ["validated every", f"{grid.eval_every} updates"],
        ["learning rates (Adam)", chosen],
        ["seeds (subset and initialisation)", grid.seeds],
        ["augmentation", "after the paper (ranges: part 5), the same for all arms" if grid.augment else "none"],
    ]
    return markdown(["protocol", ""], rows)


def rates_of(source: Source, arms=("Z2", "p4", "p4m")) -> str:
    """Markdown: the learning rate that validation chose per arm and size; one at the edge of the grid is marked."""
    chosen = {(r["arm"], r["n_train"]): r["learning_rate"] for r in source.records if r["arm"] in arms}
    tried = sorted((source.about.get("params") or {}).get("learning_rates", set(chosen.values())))
    if len(tried) < 2:
        return ""
    n_all = sorted({n for _, n in chosen})
    rows = [
        [look(arm).label, *(_rate(chosen[arm, n], tried) if (arm, n) in chosen else "" for n in n_all)] for arm in arms
    ]
    table = markdown(["learning rate chosen", *(f"N = {n:,}" for n in n_all)], rows)
    return f"{table}\n\n\\* the largest or smallest on offer: a rate beyond might do better."


def _rate(rate: float, tried: list[float]) -> str:
    return f"{rate:g}{' *' if rate in (tried[0], tried[-1]) else ''}"
