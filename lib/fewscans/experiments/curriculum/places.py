"""Where a network looks: class activation maps against the boxes of images that it was never trained on.

A map's peaks are marks; a box is found by the most probable peak inside it, and peaks outside every box of their
finding are false positives. Pointing asks only whether the map's highest point lies in a box (Zhang et al. 2018).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from fewscans.data.base import REFERENCE, Cases

FINE = 64  # points a side on which maps are read
APART = 9  # of these points; a peak is the highest in a square of so many
FALSE_ALARMS = 3  # rows of an image and finding; 0 where there are fewer
SHOWN = 6  # images of each finding whose maps are kept


def truth(cases: Cases, boxes: pd.DataFrame) -> pd.DataFrame:
    """What FROC must know of the test images, `stats.reference`: every image, and every box as its own hit."""
    test = cases.indices("test")
    scans = pd.DataFrame({"kind": "scan", "scan": cases.case[test]})
    of, name = boxes["image"].to_numpy(), lesion_names(cases, boxes)
    found = pd.DataFrame({"scan": cases.case[of], "nodule": name, "case": name})[cases.split[of] == "test"]
    frame = pd.concat([scans, found.assign(kind="nodule", case=""), found.assign(kind="hit")], ignore_index=True)
    return frame.reindex(columns=list(REFERENCE)).fillna({"nodule": "", "case": ""}).astype(REFERENCE)


def lesion_names(cases: Cases, boxes: pd.DataFrame) -> np.ndarray:
    """ "<image>/<finding> <number>" of each box."""
    number = boxes.groupby(["image", "finding"]).cumcount() + 1
    return (pd.Series(cases.case[boxes["image"]]) + "/" + boxes["finding"] + " " + number.astype(str)).to_numpy(str)


def tables(maps: Mapping[int, Tensor], cases: Cases, boxes: pd.DataFrame, findings: Sequence[str], keep: bool):
    """Rows (split, image, case, target, prediction) of the splits "test-lesions", "test-pointing" and, to `keep` some
    maps for pictures, "test-cells".   maps: of each test image, (K, h, w) probabilities.
    """
    rows = []
    names, of_image = lesion_names(cases, boxes), boxes.groupby("image").indices
    kept = set(_shown(cases, boxes, findings)) if keep else set()
    for i, coarse in maps.items():
        fine = F.interpolate(coarse[None], (FINE, FINE), mode="bilinear", align_corners=False)
        top = (fine == F.max_pool2d(fine, APART, 1, APART // 2))[0]
        mine = boxes.iloc[of_image.get(i, [])]
        for k, finding in enumerate(findings):
            row, column = torch.nonzero(top[k], as_tuple=True)
            p = fine[0, k][row, column].double().numpy()
            x, y = ((axis.numpy() + 0.5) / FINE for axis in (column, row))
            here = np.flatnonzero(mine["finding"] == finding)
            inside = _inside(x, y, mine.iloc[here])
            for place, hits in zip(here, inside, strict=True):
                name = names[of_image[i][place]]
                rows.append(("test-lesions", i, name, 1.0, p[hits].max(initial=0.0)))
            outside = np.sort(np.append(p[~inside.any(axis=0)], [0.0] * FALSE_ALARMS))[::-1][:FALSE_ALARMS]
            rows += [("test-lesions", i, f"{cases.case[i]}/{finding} elsewhere {n}", 0.0, value)
                     for n, value in enumerate(outside, start=1)]  # fmt: skip
            if len(here):
                hit = float(inside[:, p.argmax()].any())
                rows.append(("test-pointing", i, f"{cases.case[i]}/{finding}", 1.0, hit))
            if i in kept:
                rows += [("test-cells", i, f"{cases.case[i]}/{finding}/{r},{c}", 0.0, float(coarse[k, r, c]))
                         for r, c in np.ndindex(*coarse.shape[1:])]  # fmt: skip
    return rows


def prior(boxes: pd.DataFrame, findings: Sequence[str]) -> np.ndarray:
    """How often a point lies in a box of training images, relative to the most frequent point: (K, FINE, FINE)."""
    at = (np.arange(FINE) + 0.5) / FINE
    x, y = (axis.ravel() for axis in np.meshgrid(at, at))
    counts = [_inside(x, y, boxes[boxes["finding"] == finding]).sum(axis=0) for finding in findings]
    return np.stack([(n / max(n.max(), 1)).reshape(FINE, FINE) for n in counts])


def centre(findings: Sequence[str]) -> np.ndarray:
    """A hill in the middle of the image, (K, FINE, FINE)."""
    at = (np.arange(FINE) + 0.5) / FINE - 0.5
    return np.repeat(np.exp(-8 * (at[:, None] ** 2 + at**2))[None], len(findings), axis=0)


def _inside(x: np.ndarray, y: np.ndarray, boxes: pd.DataFrame) -> np.ndarray:
    """(boxes, points): which points lie in which box."""
    left, top, width, height = (boxes[name].to_numpy()[:, None] for name in ("x", "y", "width", "height"))
    return (left <= x) & (x <= left + width) & (top <= y) & (y <= top + height)


def _shown(cases: Cases, boxes: pd.DataFrame, findings: Sequence[str]) -> list[int]:
    test = boxes[cases.split[boxes["image"].to_numpy()] == "test"]
    return [int(i) for finding in findings for i in test.loc[test["finding"] == finding, "image"].unique()[:SHOWN]]
