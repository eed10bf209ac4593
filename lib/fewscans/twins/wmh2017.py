"""A synthetic stand-in for the WMH challenge: FLAIR heads of three sites with their hyperintensities, in its layout.

The head is in brain.py, what is ill in it in lesions.py, the scanner in flair.py. Grids, voxels and how much each
site's people have are the published ones; all else is set by hand after the look of such images. Brightness of scalp
and lesions and the noise were chosen among three settings, after what ridge on a histogram and a short training of the
base regressor reached on the scans of seed 0, coarse (see flair.py); methods were never compared for it. How
often the challenge's people have other pathology we do not know: it is in three of ten scans here, of a few ml to some
tens.

Each voxel is the mean of finer places, so that one of 6 x 8 x 8 mm shows a focus of 4 mm as a faint one. Labelled are
the voxels with most hyperintensity in them, as many as have its volume. In the published voxels that is close to
the challenge's rule, those more than half inside (1 to 3 % more voxels at 36 and 57 ml, a third more at 2 ml); in
coarse ones that rule would miss a quarter to most of what the image shows.
"""

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from fewscans.data import wmh2017
from fewscans.twins import brain, flair, lesions
from fewscans.twins.base import Spec, Twin, in_processes, one_of, seed, whole
from fewscans.twins.space import Grid

# How many voxels of the published grid are one of the twin's (z, y, x), by site; in how many parts each one is drawn
GRIDS = {
    "coarse": ({"Utrecht": (2, 8, 8), "Singapore": (2, 8, 8), "Amsterdam GE3T": (2, 8, 6)}, (3, 3, 3)),
    "medium": ({"Utrecht": (2, 5, 5), "Singapore": (2, 5, 5), "Amsterdam GE3T": (2, 5, 4)}, (3, 2, 2)),
    "published": ({"Utrecht": (1, 1, 1), "Singapore": (1, 1, 1), "Amsterdam GE3T": (1, 1, 1)}, (3, 1, 1)),
}
# The (D, H, W) for the reader of each grid: about 120 x 170 x 135 mm, a brain
SIZES = {"coarse": (20, 22, 18), "medium": (20, 36, 28), "published": wmh2017.SIZE}
OTHER_SHARE = 0.3  # of scans with other pathology
CORRECTED = 0.3  # of the bias field is left by its correction
GOLDEN = (5**0.5 - 1) / 2
WORTH_A_PROCESS = 60  # scans of a coarse grid, below which starting another costs more than it saves


class Site(NamedTuple):
    """What is published of a site, and quartiles.

    Grid and voxel (z, y, x); folder of the release; ml of hyperintensity, as the 60 training cases have it: smallest,
    median, largest, mean and standard deviation. quartiles: ours, such that mean and deviation come out about so.
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    folder: str
    low: float
    median: float
    high: float
    mean: float
    sd: float
    quartiles: tuple[float, float]


SITES = {
    "Utrecht": Site(
        (48, 240, 240), (3.0, 0.96, 0.96), "training/Utrecht", 0.85, 24.13, 74.99, 22.95, 22.43, (1.5, 37.0)
    ),
    "Singapore": Site(
        (48, 256, 232), (3.0, 1.0, 1.0), "training/Singapore", 0.79, 16.98, 61.33, 19.11, 14.99, (7.8, 25.0)
    ),
    "Amsterdam GE3T": Site(
        (83, 256, 132), (3.0, 0.98, 1.2), "training/Amsterdam/GE3T", 1.52, 6.0, 43.53, 10.76, 11.30, (2.5, 15.5)
    ),
}


@dataclass(frozen=True)
class WmhSpec(Spec):
    """How many scans of each of the three sites, and in what voxels.

    grid: "published", the sites' own; "medium", about 6 x 5 x 5 mm; "coarse", about 6 x 8 x 8 mm.
    """

    scans_per_site: int = whole(4, 10_000)
    grid: str = one_of(GRIDS)
    seed: int = seed()


class Case(NamedTuple):
    """One scan before it is written, in the patient's axes (z to the head, y to the front, x to the right)."""

    original: np.ndarray  # (D, H, W) int16
    corrected: np.ndarray  # (D, H, W) int16, most of the bias field taken off
    labels: np.ndarray  # (D, H, W) uint8: 1 hyperintensity, 2 other pathology
    ill: np.ndarray  # (D, H, W) float32, the share of each voxel that is hyperintense
    spacing_mm: tuple[float, float, float]  # z y x
    origin_mm: np.ndarray  # (3,) z y x of the first voxel's centre


