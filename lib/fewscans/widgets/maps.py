"""Where a network looks: X-ray, finding and threshold move the outline of a map (Park et al., chest X-rays, 2019)."""

from __future__ import annotations

import ipywidgets

from fewscans.data.base import Cases
from fewscans.figures import curriculum
from fewscans.figures.style import Picture
from fewscans.results import Results
from fewscans.widgets import ByHand, described


def browser(run: Results, cases: Cases, arm: str, n_train: int) -> ByHand:
    """Sliders for image, finding and threshold over an X-ray, its map and boxes.

    Raises ValueError for cases that the table was not computed on, and where it keeps no map of the arm.
    """
    curriculum.same(run, cases)
    kept = curriculum.maps(run, arm, n_train)
    if not kept:
        raise ValueError(f"no map of {arm} is kept at N = {n_train}")

    def draw(image: str, finding: str, threshold: float) -> tuple[Picture, str]:
        picture = curriculum.single(cases, image, finding, kept[image, finding], threshold)
        return picture, f"Image {image}: {picture.title}"

    image = described(ipywidgets.SelectionSlider, "image", options=list(dict.fromkeys(i for i, _ in kept)))
    finding = described(ipywidgets.SelectionSlider, "finding", options=curriculum.findings(run))
    threshold = described(ipywidgets.FloatSlider, "threshold", value=0.5, min=0.0, max=1.0, step=0.01)
    return ByHand(draw, image=image, finding=finding, threshold=threshold)
