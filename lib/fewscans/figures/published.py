"""The figures that git keeps: drawn from published results alone, so that any clone redraws them to the same bytes."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from fewscans import claims, paths
from fewscans.figures import (
    agreement,
    calibration,
    comparisons,
    cost,
    curves,
    efficiency,
    regression,
    reported,
    trainings,
    variants,
)  # fmt: skip
from fewscans.figures.picture import Picture
from fewscans.figures.sources import N_BOOTSTRAP, NotYet, Source, published
from fewscans.stats import Estimate

PAPER = "winkels-cohen-2019"


def paper_table(name: str) -> pd.DataFrame:
    """A verified table of Winkels & Cohen, from claims.yaml."""
    return claims.load().table(PAPER, name)


# run on real data → file name → how it is drawn; README.md shows the first
FIGURES: dict[str, dict[str, Callable[[Source], Picture]]] = {
    "gcnn-luna16-patches": {
        "gcnn_learning_curves": lambda source: curves.learning_curves(source, paper_table("Table 2")),
        "gcnn_data_efficiency": efficiency.factors,
        "gcnn_gains": comparisons.gains,
        "gcnn_sensitivity": curves.sensitivities,
        "gcnn_small_validation": curves.small_validation,
        "gcnn_calibration": calibration.reliabilities,
        "gcnn_epochs": lambda source: cost.epochs(source, paper_table("Table 5")),
    },
    "gcnn-adrenalmnist3d": {
        "gcnn_space_learning_curves": curves.learning_curves,
        "gcnn_space_data_efficiency": efficiency.factors,
        "gcnn_space_gains": comparisons.gains,
        "gcnn_space_epochs": lambda source: cost.epochs(source, paper_table("Table 5")),
    },
    "hydranet-msd-hippocampus": {
        "hydranet_learning_curves": lambda source: regression.learning([source], reported.all_of_it()),
        "hydranet_gains": lambda source: regression.differences([source]),
        "hydranet_scatter": agreement.scatter,
        "hydranet_variants": variants.variants,
        "hydranet_black": variants.black,
        "hydranet_seeds": lambda source: trainings.seeds([source]),
        "hydranet_losses": trainings.losses,
    },
}


def metrics(source: Source) -> dict:
    """The numbers that the notebook states, for `dvc metrics`: scores by arm and size, gains and factors of groups."""
    task, score = source.task, source.score_name
    table: dict = {score: {}, f"gain over {task.baseline}": {}, "factor": {}}
    for arm in (arm for arm in task.arms if arm in source.arms):
        table[score][arm] = {str(n): _plain(source.score(arm, n)) for n in source.sizes(arm)}
    for arm in task.methods if len(task.methods) > 2 else (task.named,):
        gains = {str(n): _plain(source.gain(arm, n)) for n in source.sizes(arm, task.baseline)}
        table[f"gain over {task.baseline}"][arm] = gains
        table["factor"][arm] = {str(n): _plain(e) for n, e in efficiency.estimates(source, arm).items()}
    return {"what": source.label, **table}


def _plain(e: Estimate) -> dict:
    """An end that the data do not reach is left out, as JSON has no infinity."""
    found = {"value": e.value, "low": e.low, "high": e.high}
    return {key: x for key, x in found.items() if math.isfinite(x)} | ({"censored": e.censored} if e.censored else {})


def redraw(*given: Source, folder: Path | None = None) -> list[Path]:
    """Draws every figure of published real results into reports/figures/ (or `folder`); returns the files.

    given: published results that have been read already; none: all that there are. A source of anything else, or
    nothing published: nothing drawn; nor a figure whose arms are not published yet. Raises RunError for damaged tables.
    """
    folder = folder or paths.reports() / "figures"
    made = []
    runs = (run.partition("-")[::2] for run in FIGURES)
    for source in given or [s for run in runs if (s := published(*run)) is not None]:
        if source.real and source.published and source.tables.n_bootstrap == N_BOOTSTRAP:
            for name, draw in FIGURES.get(source.run, {}).items():
                with contextlib.suppress(NotYet):
                    made.append(draw(source).save(folder / f"{name}.png"))
    return made