def volume_ml(site: str, place: float) -> float:
    """How much hyperintensity the person has who is at `place`, 0 to 1, in a site's order from least to most, in ml."""
    s = SITES[site]
    known = np.log([s.low, s.quartiles[0], s.median, s.quartiles[1], s.high])
    return float(np.exp(np.interp(place, (0, 0.25, 0.5, 0.75, 1), known)))


def draw_case(spec: WmhSpec, site: str, number: int) -> Case:
    """Scan `number` of a site. It depends on the spec's seed and grid, and on no other scan.

    The volumes of a site are spread evenly over its distribution, so that few scans have its median too.
    """
    which = list(SITES).index(site)
    start = np.random.default_rng([spec.seed, which]).random()
    rng = np.random.default_rng([spec.seed, which, number])
    place = (start + GOLDEN * number) % 1
    grid, blocks = _grid(site, spec.grid)
    spacing = tuple(float(mm) for mm in grid.spacing * blocks)
    voxel_ml = np.prod(spacing) / 1000
    wanted = max(1, round(volume_ml(site, place) / voxel_ml))  # voxels

    person = brain.draw_person(float(np.log(volume_ml(site, place) / 12)), rng)
    head = brain.head(grid, person, rng)
    width = float(np.cbrt(np.prod(grid.spacing)))
    infarct, prone = None, lesions.field(grid, head, rng)
    if rng.random() < OTHER_SHARE:
        infarct = lesions.infarct(grid, head, np.random.default_rng([spec.seed, which, number, 1]))
    allowed = brain.share(head.white, width)
    if infarct is not None:
        allowed *= brain.share(-6 - infarct.depth, width)  # an observer does not tell the two apart where they meet
    level = lesions.level_of(prone, allowed, wanted * float(np.prod(blocks)), width)
    shown = brain.share(prone - np.float32(level), width) * allowed
    ill = lesions.block_means(shown, blocks)

    contrast = flair.draw_contrast(site, rng)
    signal = flair.paint(grid, head, person, shown, infarct, contrast, width, rng)
    bias = flair.bias_field(grid, contrast.bias, rng)
    original = lesions.block_means(signal * bias, blocks)
    left = lesions.block_means(bias, blocks) ** np.float32(CORRECTED - 1)
    seen = flair.receive(original, contrast.noise, rng)
    return Case(
        original=seen,
        corrected=np.clip(np.rint(seen * left), 0, 32767).astype(np.int16),
        labels=_labels(lesions.fullest(ill, wanted), infarct, blocks, width),
        ill=ill,
        spacing_mm=spacing,
        origin_mm=grid.origin + grid.spacing * (np.array(blocks) - 1) / 2,
    )


def write(folder: Path, spec: WmhSpec, processes: int | None = None) -> Path:
    """Write the twin into `folder`, which exists, as the release of 2022 lies. Returns the folder.

    Args:    processes: how many scans are drawn at a time; None: one a core. The files do not depend on it.
    """
    jobs = [(Path(folder), spec, site, number) for site in SITES for number in range(spec.scans_per_site)]
    in_processes(_write_case, jobs, 2 if spec.grid == "published" else WORTH_A_PROCESS, processes)
    return Path(folder)


