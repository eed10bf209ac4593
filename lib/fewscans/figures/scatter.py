"""Predicted numbers over their labels."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns

from fewscans.figures.style import GREY, Picture, sheet, styled
from fewscans.results import Results


@styled
def scatter(results: Results, cells: Sequence[tuple[str, int]], title: str, note: str = "") -> Picture:
    """A panel for each (arm, n_train); a dot is one case and one seed, the dashed line prediction = label."""
    unit = results.dataset.unit or "count"
    figure, axes = sheet(title, 1, len(cells), 3.2, note, sharex=True, sharey=True)
    for (arm, n), panel in zip(cells, axes[0], strict=True):
        cell, look = results.resampled("mse").cell(arm, n), results.arm(arm)
        seed, case = np.nonzero(cell.tested)  # where folds rotate, a seed tests a part of the cases
        target = cell.target[case]
        dots = pd.DataFrame({"label": target, "predicted": np.round(cell.prediction[seed, case], 4)})
        sns.scatterplot(dots, x="label", y="predicted", color=look.colour, s=7, alpha=0.35, linewidth=0, ax=panel)
        panel.axline((target.min(),) * 2, slope=1, color=GREY, linewidth=1.0, linestyle=(0, (5, 3)))
        panel.set(xlabel=f"label ({unit})", ylabel=f"predicted ({unit})")
        name = textwrap.fill(look.short, 72 // len(cells))
        panel.set_title(f"{name}\nN = {n:,}", fontsize=9)
    return Picture(figure, title, results.provenance | {"figure": title, "cells": [list(cell) for cell in cells]})
