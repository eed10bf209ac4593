"""Equal parameters, equal compute: what the two budgets of the paper make of its network, and how we train it."""

from __future__ import annotations

from collections.abc import Sequence

from fewscans import params
from fewscans.experiments import gcnn
from fewscans.figures.arms import look
from fewscans.figures.sources import Source
from fewscans.figures.wording import listed, markdown

ARMS = ("Z2", "p4", "p4m", "p4-compute", "p4m-compute", "Z2-wide")
SPACE = ("Z3", "D4", "D4h", "O", "Oh", "D4-compute", "D4h-compute")
PAPER_PATCH, PAPER_WIDTH = (12, 72, 72), 16


def table(width: int, arms=ARMS, patch=(gcnn.SIZE, gcnn.SIZE), pools=None) -> str:
    """Markdown: channels, parameters and multiply-adds of each arm, and what they are of the first, the plain one's.

    width: channels of the plain network's first layer.
    """
    made = {arm: gcnn.model(arm, width, 0, tuple(patch), pools) for arm in arms}
    plain = made[arms[0]]
    rows = []
    for arm, net in made.items():
        convolution, macs = net.convolution_parameters(), net.macs()
        channels = " ".join(f"{c}×{net.group.order}" if net.group.order > 1 else str(c) for c in net.channels[::2])
        rest = sum(p.numel() for p in net.parameters()) - convolution
        shares = (convolution / plain.convolution_parameters(), macs / plain.macs())
        rows.append([look(arm).label, channels, f"{convolution:,}", f"{rest:,}", f"{macs / 1e6:,.1f}",
                     *(f"{share:.2f}" for share in shares)])  # fmt: skip
    head = ["", "channels × orientations", "convolution parameters", "norms and last layer", "million multiply-adds",
            "parameters / plain", "compute / plain"]  # fmt: skip
    return markdown(head, rows)


def paper_networks() -> str:
    """Markdown: the paper's five networks, and two at equal compute, at the paper's own size."""
    return table(PAPER_WIDTH, SPACE, PAPER_PATCH)


def equal_in_words() -> str:
    """How equal "equal parameters" is at the paper's size: convolutions, everything, and compute."""
    made = {arm: gcnn.model(arm, PAPER_WIDTH, 0, PAPER_PATCH) for arm in SPACE[:5]}
    convolution, work = ({a: of(net) for a, net in made.items()} for of in (_convolution, lambda net: net.macs()))
    # the paper's last layer has two logits, ours one
    whole = {arm: convolution[arm] + 2 * (net.classifier.in_features + 1) for arm, net in made.items()}
    groups = SPACE[1:5]
    apart = max(abs(convolution[arm] / convolution["Z3"] - 1) for arm in groups)
    more, times = ([of[arm] / of["Z3"] for arm in groups] for of in (whole, work))
    return (
        f"The convolutions' parameters agree within {100 * apart:.1f} %. With the paper's last layer, which reads "
        f"every orientation at every position for two logits, the group networks have {100 * (min(more) - 1):.0f} to "
        f"{100 * (max(more) - 1):.0f} % more parameters than the plain one, and one patch costs them "
        f"{min(times):.0f} to {max(times):.0f} times as many multiply-adds."
    )


def _convolution(net) -> int:
    return net.convolution_parameters()


def grid_of(source: Source) -> gcnn.Grid | None:
    """The grid that decided how a source's networks were trained; None if no profile of params.yaml fits."""
    return params.load().grids.get(source.run, {}).get(source.profile)


def protocols(sources: Sequence[Source]) -> str:
    """Markdown: how each source's networks were trained, from the grids that decided it."""
    grids = {source.label: grid_of(source) for source in sources}
    unknown = [label for label, grid in grids.items() if grid is None]
    columns = {label: protocol(grid) for label, grid in grids.items() if grid is not None}
    rows = [[name, *(column[name] for column in columns.values())] for name in next(iter(columns.values()), {})]
    table = markdown(["protocol", *columns], rows) if rows else ""
    return table + "".join(f"\n\nThe settings of {label} are in no profile of params.yaml." for label in unknown)


def protocol(grid: gcnn.Grid) -> dict[str, str]:
    """How each network was trained, from the grid that decided it."""
    rates = ", ".join(f"{rate:g}" for rate in grid.learning_rates)
    by = "one seed's" if grid.tuning_seeds == 1 else f"{grid.tuning_seeds} seeds'"
    several = f"{rates}; chosen on {by} validation loss"
    return {
        "window": " × ".join(map(str, grid.patch)) + " voxels" + _spacing(grid),
        "pools": ", ".join(
            "none" if set(w) == {1} else " × ".join(map(str, w)) for w in grid.pools or _paper_pools(grid)
        ),
        "first layer's channels, plain network": str(grid.width),
        "updates, batch": f"{grid.steps:,}, {grid.batch_size}",
        "validated every": f"{grid.eval_every} updates",
        "validation loss": "both classes count equally" if grid.balanced_validation else "every case counts equally",
        "learning rates (Adam)": several if len(grid.learning_rates) > 1 else rates,
        "seeds (subset and initialisation)": str(grid.seeds),
        "augmentation": "after the paper (ranges: part 5), the same for all arms" if grid.augment else "none",
    }


def _paper_pools(grid: gcnn.Grid) -> list[tuple[int, ...]]:
    return [window[-len(grid.patch) :] for window in ((1, 2, 2), (2, 2, 2), (2, 2, 2))]


def _spacing(grid: gcnn.Grid) -> str:
    if grid.spacing_mm is not None:
        return f" of {' × '.join(f'{mm:g}' for mm in grid.spacing_mm)} mm"
    return f", each the mean over {' × '.join([str(grid.downsample)] * len(grid.patch))}" if grid.downsample > 1 else ""


def rates_of(source: Source, arms=None) -> str:
    """Markdown: the learning rate that validation chose per arm and size; one at the edge of the grid is marked."""
    arms = [arm for arm in arms or source.task.arms if arm in source.arms]
    chosen = {(r["arm"], r["n_train"]): r["learning_rate"] for r in source.records if r["arm"] in arms}
    tried = sorted((source.about.get("params") or {}).get("learning_rates", set(chosen.values())))
    if not chosen:
        return f"{source.prefix}: no network is trained yet."
    if len(tried) < 2:
        return f"{source.prefix}: one learning rate for all, {listed([f'{rate:g}' for rate in tried])}."
    n_all = sorted({n for _, n in chosen})
    rows = [
        [look(arm).label, *(_rate(chosen[arm, n], tried) if (arm, n) in chosen else "" for n in n_all)] for arm in arms
    ]
    table = markdown([f"{source.prefix}: learning rate chosen", *(f"N = {n:,}" for n in n_all)], rows)
    return f"{table}\n\n\\* the largest or smallest on offer: a rate beyond might do better."


def _rate(rate: float, tried: list[float]) -> str:
    return f"{rate:g}{' *' if rate in (tried[0], tried[-1]) else ''}"