def statistics(folder: Path | str) -> pd.DataFrame:
    """How much hyperintensity a twin's sites have, beside what is known of the challenge's 60 training cases.

    Returns: rows site (and "all"), quantity ("scans", "min", "median", "mean", "sd", "max", all but the first in ml),
             twin, wmh2017 (published by a third party, from the label maps).
    """
    found = wmh2017.find_cases(folder)
    ml = np.array([found.read(row).volume_ml for row in range(len(found.cases))])
    site = found.cases["site"].to_numpy(str)
    published = {name: (20, s.low, s.median, s.mean, s.sd, s.high) for name, s in SITES.items()}
    published["all"] = (60, 0.79, 15.06, 17.61, 17.37, 74.99)
    rows = []
    for name, known in published.items():
        here = ml if name == "all" else ml[site == name]
        ours = (len(here), here.min(), np.median(here), here.mean(), here.std(ddof=1), here.max())
        what = ("scans", "min", "median", "mean", "sd", "max")
        rows += [(name, *row) for row in zip(what, map(float, ours), map(float, known), strict=True)]
    return pd.DataFrame(rows, columns=["site", "quantity", "twin", "wmh2017"])


def _grid(site: str, name: str) -> tuple[Grid, tuple[int, int, int]]:
    """The grid of fine places of a scan, and how many of them along z, y and x are one voxel."""
    factors, parts = GRIDS[name][0][site], GRIDS[name][1]
    published = SITES[site]
    voxel = np.array(published.spacing_mm) * factors
    shape = np.array(published.shape) // factors
    # The top of the head is 12 mm below the upper end of the image; before and behind there is as much room.
    first = np.array([86, 0, 0]) - voxel * [shape[0] - 0.5, (shape[1] - 1) / 2, (shape[2] - 1) / 2]
    spacing = voxel / parts
    return Grid(tuple(int(n) for n in shape * parts), spacing, first - spacing * (np.array(parts) - 1) / 2), parts


def _labels(wmh: np.ndarray, infarct: lesions.Infarct | None, blocks, width: float) -> np.ndarray:
    """1 where `wmh` is true; 2 about an infarct, one voxel wider in the plane than it is."""
    from scipy.ndimage import binary_dilation

    labels = np.zeros(wmh.shape, np.uint8)
    if infarct is not None:
        other = lesions.block_means(brain.share(infarct.depth, width), blocks) > 0.5
        labels[binary_dilation(other, np.ones((1, 3, 3), bool))] = wmh2017.OTHER
    labels[wmh] = wmh2017.WMH
    return labels


def _write_case(job: tuple[Path, WmhSpec, str, int]) -> None:
    folder, spec, site, number = job
    case = draw_case(spec, site, number)
    name = list(SITES).index(site) * spec.scans_per_site + number
    into = folder / SITES[site].folder / str(name)
    _save(into / "orig" / "FLAIR.nii.gz", case.original, case)
    _save(into / "pre" / "FLAIR.nii.gz", case.corrected, case)
    _save(into / "wmh.nii.gz", case.labels, case)


def _save(file: Path, array: np.ndarray, case: Case) -> None:
    """A NIfTI file whose voxels run to the left, the back and the head, as the challenge's do; without a clock."""
    import nibabel

    z, y, x = case.spacing_mm
    last = case.origin_mm + np.array(case.spacing_mm) * (np.array(array.shape) - 1)
    affine = np.array([[-x, 0, 0, last[2]], [0, -y, 0, last[1]], [0, 0, z, case.origin_mm[0]], [0, 0, 0, 1]])
    image = nibabel.Nifti1Image(np.ascontiguousarray(array[:, ::-1, ::-1].T), affine)
    image.header.set_xyzt_units("mm")
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as stream, gzip.GzipFile("", "wb", compresslevel=1, fileobj=stream, mtime=0) as packed:
        packed.write(image.to_bytes())


TWIN = Twin(write, WmhSpec, "wmh2017")
