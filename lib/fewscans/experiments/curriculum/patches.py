"""What step 1 is trained on: square windows around findings and of normal lung, of training images alone.

Source: Park et al. 2019 and Cho et al. 2021: patches around lesions, and patches cut at random from normal lung. How
large theirs were could not be read. Here a window has the side of the network's patch, in pixels of the stored image,
and grows with a box that does not fit. Half of the windows show a finding; each is labelled with all findings whose
box it covers by half; one that a window cuts is unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

ROOM = 1.2  # side of a window over the longer side of a box that does not fit
COVERED = 0.5  # share of a box, from which its finding counts
LUNG = (0.1, 0.9, 0.08, 0.85)  # left, right, upper and lower edge of where lungs lie, shares of the image


class Windows(NamedTuple):
    """Windows of images: place of the image, left and upper edge and side in shares of it, labels (n, K) with NaN."""

    image: np.ndarray
    x: np.ndarray
    y: np.ndarray
    side: np.ndarray
    labels: np.ndarray


class Source:
    """Windows of some images.

    index: places of the training images.   labels: (n, K) of all images.   boxes: of all images, `radiographs.boxes`.
    taught: findings whose boxes are complete; others are unknown in every window, as patches would teach that they are
    never there.   side: of a window, share of the image.   share: of the images with boxes, those whose boxes may be
    used, drawn by `rng`; findings on the others' patches are never shown.
    """

    def __init__(self, index: np.ndarray, labels: np.ndarray, boxes: pd.DataFrame, findings: Sequence[str],
                 taught: Sequence[str], side: float, share: float, rng: np.random.Generator):  # fmt: skip
        self.index, self.labels, self.side, self.findings = index, labels, side, list(findings)
        self.taught = np.isin(self.findings, taught)
        mine = boxes[boxes["image"].isin(index)]
        owners = rng.permutation(np.unique(mine["image"]))
        some = owners[: max(1, round(share * len(owners)))] if len(owners) else owners
        self.boxes = mine[mine["image"].isin(some)].reset_index(drop=True)
        self.normal = index[(np.nan_to_num(labels[index], nan=1.0) == 0).all(axis=1)]
        self.of_image = dict(tuple(self.boxes.groupby("image")))

    def draw(self, n: int, rng: np.random.Generator, anywhere: bool = False, alike: bool = False) -> Windows:
        """n windows: about half around boxes, moved at random; the others in the lungs of images without findings.

        anywhere: all in the lungs of any image, with the labels of the whole image.   alike: the others are as large as
        those around boxes, or their scale would tell them apart.
        """
        left, right, up, low = LUNG
        pool = self.index if anywhere else self.normal
        image, side = pool[rng.integers(len(pool), size=n)], np.full(n, self.side)
        x, y = left + (right - left) * rng.random(n), up + (low - up) * rng.random(n)
        if not anywhere:
            row, lesion = self.boxes.iloc[rng.integers(len(self.boxes), size=n)], rng.random(n) < 0.5
            longer = row[["width", "height"]].to_numpy().max(axis=1)
            side = np.where(lesion | alike, np.clip(ROOM * longer, self.side, 1.0), side)
            moved = rng.uniform(-0.5, 0.5, (2, n)) * np.maximum(side - longer, 0)
            image = np.where(lesion, row["image"], image)
            x = np.where(lesion, row["x"] + row["width"] / 2 + moved[0], x)
            y = np.where(lesion, row["y"] + row["height"] / 2 + moved[1], y)
        x, y = (np.clip(centre - side / 2, 0, 1 - side) for centre in (x, y))
        return Windows(image, x, y, side, self.labels[image] if anywhere else self._labels(image, x, y, side))

    def _labels(self, image, x, y, side) -> np.ndarray:
        made = np.where((self.labels[image] == 0) & self.taught, 0.0, np.nan)
        for k, i in enumerate(image):
            if i not in self.of_image:
                continue
            box = self.of_image[i]
            wide = np.minimum(box["x"] + box["width"], x[k] + side[k]) - np.maximum(box["x"], x[k])
            high = np.minimum(box["y"] + box["height"], y[k] + side[k]) - np.maximum(box["y"], y[k])
            share = wide.clip(0) * high.clip(0) / (box["width"] * box["height"])
            for f in np.flatnonzero(self.taught):
                if (mine := box["finding"] == self.findings[f]).any():
                    most = share[mine].max()
                    made[k, f] = 0.0 if most == 0 else 1.0 if most >= COVERED else np.nan
        return made
