"""Figures of grey images and a network for colour."""

from __future__ import annotations

from fewscans.experiments.grey import ARMS
from fewscans.figures import curves
from fewscans.figures.style import Picture
from fewscans.results import Results, published


def over_n(results: Results) -> Picture:
    """AUC over labelled images, a line an arm."""
    shown = [arm for arm in ARMS if arm in results.arms]
    return curves.over_n([curves.scores(results, shown, "auc")], f"AUC over labelled images, {results.name}")


def kept() -> dict[str, Picture]:
    """What git keeps, of the published run, by the names of its files."""
    run = published("grey", "pneumoniamnist")
    return {} if run is None else {"grey_auc": over_n(run)}
