"""Figures and tables of one result: patches first, then whole chest X-rays (Park et al., Sci. Rep. 2019).

Class activation maps (CAMs) come from the rows "test-cells" of the prediction tables, which hold those of a few images
at seed 0; X-rays beneath them are drawn where the images of the same tables are at hand.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle

from fewscans import results
from fewscans.data import radiographs
from fewscans.data.base import Cases
from fewscans.data.radiographs import Box
from fewscans.experiments.curriculum import Grid, _folds
from fewscans.experiments.curriculum.arms import CURRICULUM
from fewscans.experiments.curriculum.patches import ROOM
from fewscans.experiments.curriculum.places import marks
from fewscans.figures import curves
from fewscans.figures.style import GREY, Picture, columns_for, legend, picture_only, sheet, styled
from fewscans.figures.tables import text
from fewscans.nn.cam import upsampled
from fewscans.results import Results
from fewscans.stats.auc import auc, delong_test, holm, roc_curve
from fewscans.stats.convergence import compute_to_auc

BASELINE, LONGER = "baseline", "baseline-compute"
MAIN = (BASELINE, LONGER, CURRICULUM)
CONSTANT = ("prior", "centre")  # arms that predict one probability for all images: their AUC says nothing
BOX, CAM, PEAK = "#00e5ff", "#ff8c1a", "#ffffff"  # colours of a reader's box, of a map and of its highest point
MEASURED = {"val_loss": "validation loss", "val_accuracy": "validation accuracy", "val_auc": "validation AUC"}
EACH = 2  # hits, and misses, in a row of maps
RATES = (0.05, 0.1, 0.2)  # false positives an image
MAPS = "Cyan: readers' boxes. Orange: the map, each stretched to its own range; cross: centre of its highest cell. "
BARS = "Bars: 95 % intervals over seeds and patients of the test images."


def findings(run: Results) -> list[str]:
    """In the order of the table."""
    case = run.predictions["case"][run.predictions["split"] == "test"].astype(str)
    return case.str.rpartition("/")[2].unique().tolist()


def main_score(run: Results) -> str:
    """What a single number of the run is: of real images the AUC of opacity, which has the boxes."""
    return "auc:opacity" if "opacity" in findings(run) else "mean_auc"


def patches_end(run: Results) -> float:
    """The computing, in updates on whole images, after which the curriculum leaves patches."""
    grid = run.about.get("params") or run.about["grid"]
    return grid["patch_steps"] * (grid["patch"] / grid["size"]) ** 2


# Figures


@styled
def learning(run: Results, n_train: int, arms: Sequence[str], title: str) -> Picture:
    """Loss, accuracy and AUC of the validation images over computing: mean, lowest and highest of the seeds."""
    table = run.history[(run.history["n_train"] == n_train) & run.history["arm"].isin(arms)]
    table = table.astype({"arm": str}).round(dict.fromkeys(MEASURED, 4))  # to what can be seen
    arms = [arm for arm in arms if arm in set(table["arm"])]
    note = f"N = {n_train}. Line: mean over seeds. Band: from the lowest seed to the highest. Dotted: patches end. One "
    note += "update on whole images counts 1, one on patches their share of the pixels. All: means over findings."
    figure, axes = sheet(title, 1, len(MEASURED), 3.2, note)
    for panel, (column, name) in zip(axes[0], MEASURED.items(), strict=True):
        for arm in arms:
            look = run.arm(arm)
            options = {
                "color": look.colour,
                "linestyle": look.line,
                "errorbar": ("pi", 100),
                "err_kws": {"alpha": 0.15},
            }
            sns.lineplot(table[table["arm"] == arm], x="compute", y=column, ax=panel, legend=False, **options)
        if CURRICULUM in arms:
            panel.axvline(patches_end(run), color=GREY, linewidth=1.0, linestyle=":")
        panel.set(xlabel="computing (updates)", ylabel="", xlim=(0, None), title=name)
    handles = {run.arm(a).label: axes[0, 0].plot([], [], run.arm(a).line, color=run.arm(a).colour)[0] for a in arms}
    legend(figure, handles, columns_for(list(handles)))
    return Picture(figure, title, run.provenance | {"figure": title, "n_train": n_train})


@styled
def aucs(run: Results, n_train: int, arms: Sequence[str], title: str) -> Picture:
    """A panel for each finding, and for their mean where that is the main score: a dot an arm with its interval.

    Arms without a network are grey; those that predict a constant are left out.
    """
    arms = [arm for arm in _there(run, arms, n_train) if run.arm(arm).trivial not in CONSTANT]
    scores = {name: f"auc:{name}" for name in findings(run)}
    scores |= {"mean of findings": "mean_auc"} if main_score(run) == "mean_auc" else {}
    labels = [textwrap.fill(run.arm(arm).label, 30) for arm in arms]
    columns, rows, each = min(3, len(scores)), -(-len(scores) // 3), 0.6 + 0.25 * len(arms)
    figure, axes = sheet(title, rows, columns, 0.9 + rows * each, f"N = {n_train}. {BARS}", sharex=True, sharey=True)
    for panel in axes.flat[len(scores) :]:
        panel.remove()
    for panel, (name, score) in zip(axes.flat, scores.items(), strict=False):
        for place, arm in enumerate(arms):
            e, look = run.score(arm, n_train, score), run.arm(arm)
            colour = GREY if look.trivial else look.colour
            panel.plot([e.low, e.high], [place, place], color=colour, linewidth=1.5)
            panel.plot(e.value, place, look.marker, color=colour, markersize=5)
        panel.axvline(0.5, color=GREY, linewidth=0.8, linestyle=(0, (5, 3)))
        panel.set_title(name, fontsize=9.5)
        panel.set_yticks(range(len(arms)), labels, fontsize=7.5, linespacing=0.9)
        panel.set(xlabel="AUC", ylim=(len(arms) - 0.5, -0.5))
        panel.tick_params(axis="x", labelsize=9)
        panel.grid(False, axis="y")
        panel.label_outer()
    return Picture(figure, title, run.provenance | {"figure": title, "n_train": n_train})


def maps(run: Results, arm: str, n_train: int) -> dict[tuple[str, str], np.ndarray]:
    """(image, finding) → the network's own coarse map of it at seed 0, (h, w) probabilities."""
    table = run.predictions.query("split == 'test-cells' and arm == @arm and n_train == @n_train and seed == 0")
    table = table.assign(case=table["case"].astype(str))
    table[["image", "finding", "place"]] = table["case"].str.rsplit("/", n=2, expand=True).reindex(columns=range(3))
    drawn = {}
    for key, cells in table.groupby(["image", "finding"], sort=False):
        row, column = cells["place"].str.split(",", expand=True).astype(int).to_numpy().T
        drawn[key] = np.full((row.max() + 1, column.max() + 1), np.nan)
        drawn[key][row, column] = cells["prediction"]
    return drawn


