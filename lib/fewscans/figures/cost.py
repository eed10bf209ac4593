"""What it costs: parameters, multiply-adds and seconds per arm, and how many epochs until the baseline's best.

Fewer epochs are not less time: an epoch of a G-CNN computes more, so both stand side by side. And whether the updates
were enough: a best checkpoint near the end says that more might have been had, but an early one only says something of
a network that has learned at all. Of networks on numbers this is asked, too: do they surely beat the mean?
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd

from fewscans import params
from fewscans.figures.arms import filled, hollow, look
from fewscans.figures.curves import GROUPS, PAPER_ARMS, curve, spread_out
from fewscans.figures.picture import GREY, Picture, sheet, sizes_axis, styled
from fewscans.figures.sources import NotYet, Source, rounded
from fewscans.figures.tasks import score_label
from fewscans.figures.wording import factor, interval, markdown, side, sizes
from fewscans.figures.yardsticks import beats_mean, better, is_check, seen, starred, starring
from fewscans.stats import Estimate
from fewscans.stats.convergence import Convergence, convergence, epochs_to_baseline

LAST_SHARE = 0.2  # of the updates: a best validation loss in there says that more might have been had


def cost_table(source: Source) -> str:
    """Markdown: what one network of each arm has, and what training it took; medians over runs."""
    rows = []
    records = pd.DataFrame(source.records)
    if "macs" not in records:
        return "No run records."
    for arm, mine in records[records["macs"] > 0].groupby("arm", sort=False):
        seconds = mine["seconds_cpu"].median()
        one = mine.iloc[0]
        sizes_of = (one["convolution_parameters"], one["parameters"], one["macs"] / 1e6, one["steps"], seconds)
        rows.append([look(arm).label, *(f"{x:,.0f}" if x >= 10 else f"{x:.1f}" for x in sizes_of)])
    head = ["", "convolution parameters", "all parameters", "million multiply-adds", "updates", "CPU seconds a run"]
    return markdown(head, rows)


def spent(source: Source) -> str:
    """The whole sweep in a sentence: runs, updates of all of them, time, device."""
    hours = sum(record.get("seconds_cpu", 0.0) for record in source.records) / 3600
    devices = ", ".join(sorted({record["device"] for record in source.records}))
    torch = ", ".join(sorted({record["torch"] for record in source.records}))
    amount = f"{hours:.1f} CPU hours" if hours >= 1 else f"{hours * 60:.1f} CPU minutes"
    steps = updates(source)
    many = f"{steps / 1e6:.2f} million" if steps >= 1e6 else f"{steps:,}"
    return f"{len(source.records):,} runs, {many} updates, {amount} (device: {devices}; torch {torch})"


def updates(source: Source) -> int:
    """Of all runs together. A run that leaves out one site after the other trains a network for each of them, which
    only its images tell.
    """
    runs = pd.DataFrame(source.records)
    if "steps" not in runs:
        return 0
    steps = runs["steps"].fillna(0)
    if "images" in runs:
        unseen = runs["arm"].str.endswith("-unseen")
        of_one = runs["arm"].str.removesuffix("-unseen").map(runs.groupby("arm")["images"].median())
        steps = steps * (runs["images"] / of_one).where(unseen, 1.0).fillna(1.0)
    return round(float(steps.sum()))


def found(source: Source, arm: str) -> dict[int, Convergence]:
    """Convergence by size, where the arm and the plain network have histories."""
    history, baseline = source.tables.history, source.task.baseline
    trained = set(zip(history["arm"].astype(str), history["n_train"].astype(int), strict=True))
    n_all = [n for n in source.sizes(baseline) if {(arm, n), (baseline, n)} <= trained and source.has(arm, n)]
    return {n: convergence(history, arm, baseline, n) for n in n_all}


@styled
def epochs(source: Source, paper: pd.DataFrame, arms=None) -> Picture:
    """Epochs to the baseline's best validation loss over the baseline's own; the paper's Table 5 beside, hollow.

    Where the seeds are too few for an interval of their median, each seed is a dot.
    """
    made = {arm: by_size for arm in arms or source.task.methods if (by_size := found(source, arm))}
    if not made:
        raise NotYet(f"{source.label}: no group has a history beside the plain network's")
    title = f"{source.prefix}: {_finding(made)}"
    bare = all(_open(c.ratio) for by_size in made.values() for c in by_size.values())
    note, _, _ = source.note.rpartition("Bars:")
    note += _few(source) if bare else "Bars: 95 % intervals of the median over seeds. "
    note += "" if bare else "A bar that leaves the frame: too many seeds never got there."
    figure, axes = sheet(title, 1, 2, 3.5, note, width_ratios=[1.55, 1], sharey=True)
    ours, theirs = axes[0]
    for position, (arm, by_size) in enumerate(made.items()):
        shift = spread_out(position, len(made))
        if bare:
            _dots(ours, source, arm, by_size, shift)
        else:
            curve(ours, arm, {n: _drawn(c.ratio) for n, c in by_size.items()}, shift, label=look(arm).short)
    sizes_axis(ours, {n for by_size in made.values() for n in by_size}, f"training {source.task.cases}")
    ours.set_ylabel("epochs / plain CNN's")
    kind = "" if source.real else "synthetic "
    ours.set_title(f"Ours: {kind}{'planar ' if len(source.task.methods) < 3 else ''}{source.task.cases}")
    for arm in (arm for arm in (PAPER_ARMS if len(made) < 3 else GROUPS)[1:] if arm in paper):
        theirs.plot(paper.index, paper[arm] / paper["Z3"], **hollow(arm), label=look(arm).short)
    sizes_axis(theirs, paper.index, "training candidates")
    theirs.set_title("Paper: CT candidates", color=GREY)
    for panel in axes[0]:
        panel.axhline(1, color=look(source.task.baseline).colour, linewidth=1.4)
    theirs.legend(loc="upper right", fontsize=9)
    if len(made) < 3:  # on the plane the groups are others than the paper's
        ours.legend(loc="lower left", fontsize=9)
    ours.set_yscale("log")
    ours.set_ylim(0.02 if bare else 0.07, 30)
    ours.set_yticks([0.1, 0.3, 1, 3, 10], ["0.1×", "0.3×", "1×", "3×", "10×"])
    ours.minorticks_off()
    return Picture(figure, title, source.provenance | {"figure": "epochs to the baseline's best", "arms": list(made)})


def _open(e: Estimate) -> bool:
    return e.low <= 0 and e.high == float("inf")


def _few(source: Source) -> str:
    return (
        f"Small dots: the seeds (hollow: never got there within the budget). Large: their median; of "
        f"{source.test_set['seeds']} seeds it has no 95 % interval."
    )


def _dots(panel, source: Source, arm: str, by_size: dict[int, Convergence], shift: float) -> None:
    """Each seed's ratio, small; the median over them, joined."""
    settings = {"color": look(arm).colour, "marker": look(arm).marker, "linestyle": "none", "markersize": 3.2}
    for n in by_size:
        table = epochs_to_baseline(source.tables.history, arm, source.task.baseline, n)
        never = table["epochs"].isna().to_numpy()
        ratio = table["epochs"].fillna(table["budget"]).to_numpy() / table["baseline"].to_numpy()
        for some, face in ((~never, look(arm).colour), (never, "white")):
            panel.plot(np.full(some.sum(), n * shift), ratio[some], **settings, markerfacecolor=face, alpha=0.65)
    medians = [round(c.ratio.value, 4) for c in by_size.values()]
    panel.plot(np.array(list(by_size)) * shift, medians, **filled(arm), label=look(arm).short)


