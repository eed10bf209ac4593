"""A synthetic stand-in for CAMELYON16: slides of lymph nodes with and without metastases, in the layout of the release.

Tissue is drawn in histology.py. Test slides come from the same two centres as training slides; the independent ones
from another laboratory: other stains, paler sections with more folds, another scanner. A slide of 1,536 pixels is 3 mm
wide where the published ones are 20 to 50, so its lesions are smaller.

Measured in the public polygons of 110 training slides (boxes within 75 µm are one lesion): lesions of at least 0.2 mm
have a median of 2 a slide, and the ten richest slides hold 35 %, as with a log-normal number of log-sd 0.95. The test
set has 226 on 48 slides, 4.7 a slide; a median of 3.5 gives that here, as some find no room. Half of all measured
lesions are isolated tumour cells, below 0.2 mm; so they are here. The largest lesion of a slide has the area of a
circle of 1.18 mm in the median, with a log-sd of about 1; here 0.75 mm and 0.95.

Look-alikes, stains and blur were set by hand after the look of such slides. Tumour was made less uniform once, after a
small network found nearly all of it. That network now has an AUC of 0.96 on single patches of test slides, and mean
and spread of the colours 0.92. Methods were never compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fewscans.data.formats import asap
from fewscans.errors import DataError
from fewscans.twins import histology
from fewscans.twins.base import Spec, Twin, between, in_processes, seed, whole
from fewscans.twins.histology import GRID_UM, Look

TILE, QUALITY, SMALLEST = 256, 85, 256  # pixels; of JPEG; larger side of the last level
SPREAD = np.array([5**0.5 - 1, 2 * 2**0.5 - 2]) / 2  # steps from slide to slide that spread ranks evenly
# The two centres, and how large their pixels are relative to the first's: 0.226 and 0.243 µm
CENTRES = (
    (Look(), 1.0),
    (Look(((0.62, 0.82, 0.26), (0.22, 0.88, 0.24)), white=(240.0, 240.0, 246.0), blur_um=1.0), 0.226 / 0.243),
)
ELSEWHERE = Look(((0.60, 0.74, 0.35), (0.06, 0.86, 0.50)), 0.16, (247.0, 244.0, 240.0), 1.3, 0.2, 0.7, 0.4, 0.2), 1.07
SETS = {"train": ("training", 2.0), "test": ("testing", 3.5), "independent": ("independent", 2.0)}  # folder, median
MOST_LESIONS, LESIONS_SD = 20, 0.95
LARGEST_UM, LARGEST_SD = 750.0, 0.95  # circle of the area of the largest lesion of a slide with up to 4
OTHERS_UM, OTHERS_SD, LEAST_UM = 300.0, 0.4, 235.0  # of the others, and of the smallest one that counts
CELLS_UM = (35.0, 130.0)  # isolated tumour cells
GAP_UM = 90.0  # between two lesions, about; nearer than 75 the official evaluation makes them one
LEAST_SIDE_UM = 900
WORTH_A_PROCESS = 20_000_000  # pixels, below which starting another costs more than it saves


@dataclass(frozen=True)
class CamelyonSpec(Spec):
    """How many slides of each set, what share of them has tumour, and their pixels.

    side: pixels of the longer side, about.   microns_per_pixel: of the first centre's slides at level 0.
    """

    train: int = whole(4, 999)
    test: int = whole(4, 999)
    independent: int = whole(2, 999)
    tumour_share: float = between(0, 1)
    side: int = whole(512, 32_768)
    microns_per_pixel: float = between(0.1, 4)
    seed: int = seed()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.side * self.microns_per_pixel < LEAST_SIDE_UM:
            size = f"side {self.side} x microns_per_pixel {self.microns_per_pixel}"
            raise DataError(f"twin: {size} is less than {LEAST_SIDE_UM} µm, too small for a node; enlarge one of them")


class Slide(NamedTuple):
    """One slide before it is written: (H, W, 3) uint8 pixels, and what outlines the tumour in them."""

    rgb: np.ndarray
    annotation: asap.Annotation
    microns_per_pixel: float


def has_tumour(spec: CamelyonSpec, part: str) -> np.ndarray:
    """Which slides of a set have tumour, (n,) bool: in training the last ones, else in random order."""
    n = getattr(spec, part)
    tumour = np.arange(n) >= n - min(max(round(spec.tumour_share * n), 1), n - 1)
    rng = np.random.default_rng([spec.seed, list(SETS).index(part)])
    return tumour if part == "train" else rng.permutation(tumour)


def draw_slide(spec: CamelyonSpec, part: str, number: int) -> Slide:
    """Slide `number` of a set: of "train", "test" or "independent"."""
    which = list(SETS).index(part)
    rng = np.random.default_rng([spec.seed, which, number + 1])
    look, scale = ELSEWHERE if part == "independent" else CENTRES[int(rng.random() < 0.4)]
    mpp = spec.microns_per_pixel * scale
    width, height = (spec.side - int(less) for less in rng.integers(0, spec.side // 16, 2))
    depth, node = histology.outline(width * mpp, height * mpp, rng)
    tumour, sizes = has_tumour(spec, part), []
    if tumour[number]:
        rank = np.random.default_rng([spec.seed, which]).random(2) + SPREAD * np.count_nonzero(tumour[:number])
        sizes = lesion_sizes(SETS[part][1], rank % 1, rng)
    cancer, *polygons = place_lesions(node, sizes, rng)
    rgb = histology.paint(histology.fill(depth, node, cancer, rng), width, height, mpp, look, rng)
    return Slide(rgb, asap.Annotation(*(tuple(line / mpp for line in lines) for lines in polygons)), mpp)


def lesion_sizes(median: float, rank: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Diameters in µm of one slide's lesions.   rank: (2,) of the slide by how many, and by its largest, 0 to 1."""
    from scipy.special import ndtri

    many, large = np.exp([LESIONS_SD, LARGEST_SD] * ndtri(rank))
    n = int(np.clip(np.rint(median * many), 1, MOST_LESIONS))
    counted = OTHERS_UM * np.exp(OTHERS_SD * rng.standard_normal(n))
    counted[0] = LARGEST_UM * large / max(1, n / 4) ** 0.5
    few_cells = np.exp(rng.uniform(*np.log(CELLS_UM), rng.poisson(0.9 * n)))
    return np.concatenate([np.maximum(counted, LEAST_UM), few_cells])


