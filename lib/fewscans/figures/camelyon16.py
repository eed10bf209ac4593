"""Figures and tables of one result: metastases on whole slides (Liu et al., Camelyon16, 2017).

Pictures of slides are drawn from slides at hand. Heatmaps come from the rows "test-cells" of the prediction tables,
which hold those of three slides: they can be drawn without slides and networks.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from fewscans import results
from fewscans.data.formats import slides as formats
from fewscans.experiments.camelyon16.arms import SMALL
from fewscans.figures import curves, froc
from fewscans.figures.style import Picture, picture_only, sheet, styled
from fewscans.figures.tables import score_label, text
from fewscans.results import Results
from fewscans.slides.cells import Slides, size_of
from fewscans.slides.detections import suppress
from fewscans.stats.intervals import combination

AVERAGED = f"{SMALL}-averaged"
MAIN = (SMALL, AVERAGED, "40x", "overview")
SIZES = ("itc", "micro", "macro")
# False positives a slide, share found, who: the paper's abstract; the pathologist marked nothing wrongly (JAMA 2017).
POINTS = (
    (8.0, 0.924, "Liu et al., real", "o"), (8.0, 0.827, "best before, real", "s"),
    (1 / 16, 0.732, "pathologist, real", "D"),
)  # fmt: skip
HEAT = {"cmap": "magma", "vmin": 0.0, "vmax": 1.0}


@styled
def slides(
    images: Mapping[str, np.ndarray], title: str, note: str = "", columns: int = 4,
    outlines: Mapping[str, Sequence[np.ndarray]] | None = None, bar: tuple[float, str] | None = None,
) -> Picture:  # fmt: skip
    """Colour images (H, W, 3) side by side.

    outlines: name → polygons (n, 2), x and y in pixels of the image.   bar: a scale bar, its pixels and its label.
    """
    rows = -(-len(images) // columns)
    figure, axes = sheet(title, rows, columns, 0.7 + (0.25 + 6.2 / columns) * rows, note)
    for panel in axes.flat:
        picture_only(panel)
    for panel, (name, image) in zip(axes.flat, images.items(), strict=False):
        panel.imshow(image, interpolation="bilinear")
        panel.set_title(name, fontsize=8, loc="center", pad=2)
        for polygon in (outlines or {}).get(name, ()):
            panel.fill(*polygon.T, facecolor="none", edgecolor="#00a2ff", linewidth=1.0)
        if bar is not None:
            x, y = 0.05 * image.shape[1], 0.95 * image.shape[0]
            panel.plot([x, x + bar[0]], [y, y], color="black", linewidth=2)
            panel.text(x, y - 0.03 * image.shape[0], bar[1], fontsize=7, va="bottom")
    return Picture(figure, title, {"figure": title, "shown": list(images)})


def overview(path: Path | str, pixels: int = 400, mpp: float | None = None) -> tuple[np.ndarray, float]:
    """A whole slide, at least that many pixels on its longer side, and how many level-0 pixels make one of them."""
    with formats.open_slide(Path(path), mpp) as slide:
        full = slide.levels[0]
        level = slide.at(max(1.0, max(full.width, full.height) / pixels))
        size = slide.levels[level]
        return slide.read(level, 0, 0, size.width, size.height), size.downsample


def scanned(file: Path) -> np.ndarray:
    """The heatmap that a scan wrote, in colours, (rows, columns, 3) uint8; grey where there is no tissue."""
    import matplotlib

    with np.load(file, allow_pickle=False) as kept:
        probability = kept["heatmap"].astype(np.float32)
    colours = (matplotlib.colormaps[HEAT["cmap"]](probability)[..., :3] * 255).astype(np.uint8)
    return np.where(np.isnan(probability)[..., None], np.uint8(232), colours)


def heatmaps(run: Results, arm: str, n_train: int, column: str = "prediction") -> dict[str, np.ndarray]:
    """Slide → (rows, columns) of its heatmap, or of the truth (column "target"), NaN where there is no tissue."""
    table = run.predictions.query("split == 'test-cells' and arm == @arm and n_train == @n_train")
    place = table["case"].astype(str).str.extract(r"/(\d+),(\d+)$").astype(int)
    made = {}
    for slide in table["group"].astype(str).unique():
        mine = (table["group"] == slide).to_numpy()
        row, col = place[mine].to_numpy().T
        made[slide] = np.full((row.max() + 1, col.max() + 1), np.nan)
        made[slide][row, col] = table[column][mine]
    return made


@styled
def side_by_side(
    run: Results, arms: Sequence[str], n_train: int, title: str, note: str = "", paths: Mapping[str, str] | None = None
) -> Picture:
    """The paper's figure: a row a slide; the slide (where `paths` name it), the truth, and a heatmap an arm."""
    arms = [arm for arm in arms if heatmaps(run, arm, n_train)]
    truth = heatmaps(run, arms[0], n_train, "target")
    probability = {arm: heatmaps(run, arm, n_train) for arm in arms}
    columns = len(arms) + 1 + bool(paths)
    figure, axes = sheet(title, len(truth), columns, 0.8 + 6.2 / columns * len(truth), note)
    for line, (name, lesion) in zip(axes, truth.items(), strict=True):
        for panel in line:
            picture_only(panel)
            panel.set_facecolor("#e8ebee")
        if paths:
            line[0].imshow(overview(paths[name])[0], interpolation="bilinear")
        line[0].set_ylabel(name, fontsize=9)
        line[-len(arms) - 1].imshow(np.ma.masked_invalid(lesion), cmap="gray", vmin=0, vmax=1)
        for panel, arm in zip(line[-len(arms) :], arms, strict=True):
            drawn = panel.imshow(np.ma.masked_invalid(probability[arm][name]), **HEAT)
    headings = [*(["slide"] if paths else []), "lesions", *(run.arm(arm).label for arm in arms)]
    for panel, heading in zip(axes[0], headings, strict=True):
        panel.set_title(textwrap.fill(heading, 72 // columns), fontsize=8.5, loc="center")
    figure.colorbar(drawn, ax=axes, shrink=0.5, label="probability of tumour")
    return Picture(figure, title, run.provenance | {"figure": title, "arms": list(arms), "n_train": n_train})


def examples(cases: Slides, run: Results, arm: str, n_train: int, side: int = 80) -> dict[str, np.ndarray]:
    """Patches about the most probable detections in lesions, the largest lesions without one, and the most probable
    false alarms, at most four each, of the slides whose heatmaps are kept.   side: pixels of level 0.
    """
    made: dict[str, list] = {"hit": [], "miss": [], "false alarm": []}
    for name, probability in heatmaps(run, arm, n_train).items():
        i = int(np.flatnonzero(cases.case == name)[0])
        found = suppress(probability, cases.geometry)
        lesion = cases.lesion[i][found["row"], found["column"]]
        for hit, (p, row, column) in zip(lesion, found[["probability", "row", "column"]].to_numpy(), strict=True):
            kind = "hit" if hit else "false alarm"
            made[kind].append((p, f"{kind}, {p:.2f}", i, int(row), int(column)))
        for k, lesion_name in enumerate(cases.lesions[i], start=1):
            where = np.argwhere((cases.lesion[i] == k) & (cases.cells[i] >= 0))
            if len(where) and k not in lesion:
                row, column = where[len(where) // 2]
                made["miss"].append((float(len(where)), f"missed {lesion_name.partition('/')[2]}", i, row, column))
    patches = {}
    for of_kind in made.values():
        for _, label, i, row, column in sorted(of_kind, key=lambda e: -e[0])[:4]:
            x, y = cases.geometry.centre(row, column)
            with formats.open_slide(Path(cases.about["slide"].iloc[i])) as slide:
                patch = slide.read(0, int(x) - side // 2, int(y) - side // 2, side, side)
            patches[f"{label}\n{cases.case[i]}, {row},{column}"] = patch
    return patches


def by_size(run: Results, arms: Sequence[str], n_train: int) -> pd.DataFrame:
    """Share of the lesions with any detection, by size, means over seeds; the challenge ignores itc."""
    table = run.predictions.query("split == 'test-lesions' and target == 1 and n_train == @n_train and arm in @arms")
    size = table["case"].astype(str).map(size_of)
    counts = table.assign(size=size).drop_duplicates("case")["size"].value_counts()
    found = table.assign(size=size, found=table["prediction"] > 0).pivot_table("found", "arm", "size", observed=True)
    found = found.reindex(index=[a for a in arms if a in found.index], columns=[s for s in SIZES if s in found])
    names = {"itc": "isolated cells", "micro": "micrometastases", "macro": "macrometastases"}
    found = found.rename(index=lambda arm: run.arm(arm).label)
    return found.rename(columns=lambda s: f"{names[s]} ({counts[s]})").round(2).rename_axis(index=None, columns=None)


def false_alarms(run: Results, arms: Sequence[str], n_train: int) -> pd.DataFrame:
    """False positives a slide at the lowest threshold: where they end, the FROC curve ends, too."""
    table = run.predictions.query("split == 'test-lesions' and target == 0 and n_train == @n_train and arm in @arms")
    slides = table["group"].nunique()
    count = (table["prediction"] > 0).groupby([table["arm"].astype(str), table["seed"]]).sum() / slides
    count = count.unstack().reindex([a for a in arms if a in count.index.get_level_values(0)])
    shown = pd.DataFrame({"fewest": count.min(axis=1), "mean": count.mean(axis=1), "most": count.max(axis=1)})
    return shown.rename(index=lambda arm: run.arm(arm).label).round(1).rename_axis(index=None)


def steadiness(run: Results, pairs: Sequence[tuple[str, str]], n_train: int) -> pd.DataFrame:
    """How well FROC and AUC separate pairs of arms: differences, and the slides that would show them.

    slides needed: of how many test slides the 95 % interval would leave out 0 if the difference and the parts of its
    variance stay as they are, seeds as now; "more seeds" where no number of slides would do.
    """
    rows = []
    for arm, other in pairs:
        for score in ("lesion_froc", "lesion_froc:negative", "auc"):
            spread = run.resampled(score).spread(combination(((arm, n_train), 1.0), ((other, n_train), -1.0)))
            needed = spread.groups_needed(abs(spread.value))
            rows.append([f"{run.arm(arm).label} − {run.arm(other).label}", score_label(score),
                         text(spread.estimate(), star=True), spread.n_groups, needed or "more seeds"])  # fmt: skip
    columns = ["arms", "score", "difference (95 % interval)", "slides", "slides needed"]
    return pd.DataFrame(rows, columns=columns).set_index("arms").rename_axis(None)


def kept() -> dict[str, Picture]:
    """What git keeps, drawn from published results."""
    run = results.published("camelyon16", "camelyon16-twin")
    if run is None:
        return {}
    n = max(run.sizes(SMALL))
    note = "Hollow: what the paper's abstract reports of real slides, about 100 times larger: not comparable. "
    note += "The pathologist marked nothing wrongly, which no logarithmic axis can show."
    panels = [
        curves.scores(run, [SMALL, AVERAGED, "40x"], "lesion_froc", title="lesions, twin"),
        curves.scores(run, [SMALL, AVERAGED, "overview"], "auc", title="slides, twin"),
    ]
    bars = "Bars: 95 % intervals over seeds and test slides."
    return {
        "camelyon16_learning_curves": curves.over_n(panels, "FROC and AUC over training slides, synthetic twin", bars),
        "camelyon16_froc": froc.froc(run, [SMALL, AVERAGED, "40x"], [n], "FROC, synthetic twin", note, POINTS),
        "camelyon16_heatmaps": side_by_side(
            run, [SMALL, AVERAGED, "40x20x-small"], n, "Heatmaps of three test slides, synthetic twin",
            f"N = {n} training slides, seed 0. Left: lesions by the official rule, grown by 37.5 µm.",
        ),
    }  # fmt: skip
