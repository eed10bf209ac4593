"""A synthetic stand-in for PatchCamelyon, in its layout: patches cut from slides drawn as those of the CAMELYON16 twin.

A patch has 96 pixels a side; its label is 1 if the central 32 x 32 hold a tumour pixel. Every slide has tumour and as
many patches of either label, and splits share no slide. Slides are drawn at the published spacing, 0.972 µm.
"""

import gzip
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fewscans.data.formats import asap
from fewscans.data.patchcamelyon import SIDE, SPLITS, name_of
from fewscans.twins.base import Spec, Twin, in_processes, seed, whole
from fewscans.twins.camelyon16 import CamelyonSpec, draw_slide

MICRONS, CENTRE = 0.972, 32
GLASS, MOST_TRIES = 225, 4000  # a mean above it is empty glass; places looked at on a slide


@dataclass(frozen=True)
class PatchesSpec(Spec):
    """The twin's size: slides of each split, patches of a slide, the side of a slide in pixels."""

    train: int = whole(1, 999)
    valid: int = whole(1, 999)
    test: int = whole(1, 999)
    patches: int = whole(2, 10_000)
    side: int = whole(926, 32_768)  # a node of 900 µm
    seed: int = seed()


def write(folder: Path, spec: PatchesSpec) -> Path:
    """Write the nine files into `folder`; equal specs give equal bytes. Returns the folder."""
    jobs = [(spec, split, number) for split in SPLITS for number in range(getattr(spec, split))]
    drawn = dict(zip(jobs, in_processes(_patches, jobs, 4, None), strict=True))
    for split in SPLITS:
        mine = [(number, drawn[spec, split, number]) for number in range(getattr(spec, split))]
        x, y = (np.concatenate([made[place] for _, made in mine]) for place in (0, 1))
        _save(folder / f"{name_of(split, 'x')}.h5.gz", "x", x)
        _save(folder / f"{name_of(split, 'y')}.h5.gz", "y", y.reshape(-1, 1, 1, 1))
        rows = [f"{split}_slide_{number:03d}" for number, made in mine for _ in made[1]]
        (folder / f"{name_of(split, 'meta')}.csv").write_text("\n".join(["wsi", *rows]) + "\n", encoding="utf-8")
    return folder


def _patches(job: tuple[PatchesSpec, str, int]) -> tuple[np.ndarray, np.ndarray]:
    """Patches (n, 96, 96, 3) of one slide with tumour and their labels (n,), both kinds as far as there are any."""
    spec, split, number = job
    place = list(SPLITS).index(split)
    slides = CamelyonSpec(train=999, test=4, independent=2, tumour_share=0.999, side=spec.side,
                          microns_per_pixel=MICRONS, seed=3 * spec.seed + place)  # fmt: skip
    rgb, annotation, _ = draw_slide(slides, "train", number + 1)  # only its first slide has no tumour
    rng = np.random.default_rng([spec.seed, place, number])
    tumour = asap.mask(annotation, rgb.shape[1], rgb.shape[0], 1)
    rows, columns = (rng.integers(0, side - SIDE + 1, MOST_TRIES) for side in rgb.shape[:2])
    first = (SIDE - CENTRE) // 2
    found = {0: [], 1: []}
    for row, column in zip(rows, columns, strict=True):
        patch, inside = (image[row : row + SIDE, column : column + SIDE] for image in (rgb, tumour))
        label = int(inside[first : first + CENTRE, first : first + CENTRE].any())
        if len(found[label]) < spec.patches // 2 and patch.mean() < GLASS:
            found[label].append(patch)
    few = min(map(len, found.values()))
    patches = np.array([patch for label in found for patch in found[label][:few]], np.uint8).reshape(-1, SIDE, SIDE, 3)
    order = rng.permutation(len(patches))
    return patches[order], np.repeat([0, 1], few)[order]


def _save(file: Path, key: str, array: np.ndarray) -> None:
    """HDF5 with one key, packed by gzip; no time of day in either."""
    import h5py

    content = io.BytesIO()
    with h5py.File(content, "w", track_order=False) as opened:
        opened.create_dataset(key, data=array, track_times=False)
    file.write_bytes(gzip.compress(content.getvalue(), compresslevel=1, mtime=0))


TWIN = Twin(write, PatchesSpec, "patchcamelyon")
