"""A synthetic stand-in for the LUNA16 candidate patches, in the same npz layout, planar from the start.

Positives are cross-sections of nodules (nodules.py); negatives are what a candidate generator takes for nodules
(lookalikes.py). Every structure lies at an angle drawn uniformly over the circle, so no orientation is special. Scans
are groups: spacing, noise, kernel, grey levels and contrast are drawn once a scan (scanner.py). What is set by hand
follows the look of real patches (grey levels, noise, sizes, how much chest wall), never a score.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fewscans.data.luna16_patches import FILE, ROWS_PER_SCAN
from fewscans.twins import npz
from fewscans.twins.anatomy import Canvas
from fewscans.twins.base import Spec, Twin, between, seed, whole
from fewscans.twins.cases import draw_cases
from fewscans.twins.lookalikes import draw_look_alikes, draw_surroundings
from fewscans.twins.nodules import draw_diameters_mm, draw_nodules
from fewscans.twins.scanner import draw_scanners, expose

# Share of the positives that are a second mark on another's nodule: 1,351 positive candidates in LUNA16 hit 1,120
# nodules. It is why a split at random over candidates leaks.
SECOND_MARKS = 0.17


@dataclass(frozen=True)
class PatchesSpec(Spec):
    """The twin's size. Of 160 scans 62 % train, 13 % validate, 18 % test; the rest, at the cuts, are dropped."""

    scans: int = whole(1, 10_000)
    candidates_per_scan: int = whole(1, ROWS_PER_SCAN)
    positive_fraction: float = between(0, 1)
    seed: int = seed()


def write(folder: Path, spec: PatchesSpec) -> Path:
    """Write the twin's npz into `folder`, which exists; equal specs give equal bytes. Returns the file."""
    rng = np.random.default_rng(spec.seed)
    cases = draw_cases(spec.scans * spec.candidates_per_scan, spec.scans, spec.positive_fraction, rng)
    return npz.write(Path(folder) / FILE, draw(cases.labels, cases.scan, rng), cases)


def draw(labels: np.ndarray, scan: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Patches of nodules (label 1) and look-alikes (label 0), with the traits of the scan each belongs to.

    Args:    labels: (n,) 0 or 1.   scan: (n,) ascending from 0.
    Returns: (n, 50, 50) uint8.
    """
    n, positive = len(labels), np.flatnonzero(labels == 1)
    scanner = draw_scanners(int(scan[-1]) + 1, rng).of(scan)
    diameter_mm = np.zeros(n)
    diameter_mm[positive] = draw_diameters_mm(len(positive), rng)
    canvas = Canvas(n)
    _mark_again(canvas, positive, scan, diameter_mm / scanner.spacing_mm, rng)
    own = np.setdiff1d(np.arange(n), canvas.again)  # patches with a scene of their own
    draw_surroundings(canvas, own, scanner, rng)
    nodule = own[labels[own] == 1]
    draw_nodules(canvas, nodule, diameter_mm[nodule], scanner, rng)
    draw_look_alikes(canvas, own[labels[own] == 0], scanner, rng)
    shown_again = np.flatnonzero(canvas.again >= 0)
    canvas.roughness[canvas.again[shown_again]] = canvas.roughness[shown_again]
    return expose(canvas, scanner, rng)


def _mark_again(canvas: Canvas, positive: np.ndarray, scan: np.ndarray, diameter: np.ndarray, rng) -> None:
    """Turn some positives into a second mark on the nodule of the positive before them in their scan, off its centre.

    A mark anywhere inside a nodule hits it, so large nodules draw more of them. diameter: (n,) pixels, of every patch.
    """
    before, after = positive[:-1], positive[1:]
    same_scan = scan[before] == scan[after]
    weight = diameter[before] * same_scan
    wanted = min(round(SECOND_MARKS * len(positive)), int(same_scan.sum()))
    for place in rng.choice(len(before), wanted, replace=False, p=weight / weight.sum()) if wanted else ():
        first, second = before[place], after[place]
        if first in canvas.again or canvas.again[second] >= 0:  # one of them already takes part
            continue
        away, angle = min(0.4 * diameter[first], 8) * np.sqrt(rng.random()), rng.uniform(-np.pi, np.pi)
        canvas.again[first] = second
        canvas.offset[second] = away * np.sin(angle), away * np.cos(angle)


TWIN = Twin(write, PatchesSpec, "luna16-patches")