def place_lesions(node: np.ndarray, diameters_um: Sequence[float], rng: np.random.Generator):
    """Metastases with the areas of such circles in a node, the largest first, apart from each other.

    One that finds no room becomes smaller, and is left out if it would no longer count; but never the first.
    Args:    node: µm inside the node, on the grid.
    Returns: a field, µm inside tumour, roughly, and 0 on its border; lists of outlines of tumour, and of healthy tissue
             within tumour, (n, 2) x, y in µm.
    """
    cancer, tumour, healthy = np.full(node.shape, -GAP_UM, np.float32), [], []
    taken = np.zeros((0, 3))  # row, column and reach, µm
    for wanted in sorted(diameters_um, reverse=True):
        diameter = wanted
        while diameter >= (min(wanted, LEAST_UM) if tumour else CELLS_UM[0]):
            places = np.argwhere(node > min(30 + 0.15 * diameter, 0.8 * node.max()))
            points = places[rng.integers(len(places), size=300)]
            away = np.hypot(*(points[:, None] * GRID_UM - taken[None, :, :2]).transpose(2, 0, 1)) - taken[:, 2]
            free = points[(away > 0.6 * diameter + GAP_UM).all(axis=1)]
            lesion = _lesion(node, free[0], diameter, rng) if len(free) else None
            if lesion is None:
                diameter *= 0.85
                continue
            window, hill, hole = lesion
            tumour += _contours(hill, window)
            if hole is not None:
                healthy += _contours(hole, window)
                hill = np.minimum(hill, -hole)
            cancer[window] = np.maximum(cancer[window], hill)
            taken = np.vstack([taken, [*free[0] * GRID_UM, 0.6 * diameter]])
            break
    return cancer, tumour, healthy


