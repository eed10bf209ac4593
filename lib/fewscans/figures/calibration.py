"""Do the probabilities mean what they say?  Reliability before and after the shift of prior is taken out.

Training subsets are half positive, the test set is not: a network that has learned its subset perfectly still answers
for a world with more nodules. Bayes' rule takes that out with the two shares alone; what is left is the network's own.
"""

from __future__ import annotations

import numpy as np

from fewscans.figures.arms import filled, look
from fewscans.figures.picture import GREY, Picture, sheet, styled
from fewscans.figures.sources import Source
from fewscans.figures.wording import markdown, number
from fewscans.stats.calibration import adjust_prior, brier, expected_calibration_error, recalibration, reliability

BINS = 8


def _cell(source: Source, arm: str, n_train: int, adjusted: bool) -> tuple[np.ndarray, np.ndarray]:
    """Targets (C,) and probabilities (S, C), as they are or corrected to the test set's share of positives."""
    cell = source.resampled().cell(arm, n_train)
    p = cell.prediction
    return cell.target, adjust_prior(p, 0.5, float(cell.target.mean())) if adjusted else p


@styled
def reliabilities(source: Source, arms=None, n_train: int | None = None) -> Picture:
    """Observed over predicted share of nodules, as trained and with the prior corrected; mean over seeds."""
    arms = arms or (source.task.baseline, source.task.named)
    n = n_train if n_train is not None else source.sizes(*arms)[-1]
    title = f"{source.prefix}: {_finding(source, arms, n)}"
    figure, axes = sheet(title, 1, 2, 3.75, f"{source.note.rpartition('Bars:')[0]}Bins of equal mass; all seeds.",
                         sharey=True)  # fmt: skip
    for adjusted, panel in zip((False, True), axes[0], strict=True):
        panel.plot([0, 1], [0, 1], color=GREY, linewidth=1.1, linestyle=(0, (5, 3)))
        for arm in arms:
            y, p = _cell(source, arm, n, adjusted)
            table = reliability(np.tile(y, len(p)), p.ravel(), BINS).round(4)
            panel.plot(table["predicted"], table["observed"], **filled(arm), label=look(arm).short)
        panel.set_title("prior corrected" if adjusted else "as trained, on half positives")
        panel.set_xlabel("predicted probability")
        panel.set_xlim(-0.03, 1.03)
        panel.set_ylim(-0.03, 1.03)
    axes[0, 0].set_ylabel("observed share of nodules")
    axes[0, 0].legend(loc="upper left")
    return Picture(figure, title, source.provenance | {"figure": "calibration", "n_train": n, "arms": list(arms)})


def _error(source: Source, arm: str, n: int, adjusted: bool) -> float:
    y, p = _cell(source, arm, n, adjusted)
    return round(float(np.mean([expected_calibration_error(y, row) for row in p])), 3)


def _finding(source: Source, arms, n: int) -> str:
    """One clause an arm, for a correction may help one and harm another."""
    changes = []
    for arm in arms:
        before, after = (_error(source, arm, n, adjusted) for adjusted in (False, True))
        verb = "lowers" if after < before - 0.01 else "raises" if after > before + 0.01 else "hardly changes"
        changes.append(f"{verb} {look(arm).short}'s calibration error ({number(before, 2)} to {number(after, 2)})")
    return f"at N = {n:,}, correcting the prior {' and '.join(changes)}"


def table(source: Source, arms) -> str:
    """Markdown: Brier score, calibration error and slope of recalibration, means over seeds, prior corrected."""
    rows = []
    for arm in (arm for arm in arms if arm in source.arms):
        for n in source.sizes(arm):
            y, p = _cell(source, arm, n, True)
            slopes = [_slope(y, row) for row in p]
            rows.append([f"{look(arm).label}, N = {n:,}", number(np.mean([brier(y, row) for row in p])),
                         number(_error(source, arm, n, False)), number(_error(source, arm, n, True)),
                         number(np.nanmean(slopes), 2) if np.isfinite(slopes).any() else "–"])  # fmt: skip
    return markdown(["", "Brier", "calibration error as trained", "prior corrected", "slope (1 is right)"], rows)


def _slope(y: np.ndarray, p: np.ndarray) -> float:
    """NaN where one cut separates the classes: the slope then has no finite value."""
    try:
        return recalibration(y, p).slope
    except ValueError:
        return float("nan")
