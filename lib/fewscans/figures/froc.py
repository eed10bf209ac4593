"""FROC curves: which share of the lesions is found at how many false positives a scan."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns

from fewscans.figures.curves import DASHES
from fewscans.figures.style import GREY, Picture, sheet, styled
from fewscans.results import Results
from fewscans.stats.froc import RATES, FrocCurve
from fewscans.stats.reference import Layout, Reference

FINE = np.geomspace(1 / 16, 8, 60)
LESIONS = "lesion_froc"
TICKS = ["⅛", "¼", "½", "1", "2", "4", "8"]


def layout(results: Results) -> Layout:
    """Which candidates of the test set hit which lesion. Raises ValueError for tables without a reference."""
    if results.reference is None:
        raise ValueError(f"{results.label}: its tables hold no reference, so detection cannot be scored")
    return Reference.of(results.reference).layout(next(iter(results.resampled("auc").cells.values())))


def density(results: Results) -> dict[str, float]:
    """Of the test set's candidates: scans, lesions, false candidates a scan, share of the lesions with a candidate."""
    found = layout(results)
    scans, lesions = len(found.reference.scans), len(found.reference.nodule_scan)
    return {"scans": scans, "lesions": lesions, "false candidates a scan": len(found.false) / scans,
            "share of lesions with a candidate": len(found.found) / lesions}  # fmt: skip


@styled
def froc(
    results: Results, arms: Sequence[str], n_train: Sequence[int], title: str, note: str = "",
    points: Sequence[tuple[float, float, str, str]] = (),
) -> Picture:  # fmt: skip
    """Mean curves over seeds, a panel a size; bars are 95 % intervals at three of the rates.

    points: of others, hollow: false positives, sensitivity, name, marker.
    """
    looks = {arm: results.arm(arm) for arm in arms if arm in results.arms}
    figure, axes = sheet(title, 1, len(n_train), 4.0, note, sharey=True)
    score = results.score_name
    ceiling = None if score == LESIONS else density(results)["share of lesions with a candidate"]
    for n, panel in zip(n_train, axes[0], strict=True):
        curves = pd.concat([pd.DataFrame({"arm": arm, "x": FINE, "y": _mean_curve(results, arm, n)}) for arm in looks])
        sns.lineplot(
            curves, x="x", y="y", hue="arm", style="arm", errorbar=None, legend=False, ax=panel,
            palette={arm: look.colour for arm, look in looks.items()},
            dashes={arm: DASHES[look.line] for arm, look in looks.items()},
        )  # fmt: skip
        for position, (arm, look) in enumerate(looks.items()):
            for rate in (0.25, 1.0, 4.0):
                e = results.score(arm, n, f"{score}@{rate:g}")
                x = rate * 1.06 ** (position - (len(looks) - 1) / 2)
                panel.plot([x, x], [e.low, e.high], color=look.colour, linewidth=1.4)
            panel.plot([], [], look.marker, color=look.colour, linestyle=look.line, label=look.short)
        if ceiling is not None:
            panel.axhline(ceiling, color=GREY, linewidth=1.0, linestyle=(0, (5, 3)))
        for rate, found, name, marker in points:
            panel.plot(rate, found, marker, color=GREY, markerfacecolor="white", label=name, zorder=3, clip_on=False)
        panel.set_xscale("log")
        panel.set_xticks(RATES, TICKS)
        panel.minorticks_off()
        panel.set(title=f"N = {n:,}", xlabel=f"false positives a {results.dataset.group}", ylabel="sensitivity")
        panel.set_ylim(0, 1.08)
    if ceiling is not None:
        axes[0, 0].text(FINE[0], ceiling, "most that can be found", fontsize=8, color=GREY, va="bottom")
    axes[0, -1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.02), fontsize=8.5, handlelength=1.3)
    return Picture(figure, title, results.provenance | {"figure": title, "n_train": list(n_train)})


def _mean_curve(results: Results, arm: str, n: int) -> np.ndarray:
    slides = results.score_name == LESIONS  # where a prediction of 0 is no detection
    cell = results.resampled(LESIONS if slides else "auc").cell(arm, n)
    of_cell = Reference.of(results.reference).layout(cell)
    marks = (of_cell.marks(prediction) for prediction in cell.prediction)
    curves = [FrocCurve.of(of_seed.above(0.0) if slides else of_seed) for of_seed in marks]
    return np.mean([[curve.score(rate) for rate in FINE] for curve in curves], axis=0).round(4)
