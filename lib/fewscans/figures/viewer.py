"""A slide to look at in JupyterLab: drag to pan, turn the wheel to zoom; heatmap and annotation lie on top.

The widget is jupyter-islide's. It reads tiles by OpenSlide when they come into view, so it needs the kernel and the
slide's file: a saved page does not show it. This module sets the colours and positions of what lies on top.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fewscans.errors import DataError

if TYPE_CHECKING:
    import pandas as pd
    from islide import SlideViewer
    from PIL.Image import Image

    from fewscans.data.formats.asap import Annotation
    from fewscans.slides.heatmap import Geometry

OVERLAY_PIXELS = 4096  # longer side of the overlay: 2 pixels or more for a cell of the largest slides of CAMELYON16
FAINT = 0.1  # probabilities up to here are transparent
OPACITY = 0.7  # of probability 1
DETECTED = {True: "#009E73", False: "#D55E00"}  # in a lesion, outside
LOOKS = {"tumour": {"color": "#00e5ff"}, "excluded": {"color": "#000000", "label": "excluded"}}


def view(
    slide_path: str | Path,
    heatmap: np.ndarray | None = None,
    geometry: Geometry | None = None,
    annotation: Annotation | None = None,
    height: int = 500,
) -> SlideViewer:
    """The slide as a widget, to stand last in a notebook's cell.

    heatmap: (rows, cols) probabilities, NaN where there are none; transparent there and up to 0.1.   geometry: of the
    heatmap's cells.   annotation: its polygons are drawn, tumour in cyan, excluded in black.   height: screen pixels.
    `overlay_alpha` of the widget is the heatmap's opacity and can be changed.
    Raises ImportError if jupyter-islide is not installed; DataError if the file is not a slide that OpenSlide reads;
    ValueError for a heatmap without geometry, of another shape, or with values outside [0, 1].
    """
    try:
        from islide import SlideViewer
    except ImportError as error:
        raise ImportError("slides are shown by jupyter-islide; install it: pip install 'fewscans[workbook]'") from error
    from openslide import OpenSlideError

    try:
        widget = SlideViewer(str(slide_path), canvas_h=height)
    except (OpenSlideError, OSError) as error:
        raise DataError(f"{slide_path} cannot be shown: {error}; give a slide that OpenSlide reads") from error
    if heatmap is not None:
        # Black, which islide makes transparent by default, is a colour like others here.
        widget.set_overlay(_overlay(heatmap, geometry, *widget.meta["dimensions"]), alpha=OPACITY, transparent=None)
    if annotation is not None:
        widget.set_annotations(outlines(annotation))
    return widget


def _overlay(heatmap: np.ndarray, geometry: Geometry | None, width: int, height: int) -> Image:
    """The heatmap as an RGBA picture of the whole slide and nothing beyond it: islide stretches it over the slide.

    The last cells reach over the slide's right and lower edge, so cells are looked up by position.
    """
    import matplotlib
    from PIL.Image import fromarray

    if geometry is None:
        raise ValueError("a heatmap needs the geometry of its cells")
    if heatmap.shape != geometry.shape(width, height):
        raise ValueError(f"a heatmap of this slide has shape {geometry.shape(width, height)}, got {heatmap.shape}")
    if np.nanmin(heatmap, initial=0) < 0 or np.nanmax(heatmap, initial=0) > 1:
        raise ValueError("a heatmap holds probabilities from 0 to 1, or NaN")
    cells = np.nan_to_num(heatmap)
    colours = matplotlib.colormaps["viridis"](cells)
    colours[..., 3] = np.clip((cells - FAINT) / (1 - FAINT), 0, 1)
    scale = OVERLAY_PIXELS / max(width, height)
    rows, columns = (
        ((np.arange(n) + 0.5) * side / n / geometry.stride).astype(int)
        for side, n in ((side, max(1, round(side * scale))) for side in (height, width))
    )
    return fromarray(np.round(255 * colours).astype(np.uint8)[rows][:, columns])


def outlines(
    annotation: Annotation | None, detections: pd.DataFrame | None = None, geometry: Geometry | None = None
) -> dict:
    """GeoJSON in level-0 pixels, as the widget's `set_annotations` takes it: polygons, and a square a detection.

    detections: x, y in level-0 pixels, and hit; green in a lesion, orange outside.   geometry: of the heatmap's cells;
    a square is as large as the disc in which no second detection is taken, two thirds of it.
    """
    shapes = [] if annotation is None else [
        (polygon.tolist(), look) for kind, look in LOOKS.items() for polygon in getattr(annotation, kind)
    ]  # fmt: skip
    if detections is not None:
        reach = 4 * geometry.stride
        corners = np.array([[-reach, -reach], [reach, -reach], [reach, reach], [-reach, reach]])
        for x, y, hit in detections[["x", "y", "hit"]].itertuples(index=False):
            shapes.append(((corners + [x, y]).tolist(), {"color": DETECTED[bool(hit)]}))
    features = [
        {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [shape]}, "properties": look}
        for shape, look in shapes
    ]
    return {"type": "FeatureCollection", "features": features}