def pointing(run: Results, arm: str, n_train: int) -> dict[tuple[str, str], bool]:
    """(image, finding) → whether the highest point of the map at seed 0 lies in a box."""
    table = run.predictions.query("split == 'test-pointing' and arm == @arm and n_train == @n_train and seed == 0")
    names = table["case"].astype(str).str.rpartition("/")
    return dict(zip(zip(names[0], names[2], strict=True), table["prediction"] == 1, strict=True))


def examples(run: Results, arm: str, n_train: int) -> dict[str, list[tuple[str, bool]]]:
    """Finding → the first images of which a map is kept, EACH hits and EACH misses: (image, hit)."""
    kept, hits = maps(run, arm, n_train), pointing(run, arm, n_train)
    chosen = {}
    for finding in findings(run):
        of = [(image, hits[image, name]) for image, name in kept if name == finding and (image, name) in hits]
        if of:  # a finding without complete boxes has maps, but no hits
            chosen[finding] = [e for hit in (True, False) for e in [e for e in of if e[1] == hit][:EACH]]
    return chosen


@styled
def places(run: Results, cases: Cases, arms: Sequence[str], n_train: int, title: str, note: str = "") -> Picture:
    """X-rays with readers' boxes and CAMs: a row a finding and arm; hits, then misses, of the first arm.

    cases: those that the table was computed on.   Raises ValueError if they are others.
    """
    same(run, cases)
    misses = {a: run.score(a, n_train, "mae", "test-pointing").value for a in arms}
    rates = ", ".join(f"{100 - 100 * share:.0f} % ({run.arm(a).label})" for a, share in misses.items())
    note = f"{MAPS}N = {n_train}, seed 0. Hits among all test images with a box, all seeds: {rates}. {note}"
    chosen, kept = examples(run, arms[0], n_train), {arm: maps(run, arm, n_train) for arm in arms}
    rows = [(finding, arm) for finding in chosen for arm in arms]
    if not rows:
        raise ValueError(f"nothing to draw for {title!r}: no map of {arms[0]} is kept at N = {n_train}")
    figure, axes = sheet(title, len(rows), 2 * EACH, 0.8 + 1.5 * len(rows), note)
    for line, (finding, arm) in zip(axes, rows, strict=True):
        hits = pointing(run, arm, n_train)
        for panel in line:
            picture_only(panel)
        for panel, (image, _) in zip(line, chosen[finding], strict=False):
            fine = _fine(panel, cases, image, finding, kept[arm][image, finding])
            glow = (fine - fine.min()) / max(np.ptp(fine), 1e-12)
            panel.imshow(np.full((*fine.shape, 3), to_rgb(CAM)), alpha=0.75 * glow**2)
            _, x, y = marks(kept[arm][image, finding])
            panel.plot(*(np.array([x[0], y[0]]) * len(fine) - 0.5), "x", color=PEAK, markersize=6, mew=1.5)
            panel.set_title("hit" if hits[image, finding] else "miss", fontsize=8.5, loc="center", pad=2)
        beneath = textwrap.wrap(run.arm(arm).label, 20) if len(arms) > 1 else []
        line[0].set_ylabel("\n".join([finding, *beneath]), fontsize=8.5)
    shown = {finding: [image for image, _ in of] for finding, of in chosen.items()}
    return Picture(figure, title, run.provenance | {"figure": title, "arms": list(arms), "shown": shown})


