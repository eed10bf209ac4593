"""From a heatmap to detections, and detections as files: the challenge's CSV, and GeoJSON that QuPath opens.

Coordinates are level-0 pixels, x to the right and y downwards. Source of the suppression: Liu et al., arXiv 1703.02442,
with the radius and threshold of public replications, 6 cells of 128 pixels and 0.5.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from fewscans import files
from fewscans.slides.heatmap import Geometry

CLASS = {"name": "Tumor", "color": [200, 0, 0]}  # QuPath's own name


def suppress(heatmap: np.ndarray, geometry: Geometry, radius: float = 6, threshold: float = 0.5) -> pd.DataFrame:
    """Repeats until every cell is below the threshold: record the highest cell, then zero a disc around it.

    heatmap: (rows, cols) probabilities, NaN counts as 0.   radius: in cells; what lies at that distance is zeroed too.
    Returns: probability, x, y (centre of the cell, in level-0 pixels), row, column, highest first. Of equal cells the
    first in reading order is taken.
    Raises ValueError for a negative radius, or a threshold that is not above 0.
    """
    if not radius >= 0 or not threshold > 0:
        raise ValueError(f"radius must be at least 0 and threshold above 0, got {radius} and {threshold}")
    row, column = np.nonzero(heatmap >= threshold)
    order = np.argsort(-heatmap[row, column], kind="stable")
    margin = int(radius)
    reach = np.arange(-margin, margin + 1)
    disc = reach[:, None] ** 2 + reach**2 <= radius**2
    free = np.ones(np.add(heatmap.shape, 2 * margin), bool)  # so that no disc leaves the map
    kept = []
    for i, j in zip(row[order].tolist(), column[order].tolist(), strict=True):
        if free[i + margin, j + margin]:
            free[i : i + len(disc), j : j + len(disc)] &= ~disc
            kept.append((i, j))
    row, column = np.array(kept, np.int64).reshape(-1, 2).T
    x, y = geometry.centre(row, column)
    probability = heatmap[row, column].astype(float)
    return pd.DataFrame({"probability": probability, "x": x, "y": y, "row": row, "column": column})


def write_csv(detections: pd.DataFrame, path: Path) -> Path:
    """The challenge's form: lines of probability,x,y, no header; x and y are the pixel that holds the point."""
    table = detections[["probability", "x", "y"]].astype({"x": int, "y": int})  # rounds down
    return files.write(path, table.to_csv(header=False, index=False, float_format="%.9g"))


def to_geojson(detections: pd.DataFrame, geometry: Geometry, scale: float = 1.0) -> dict:
    """A FeatureCollection for QuPath (0.4 or later): each detection's cell, and the point in its middle.

    detections: probability, and x, y in the slide's level-0 pixels.   scale: of those, in a pixel of the geometry.
    Points are annotations, so that QuPath lists them; cells are detections, so that it colours them by probability.
    """
    half, features = geometry.stride * scale / 2, []
    for p, x, y in detections[["probability", "x", "y"]].to_numpy(float).tolist():
        ring = [[x + i * half, y + j * half] for i, j in ((-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1))]
        for kind, shape, coordinates in (("annotation", "Point", [x, y]), ("detection", "Polygon", [ring])):
            properties = {"objectType": kind, "classification": CLASS, "measurements": {"probability": p}}
            place = {"type": shape, "coordinates": coordinates}
            features.append({"type": "Feature", "geometry": place, "properties": properties})
    return {"type": "FeatureCollection", "features": features}