def _drawn(e: Estimate) -> Estimate:
    """An end at infinity, or at 0, is drawn as far as the frame."""
    return rounded(Estimate(e.value, max(e.low, 1e-3), min(e.high, 1e3), e.level, e.censored))


def _finding(made: dict[str, dict[int, Convergence]]) -> str:
    """Of the last arm, or of all where there are many; of medians alone where the seeds are too few for intervals."""
    if len(made) > 2:
        every = [c.ratio for by_size in made.values() for c in by_size.values()]
        if all(_open(e) for e in every):
            sooner = sum(e.value < 1 and e.censored is None for e in every)
            fewer = f"groups need fewer epochs than the plain CNN in {sooner} of {len(every)} medians"
            return f"{fewer}; too few seeds to be sure"
        sooner, later = (sum(side(e, 1) == sign for e in every) for sign in (-1, 1))
        return f"of {len(every)} comparisons, groups surely need fewer epochs in {sooner}, more in {later}"
    arm, by_size = list(made.items())[-1]
    sooner = [n for n, c in by_size.items() if side(c.ratio, 1) < 0]
    later = [n for n, c in by_size.items() if side(c.ratio, 1) > 0]
    parts = [f"{arm} reaches the plain CNN's best validation loss {words} at N = {sizes(some)}"
             for words, some in (("in fewer epochs", sooner), ("in more epochs", later)) if some]  # fmt: skip
    return "; ".join(parts) if parts else f"whether {arm} needs fewer epochs is open at every size"


