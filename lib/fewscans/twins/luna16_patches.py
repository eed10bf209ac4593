"""A synthetic stand-in for the LUNA16 candidate patches, in the same npz layout, planar from the start.

Positives are cross-sections of nodules (nodules.py); negatives are what a candidate generator takes for nodules
(lookalikes.py). Every structure lies at an angle drawn uniformly over the circle, so no orientation is special. Scans
are groups: spacing, noise, kernel, grey levels and contrast are drawn once a scan (scanner.py). What is set by hand
follows the look of real patches (grey levels, noise, sizes, how much chest wall), never a score.
"""

from pathlib import Path

import numpy as np

from fewscans.data.luna16_patches import FILE
from fewscans.twins import npz
from fewscans.twins.anatomy import SIDE, Canvas
from fewscans.twins.lookalikes import draw_look_alikes, draw_surroundings
from fewscans.twins.nodules import draw_nodules
from fewscans.twins.scanner import draw_scanners, expose
from fewscans.twins.spec import TwinSpec, draw_cases

# Share of the positives that are a second mark on another's nodule: 1,351 positive candidates in LUNA16 hit 1,120
# nodules. It is why a split at random over candidates leaks.
SECOND_MARKS = 0.17


def write(folder: Path, spec: TwinSpec) -> Path:
    """Write the twin's npz into `folder`, which exists; equal specs give equal bytes. Returns the file."""
    rng = np.random.default_rng(spec.seed)
    cases = draw_cases(spec, rng)
    return npz.write(Path(folder) / FILE, draw(cases.labels, cases.scan, rng), cases)


def draw(labels: np.ndarray, scan: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Patches of nodules (label 1) and look-alikes (label 0), with the traits of the scan each belongs to.

    Args:    labels: (n,) 0 or 1.   scan: (n,) ascending from 0.
    Returns: (n, 50, 50) uint8.
    """
    n = len(labels)
    scanner = draw_scanners(int(scan[-1]) + 1, rng).of(scan)
    canvas = Canvas(n)
    draw_surroundings(canvas, np.arange(n), scanner, rng)
    draw_nodules(canvas, np.flatnonzero(labels == 1), scanner, rng)
    draw_look_alikes(canvas, np.flatnonzero(labels == 0), scanner, rng)
    _mark_again(canvas, np.flatnonzero(labels == 1), scan, rng)
    return expose(canvas, scanner, rng)


def _mark_again(canvas: Canvas, positive: np.ndarray, scan: np.ndarray, rng: np.random.Generator) -> None:
    """Make some positives a second mark on the one before them in their scan: the same scene, up to two pixels off."""
    later = np.flatnonzero(np.diff(scan[positive]) == 0) + 1
    chosen = rng.permutation(later)[: round(SECOND_MARKS * len(positive))]
    for place in np.sort(chosen):
        first, second = positive[place - 1], positive[place]
        dy, dx = rng.integers(0, 5, 2)
        for layer in (canvas.tissue, canvas.bone, canvas.marrow, canvas.air):
            layer[second] = np.pad(layer[first], 2, mode="edge")[dy : dy + SIDE, dx : dx + SIDE]
        canvas.roughness[second] = canvas.roughness[first]
