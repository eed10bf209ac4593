"""Prediction by prediction: over their labels, and Bland & Altman's plot of what is predicted too much.

Where predictions keep close to the mean, what is predicted too much falls with the label, and limits of agreement about
one mean difference would say nothing: differences get a trend, as Bland & Altman advise (Stat Methods Med Res 8:135,
1999), and limits about the trend.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from fewscans.figures.arms import look
from fewscans.figures.picture import GREY, Picture, sheet, styled
from fewscans.figures.sources import NotYet, Source
from fewscans.figures.wording import folded, listed, markdown, number
from fewscans.figures.yardsticks import MAIN, SUMS, say, seen


def slope(target, prediction) -> float:
    """Of predictions over labels, by least squares: 1 where a ml more is predicted as a ml more, 0 for a constant."""
    centred = target - np.mean(target)
    return float(centred @ prediction / (centred @ centred))


def trend(cell) -> tuple[float, float, float]:
    """Of prediction - label over the mean of both, all seeds together: intercept, slope, sd of what is left."""
    target = np.broadcast_to(cell.target, cell.prediction.shape).ravel()
    wrong, mean = cell.prediction.ravel() - target, (cell.prediction.ravel() + target) / 2
    rise = slope(mean, wrong - wrong.mean()) if np.ptp(mean) else 0.0
    start = wrong.mean() - rise * mean.mean()
    return float(start), rise, float((wrong - start - rise * mean).std(ddof=2))


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
    slopes = {pair: source.score(*pair, slope).value for pair in pairs}
    told = [f"{number(slopes[arm, n], 2)} ({look(arm).label})" for n in asked[:1] for arm in arms]
    title = f"{source.prefix}: at N = {asked[0]:,} the slope of predictions over labels is {listed(told)}; right is 1"
    unit = source.task.unit or "count"
    note = source.note.partition(" Bars:")[0] + " A dot: one scan, one seed. Above, dashed: prediction = label. "
    note += "Below: the trend of the difference (solid), and 1.96 standard deviations (dotted) about it, of single "
    note += "networks; a network that always says the same has a trend of −2."
    figure, axes = sheet(title, 2, len(pairs), 4.8, note)
    for column, pair in zip(axes.T, pairs, strict=True):
        _agreement(column, source.resampled("icc").cell(*pair), *pair)
        words = look(pair[0]).label.replace(" at ", "\nat ")
        column[0].set_title(
            f"{words}{'' if chr(10) in words else chr(10)}\nN = {pair[1]:,}".replace("\n\n", "\n"), fontsize=9
        )
        column[0].text(0.05, 0.97, f"slope {number(slopes[pair], 2)}", fontsize=8, va="top",
                       transform=column[0].transAxes)  # fmt: skip
    _shared_frames(axes)
    axes[0, 0].set_ylabel(f"predicted\n({unit})", fontsize=9)
    axes[1, 0].set_ylabel(f"predicted − label\n({unit})", fontsize=9)
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
    start, rise, spread = trend(cell)
    x = np.array([((target + found) / 2).min(), ((target + found) / 2).max()])
    below.axhline(0, color="#c9d1d9", linewidth=0.8)
    for shift, line in ((0.0, "-"), (-1.96 * spread, ":"), (1.96 * spread, ":")):
        below.plot(x, np.round(start + rise * x + shift, 4), color=GREY, linewidth=1.1, linestyle=line)


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
    """Markdown, folded: slope, mean difference, its trend and limits about it, of single networks, for each of the
    three.
    """
    unit, rows = source.task.unit or "count", []
    for arm in (arm for arm in MAIN if arm in source.arms):
        for n in (n for n in source.sizes(arm) if not n_train or n in n_train):
            cell = source.resampled("icc").cell(arm, n)
            wrong, (_, rise, spread) = cell.prediction - cell.target, trend(cell)
            e = seen(source, arm, n, slope)
            rows.append([f"{look(arm).label}, N = {n:,}", say(e, digits=2), number(wrong.mean(), 2), number(rise, 2),
                         f"± {number(1.96 * spread, 2)}", number(np.abs(wrong).mean(), 2)])  # fmt: skip
    head = [
        source.prefix,
        "slope of predictions over labels",
        f"mean difference ({unit})",
        f"its trend ({unit} a {unit})",
        f"95 % about the trend ({unit})",
        f"mean absolute error ({unit})",
    ]
    return folded(f"{source.prefix}: slopes, differences and errors of every network", markdown(head, rows))
