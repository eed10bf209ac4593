"""How networks on numbers train: the spread over seeds, the loss over updates, the cost, and Williams' test."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.ticker import FuncFormatter

from fewscans.figures.arms import filled, look
from fewscans.figures.cost import LAST_SHARE, grid_of, late, named
from fewscans.figures.picture import Picture, sheet, styled
from fewscans.figures.regression import widths
from fewscans.figures.reported import Reported
from fewscans.figures.sources import NotYet, Source, rounded
from fewscans.figures.wording import folded, interval, listed, markdown, number, side, sizes
from fewscans.figures.yardsticks import FEWEST_SEEDS, MAIN, RIVALS, SUMS, beats_mean, is_check, notes
from fewscans.stats import Estimate
from fewscans.stats.correlations import Williams, williams_of
from fewscans.stats.seed_spread import independent_ratio, ratio_needed, spread_ratio

PARTS = ("base", "base-compute", "hydra-2", "hydra-4", "hydra-8", "base-dropout", "mixup", "c-mixup")


def spread_of(source: Source, n: int, baseline: str = "base", arm: str = SUMS) -> Estimate | None:
    """Standard deviation of the ICC over seeds, the arm's over the baseline's; None of fewer than three seeds, or where
    one of them does not vary.
    """
    table = source.resampled("icc")
    try:
        return rounded(spread_ratio(table.values(arm, n), table.values(baseline, n)))
    except ValueError:
        return None


@styled
def seeds(sources: Sequence[Source]) -> Picture:
    """The ICC of every seed, a dot each, by size: what the next training may bring."""
    sources = [s for s in sources if {SUMS, "base"} <= set(s.arms) and s.sizes(SUMS, "base")]
    if not sources:
        raise NotYet("no run has sums and the base network at one size yet")
    found = {(s.run, n): spread_of(s, n) for s in sources for n in s.sizes(SUMS, "base")}
    ratios = [(s.real, e) for s in sources for n in s.sizes(SUMS, "base") if (e := found[s.run, n]) is not None]
    title = f"Over seeds the ICC of sums surely varies less than base's in {_counted(ratios)}"
    if not ratios:
        title = f"Spreads over seeds cannot be compared: fewer than {FEWEST_SEEDS} seeds, or scores that do not vary"
    note = notes(sources).rpartition(" Bars:")[0] + " A dot: one seed; dash: their mean."
    if ratios and len(ratios) < len(found):
        note += f" Not counted: {len(found) - len(ratios)} of fewer than {FEWEST_SEEDS} seeds, or that do not vary."
    figure, axes = sheet(title, 1, len(sources), 3.6, note, width_ratios=widths(sources))
    for panel, source in zip(axes[0], sources, strict=True):
        present = [arm for arm in MAIN if arm in source.arms]
        n_all = sorted({n for arm in present for n in source.sizes(arm)})
        for k, arm in enumerate(present):
            for n in source.sizes(arm):
                values = source.resampled("icc").values(arm, n).round(4)
                x = n_all.index(n) + 0.24 * (k - 1)
                style = filled(arm) | {"linestyle": "none", "markersize": 4, "alpha": 0.75, "markeredgewidth": 0}
                panel.plot(np.full(len(values), x), values, **style, label=look(arm).label if n == n_all[0] else None)
                panel.plot([x - 0.09, x + 0.09], [values.mean().round(4)] * 2, color=look(arm).colour, linewidth=1.8)
        panel.set_xticks(range(len(n_all)), [str(n) for n in n_all], fontsize=9)
        panel.set_xlim(-0.5, len(n_all) - 0.5)
        panel.set_xlabel("training scans", fontsize=9)
        name = source.prefix.partition(",")[0].partition(" ")[2]
        panel.set_title(f"{name[0].upper()}{name[1:]}\n{'real' if source.real else 'twin'}", fontsize=9.5)
        panel.tick_params(labelsize=9)
        panel.grid(False, axis="x")
    axes[0, 0].set_ylabel("ICC(A,1) of a seed")
    low, high = axes[0, 0].get_ylim()
    axes[0, 0].set_ylim(low, high + 0.4 * (high - low))
    axes[0, 0].legend(fontsize=8, loc="upper left", borderaxespad=0.1, labelspacing=0.2)
    return Picture(figure, title, {"figure": "spread over seeds", "runs": [s.provenance for s in sources]})


def seeds_table(sources: Sequence[Source], reported: Sequence[Reported] = ()) -> str:
    """Markdown: how many ratios of spreads differ from 1, and what it takes; folded, the standard deviations over seeds
    and the ratio of sums' to either rival's, the paper's first.
    """
    rows, ratios, seeds_of, idle = [], [], [], []
    spreads = {r.arm: r for r in reported if r.seed_sd is not None}
    if set(spreads) == {"base", SUMS}:
        one, other = spreads["base"], spreads[SUMS]
        ratio = independent_ratio(other.seed_sd, one.seed_sd, other.networks, one.networks)
        what = f"paper, {one.n_train} scans, {one.networks} trainings"
        rows.append([what, number(one.seed_sd), "", number(other.seed_sd), _ratio(ratio), ""])
    for source in sources:
        table, beaten = source.resampled("icc"), {} if is_check(source) else beats_mean(source)
        for n in source.sizes(SUMS) if SUMS in source.arms else ():
            n_seeds = len(table.cell(SUMS, n).seeds)
            sd = [number(table.values(arm, n).std(ddof=1)) if source.has(arm, n) and n_seeds >= FEWEST_SEEDS else "–"
                  for arm in MAIN]  # fmt: skip
            found = [spread_of(source, n, rival) if source.has(rival, n) else None for rival in RIVALS]
            rows.append([f"{source.prefix}, N = {n:,}, {n_seeds} seeds", *sd, *map(_ratio, found)])
            for rival, e in zip(RIVALS, found, strict=True):
                if e is not None:
                    ratios.append((source.real, e))
                    idle.append(side(e, 1) < 0 and beaten.get((SUMS, n)) is False)
                    r = np.corrcoef(table.values(SUMS, n), table.values(rival, n))[0, 1]
                    seeds_of.append((n_seeds, abs(float(r))))
    head = [
        "standard deviation of the ICC over trainings",
        *(look(arm).label for arm in MAIN),
        *(f"sums / {look(r).label}" for r in RIVALS),
    ]
    table = folded(
        f"Spread over trainings, {len(rows)} rows", f"{markdown(head, rows)}\n\n\\* the interval leaves out 1."
    )
    return "\n\n".join(filter(None, [_spreads_in_words(ratios, seeds_of, sum(idle)), table]))


def _spreads_in_words(ratios: Sequence[tuple[bool, Estimate]], seeds_of: Sequence[tuple[int, float]], idle: int) -> str:
    """ratios: whether on real scans, and the ratio.   seeds_of: by ratio, the number of seeds and the correlation over
    them, without its sign.   idle: how many of the ratios surely below 1 are of sums that do not surely beat the mean.
    """
    if not ratios:
        return f"No spread here can be compared: fewer than {FEWEST_SEEDS} seeds, or scores that do not vary."
    n, r = max(seeds_of)
    nothing = ""
    if idle:
        nothing = f" In {idle} of these, sums do not surely beat the mean of the labels by squared error: "
        nothing += "**what has learned little varies little**."
    return (
        f"Sums' spread is surely less than a rival's in {_counted(ratios)}.{nothing} With {n} seeds and scores that "
        f"are uncorrelated over them, one spread must be {ratio_needed(n):.1f} times the other for that. Methods share "
        "scans and initial weights seed by seed; the more their scores go together, the less is needed: "
        f"{ratio_needed(n, r):.1f} times at the highest correlation here ({number(r, 2)})."
    )


def _counted(ratios: Sequence[tuple[bool, Estimate]]) -> str:
    """ "1 of 5 comparisons on real scans and 2 of 2 on twins, more in 0": ratios surely below 1, and above."""
    kinds = [(words, [e for is_real, e in ratios if is_real is real])
             for real, words in ((True, "real scans"), (False, "twins"))]  # fmt: skip
    kinds = [(words, some) for words, some in kinds if some]
    parts = [f"{sum(side(e, 1) < 0 for e in some)} of {len(some)}{' comparisons' * (not k)} on {words}"
             for k, (words, some) in enumerate(kinds)]  # fmt: skip
    return f"{listed(parts)}, more in {sum(side(e, 1) > 0 for _, e in ratios)}"


def _ratio(e: Estimate | None) -> str:
    if e is None:
        return "–"
    ends = [number(x, 2) if np.isfinite(x) else "∞" for x in (e.low, e.high)]
    return f"{number(e.value, 2)} ({ends[0]} to {ends[1]}){' *' if side(e, 1) else ''}"


@styled
def losses(source: Source, n_train: Sequence[int] = ()) -> Picture:
    """Validation loss over updates, median over seeds, at two sizes: was the budget enough, and for whom?"""
    history = source.tables.history
    arms = [arm for arm in MAIN if arm in set(history["arm"].astype(str)) and arm in source.arms]
    shared = source.sizes(*arms) if arms else []
    if not shared:
        raise NotYet(f"{source.label}: no validation losses of networks that share a size yet")
    asked = list(n_train) or sorted({min(shared, key=lambda n: abs(n - 25)), shared[-1]})
    cells = [(arm, n) for arm in arms for n in shared]
    short = late(source, arms, shared)
    title = f"{source.prefix}: {_budget(source, cells, short)}"
    note = source.note.partition(" Bars:")[0] + " Networks counted: "
    note += f"{listed([look(arm).label for arm in arms])} at N = {sizes(shared)}. "
    note += f"Late: best checkpoint in the last {LAST_SHARE:.0%} of the updates in half of the seeds or more: "
    note += f"{named(short) or 'none'}. Loss on the validation scans, of single scans, in squares of the scaled label. "
    note += "Line: median over seeds; shade: their range. Mark: median of the best checkpoints."
    figure, axes = sheet(title, 1, len(asked), 3.5, note, sharey=True)
    for panel, n in zip(axes[0], asked, strict=True):
        for arm in arms:
            _losses(panel, history[(history["arm"] == arm) & (history["n_train"] == n)], arm)
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_title(f"N = {n:,}")
        panel.set_xlabel("updates")
        for axis, some in ((panel.xaxis, "3"), (panel.yaxis, "35")):  # a label at 5000 would touch that at 3000
            axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
            axis.set_minor_formatter(FuncFormatter(lambda x, _, some=some: f"{x:g}" if f"{x:.0e}"[0] in some else ""))
        panel.tick_params(which="both", labelsize=8.5)
    axes[0, 0].set_ylabel("validation loss")
    axes[0, 0].legend(fontsize=8.5, loc="upper right")
    return Picture(figure, title, source.provenance | {"figure": "validation loss over updates", "n_train": asked})


def _budget(source: Source, cells: Sequence[tuple[str, int]], short: Sequence[tuple[str, int]]) -> str:
    """How many networks beat the mean, without which the next says little: how many were best near the end."""
    beaten = {} if is_check(source) else beats_mean(source)
    known = [beaten[cell] for cell in cells if cell in beaten]
    ends = f"{len(short)} {'has its' if len(short) == 1 else 'have their'} best checkpoint late"
    learned = f"{sum(known)} surely {'beats' if sum(known) == 1 else 'beat'} the mean of the labels; " if known else ""
    return f"of {len(cells)} networks, {learned}{ends}"


def _losses(panel, mine: pd.DataFrame, arm: str) -> None:
    by_seed = mine.pivot_table(index="step", columns="seed", values="val_loss").dropna()
    if by_seed.empty:
        return
    colour, middle = look(arm).colour, by_seed.median(axis=1)
    panel.fill_between(by_seed.index, by_seed.min(axis=1), by_seed.max(axis=1), color=colour, alpha=0.15, linewidth=0)
    panel.plot(by_seed.index, middle, color=colour, linewidth=1.5, label=look(arm).label)
    panel.plot(float(by_seed.idxmin().median()), float(by_seed.min().median()), marker=look(arm).marker, color=colour,
               markersize=6.5, markeredgecolor="white")  # fmt: skip


def cost_table(source: Source, arms: Sequence[str] = PARTS) -> str:
    """Markdown: updates, images passed forward, also over base's, and CPU seconds of a run; medians over runs."""
    records = pd.DataFrame(source.records)
    if not {"images", "seconds_cpu"} <= set(records):
        return f"The records of the {source.name} tell no forward passes."
    made = {arm: records[records["arm"] == arm] for arm in arms if arm in set(records["arm"])}
    rows = []
    for arm, mine in made.items():
        middle = mine[["steps", "images", "parameters", "seconds_cpu"]].median()
        base = made["base"]["images"].median() if "base" in made else np.nan
        ratio = f"{middle['images'] / base:.2g}" if base > 0 else ""
        seconds = middle["seconds_cpu"]
        rows.append([look(arm).label, *(f"{middle[key]:,.0f}" for key in ("parameters", "steps", "images")), ratio,
                     f"{seconds:,.0f}" if seconds >= 10 else f"{seconds:.1f}"])  # fmt: skip
    head = [source.prefix, "parameters", "updates", "images passed forward", "/ base's", "CPU seconds a run"]
    return markdown(head, rows)


