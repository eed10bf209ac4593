"""Figures and tables of slices against volumes: what a segmentation has of each measure, and where it goes wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from fewscans.experiments.volumes.arms import ARMS, AXES, VOLUME
from fewscans.figures import curves, slices
from fewscans.figures.style import GREY, Picture, legend, picture_only, sheet, styled
from fewscans.figures.tables import text
from fewscans.results import Results, published

COLUMNS = {
    "mean:dice-{}": "Dice", "mean:hd95-{}": "95 % Hausdorff, mm", "mean:surface-{}": "surface Dice, 1 mm",
    "mae:volume-{}": "volume error, ml",
}  # fmt: skip
CONSISTENCY = "bias:consistency-z"
TRUTH_COLOUR = "#ffffff"
PAIRS = (  # arms and their N
    ("2D", "3D", 128), ("2D-thickness", "3D-thickness", 128), ("2D", "3D", 32), ("2D-thick", "3D-thick", 32),
)  # fmt: skip


def measures(results: Results, arms: Sequence[str], n_train: int, split: str = "test") -> pd.DataFrame:
    """Every measure with its 95 % interval: a row an arm; columns by label, and the consistency of slices."""
    asked = {(name, label): score.format(label) for label in _labels(results) for score, name in COLUMNS.items()}
    asked |= {("consistency minus the truth's", "across z"): CONSISTENCY}
    rows = {}
    for arm in (arm for arm in arms if n_train in _sizes(results, split, arm)):
        found = {column: results.score(arm, n_train, score, split) for column, score in asked.items()}
        rows[results.arm(arm).label] = {column: text(estimate) for column, estimate in found.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=pd.MultiIndex.from_tuples(asked))


def costs(results: Results) -> pd.DataFrame:
    """What each network has and what its training took, medians over runs: rows by arm and network.

    Multiply-adds: of a forward pass on a patch's voxels.   Seconds are the machine's that trained, so those of this
    machine's own runs are not shown.
    """
    records, rows = pd.DataFrame(results.records), {}
    names = {VOLUME: "volumes"} | {axis: f"{name} slices" for axis, name in AXES.items()}
    columns = {"parameters": "parameters", "macs": "multiply-adds", "seconds": "CPU seconds of training"}
    for arm, mine in records.groupby("arm", sort=False):
        for network, label in names.items():
            found = {name: mine.get(f"{key}_{network}", pd.Series()).median() for key, name in columns.items()}
            if found["parameters"] > 0:
                rows[results.arm(arm).label, label] = found
    index = pd.MultiIndex.from_tuples(rows, names=["arm", "network on"])
    table = pd.DataFrame(list(rows.values()), index, list(columns.values()))
    return table.iloc[:, : None if results.published else 2].round().astype("Int64")


def gain_over_n(results: Results, arm: str = "3D", baseline: str = "2D", note: str = "") -> Picture:
    """The gain in Dice of volumes over slices, per label, paired by seed and case."""
    panels = [
        curves.gains(results, [arm], baseline, f"mean:dice-{label}", title=label, ylabel="gain in Dice")
        for label in _labels(results)
    ]
    short = [results.arm(name).short for name in (arm, baseline)]
    return curves.over_n(panels, f"Dice, {short[0]} minus {short[1]}, {results.name}", note)


@styled
def thick(results: Results, note: str = "") -> Picture:
    """Dice on slices of 1 mm and of 3 mm, for pairs of arms that were trained in the same way."""
    pairs = [pair for pair in PAIRS if all(pair[2] in _sizes(results, "test-thick", arm) for arm in pair[:2])]
    if not pairs:
        raise ValueError(f"{results.run}: no pair of arms was scored on thick slices")
    title = f"Mean Dice on slices of 1 and 3 mm, {results.name}"
    figure, axes = sheet(title, 1, len(pairs), 3.6, note, sharey=True)
    for panel, (*arms, n) in zip(axes[0], pairs, strict=True):
        for offset, arm in zip((-0.06, 0.06), arms, strict=True):
            look = ARMS[arm]
            found = [results.score(arm, n, "mean:dice", split) for split in ("test", "test-thick")]
            place = np.arange(2) + offset
            panel.plot(place, [e.value for e in found], look.line, color=look.colour, marker=look.marker,
                       label=look.label.partition(",")[0].partition(" (")[0])  # fmt: skip
            for x, estimate in zip(place, found, strict=True):
                panel.plot([x, x], [estimate.low, estimate.high], color=look.colour, linewidth=1.5)
        panel.set_xticks([0, 1], ["1 mm", "3 mm"])
        panel.set_xlim(-0.4, 1.4)
        how = {0.0: "trained on 1 mm", 0.5: "trained on both", 1.0: "trained on 3 mm"}[ARMS[arms[1]].thick]
        panel.set_title(f"{how}\nN = {n}", fontsize=9)
    axes[0, 0].set_ylabel("mean Dice")
    legend(figure, {line.get_label(): line for line in axes[0, 0].get_lines() if line.get_label()[0] != "_"})
    return Picture(figure, title, dict(results.provenance) | {"figure": title})


@styled
def consistency(results: Results, n_train: int, note: str = "") -> Picture:
    """How alike neighbouring axial slices are, minus how alike those of the truth are, arm by arm."""
    wanted = [arm for arm, look in ARMS.items() if n_train in _sizes(results, "test", arm) and look.updates == 1]
    title = f"Dice of neighbouring axial slices, minus the truth's, {results.name}, N = {n_train}"
    figure, axes = sheet(title, 1, 1, 1.3 + 0.27 * len(wanted), note)
    (panel,) = axes[0]
    for height, arm in enumerate(wanted):
        estimate, look = results.score(arm, n_train, CONSISTENCY), ARMS[arm]
        panel.plot([estimate.low, estimate.high], [height, height], color=look.colour)
        panel.plot(estimate.value, height, look.marker, color=look.colour)
    panel.axvline(0, color=GREY, linewidth=1.0)
    panel.set_yticks(np.arange(len(wanted)), [ARMS[arm].label for arm in wanted], fontsize=9)
    panel.set_ylim(len(wanted) - 0.4, -0.6)
    panel.grid(False, axis="y")
    panel.set_xlabel("below 0: slices fit together less than they should")
    return Picture(figure, title, dict(results.provenance) | {"figure": title})


@styled
def planes(
    image: np.ndarray, truth: np.ndarray, masks: Mapping[str, np.ndarray], title: str, note: str = "",
    provenance: Mapping | None = None,
) -> Picture:  # fmt: skip
    """The middle cuts of one volume with outlines: a row an arm, the truth's in white below its own.

    image: (D, H, W) of the patient's axes.   truth, masks: labels on the same grid; every label has an outline.
    """
    cuts, drawn = slices.planes(image), slices.planes(truth)
    figure, axes = sheet(title, len(masks), len(cuts), 0.6 + 1.7 * len(masks), note)
    for line, (arm, mask) in zip(axes, masks.items(), strict=True):
        for panel, (name, cut) in zip(line, cuts.items(), strict=True):
            picture_only(panel)
            panel.imshow(cut)
            both = (drawn[name], TRUTH_COLOUR, 2.4), (slices.planes(mask)[name], ARMS[arm].colour, 1.2)
            for labels, colour, width in both:
                for label in range(1, int(truth.max()) + 1):
                    if (labels == label).any():
                        panel.contour(labels == label, [0.5], colors=colour, linewidths=width)
            if panel in axes[0]:
                panel.set_title(name, fontsize=9.5, loc="center")
        line[0].set_ylabel(ARMS[arm].short, fontsize=9)
    return Picture(figure, title, dict(provenance or {}) | {"figure": title})


def kept() -> dict[str, Picture]:
    """What git keeps, of the published run, by the names of its files."""
    run = published("volumes", "msd-hippocampus")
    if run is None:
        return {}
    fit = consistency(run, max(_sizes(run, "test", "3D")))
    return {"volumes_gains": gain_over_n(run), "volumes_thick": thick(run), "volumes_consistency": fit}


def _labels(results: Results) -> list[str]:
    """The names of the labels that the table has a Dice of."""
    names = results.predictions["case"].astype(str).str.rpartition("/")[2].unique()
    return [name.partition("-")[2] for name in names if name.startswith("dice-")]


def _sizes(results: Results, split: str, arm: str) -> list[int]:
    table = results.predictions
    return sorted(table.loc[(table["arm"] == arm) & (table["split"] == split), "n_train"].unique())