def epochs_table(source: Source, arms=None) -> str:
    """Markdown: epochs to the plain network's best loss over its own, with interval; the share of seeds that arrived.

    Where the seeds are too few for an interval of a median, the median alone.
    """
    made = {arm: by_size for arm in arms or source.task.methods if (by_size := found(source, arm))}
    n_all = sorted({n for by_size in made.values() for n in by_size})
    if not made:
        return "No group has a history beside the plain network's yet."
    own = {n: c.baseline_epochs.value for by_size in made.values() for n, c in by_size.items()}
    rows = [["the plain network's own epochs", *(f"{own[n]:.3g}" for n in n_all)]]
    for arm, by_size in made.items():
        rows.append([look(arm).label, *(_ratio(by_size[n]) if n in by_size else "" for n in n_all)])
    head = [f"{source.prefix}: median of epochs / plain CNN's; seeds that got there", *(f"N = {n:,}" for n in n_all)]
    return markdown(head, rows)


def _ratio(c: Convergence) -> str:
    told = factor(c.ratio)
    return f"{told.partition(' (')[0] if _open(c.ratio) else told}; {c.reached:.0%}"


def longer(source: Source, arm: str | None = None) -> str:
    """Markdown: what more updates bring the baseline, what is left of the arm's gain, and the time of each."""
    arm, baseline = arm or source.task.named, source.task.baseline
    long = f"{baseline}-long"
    shared = [n for n in source.sizes(arm, baseline) if source.has(long, n)]
    if not shared:
        return f"This run has no {look(long).label}."
    gains = {n: source.gain(long, n, baseline=baseline) for n in shared}
    left = {n: source.gain(arm, n, baseline=long) for n in shared}
    rows = [[f"N = {n:,}", interval(gains[n], sign=True), interval(left[n], sign=True)] for n in shared]
    head = [
        f"{score_label(source.score_name)} (95 % interval)",
        f"{look(long).label}, minus {look(baseline).label}",
        f"{arm}, minus {look(long).label}",
    ]
    raised = [n for n in shared if side(gains[n]) > 0]
    kept = [n for n in shared if side(left[n]) > 0]
    seconds = pd.DataFrame(source.records).groupby("arm")["seconds_cpu"].median()
    told = "More updates do not surely raise the plain network's score: **its budget was enough**"
    if raised:
        told = (
            f"More updates surely raise the plain network's score at N = {sizes(raised)}: **its budget was not enough**"
        )
    rest = f"surely remains at N = {sizes(kept)}" if kept else "does not surely remain at any of these sizes"
    time = ", ".join(f"{look(a).label} {seconds[a]:.0f}" for a in (baseline, long, arm) if a in seconds)
    return f"{markdown(head, rows)}\n\n{told}; against it, a gain of {arm} {rest}. CPU seconds a run: {time}."


def best_at(source: Source, arm: str, n: int) -> np.ndarray:
    """(S,) how far into its updates each seed had its best validation loss, 0 to 1; none where no losses are kept."""
    history = source.tables.history
    mine = history[(history["arm"] == arm) & (history["n_train"] == n)]
    if not len(mine):
        return np.empty(0)
    best = mine.loc[mine.groupby("seed")["val_loss"].idxmin()]
    return (best["step"] / mine["step"].max()).to_numpy()


def best_late(best: np.ndarray, last_share: float = LAST_SHARE) -> float:
    """Share of the seeds that were at their best in the last part of their updates."""
    return float(np.mean(best > 1 - last_share)) if len(best) else 0.0


def late(source: Source, arms, sizes_of, last_share: float = LAST_SHARE) -> list[tuple[str, int]]:
    """Arms and sizes where half of the seeds or more had their best validation loss in the last part."""
    cells = [(arm, n) for arm in arms for n in sizes_of if source.has(arm, n)]
    return [(arm, n) for arm, n in cells if best_late(best_at(source, arm, n), last_share) >= 0.5]


def named(cells) -> str:
    """ "base at N = 25 and 50; sums of 4 at N = 12"."""
    arms = dict.fromkeys(arm for arm, _ in cells)
    return "; ".join(f"{look(arm).short} at N = {sizes([n for a, n in cells if a == arm])}" for arm in arms)