def williams_table(source: Source) -> str:
    """Markdown: Williams' test as in the paper, on predictions averaged over the learning curve's sizes (and seeds);
    then what it says, in a sentence.
    """
    rows, said = [], []
    for rival in RIVALS:
        shared = source.sizes(SUMS, rival) if {SUMS, rival} <= set(source.arms) else []
        people = (False, True) if source.test_set["groups"] < source.test_set["cases"] else (False,)
        read = []
        for by_group in people if shared else ():
            found = williams_of(source.tables.predictions, (SUMS, rival), shared, by_group=by_group)
            unit = source.task.groups if by_group else source.task.cases
            rows.append([f"sums against {look(rival).label}, {found.n:,} {unit}", number(found.r_first),
                         number(found.r_second), number(found.t, 2), _p(found).removeprefix("= ")])  # fmt: skip
            read.append(f"by {unit} {_williams_says(found, look(rival).label)}")
        if not shared:
            continue
        said.append(f"sums against {look(rival).label}: {', '.join(read)}")
        if not is_check(source):
            signs = [side(source.gain(SUMS, n, baseline=rival)) for n in shared]
            what = f"… the ICC is surely higher at {signs.count(1)}, lower at {signs.count(-1)} of {len(shared)} sizes"
            rows.append([what, "", "", "", ""])
    if not rows:
        return f"Sums and the base network share no training size on the {source.name} yet."
    table = markdown([source.prefix, "correlation, sums", "correlation, rival", "Williams' t", "p"], rows)
    return f"{table}\n\nAs an average of these very networks, {'; '.join(said)}."