def _lesion(node: np.ndarray, centre: np.ndarray, diameter: float, rng: np.random.Generator):
    """A bumpy hill about a place of the grid, cut at the level where it has the area.

    Returns: None where the node leaves no room, else the window of the grid; about how many µm a place is inside the
             tumour; how many inside healthy tissue in it, or None.
    """
    from scipy.ndimage import binary_fill_holes, label

    reach, radius = int(1.1 * diameter / GRID_UM) + 4, diameter / 2
    window = tuple(slice(max(0, c - reach), c + reach + 1) for c in centre)
    here = node[window]
    y, x = ((np.arange(n) + s.start - c) * GRID_UM for n, s, c in zip(here.shape, window, centre, strict=True))
    angle, stretch = rng.uniform(0, np.pi), rng.uniform(1.05, 1.8) ** 0.5
    u, v = x * np.cos(angle) + y[:, None] * np.sin(angle), y[:, None] * np.cos(angle) - x * np.sin(angle)
    hill = radius - np.hypot(u / stretch, v * stretch)
    hill += 0.22 * radius * histology.smooth(rng, here.shape, max(0.6 * diameter, 24))
    hill += min(0.1 * radius, 25) * histology.smooth(rng, here.shape, max(0.2 * diameter, 24))
    hill[here < 25] -= diameter
    area = round(np.pi * (radius / GRID_UM) ** 2)
    if np.count_nonzero(here > 25) < 1.3 * area:
        return None
    hill = np.minimum(hill - np.partition(hill.ravel(), -area)[-area], here - 25)
    hill[[0, -1]] = hill[:, [0, -1]] = -1  # outlines are closed
    parts, _ = label(hill > 0)
    largest = binary_fill_holes(parts == 1 + np.argmax(np.bincount(parts.ravel())[1:]))
    if np.count_nonzero(largest) < 0.75 * area:
        return None
    hill = np.where(largest, np.maximum(hill, 1), np.minimum(hill, -1))
    if diameter < 450 or rng.random() > 0.4:
        return window, hill, None
    row, column = np.unravel_index(np.argmax(hill), hill.shape)
    size = min(0.45 * hill[row, column], 150) * (1 + 0.2 * histology.smooth(rng, hill.shape, 90))
    return window, hill, size - np.hypot(x - x[column], y[:, None] - y[row])