def budget_is_enough(source: Source, arms=None, last_share: float = LAST_SHARE) -> str:
    """Markdown: how far into its updates each network had its best validation loss, and which had it near the end.

    Of networks on numbers, also whether each surely beats the mean of the training labels: one that does not has
    perhaps learned nothing, wherever its best checkpoint lies. And what more updates brought, if known.
    """
    arms = [arm for arm in arms or source.task.arms if arm in source.arms]
    n_all = sorted({n for arm in arms for n in source.sizes(arm)})
    beaten = _beaten(source, arms)
    rows = []
    for arm in arms:
        told = []
        for n in n_all:
            best = best_at(source, arm, n)
            if not len(best) or not source.has(arm, n):
                told.append("")
                continue
            mean = {True: "; yes", False: "; no", None: ""}[beaten.get((arm, n))]
            told.append(f"{np.median(best):.0%}; {best_late(best, last_share):.0%}{mean}")
        rows.append([look(arm).label, *told])
    what = f"best validation loss after (median); seeds with it in the last {last_share:.0%}"
    what += "; surely less squared error than the mean" if beaten else ""
    short = late(source, arms, n_all, last_share)
    where = f"in the last {last_share:.0%} of the updates in half of"
    if not source.numbers:
        said = f"No network had its best validation loss {where} its seeds."
        if short:
            said = f"Best validation loss {where} the seeds or more, and so perhaps cut short: **{named(short)}**."
        return f"{markdown([what, *_heads(n_all)], rows)}\n\n{said}"
    said = [_learned(source, beaten), f"No network has its best checkpoint {where} its seeds."]
    if short:
        said[1] = f"Best checkpoint {where} the seeds or more: **{named(short)}**."
        if grid_of(source).get("decay"):
            said[1] += " As the learning rate falls to 0, a late best is to be expected and proves no want of updates."
    elif beaten and not all(beaten.values()):
        said[1] += " Of those that have perhaps learned nothing, this says nothing."
    return "\n\n".join(
        [markdown([what, *_heads(n_all)], rows), " ".join(filter(None, said)), more_updates(source)]
    ).strip()


def _heads(n_all) -> list[str]:
    return [f"N = {n:,}" for n in n_all]


def _beaten(source: Source, arms) -> dict[tuple[str, int], bool]:
    """As `yardsticks.beats_mean`, of these arms; nothing of classes, of too few seeds, and without the arm `mean`."""
    if not source.numbers or is_check(source):
        return {}
    return {cell: won for cell, won in beats_mean(source).items() if cell[0] in arms}


def _learned(source: Source, beaten: dict[tuple[str, int], bool]) -> str:
    if is_check(source):
        return f"{source.test_set['seeds']} seeds are too few to say whether anything was learned."
    if not beaten:
        return "Without the arm of the mean, these tables cannot say whether anything was learned."
    nothing = [cell for cell, won in beaten.items() if not won]
    if not nothing:
        return "Every network surely beats the mean of the training labels by squared error."
    return (
        f"In {len(nothing)} of {len(beaten)} cases a network **does not surely beat the mean of the training labels** "
        "by squared error: whether it has learned anything is open by these scans, wherever its best checkpoint lies "
        f"({named(nothing)})."
    )


def more_updates(source: Source) -> str:
    """Markdown: what single scans gain by more updates, where the tables hold both; the direct evidence on a budget."""
    shared = source.sizes("base-compute", "base") if {"base", "base-compute"} <= set(source.arms) else []
    if not shared:
        return ""
    steps = source.tables.history.groupby(source.tables.history["arm"].astype(str))["step"].max()
    known = {"base", "base-compute"} <= set(steps.index)
    times = f"{steps['base-compute'] / steps['base']:.3g} times the updates" if known else "more updates"
    made = {score: {n: seen(source, "base-compute", n, score, baseline="base") for n in shared}
            for score in ("icc", "mse")}  # fmt: skip
    rows = [[score_label(score, source.task.unit), *(starred(e, score) for e in by_size.values())]
            for score, by_size in made.items()]  # fmt: skip
    text = f"{markdown([f'base, what {times} change', *_heads(shared)], rows)}\n\n{starring(source)}"
    if is_check(source):
        return text
    gained, lost = ([n for n, e in made["mse"].items() if better(e, "mse") == sign] for sign in (1, -1))
    said = "do not surely lower its squared error at any size, and the intervals leave room for a gain"
    if gained:
        said = f"surely lower its squared error at N = {sizes(gained)}: **there, its own were not enough**"
    said += f", and surely raise it at N = {sizes(lost)}" if lost else ""
    return f"{text}\n\nFor base on single scans, {times} {said}. What still more would bring, no arm here says."


def grid_of(source: Source) -> dict:
    """The settings that a run was trained with: published along with it, or those of its profile in params.yaml."""
    if source.about.get("params") or source.published or source.profile is None:
        return source.about.get("params") or {}
    grid = params.load().grids.get(source.run, {}).get(source.profile)
    return {} if grid is None else dataclasses.asdict(grid)
