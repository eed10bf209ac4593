"""A synthetic stand-in for Task04 of the Medical Segmentation Decathlon: hippocampi in T1 MR, cut around the label.

A hippocampus is a bent tube from front to back with a thick head, grey as the tissue around its ends; white matter lies
around it, fluid beside it, and an amygdala of the same grey in front of the head. Two cases that follow each other are
the sides of one person, alike in size, brightness and noise, one the mirror image of the other. The crop ends about
five voxels from the label, and about a fifth of the people are stored as uint8, as in the published set. Sizes are near
the published ones; all else is set by hand, and no method was compared for it.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fewscans.data.msd_hippocampus import HIPPOCAMPUS, IMAGES, LABELS, LIST
from fewscans.twins.base import Spec, Twin, seed, whole

FIELD = (52, 68, 52)  # z y x voxels of 1 mm, from which the crop is cut
MARGIN = 5  # voxels from the label to the crop's border, and up to one more
UINT8_SHARE = 0.2
WHITE, GREY, FLUID = 0.8, 0.5, 0.3
LENGTH_MM, RADIUS_MM = 32.0, 5.5


@dataclass(frozen=True)
class HippocampusSpec(Spec):
    """How many cases, two a person."""

    cases: int = whole(10, 10_000)
    seed: int = seed()


class Case(NamedTuple):
    """One case before it is written, in the patient's axes (z y x)."""

    image: np.ndarray  # (D, H, W) float32 or uint8
    labels: np.ndarray  # (D, H, W) uint8


def draw_case(spec: HippocampusSpec, number: int) -> Case:
    """Case `number`, from 1. It depends on the spec's seed and on no other case."""
    from scipy import ndimage

    person = np.random.default_rng([spec.seed, (number + 1) // 2])
    size, brightness, noise = person.normal(1, 0.08), person.uniform(200, 1200), person.uniform(0.03, 0.07)
    stored_small = person.random() < UINT8_SHARE
    rng = np.random.default_rng([spec.seed, (number + 1) // 2, number])
    z, y, x = (np.arange(side) - (side - 1) / 2 for side in FIELD)
    z, y, x = z[:, None, None], y[None, :, None], x[None, None, :]
    along = np.clip(y / (LENGTH_MM * size / 2), -1, 1)  # -1 at the tail, 1 at the head
    bend, tilt = rng.normal(5, 1), rng.normal(4, 1)
    across = np.hypot(z - bend * (1 - along**2) + tilt * along, x - 3 * along - 3 * along**2)
    radius = RADIUS_MM * size * (0.8 + 0.35 / (1 + np.exp(-5 * along)))
    depth = radius - np.hypot(across, y - along * LENGTH_MM * size / 2)  # mm inside the surface
    depth = depth + 0.5 * _smooth(rng, 3)
    limit = rng.normal(0.25, 0.06)  # where head and body meet
    parts = ndimage.label(depth > 0)[0]
    whole = parts == 1 + np.bincount(parts[parts > 0])[1:].argmax()  # without crumbs of a rough surface
    labels = np.where(whole, np.where(along > limit, 1, 2), 0).astype(np.uint8)

    grey = np.clip(depth + 0.5, 0, 1)
    centre = np.array([-tilt - 2, LENGTH_MM * size / 2 + 8, 6])
    amygdala = 7 - np.sqrt((z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2)
    horn = 2.5 - np.hypot(across - radius - 1.5, np.maximum(x - 2, 0))  # fluid on the outer side
    cortex = np.clip(_smooth(rng, 5) * 0.8 - 0.4, 0, 1)
    share = np.maximum(grey, np.maximum(np.clip(amygdala + 0.5, 0, 1), cortex))
    tissue = WHITE + (GREY - WHITE) * share
    tissue = np.where(depth > -0.5, tissue, tissue + (FLUID - tissue) * np.clip(horn, 0, 1))
    image = tissue * (1 + 0.05 * _smooth(rng, 12)) + noise * rng.standard_normal(FIELD)

    found = np.nonzero(labels)
    box = tuple(
        slice(max(0, p.min() - MARGIN - rng.integers(2)), p.max() + 1 + MARGIN + int(rng.integers(2))) for p in found
    )
    image, labels = np.clip(image[box], 0, None), labels[box]
    if number % 2 == 0:
        image, labels = image[..., ::-1], labels[..., ::-1]
    image = np.rint(np.clip(image * 180, 0, 255)).astype(np.uint8) if stored_small else image * brightness
    return Case(image if stored_small else image.astype(np.float32), labels)


def write(folder: Path, spec: HippocampusSpec) -> Path:
    """Write the twin into `folder`, which exists; equal specs give equal bytes. Returns the folder."""
    names = [f"hippocampus_{number:03d}.nii.gz" for number in range(1, spec.cases + 1)]
    for number, name in enumerate(names, start=1):
        case = draw_case(spec, number)
        for kind, array in ((IMAGES, case.image), (LABELS, case.labels)):
            _save(Path(folder) / kind / name, array)
    listed = {
        "name": "Hippocampus", "tensorImageSize": "3D", "modality": {"0": "MRI"},
        "labels": {"0": "background"} | {str(label): name.title() for label, name in HIPPOCAMPUS.items()},
        "training": [{"image": f"./{IMAGES}/{name}", "label": f"./{LABELS}/{name}"} for name in names],
    }  # fmt: skip
    (Path(folder) / LIST).write_text(json.dumps(listed, indent=1) + "\n", encoding="utf-8")
    return Path(folder)


def _smooth(rng: np.random.Generator, width: float) -> np.ndarray:
    """Noise of standard deviation 1 that changes over `width` voxels."""
    from scipy import ndimage

    field = ndimage.gaussian_filter(rng.standard_normal(FIELD, np.float32), width, mode="wrap", truncate=2)
    return field / field.std()


def _save(file: Path, array: np.ndarray) -> None:
    """A NIfTI file in RAS order with voxels of 1 mm, as the published ones are; without a clock."""
    import nibabel

    image = nibabel.Nifti1Image(np.ascontiguousarray(array.T), np.eye(4))
    image.header.set_xyzt_units("mm")
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as stream, gzip.GzipFile("", "wb", compresslevel=1, fileobj=stream, mtime=0) as packed:
        packed.write(image.to_bytes())


TWIN = Twin(write, HippocampusSpec, "msd-hippocampus")