def _contours(hill: np.ndarray, window: tuple[slice, slice]) -> list[np.ndarray]:
    """The lines at 0 of a part of the grid, (n, 2) x, y in µm, of at most 250 points each."""
    from skimage.measure import find_contours

    corner = [s.start for s in window]
    return [(line[: -1 : len(line) // 250 + 1] + corner)[:, ::-1] * GRID_UM for line in find_contours(hill, 0)]


def write(folder: Path, spec: CamelyonSpec, processes: int | None = None) -> Path:
    """Write the twin into `folder`, which exists, as GigaDB has CAMELYON16. Returns the folder.

    Args:    processes: how many slides are drawn at a time; None: one a core. The files do not depend on it.
    """
    for part in ("test", "independent"):
        (folder / SETS[part][0]).mkdir()
        kinds = ["Tumor" if tumour else "Normal" for tumour in has_tumour(spec, part)]
        rows = [f"{part}_{i:03d},{kind}\n" for i, kind in enumerate(kinds, 1)]
        (folder / SETS[part][0] / "reference.csv").write_text("image,type\n" + "".join(rows), encoding="utf-8")
    jobs = [(Path(folder), spec, part, i) for part in SETS for i in range(getattr(spec, part))]
    in_processes(_write_slide, jobs, WORTH_A_PROCESS // spec.side**2 + 1, processes)
    return Path(folder)


def _write_slide(job: tuple[Path, CamelyonSpec, str, int]) -> None:
    folder, spec, part, number = job
    slide = draw_slide(spec, part, number)
    root = folder / SETS[part][0]
    into, name = root / "images", f"{part}_{number + 1:03d}"
    if part == "train":
        tumour = has_tumour(spec, part)
        kind = "tumor" if tumour[number] else "normal"
        into, name = root / kind, f"{kind}_{np.count_nonzero(tumour[: number + 1] == tumour[number]):03d}"
    levels = [slide.rgb]
    while max(levels[-1].shape) > SMALLEST:
        fine = levels[-1][: levels[-1].shape[0] // 2 * 2, : levels[-1].shape[1] // 2 * 2]
        quarters = sum(fine[i::2, j::2].astype(np.uint16) for i in (0, 1) for j in (0, 1))
        levels.append(((quarters + 2) // 4).astype(np.uint8))
    _save(into / f"{name}.tif", levels, slide.microns_per_pixel)
    if slide.annotation.tumour:
        annotated = root / "lesion_annotations" / f"{name}.xml"
        annotated.parent.mkdir(exist_ok=True)
        annotated.write_text(_xml(slide.annotation), encoding="utf-8")
        if part == "test":
            masks = [
                255 * asap.mask(slide.annotation, *pixels.shape[1::-1], 2**level).astype(np.uint8)
                for level, pixels in enumerate(levels)
            ]
            _save(root / "evaluation" / "evaluation_masks" / f"{name}_mask.tif", masks, slide.microns_per_pixel)


def _save(file: Path, levels: list[np.ndarray], microns_per_pixel: float) -> None:
    """A tiled pyramid without a clock in it: JPEG for colours, deflate for masks."""
    import tifffile

    file.parent.mkdir(parents=True, exist_ok=True)
    with tifffile.TiffWriter(file) as tif:
        for level, pixels in enumerate(levels):
            colours = pixels.ndim == 3
            tif.write(
                _tiles(pixels), shape=pixels.shape, dtype=np.uint8, tile=(TILE, TILE), subfiletype=min(level, 1),
                photometric="rgb" if colours else "minisblack", compression="jpeg" if colours else "zlib",
                compressionargs={"level": QUALITY if colours else 6}, metadata=None, software="fewscans", maxworkers=1,
                resolution=(10_000 / microns_per_pixel / 2**level,) * 2, resolutionunit="CENTIMETER",
            )  # fmt: skip


def _tiles(pixels: np.ndarray):
    """Tiles row by row, those at the border filled up with its pixels, which JPEG would else blur with black."""
    for top in range(0, len(pixels), TILE):
        for left in range(0, pixels.shape[1], TILE):
            tile = pixels[top : top + TILE, left : left + TILE]
            yield np.pad(tile, [(0, TILE - n) for n in tile.shape[:2]] + [(0, 0)] * (tile.ndim - 2), "edge")


def _xml(annotation: asap.Annotation) -> str:
    """The outlines as ASAP saves them: tumour in group _0, healthy tissue within it in group _2."""
    lines = ['<?xml version="1.0"?>', "<ASAP_Annotations>", "<Annotations>"]
    marked = [("_0", line) for line in annotation.tumour] + [("_2", line) for line in annotation.excluded]
    for number, (group, line) in enumerate(marked):
        lines += [f'<Annotation Name="Annotation {number}" Type="Polygon" PartOfGroup="{group}" Color="#F4FA58">']
        points = (f'<Coordinate Order="{i}" X="{x:.3f}" Y="{y:.3f}" />' for i, (x, y) in enumerate(line))
        lines += ["<Coordinates>", *points, "</Coordinates>", "</Annotation>"]
    groups = (
        f'<Group Name="{name}" PartOfGroup="None" Color="#64FE2E"><Attributes /></Group>' for name in ("_0", "_2")
    )
    lines += ["</Annotations>", "<AnnotationGroups>", *groups, "</AnnotationGroups>", "</ASAP_Annotations>", ""]
    return "\n".join(lines)


TWIN = Twin(write, CamelyonSpec, "camelyon16")
