"""The figures that git keeps: drawn from published results alone, so that any clone redraws them to the same bytes."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from fewscans import claims, paths
from fewscans.figures import calibration, comparisons, cost, curves, efficiency
from fewscans.figures.picture import Picture
from fewscans.figures.sources import N_BOOTSTRAP, Source, published
from fewscans.stats import Estimate

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


def metrics(source: Source, arms=("Z2", "p4", "p4m")) -> dict:
    """The numbers that the notebook states, for `dvc metrics`: AUC by arm and size, gains and factors of p4m."""
    table: dict = {"auc": {}, "gain over Z2": {}, "factor": {}}
    for arm in (arm for arm in arms if arm in source.arms):
        table["auc"][arm] = {str(n): _plain(source.score(arm, n)) for n in source.sizes(arm)}
    table["gain over Z2"]["p4m"] = {str(n): _plain(source.gain("p4m", n)) for n in source.sizes("p4m", "Z2")}
    table["factor"]["p4m"] = {str(n): _plain(e) for n, e in efficiency.estimates(source, "p4m").items()}
    return {"what": source.label, **table}


def _plain(e: Estimate) -> dict:
    """An end that the data do not reach is left out, as JSON has no infinity."""
    found = {"value": e.value, "low": e.low, "high": e.high}
    return {key: x for key, x in found.items() if math.isfinite(x)} | ({"censored": e.censored} if e.censored else {})


def redraw(source: Source | None = None, folder: Path | None = None) -> list[Path]:
    """Draws every figure of published real results into reports/figures/ (or `folder`); returns the files.

    source: the published results, if they have been read already. Nothing published, or a source of anything else:
    nothing drawn. Raises RunError for damaged tables.
    """
    folder = folder or paths.reports() / "figures"
    source = source or published("gcnn", "luna16-patches")
    if source is None or not (source.real and source.published) or source.tables.n_bootstrap != N_BOOTSTRAP:
        return []
    return [draw(source).save(folder / f"{name}.png") for name, draw in GCNN.items()]
