"""How well a segmentation matches the truth, as numbers of one case: a value for the truth and one for the network.

A mask is too large for a table of predictions, so these numbers stand there in its place, one row each. A row's case is
"<case>/<measure>", its target is what the truth itself has, and its prediction what the network's mask has:

- dice-<label>: overlap, 2 |A and B| / (|A| + |B|). Target 1.   dice: the mean over labels.
- hd95-<label>: 95 % Hausdorff distance in mm, the larger of both directions. Target 0.
- surface-<label>: the share of both surfaces that lies within 1 mm of the other (surface Dice). Target 1.
- volume-<label>: in ml. Target: the truth's.
- consistency-z: the mean Dice of neighbouring slices across z, all labels as one, over all pairs in which one of the
  two holds a label. Target: the truth's. A segmentation whose slices do not fit together has less.

Empty masks: where truth and prediction are both empty, a Dice is 1 and a distance 0; where one is, a Dice is 0 and the
distance is the diagonal of the image. Where no slice holds a label, the consistency is 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

TOLERANCE_MM = 1.0
PERCENTILE = 95


def measure(
    predicted: np.ndarray, truth: np.ndarray, spacing_mm: Sequence[float], names: Sequence[str]
) -> dict[str, tuple[float, float]]:
    """All measures of one case, name → (of the truth, of the prediction).

    predicted, truth: (D, H, W) labels on one grid, 0 for background.   names: of labels 1, 2 and so on.
    """
    found, overlaps = {}, []
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    for label, name in enumerate(names, start=1):
        a, b = predicted == label, truth == label
        overlaps.append(dice(a, b))
        far, within = surfaces(a, b, spacing_mm)
        found[f"dice-{name}"] = 1.0, overlaps[-1]
        found[f"hd95-{name}"] = 0.0, far
        found[f"surface-{name}"] = 1.0, within
        found[f"volume-{name}"] = np.count_nonzero(b) * voxel_ml, np.count_nonzero(a) * voxel_ml
    found["dice"] = 1.0, float(np.mean(overlaps))
    found["consistency-z"] = consistency(truth > 0), consistency(predicted > 0)
    return found


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Of two masks; 1 if both are empty."""
    total = np.count_nonzero(a) + np.count_nonzero(b)
    return 2 * np.count_nonzero(a & b) / total if total else 1.0


def surfaces(a: np.ndarray, b: np.ndarray, spacing_mm: Sequence[float]) -> tuple[float, float]:
    """The 95 % Hausdorff distance in mm and the surface Dice at 1 mm of two masks, those of MONAI."""
    if not (a.any() and b.any()):
        empty = not (a.any() or b.any())
        diagonal = float(np.linalg.norm(np.multiply(a.shape, spacing_mm)))
        return (0.0, 1.0) if empty else (diagonal, 0.0)
    from scipy import ndimage

    places = np.nonzero(a | b)
    box = tuple(slice(max(p.min() - 1, 0), p.max() + 2) for p in places)
    edges = [mask & ~ndimage.binary_erosion(mask) for mask in (np.pad(m[box], 1) for m in (a, b))]
    far = [ndimage.distance_transform_edt(~edge, spacing_mm) for edge in edges]
    one, other = far[1][edges[0]], far[0][edges[1]]
    within = np.count_nonzero(one <= TOLERANCE_MM) + np.count_nonzero(other <= TOLERANCE_MM)
    return float(max(np.percentile(d, PERCENTILE) for d in (one, other))), within / (len(one) + len(other))


def consistency(mask: np.ndarray) -> float:
    """The mean Dice of neighbouring slices across the first axis, over pairs of which one holds some of the mask."""
    pairs = [dice(a, b) for a, b in zip(mask[:-1], mask[1:], strict=True) if a.any() or b.any()]
    return float(np.mean(pairs)) if pairs else 1.0
