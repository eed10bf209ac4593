"""Prediction by prediction: over their labels, and Bland & Altman's plot of what is predicted too much."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from fewscans.figures.arms import look
from fewscans.figures.picture import GREY, Picture, sheet, styled
from fewscans.figures.regression import MAIN, SUMS
from fewscans.figures.sources import NotYet, Source, rounded
from fewscans.figures.wording import interval, listed, markdown, number


def slope(target, prediction) -> float:
    """Of predictions over labels, by least squares: 1 where a ml more is predicted as a ml more, 0 for a constant."""
    centred = target - np.mean(target)
    return float(centred @ prediction / (centred @ centred))


@styled
def scatter(source: Source, n_train: Sequence[int] = (), arms: Sequence[str] = ("base-compute", SUMS)) -> Picture:
    """Predictions over labels, and Bland & Altman's plot below: what is predicted too much over the mean of both.

    n_train: none: 25, or the size next to it, and the largest.
    """
    shared = source.sizes(*arms) if set(arms) <= set(source.arms) else []
    if not shared:
        raise NotYet(f"{source.label}: {listed(arms)} share no training size yet")
    asked = list(n_train) or sorted({min(shared, key=lambda n: abs(n - 25)), shared[-1]})
    pairs = [(arm, n) for n in asked for arm in arms]
    slopes = {pair: rounded(source.score(*pair, slope), 2) for pair in pairs}
    told = [f"{number(slopes[arm, n].value, 2)} ({look(arm).label})" for n in asked[:1] for arm in arms]
    title = f"{source.prefix}: at N = {asked[0]:,} the slope of predictions over labels is {listed(told)}; right is 1"
    unit = source.task.unit or "count"
    note = source.note.partition(" Bars:")[0] + " A dot: one scan, one seed. Above, dashed: prediction = label. "
    note += "Below: mean difference (solid) and 1.96 standard deviations (dotted) about it, of single networks."
    figure, axes = sheet(title, 2, len(pairs), 4.6, note)
    for column, pair in zip(axes.T, pairs, strict=True):
        _agreement(column, source.resampled("icc").cell(*pair), *pair)
        words = look(pair[0]).label.replace(" at ", "\nat ")
        column[0].set_title(
            f"{words}{'' if chr(10) in words else chr(10)}\nN = {pair[1]:,}".replace("\n\n", "\n"), fontsize=9
        )
        column[0].text(0.05, 0.97, f"slope {number(slopes[pair].value, 2)}", fontsize=8, va="top",
                       transform=column[0].transAxes)  # fmt: skip
    _shared_frames(axes)
    axes[0, 0].set_ylabel(f"predicted ({unit})")
    axes[1, 0].set_ylabel(f"predicted − label ({unit})")
    for panel in axes[0]:
        panel.set_xlabel(f"label ({unit})", fontsize=8.5)
    for panel in axes[1]:
        panel.set_xlabel(f"mean of both ({unit})", fontsize=8.5)
    return Picture(
        figure, title, source.provenance | {"figure": "predictions over labels", "cells": [list(p) for p in pairs]}
    )


def _agreement(column: Sequence[Axes], cell, arm: str, n: int) -> None:
    above, below = column
    target = np.broadcast_to(cell.target, cell.prediction.shape).ravel()
    found = np.round(cell.prediction.ravel(), 4)
    dots = {"marker": "o", "s": 5, "color": look(arm).colour, "alpha": 0.35, "linewidths": 0}
    above.scatter(target, found, **dots)
    ends = np.array([target.min(), target.max()])
    above.plot(ends, ends, color=GREY, linewidth=1.0, linestyle=(0, (5, 3)))
    below.scatter((target + found) / 2, found - target, **dots)
    middle, spread = (found - target).mean(), 1.96 * (found - target).std(ddof=1)
    below.axhline(0, color="#c9d1d9", linewidth=0.8)
    for y, line in ((middle, "-"), (middle - spread, ":"), (middle + spread, ":")):
        below.axhline(round(y, 4), color=GREY, linewidth=1.1, linestyle=line)


def _shared_frames(axes: np.ndarray) -> None:
    """One frame for each row, so that columns can be compared."""
    for row in axes:
        for get, put in (("get_xlim", "set_xlim"), ("get_ylim", "set_ylim")):
            ends = np.array([getattr(panel, get)() for panel in row])
            for panel in row:
                getattr(panel, put)(ends[:, 0].min(), ends[:, 1].max())
        for panel in row:
            panel.tick_params(labelsize=8)
            panel.locator_params(nbins=4)
        for panel in row[1:]:
            panel.tick_params(labelleft=False)


def agreement_table(source: Source, n_train: Sequence[int] = ()) -> str:
    """Markdown: slope, mean difference and limits of agreement of single networks, for each of the three."""
    unit, rows = source.task.unit or "count", []
    for arm in (arm for arm in MAIN if arm in source.arms):
        for n in (n for n in source.sizes(arm) if not n_train or n in n_train):
            cell = source.resampled("icc").cell(arm, n)
            wrong = cell.prediction - cell.target
            spread = 1.96 * wrong.std(ddof=1)
            limits = f"{number(wrong.mean() - spread, 2)} to {number(wrong.mean() + spread, 2)}"
            rows.append([f"{look(arm).label}, N = {n:,}", interval(source.score(arm, n, slope), 2),
                         number(wrong.mean(), 2), limits, number(np.abs(wrong).mean(), 2)])  # fmt: skip
    head = [
        source.prefix,
        "slope",
        f"mean difference ({unit})",
        f"limits of agreement ({unit})",
        f"mean absolute error ({unit})",
    ]
    return markdown(head, rows)
