"""A copy of CAMELYON16 whose slides are so small that a network sees one in a moment: tissue and ellipses of tumour."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from fewscans.data.formats import asap
from fewscans.experiments.base import Run
from fewscans.experiments.camelyon16 import EXPERIMENT, Grid
from fewscans.experiments.camelyon16.arms import ARMS, SMALL
from fewscans.slides.cells import NOTHING, Slides

from ..malformed.camelyon16 import polygon, save, xml
from ..slides.fake import write_tiff

MPP = 1.944  # of level 0; pixels of level 2 are as large as those of the official masks
SIZES = {"test_001": (451, 397), "test_003": (437, 405)}  # width, height; neither is a whole number of cells
STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]])  # absorbance of haematoxylin and eosin
# slide → centre x, y and semi-axes of the ellipses of tumour; of healthy tissue inside the first of them
TUMOURS = {
    "tumor_001": [(220, 190, 110, 90)], "tumor_002": [(200, 210, 90, 110)], "tumor_003": [(230, 190, 120, 80)],
    "tumor_004": [(210, 200, 100, 100)], "tumor_010": [(220, 200, 100, 90)],
    "test_001": [(150, 180, 80, 60), (310, 250, 18, 18)], "test_003": [(130, 150, 65, 60), (290, 250, 60, 70)],
    "slide_a": [(200, 200, 80, 80)],
}  # fmt: skip
HEALTHY = {"test_003": [(130, 150, 12, 12)]}
NORMAL = ("normal_001", "normal_002", "normal_003", "normal_004", "normal_005", "test_002", "test_004", "slide_b")
NAMES = (*TUMOURS, *NORMAL)
INDEPENDENT = ("slide_a", "slide_b")
N = 6
GRID = Grid(
    arms={SMALL: (N,)}, seeds=2, steps=4, eval_every=2, learning_rates=(1e-3,), patch=40, stride=16,
    microns_per_pixel=MPP, network="dense", small=4, full=6, optimiser="adam", batch_size=4, validation=8, overview=48,
)  # fmt: skip


def annotation(name: str) -> asap.Annotation:
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return asap.Annotation(*(tuple(ring * e[2:] + e[:2] for e in of.get(name, ())) for of in (TUMOURS, HEALTHY)))


def tumour(name: str, level: int = 0) -> np.ndarray:
    """(H, W) bool."""
    width, height = (-(-side // 2**level) for side in SIZES.get(name, (448, 400)))
    return asap.mask(annotation(name), width, height, 2**level)


def concentrations(name: str) -> np.ndarray:
    """(H, W, 2) of the two stains: little eosin in tumour, much in other tissue, and none of both around it."""
    rng, cancer = np.random.default_rng(list(name.encode())), tumour(name)
    height, width = cancer.shape
    h, e = (rng.random((2, height // 4 + 1, width // 4 + 1)).repeat(4, 1).repeat(4, 2))[:, :height, :width]
    amount = np.stack([np.where(cancer, 0.9 + 0.5 * h, 0.1 + 0.3 * h), np.where(cancer, 0.1 + 0.2 * e, 0.3 + e)], -1)
    y, x = (2 * np.arange(side) / side - 1 for side in (height, width))
    return amount * (x**2 + y[:, None] ** 2 < 0.8)[..., None]


def image(name: str, stains: np.ndarray = STAINS) -> np.ndarray:
    return np.rint(255 * np.exp(-concentrations(name) @ stains)).astype(np.uint8)


def place(name: str) -> tuple[str, str]:
    """Folder of a slide's set, and of its image in that."""
    if name in INDEPENDENT:
        return "independent", "images"
    return ("testing", "images") if name.startswith("test") else ("training", name.split("_")[0])


def write(folder: Path) -> Path:
    """In GigaDB's layout. Of the test slides with tumour one has a mask, the other outlines alone."""
    for name in NAMES:
        part, images = place(name)
        write_tiff(folder / part / images / f"{name}.tif", image(name), MPP)
        if name in TUMOURS:
            outlines = folder / part / "lesion_annotations" / f"{name}.xml"
            outlines.parent.mkdir(exist_ok=True)
            marked = annotation(name)
            groups = [(line, "_0") for line in marked.tumour] + [(line, "_2") for line in marked.excluded]
            outlines.write_text(xml(*(polygon(line, group) for line, group in groups)))
    masks = [tumour("test_001", level).astype(np.uint8) * 255 for level in range(3)]
    save(folder / "testing/evaluation/test_001_mask.tif", masks)
    for part in ("testing", "independent"):
        with (folder / part / "reference.csv").open("w", newline="") as file:
            table = [(name, "Tumor" if name in TUMOURS else "Normal") for name in NAMES if place(name)[0] == part]
            csv.writer(file).writerows(table)
    return folder


def read(folder: Path, grid: Grid = GRID) -> Slides:
    """Written into a folder, and read."""
    return EXPERIMENT.read("camelyon16", write(folder / "camelyon16"), grid)


def few(slides: Slides, n: int = 8) -> Slides:
    """With n cells of either kind of tissue a slide, side by side."""
    cells = []
    for whole in slides.cells:
        kept = np.full_like(whole, NOTHING)
        for value in np.unique(whole[whole != NOTHING]):
            row, column = np.argwhere(whole == value)[40 : 40 + n].T
            kept[row, column] = value
        cells.append(kept)
    return replace(slides, cells=tuple(cells))


def run_of(arm: str, seed: int = 0) -> Run:
    return Run(seed, N, arm, 0.0 if ARMS[arm].trivial else 1e-3)


def trained(arm: str, slides: Slides, grid: Grid = GRID, seed: int = 0, **options):
    """Predictions, entry and weights."""
    entry, weights = EXPERIMENT.train_run(run_of(arm, seed), grid, slides, torch.device("cpu"), **options)
    return entry.predictions, entry, weights
