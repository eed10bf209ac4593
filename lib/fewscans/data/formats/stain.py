"""Colour normalisation by Macenko's method: each slide's two stains are found once, on its tissue, and replaced.

torchstain finds the stains. It fits every image it is given by itself, and fails on glass; here the fit of a slide
serves for all that is read of it.
"""

from __future__ import annotations

import warnings

import numpy as np

from fewscans.data.formats.tissue import tissue
from fewscans.errors import DataError

PIXELS = 1024  # of the longer side of the overview that is fitted
WHITE = 240.0  # torchstain's value of light without tissue
CONTENT = 200_000  # pixels that are fitted, at most
SAME = 0.05  # smaller singular value of two stains of length 1 that are one, about 4 degrees apart


def fit(slide) -> np.ndarray:
    """The stains of a slide's tissue, (3, 3): rows haematoxylin and eosin in optical densities, then their maximal
    concentrations. Raises DataError if the slide shows no tissue or one colour only.
    """
    from torchstain.numpy.normalizers import NumpyMacenkoNormalizer

    first = slide.levels[0]
    level = slide.at(max(1, first.width / PIXELS, first.height / PIXELS))
    size = slide.levels[level]
    image = slide.read(level, 0, 0, size.width, size.height)
    shown = image[tissue(image, (slide.mpp or 1.0) * size.downsample)]
    normaliser = NumpyMacenkoNormalizer()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            normaliser.fit(shown[:: max(1, len(shown) // CONTENT)][None])
        if np.linalg.matrix_rank(normaliser.HERef, tol=SAME) < 2:
            raise ValueError("its tissue has one colour only")
    except (ValueError, IndexError, np.linalg.LinAlgError) as error:
        raise DataError(
            f"{slide.path}: its stains cannot be found ({error}); leave out the arm that normalises"
        ) from error
    return np.vstack([normaliser.HERef.T, np.append(np.ravel(normaliser.maxCRef), 0.0)])


class Stained:
    """A slide whose colours are those of another one.   stain: what `fit` found there."""

    def __init__(self, slide, stain: np.ndarray):
        own = fit(slide)
        self.slide, self.levels, self.mpp, self.path, self.at = slide, slide.levels, slide.mpp, slide.path, slide.at
        strength = (stain[2, :2] / own[2, :2])[:, None]
        self.matrix = np.linalg.pinv(own[:2]) @ (strength * stain[:2])  # (3, 3), from densities to densities

    def read(self, *where) -> np.ndarray:
        density = -np.log((self.slide.read(*where).astype(np.float32) + 1) / WHITE)
        return np.clip(WHITE * np.exp(-density @ self.matrix.astype(np.float32)), 0, 255).astype(np.uint8)

    def close(self) -> None:
        self.slide.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
