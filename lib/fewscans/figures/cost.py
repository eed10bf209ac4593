"""What it costs: parameters, multiply-adds and seconds per arm, and how many epochs until the baseline's best.

Fewer epochs are not less time: an epoch of a G-CNN computes more, so both stand side by side.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from fewscans.figures.arms import hollow, look
from fewscans.figures.curves import PAPER_ARMS, curve, spread_out
from fewscans.figures.picture import GREY, Picture, sheet, sizes_axis, styled
from fewscans.figures.sources import Source, rounded
from fewscans.figures.wording import factor, interval, markdown, side, sizes
from fewscans.stats import Estimate
from fewscans.stats.convergence import Convergence, convergence

ARMS = ("p4", "p4m")


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
    """The whole sweep in a sentence."""
    hours = sum(record.get("seconds_cpu", 0.0) for record in source.records) / 3600
    devices = ", ".join(sorted({record["device"] for record in source.records}))
    torch = ", ".join(sorted({record["torch"] for record in source.records}))
    amount = f"{hours:.1f} CPU hours" if hours >= 1 else f"{hours * 60:.0f} CPU minutes"
    return f"{len(source.records):,} runs, {amount} (device: {devices}; torch {torch})"


def found(source: Source, arm: str, baseline: str = "Z2") -> dict[int, Convergence]:
    """Convergence by size, where both arms have histories."""
    history = source.tables.history
    trained = set(zip(history["arm"].astype(str), history["n_train"].astype(int), strict=True))
    n_all = [n for n in source.sizes(baseline) if {(arm, n), (baseline, n)} <= trained and source.has(arm, n)]
    return {n: convergence(history, arm, baseline, n) for n in n_all}


@styled
def epochs(source: Source, paper: pd.DataFrame, arms=ARMS) -> Picture:
    """Epochs to the baseline's best validation loss over the baseline's own; the paper's Table 5 beside, hollow."""
    made = {arm: found(source, arm) for arm in arms if arm in source.arms}
    last = list(made)[-1]
    title = f"{source.prefix}: {_finding(last, made[last])}"
    note = source.note.replace("over seeds and scans together", "of the median over seeds")
    note += " A bar that leaves the frame: too many seeds never got there."
    figure, axes = sheet(title, 1, 2, 3.5, note, width_ratios=[1.55, 1], sharey=True)
    ours, theirs = axes[0]
    for position, (arm, by_size) in enumerate(made.items()):
        ratios = {n: _drawn(c.ratio) for n, c in by_size.items()}
        curve(ours, arm, ratios, spread_out(position, len(made)))
    sizes_axis(ours, {n for by_size in made.values() for n in by_size})
    ours.set_ylabel("epochs / plain CNN's")
    ours.set_title("Ours: planar patches")
    for arm in (arm for arm in PAPER_ARMS[1:] if arm in paper):
        theirs.plot(paper.index, paper[arm] / paper["Z3"], **hollow(arm), label=look(arm).label)
    sizes_axis(theirs, paper.index, "training candidates")
    theirs.set_title("Paper: in space", color=GREY)
    for panel in axes[0]:
        panel.axhline(1, color=look("Z2").colour, linewidth=1.4)
        panel.legend(loc="lower left" if panel is ours else "upper right")
    ours.set_yscale("log")
    ours.set_ylim(0.07, 30)
    ours.set_yticks([0.1, 0.3, 1, 3, 10], ["0.1×", "0.3×", "1×", "3×", "10×"])
    ours.minorticks_off()
    return Picture(figure, title, source.provenance | {"figure": "epochs to the baseline's best", "arms": list(made)})


def _drawn(e: Estimate) -> Estimate:
    """An end at infinity, or at 0, is drawn as far as the frame."""
    return rounded(Estimate(e.value, max(e.low, 1e-3), min(e.high, 1e3), e.level, e.censored))


def _finding(arm: str, by_size: dict[int, Convergence]) -> str:
    sooner = [n for n, c in by_size.items() if side(c.ratio, 1) < 0]
    later = [n for n, c in by_size.items() if side(c.ratio, 1) > 0]
    parts = [f"{arm} reaches the plain CNN's best validation loss {words} at N = {sizes(some)}"
             for words, some in (("in fewer epochs", sooner), ("in more epochs", later)) if some]  # fmt: skip
    return "; ".join(parts) if parts else f"whether {arm} needs fewer epochs is open at every size"


def epochs_table(source: Source, arms=ARMS) -> str:
    """Markdown: median epochs, share of seeds that arrived, ratio with interval."""
    rows = []
    for arm in (arm for arm in arms if arm in source.arms):
        for n, c in found(source, arm).items():
            bound = "> " if c.epochs.censored else ""
            epochs = (f"{c.baseline_epochs.value:.3g}", f"{bound}{c.epochs.value:.3g}")
            rows.append([f"{look(arm).label}, N = {n:,}", *epochs, f"{c.reached:.0%}", factor(c.ratio)])
    return markdown(["", "epochs of Z2", "epochs", "seeds that got there", "ratio (95 % interval)"], rows)


def longer(source: Source, arm: str = "p4m", baseline: str = "Z2", long: str = "Z2-long") -> str:
    """Markdown: what more updates bring the baseline, what is left of the arm's gain, and the time of each."""
    shared = [n for n in source.sizes(arm, baseline) if source.has(long, n)]
    if not shared:
        return f"This run has no {look(long).label}."
    gains = {n: source.gain(long, n, baseline=baseline) for n in shared}
    left = {n: source.gain(arm, n, baseline=long) for n in shared}
    rows = [[f"N = {n:,}", interval(gains[n], sign=True), interval(left[n], sign=True)] for n in shared]
    head = [
        "AUC (95 % interval)",
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


def budget_is_enough(source: Source, arm: str = "Z2", last_share: float = 0.2) -> str:
    """Markdown: how far into its updates each run of the baseline had its best validation loss."""
    history = source.tables.history
    rows = []
    for n in source.sizes(arm):
        mine = history[(history["arm"] == arm) & (history["n_train"] == n)]
        if not len(mine):
            continue
        best = mine.loc[mine.groupby("seed")["val_loss"].idxmin()]
        share = (best["step"] / mine["step"].max()).to_numpy()
        rows.append([f"N = {n:,}", f"{np.median(share):.0%}", f"{np.mean(share > 1 - last_share):.0%}"])
    head = [look(arm).label, "best validation loss after (median)", f"seeds at their best in the last {last_share:.0%}"]
    return markdown(head, rows)