def _p(found: Williams) -> str:
    return "< 0.001" if found.p < 0.001 else f"= {found.p:.3f}"


def _williams_says(found: Williams, rival: str) -> str:
    """Who correlates better, either way, where p < 0.05."""
    numbers = f"(t = {number(found.t, 2)}, p {_p(found)})"
    if found.p >= 0.05:
        return f"no sure difference {numbers}"
    return f"**{'sums correlate' if found.t > 0 else f'{rival} correlates'} better** {numbers}"


def gain_over_n(source: Source) -> str:
    """Whether the gain shrinks from the smallest to the largest size, in words; paired by seed and scan."""
    told = []
    for rival in () if is_check(source) else RIVALS:
        shared = source.sizes(SUMS, rival) if {SUMS, rival} <= set(source.arms) else []
        if len(shared) > 1:
            small, large = shared[0], shared[-1]
            terms = {(SUMS, large): 1.0, (rival, large): -1.0, (SUMS, small): -1.0, (rival, small): 1.0}
            change = rounded(source.resampled("icc").spread(terms).estimate(0.95))
            word = {1: "grows", -1: "shrinks", 0: "does not surely change"}[side(change)]
            told.append(f"over {look(rival).label} {word}: {interval(change, sign=True)}")
    return (
        f"{source.prefix}: from N = {sizes([small])} to {sizes([large])}, the gain in ICC {'; '.join(told)}."
        if told
        else ""
    )


