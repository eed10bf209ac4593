"""Small made-up test sets of scans with nodules, excluded findings and marks, in LUNA16's columns."""

from fractions import Fraction

import numpy as np
import pandas as pd

PLACE = ["seriesuid", "coordX", "coordY", "coordZ"]


def findings(*rows):
    return pd.DataFrame(list(rows), columns=[*PLACE, "diameter_mm"])


def marks(*rows):
    return pd.DataFrame(list(rows), columns=[*PLACE, "probability"])


def covers(finding, mark):
    """The rule for one finding and one mark, in exact arithmetic."""
    radius = Fraction(10 if finding["diameter_mm"] < 0 else finding["diameter_mm"]) / 2
    away = sum((Fraction(finding[c]) - Fraction(mark[c])) ** 2 for c in PLACE[1:])
    return finding["seriesuid"] == mark["seriesuid"] and away < radius**2


def world(seed, n_scans=6, crowded=True):
    """A small test set on a coarse grid, so that marks lie exactly on a radius, coincide, hit twice, and tie."""
    rng = np.random.default_rng(seed)
    uids = [f"1.2.{i}" for i in range(n_scans)]
    scale, levels = (12, 5) if crowded else (40, 1000)

    def places(n):
        return [[uids[s], *map(float, xyz)] for s, xyz in zip(rng.integers(n_scans, size=n),
                rng.integers(0, scale, (n, 3)) * [1, 1, 0.25], strict=True)]  # fmt: skip

    def with_last(rows, values):
        return [[*row, float(v)] for row, v in zip(rows, values, strict=True)]

    n_nodules, n_others, n_marks = rng.integers(1, 9), rng.integers(0, 9), rng.integers(0, 60)
    nodules = with_last(places(n_nodules), rng.choice([-1, 3, 4, 6, 10], n_nodules))
    others = with_last(places(n_others), rng.choice([-1, 4, 6], n_others))
    given = with_last(places(n_marks), rng.integers(0, levels, n_marks) / levels)
    return findings(*nodules), findings(*others), marks(*given), uids


def reference_of(annotations, excluded, candidates, series_uids, malignant=None):
    """The reference table of a test set, from the rule; candidate i is called c<i>, nodule i n<i>."""
    nodules, others, given = (frame.to_dict("records") for frame in (annotations, excluded, candidates))
    rows = [("scan", uid, "", "", np.nan) for uid in series_uids]
    for i, nodule in enumerate(nodules):
        rows.append(("nodule", nodule["seriesuid"], f"n{i}", "", np.nan if malignant is None else malignant[i]))
    for i, mark in enumerate(given):
        hits = [f"n{k}" for k, nodule in enumerate(nodules) if covers(nodule, mark)]
        rows += [("hit", mark["seriesuid"], name, f"c{i:03d}", np.nan) for name in hits]
        if not hits and any(covers(other, mark) for other in others):
            rows.append(("excluded", mark["seriesuid"], "", f"c{i:03d}", np.nan))
    return pd.DataFrame(rows, columns=["kind", "scan", "nodule", "case", "malignant"])
