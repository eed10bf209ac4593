"""Does the box tell the answer? What can be read of how an image was cut, without looking at what it shows.

Images cut around a structure carry its size in their own; brought to one size by padding, they still carry it in how
much was padded. A network finds that before it finds the structure. `padding` reads it off as a network could, and
`predicted` says how far it gets: a baseline that must be at chance.
"""

from __future__ import annotations

import numpy as np


def padding(images: np.ndarray) -> np.ndarray:
    """How many planes at each of the six faces look padded.

    Args:    images: (n, D, H, W).
    Returns: (n, 18) counts: for each axis, its low and its high end, the outermost planes that are constant, that
             repeat the next one inward, and that mirror what lies inside of them.
    """
    along = [np.moveaxis(images, axis + 1, 1) for axis in range(3)]
    faces = [end for planes in along for end in (planes, planes[:, ::-1])]  # (n, planes, ., .), the face first
    counts = [[count(planes) for planes in face] for face in faces for count in (_constant, _repeated, _mirrored)]
    return np.array(counts).T  # (18, n) → (n, 18)


def predicted(
    features: np.ndarray, number: np.ndarray, group: np.ndarray, folds: int = 10, seed: int = 0
) -> np.ndarray:
    """What least squares makes of some features, each case predicted by a fit to other persons.

    Args:    features: (n, k).   number: (n,).   group: (n,) the person.
    Returns: (n,). Features that say nothing give about the mean of the others.
    """
    features = np.column_stack([np.ones(len(number)), features])
    people = np.random.default_rng(seed).permutation(np.unique(group))
    out = np.empty(len(number))
    for fold in range(folds):
        held = np.isin(group, people[fold::folds])
        weights = np.linalg.lstsq(features[~held], number[~held], rcond=None)[0]
        out[held] = features[held] @ weights
    return out


def _constant(planes: np.ndarray) -> int:
    """Outermost planes of one value each."""
    return _leading((planes == planes[:, :1, :1]).all(axis=(1, 2)))


def _repeated(planes: np.ndarray) -> int:
    """Outermost planes that are the same as the next."""
    return _leading((planes[:-1] == planes[1:]).all(axis=(1, 2)))


def _mirrored(planes: np.ndarray) -> int:
    """The most outermost planes that are the mirror image of as many inside, with or without one between them."""
    return max(
        (
            k
            for k in range(1, len(planes) // 2)
            for start in (k, k + 1)
            if np.array_equal(planes[k - 1], planes[start])  # nearly always not: the rest need not be compared
            and np.array_equal(planes[:k][::-1], planes[start : start + k])
        ),
        default=0,
    )


def _leading(true: np.ndarray) -> int:
    return int(np.argmin(true)) if not true.all() else len(true)