def protocol_table(sources: Sequence[Source]) -> str:
    """Markdown: what was trained on what, from records and published parameters; a blank where a table does not say.
    Below it, how often sums pass through their scans at the smallest and the largest size.
    """
    rows, passes = [], []
    for source in sources:
        records = pd.DataFrame(source.records)
        mine = records[records["arm"] == SUMS] if "arm" in records else records
        grid = grid_of(source)

        def of(key, mine=mine):
            return f"{mine[key].median():,.0f}" if key in mine and len(mine) else ""

        t, n_all = source.test_set, source.sizes(SUMS) if SUMS in source.arms else []
        epochs = {n: _epochs(source, n) for n in dict.fromkeys([*n_all[:1], *n_all[-1:]])}
        if len(epochs) > 1 and all(epochs.values()):
            (small, often), (large, seldom) = epochs.items()
            name = f"{source.prefix[0].lower()}{source.prefix[1:]}"
            passes.append(f"{name}, {often:,.0f} of sums at N = {small:,} and {seldom:,.0f} at N = {large:,}")
        rows.append([
            source.prefix, "real" if source.real else "twin", sizes(n_all) if n_all else "", t["seeds"], of("steps"),
            " to ".join(f"{e:,.0f}" for e in epochs.values() if e), f"{of('n_val')} ({of('n_small_val')})",
            f"{t['cases']:,}, {t['groups']:,}", _voxels(grid), grid.get("intensities", ""),
        ])  # fmt: skip
    head = ["", "", "N", "seeds", "updates of sums", "epochs of sums", "validation scans (small set)",
            "test scans, people", "voxels that a network sees", "intensities"]  # fmt: skip
    text = markdown(head, rows)
    if passes:
        text += f"\n\nUpdates are the same at every N, so epochs are not: {'; '.join(passes)}. Whoever compares sizes "
        text += "compares that, too."
    return text


def _epochs(source: Source, n: int) -> float:
    """Of sums, at a size; 0 if the history does not say."""
    history = source.tables.history
    mine = history.loc[(history["arm"] == SUMS) & (history["n_train"] == n), "epoch"]
    return float(mine.max()) if len(mine) else 0.0


def _voxels(grid: dict) -> str:
    """ "12 × 20 × 15 (3,600)": the window, after averaging."""
    if not grid.get("window"):
        return ""
    seen_as = [side // (grid.get("downsample") or 1) for side in grid["window"]]
    return f"{' × '.join(map(str, seen_as))} ({np.prod(seen_as):,})"