@styled
def gallery(images: np.ndarray, headings: Sequence[str], title: str, note="", boxes: Sequence = ()) -> Picture:
    """Grey images (n, S, S) at one scale of grey, at most five in a row.   boxes: of each image."""
    columns = min(5, max(4, len(images)))
    rows = -(-len(images) // columns)
    figure, axes = sheet(title, rows, columns, 0.65 + rows * (0.25 + 5.8 / columns), note)
    for panel in axes.flat:
        picture_only(panel)
    for panel, image, heading in zip(axes.flat, images, headings, strict=False):
        panel.imshow(image, vmin=images.min(), vmax=images.max(), interpolation="bilinear")
        panel.set_title(textwrap.fill(heading, 90 // columns), fontsize=8, loc="center", pad=2)
    for panel, of_image in zip(axes.flat, boxes, strict=False):
        _draw(panel, of_image, images.shape[1])
    return Picture(figure, title, {"figure": title, "shown": list(headings)})


@styled
def idea(cases: Cases, finding: str, side: float, title: str, note: str = "") -> Picture:
    """The first X-ray with a single box of a finding, and beside it the window around that box.

    side: of a window, as a share of the image; it grows with a box that does not fit.
    """
    drawn = radiographs.boxes(cases, [finding])
    box = drawn[~drawn["image"].duplicated(keep=False)].iloc[0]
    side = np.clip(ROOM * max(box["width"], box["height"]), side, 1)
    corner = np.clip([box["x"] + box["width"] / 2 - side / 2, box["y"] + box["height"] / 2 - side / 2], 0, 1 - side)
    i, (left, top), wide = int(box["image"]), corner * cases.images.shape[1] - 0.5, side * cases.images.shape[1]
    figure, axes = sheet(title, 1, 2, 3.7, note)
    for panel, heading in zip(axes[0], ("whole image and box", "patch around the box"), strict=True):
        _xray(panel, cases, i, finding)
        panel.set_title(heading, fontsize=9)
    axes[0, 0].add_patch(Rectangle((left, top), wide, wide, fill=False, edgecolor=CAM, linestyle="--"))
    axes[0, 1].set(xlim=(left, left + wide), ylim=(top + wide, top))
    return Picture(figure, title, {"figure": title, "data": cases.fingerprint, "shown": str(cases.case[i])})


@styled
def single(cases: Cases, image: str, finding: str, coarse: np.ndarray, threshold: float) -> Picture:
    """One X-ray with its boxes, and the outline of where its map is above the threshold."""
    title = f"{finding}, map above {threshold:.2f}"
    figure, ((panel,),) = sheet(title, 1, 1, 6.4)
    fine = _fine(panel, cases, image, finding, coarse)
    if fine.min() < threshold < fine.max():
        panel.contour(fine, [threshold], colors=[CAM])
    panel.set_title(f"the map's values: {fine.min():.2f} to {fine.max():.2f}", fontsize=9)
    return Picture(figure, title, {"figure": title, "data": cases.fingerprint, "shown": image})


def same(run: Results, cases: Cases) -> None:
    """Raises ValueError for cases that the table was not computed on."""
    if cases.fingerprint != run.about["data"]:
        raise ValueError(f"the images at hand are not those that {run.run} was computed on")


def _there(run: Results, arms: Sequence[str], n_train: int) -> list[str]:
    return [arm for arm in arms if arm in run.arms and run.has(arm, n_train)]


def boxes_of(cases: Cases, i: int, names: Sequence[str]) -> list[Box]:
    """An image's boxes of these findings."""
    return [Box(*values) for values in json.loads(cases.about["boxes"].iloc[i]) if values[0] in names]


def _draw(panel: Axes, boxes: Sequence[Box], side: int) -> None:
    for _, x, y, width, height in boxes:
        corner = (x * side - 0.5, y * side - 0.5)
        panel.add_patch(Rectangle(corner, width * side, height * side, fill=False, edgecolor=BOX))


def _xray(panel: Axes, cases: Cases, i: int, finding: str) -> None:
    picture_only(panel)
    panel.imshow(cases.images[i], vmin=0, vmax=255, interpolation="bilinear")
    _draw(panel, boxes_of(cases, i, [finding]), cases.images.shape[1])


def _fine(panel: Axes, cases: Cases, image: str, finding: str, coarse: np.ndarray) -> np.ndarray:
    """Draws an image with its boxes; returns the map at the image's size, bilinear."""
    _xray(panel, cases, int(np.flatnonzero(cases.case == image)[0]), finding)
    return upsampled(torch.from_numpy(coarse)[None, None], cases.images.shape[1])[0, 0].numpy()


# Tables


def across(run: Results, arms: Sequence[str], n_train: int, score: str, splits: Mapping[str, str]) -> pd.DataFrame:
    """One score on several test splits: a row an arm, a column a split.   splits: split → its name in the table."""
    there = {split: name for split, name in splits.items() if (run.predictions["split"] == split).any()}
    some = _there(run, arms, n_train)
    cells = [[text(run.score(arm, n_train, score, split)) for split in there] for arm in some]
    return pd.DataFrame(cells, [run.arm(arm).label for arm in some], list(there.values()))


def differences(run: Results, arm: str, others: Sequence[str], n_train: int, scores: Mapping) -> pd.DataFrame:
    """An arm minus others, paired: the mean with its interval, and the difference with each seed.

    scores: name in the table → score and split.   Returns a row a score and other arm.
    """
    rows = {}
    for name, which in scores.items():
        for other in _there(run, others, n_train):
            row = {"difference (95 % interval)": text(run.gain(arm, other, n_train, *which), star=True)}
            each = np.subtract(*(run.resampled(*which).values(a, n_train) for a in (arm, other)))
            row |= {f"seed {seed}": f"{value:+.3f}".replace("-", "−") for seed, value in enumerate(each)}
            rows[name, f"minus {run.arm(other).label}"] = row
    return pd.DataFrame.from_dict(rows, orient="index")


def within_folds(run: Results, cases: Cases, grid: Grid, arms: Sequence[str], n_train: int) -> pd.DataFrame:
    """AUC of the first finding over pairs of images that one network scored, beside that over all pairs.

    With folds each network scores one part of the images, and networks may differ in level. Means over seeds.
    cases: those that the table was computed on; grid: that of the run.   Raises ValueError for other cases.
    """
    same(run, cases)
    finding, label = grid.findings[0], radiographs.labels(cases, grid.findings[:1])[:, 0]
    table = run.predictions.query("split == 'test' and n_train == @n_train").copy()
    table[["image", "finding"]] = table["case"].astype(str).str.rsplit("/", n=1, expand=True)
    rows = {}
    for arm in _there(run, arms, n_train):
        means = []
        for seed, mine in table[(table["arm"] == arm) & (table["finding"] == finding)].groupby("seed"):
            part = pd.Series(_folds(cases.group, label, grid.folds, int(seed)), cases.case)[mine["image"]].to_numpy()
            each = [(some["target"], some["prediction"]) for _, some in mine.groupby(part)]
            pairs = [y.sum() * (1 - y).sum() for y, _ in each]
            means.append(np.average([auc(y, p) for y, p in each], weights=pairs))
        rows[run.arm(arm).label] = [text(run.score(arm, n_train, f"auc:{finding}")), f"{np.mean(means):.3f}"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=["all pairs of images", "pairs of the same part"])


def localisation(run: Results, arms: Sequence[str], n_train: int) -> pd.DataFrame:
    """How often a map's highest point lies outside all boxes, and the share of boxes found at a few false positives.

    Only of arms with maps, and of findings with complete boxes.
    """
    some = [arm for arm in arms if (arm, n_train) in run.resampled("mae", "test-pointing").cells]
    columns = {"misses (highest point outside all boxes)": ("mae", "test-pointing")}
    columns |= {f"boxes found at {rate:g} false peaks an image": (f"lesion_froc@{rate:g}", "test") for rate in RATES}
    shares = [[run.score(arm, n_train, *which) for which in columns.values()] for arm in some]
    cells = [[text(replace(e, low=max(e.low, 0.0), high=min(e.high, 1.0)), 2) for e in row] for row in shares]
    return pd.DataFrame(cells, [run.arm(arm).label for arm in some], list(columns))


def speed(run: Results, arms: Sequence[str], baseline: str, n_train: int, goal: float) -> pd.DataFrame:
    """Computing until the validation AUC is at the goal, over the baseline's: median, interval, who got there."""
    rows = {}
    for arm in _there(run, arms, n_train):
        try:
            c = compute_to_auc(run.history, arm, baseline, n_train, goal)
            rows[run.arm(arm).label] = [text(c.ratio, 2), f"{c.reached:.0%}", f"{c.baseline_reached:.0%}"]
        except ValueError as error:
            rows[run.arm(arm).label] = [str(error), "", ""]
    columns = ["computing over the baseline's", "seeds that get there", "of the baseline"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def operating(run: Results, arm: str, n_train: int) -> pd.DataFrame:
    """Sensitivity and specificity of each finding at one threshold: means over seeds, and the test images of each kind.

    The threshold maximises sensitivity + specificity - 1 (Youden, Cancer 1950) on validation images, seeds together.
    No rows where the table holds no predictions of validation images.
    """
    table = run.predictions.query("split in ('val', 'test') and arm == @arm and n_train == @n_train")
    table = table.assign(finding=table["case"].astype(str).str.rpartition("/")[2], split=table["split"].astype(str))
    rows = {}
    for finding in findings(run) if (table["split"] == "val").any() else ():
        val, test = (table[(table["finding"] == finding) & (table["split"] == split)] for split in ("val", "test"))
        at = youden(val["target"].to_numpy(), val["prediction"].to_numpy())
        right = ((test["prediction"] >= at) == (test["target"] == 1)).groupby([test["target"], test["seed"]]).mean()
        counts = test.drop_duplicates("case")["target"].value_counts()
        rows[finding] = [at, right[1.0].mean(), right[0.0].mean(), int(counts[1.0]), int(counts[0.0])]
    columns = ["threshold", "sensitivity", "specificity", "images with it", "without"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).round(3)


def youden(target: np.ndarray, prediction: np.ndarray) -> float:
    """The highest of the predictions from which on, calling them positive, sensitivity + specificity is largest."""
    false, found = roc_curve(target, prediction)  # (1 + distinct predictions,)
    return float(np.unique(prediction)[::-1][(found - false)[1:].argmax()])


def delong(run: Results, arm: str, other: str, n_train: int) -> pd.DataFrame:
    """DeLong's test by finding on the seeds' mean predictions (an ensemble), p also by Holm's correction.

    Of the first image of each patient. How much seeds differ is not in p.
    """
    table = run.predictions.query("split == 'test' and arm in [@arm, @other] and n_train == @n_train")
    table = table.assign(arm=table["arm"].astype(str), case=table["case"].astype(str), group=table["group"].astype(str))
    wide = table.pivot_table("prediction", ["group", "case", "target"], "arm").reset_index()
    wide[["image", "finding"]] = wide["case"].str.rsplit("/", n=1, expand=True)
    wide = wide[wide["image"] == wide.groupby("group")["image"].transform("first")]
    rows = {}
    for finding in findings(run):
        some = wide[wide["finding"] == finding]
        one, two, z, p = delong_test(some["target"], some[arm], some[other])
        rows[finding] = [len(some), int(some["target"].sum()), *np.round([one, two, one - two, z], 3), p]
    columns = ["patients", "with it", run.arm(arm).label, run.arm(other).label, "difference", "z", "p"]
    made = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    return made.assign(**{"p, Holm": holm(made["p"]).round(4)}).round({"p": 4})


def kept() -> dict[str, Picture]:
    """What git keeps, drawn from published results."""
    pictures = {}
    several = (("cxr_nih", "nih-subset", "NIH chest X-rays"), ("cxr_twin", "vindr-cxr-twin", "synthetic twin"))
    for name, data, shown in several:
        if (run := results.published("curriculum", data)) is None:
            continue
        n = max(run.sizes(CURRICULUM))
        pictures[f"{name}_learning"] = learning(run, n, MAIN, f"Learning curves over computing, {shown}")
        pictures[f"{name}_aucs"] = aucs(run, n, run.arms, f"AUC by finding, {shown}")
        if len(run.sizes(CURRICULUM)) > 1:
            panel = curves.scores(run, [*MAIN, "histogram"], main_score(run), title="")
            pictures[f"{name}_over_n"] = curves.over_n([panel], f"AUC over training images, {shown}", BARS)
    return pictures
