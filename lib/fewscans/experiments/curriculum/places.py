"""Where a network looks: class activation maps against the boxes of images that it was never trained on.

A box is found by the most probable mark of the map inside it; marks outside every box of their finding are false
positives. Pointing asks only whether the first mark lies in a box (Zhang et al. 2018). A finding that some positive
image has without a box is left out: where it was found could not be told from a false positive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from fewscans.data import radiographs
from fewscans.data.base import REFERENCE, Cases

HILL = 8  # points a side of the trivial maps
MARKS, FALSE_ALARMS = 6, 3  # marks of a map; rows for those outside all boxes, 0 where there are fewer
SHOWN = 6  # images of each finding whose maps are kept


def truth(cases: Cases, findings: Sequence[str]) -> pd.DataFrame:
    """What FROC must know of the test images, `stats.reference`: every image, and every box as its own hit."""
    boxes, test = radiographs.boxes(cases, radiographs.boxed(cases, findings)), cases.indices("test")
    scans = pd.DataFrame({"kind": "scan", "scan": cases.case[test]})
    of, name = boxes["image"].to_numpy(), lesion_names(cases, boxes)
    found = pd.DataFrame({"scan": cases.case[of], "nodule": name, "case": name})[cases.split[of] == "test"]
    frame = pd.concat([scans, found.assign(kind="nodule", case=""), found.assign(kind="hit")], ignore_index=True)
    return frame.reindex(columns=list(REFERENCE)).fillna({"nodule": "", "case": ""}).astype(REFERENCE)


def lesion_names(cases: Cases, boxes: pd.DataFrame) -> np.ndarray:
    """ "<image>/<finding> <number>" of each box."""
    number = boxes.groupby(["image", "finding"]).cumcount() + 1
    return (pd.Series(cases.case[boxes["image"]]) + "/" + boxes["finding"] + " " + number.astype(str)).to_numpy(str)


def marks(p: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probability, x and y (shares of the image) of a map's marks, (h, w) → up to (MARKS,) each: the highest cell, then
    the highest that is no neighbour of an earlier one, and so on. A mark is the centre of its cell.
    """
    left, places = np.pad(p, 1, constant_values=-1.0), []
    while len(places) < MARKS and left.max() >= 0:
        row, column = np.unravel_index(left.argmax(), left.shape)
        places.append((p[row - 1, column - 1], (column - 0.5) / p.shape[1], (row - 0.5) / p.shape[0]))
        left[row - 1 : row + 2, column - 1 : column + 2] = -1.0
    return tuple(np.array(places).T)


def tables(maps: Mapping[int, np.ndarray], cases: Cases, boxes: pd.DataFrame, findings: Sequence[str], keep: bool):
    """Rows (split, image, case, target, prediction) of the splits "test-lesions", "test-pointing" and, to `keep` some
    maps for pictures, "test-cells".   maps: of each test image, (K, h, w) probabilities.
    """
    rows = []
    names, of_image = lesion_names(cases, boxes), boxes.groupby("image").indices
    kept, localised = set(_shown(cases, boxes, findings)) if keep else set(), radiographs.boxed(cases, findings)
    for i, of_findings in maps.items():
        mine = boxes.iloc[of_image.get(i, [])]
        for finding, p_map in zip(findings, of_findings, strict=True):
            case = f"{cases.case[i]}/{finding}"
            if i in kept:
                rows += [("test-cells", i, f"{case}/{r},{c}", 0.0, p_map[r, c]) for r, c in np.ndindex(*p_map.shape)]
            if finding not in localised:
                continue
            p, x, y = marks(p_map)
            here = np.flatnonzero(mine["finding"] == finding)
            inside = _inside(x, y, mine.iloc[here])
            for place, hits in zip(here, inside, strict=True):
                rows.append(("test-lesions", i, names[of_image[i][place]], 1.0, p[hits].max(initial=0.0)))
            outside = np.append(p[~inside.any(axis=0)], [0.0] * FALSE_ALARMS)[:FALSE_ALARMS]
            rows += [("test-lesions", i, f"{case} elsewhere {n}", 0.0, value) for n, value in enumerate(outside, 1)]
            if len(here):
                rows.append(("test-pointing", i, case, 1.0, float(inside[:, 0].any())))
    return rows


def prior(boxes: pd.DataFrame, findings: Sequence[str]) -> np.ndarray:
    """How often a point lies in a box of training images, relative to the most frequent point: (K, HILL, HILL)."""
    at = (np.arange(HILL) + 0.5) / HILL
    x, y = (axis.ravel() for axis in np.meshgrid(at, at))
    counts = [_inside(x, y, boxes[boxes["finding"] == finding]).sum(axis=0) for finding in findings]
    return np.stack([(n / max(n.max(), 1)).reshape(HILL, HILL) for n in counts])


def centre(findings: Sequence[str]) -> np.ndarray:
    """A hill in the middle of the image, (K, HILL, HILL)."""
    at = (np.arange(HILL) + 0.5) / HILL - 0.5
    return np.repeat(np.exp(-8 * (at[:, None] ** 2 + at**2))[None], len(findings), axis=0)


def _inside(x: np.ndarray, y: np.ndarray, boxes: pd.DataFrame) -> np.ndarray:
    """(boxes, points): which points lie in which box."""
    left, top, width, height = (boxes[name].to_numpy()[:, None] for name in ("x", "y", "width", "height"))
    return (left <= x) & (x <= left + width) & (top <= y) & (y <= top + height)


def _shown(cases: Cases, boxes: pd.DataFrame, findings: Sequence[str]) -> list[int]:
    test = boxes[cases.split[boxes["image"].to_numpy()] == "test"]
    return [int(i) for finding in findings for i in test.loc[test["finding"] == finding, "image"].unique()[:SHOWN]]
