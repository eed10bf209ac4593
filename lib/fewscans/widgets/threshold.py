"""A threshold that moves detections on a slide, and the point on the FROC curve (Liu et al., Camelyon16, 2017)."""

from __future__ import annotations

from collections.abc import Mapping

import ipywidgets
import numpy as np
import pandas as pd

from fewscans.figures import camelyon16
from fewscans.figures.style import GREY, Picture, picture_only, sheet, styled
from fewscans.figures.viewer import DETECTED
from fewscans.results import Results
from fewscans.slides.detections import suppress
from fewscans.slides.heatmap import Geometry
from fewscans.stats.froc import FrocCurve
from fewscans.stats.reference import Reference
from fewscans.widgets import ByHand, described

LOWEST = 0.5  # of a detection's probability; heatmaps are not searched below it
NOTE = (
    "Circles: detections, green in a lesion, orange outside. Cyan: lesions by the official rule. "
    "Right: this network on all test slides. Several detections in one lesion find it once."
)


def curve(run: Results, arm: str, n_train: int, seed: int = 0) -> FrocCurve:
    """The FROC curve of one network over all test slides. Raises ValueError for a seed that was not trained."""
    cell = run.resampled("lesion_froc").cell(arm, n_train)
    if seed not in cell.seeds:
        raise ValueError(f"{run.label}: {cell} has no seed {seed}; it has {', '.join(map(str, cell.seeds))}")
    prediction = cell.prediction[int(np.flatnonzero(cell.seeds == seed)[0])]
    return FrocCurve.of(Reference.of(run.reference).layout(cell).marks(prediction).above(0.0))


def at(froc: FrocCurve, threshold: float) -> tuple[float, float]:
    """False positives a slide, and sensitivity, of the detections of at least this probability."""
    last = np.count_nonzero(froc.thresholds >= threshold) - 1
    return float(froc.false_positives[last]), float(froc.sensitivity[last])


def detections(probability: np.ndarray, lesion: np.ndarray, geometry: Geometry) -> pd.DataFrame:
    """All detections of a heatmap, as `suppress` gives them, and whether each lies in a lesion (`hit`).

    probability, lesion: (rows, cols), NaN where there is no tissue.
    """
    found = suppress(probability, geometry, threshold=LOWEST)
    return found.assign(hit=lesion[found["row"], found["column"]] == 1)


@styled
def marked(
    name: str, probability: np.ndarray, lesion: np.ndarray, found: pd.DataFrame, froc: FrocCurve, threshold: float,
    slide: np.ndarray | None = None,
) -> tuple[Picture, str]:  # fmt: skip
    """The slide's heatmap with the detections of at least this probability, and the point on the FROC curve.

    slide: (H, W, 3) an overview of the slide, drawn in place of the heatmap.
    """
    title = f"{name}: detections of probability {threshold:.2f} or more"
    kept = found[found["probability"] >= threshold]
    figure, ((left, right),) = sheet(title, 1, 2, 3.9, NOTE, width_ratios=(1, 1))
    rows, columns = probability.shape
    left.set_facecolor("#e8ebee")
    if slide is None:
        left.imshow(np.ma.masked_invalid(probability), **camelyon16.HEAT)
    else:
        left.imshow(slide, extent=(-0.5, columns - 0.5, rows - 0.5, -0.5), interpolation="bilinear")
    if (lesion == 1).any():
        left.contour(np.nan_to_num(lesion), [0.5], colors=["#00c8ff"], linewidths=1)
    for hit, colour in DETECTED.items():
        mine = kept[kept["hit"] == hit]
        left.plot(mine["column"], mine["row"], "o", color=colour, markerfacecolor="none", markersize=8, mew=1.6)
    picture_only(left)
    right.step(froc.false_positives, froc.sensitivity, where="post", color=GREY)
    false, sensitivity = at(froc, threshold)
    right.plot(false, sensitivity, "o", color=DETECTED[False], markersize=10)
    right.set_xscale("symlog", linthresh=1)
    right.set_xticks([0, 1, 10], ["0", "1", "10"])
    right.set(xlabel="false positives a slide", ylabel="sensitivity", ylim=(0, 1.05), xlim=(-0.05, None))
    sentence = (
        f"{name}, threshold {threshold:.2f}: {int(kept['hit'].sum())} detections in lesions, "
        f"{int((~kept['hit']).sum())} outside. On all test slides: sensitivity {sensitivity:.2f} "
        f"at {false:.2f} false positives a slide."
    )
    return Picture(figure, title, {"figure": title}), sentence


def slider(run: Results, arm: str, n_train: int, geometry: Geometry, paths: Mapping[str, str] | None = None) -> ByHand:
    """A menu of the slides whose heatmaps the tables keep, and a slider for the threshold.

    geometry: of the heatmaps' cells.   paths: slide → its file, drawn in place of the heatmap.   `detections` of the
    widget is what it marks: slide → frame, see `detections`.
    Raises ValueError if the tables keep no heatmap of the arm at that size.
    """
    probability = camelyon16.heatmaps(run, arm, n_train)
    if not probability:
        raise ValueError(f"{run.label}: no heatmap of {arm} is kept at N = {n_train}")
    lesion, froc = camelyon16.heatmaps(run, arm, n_train, "target"), curve(run, arm, n_train)
    found = {name: detections(probability[name], lesion[name], geometry) for name in probability}
    drawn = {name: camelyon16.overview(paths[name])[0] for name in probability if name in (paths or {})}

    def draw(slide: str, threshold: float) -> tuple[Picture, str]:
        return marked(slide, probability[slide], lesion[slide], found[slide], froc, threshold, drawn.get(slide))

    first = next((name for name in probability if (lesion[name] == 1).any()), next(iter(probability)))
    slide = described(ipywidgets.Dropdown, "slide", options=list(probability), value=first)
    threshold = described(ipywidgets.FloatSlider, "threshold", value=0.9, min=LOWEST, max=1.0, step=0.01)
    hand = ByHand(draw, slide=slide, threshold=threshold)
    hand.detections = found
    return hand
