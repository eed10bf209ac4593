"""The figures that git keeps: drawn from published results alone, so that any clone redraws them to the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from fewscans import claims, paths
from fewscans.figures import calibration, comparisons, cost, curves, efficiency
from fewscans.figures.picture import Picture
from fewscans.figures.sources import Source, published

PAPER = "winkels-cohen-2019"


def paper_table(name: str) -> pd.DataFrame:
    """A verified table of Winkels & Cohen, from claims.yaml."""
    return claims.load().table(PAPER, name)


# file name → how it is drawn; README.md shows the first
GCNN: dict[str, Callable[[Source], Picture]] = {
    "gcnn_learning_curves": lambda source: curves.learning_curves(source, paper_table("Table 2")),
    "gcnn_data_efficiency": efficiency.factors,
    "gcnn_gains": comparisons.gains,
    "gcnn_sensitivity": curves.sensitivities,
    "gcnn_small_validation": curves.small_validation,
    "gcnn_calibration": calibration.reliabilities,
    "gcnn_epochs": lambda source: cost.epochs(source, paper_table("Table 5")),
}


def redraw(folder: Path | None = None) -> list[Path]:
    """Draws every figure of published real results into reports/figures/ (or `folder`); returns the files.

    Nothing published: nothing drawn. Raises RunError for damaged tables.
    """
    folder = folder or paths.reports() / "figures"
    source = published("gcnn", "luna16-patches")
    if source is None:
        return []
    return [draw(source).save(folder / f"{name}.png") for name, draw in GCNN.items()]
