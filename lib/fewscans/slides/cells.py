"""The slides of CAMELYON16 as the experiment needs them: which cells show tissue and tumour, and where lesions lie.

A heatmap has a cell every `stride` pixels. What is known of a slide is therefore known cell by cell, which stays small
whatever the slide's size. Made once and kept, as it takes longer than to train a small network.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from fewscans import files
from fewscans.data import camelyon16
from fewscans.data.base import REFERENCE, UNPACKED, Cases, array_of, code_of, digest, first_line
from fewscans.data.formats import asap, lesions, slides, tissue
from fewscans.slides import heatmap

TESTS = {"test": "test", "independent": "test-independent"}  # split → its name in tables
MASK_MICRONS = 0.243 * 2**5  # per pixel of the masks that the official script reads
FALSE_ALARMS = 100  # rows a slide for its most probable false alarms
NOTHING, NORMAL, TUMOUR = -1, 0, 1


@dataclass(frozen=True, eq=False, kw_only=True)
class Slides(Cases):
    """Cases that are slides. Tuples have an entry a case.

    cells: (rows, cols) int8, what each cell shows: NOTHING, NORMAL or TUMOUR tissue.   lesion: (rows, cols) int16, the
    number of the lesion at each cell's centre, from 1, by the official rule; 0 where there is none.
    lesions: the names of the lesions, "test_001/macro 2", in the order of their numbers.
    """

    cells: tuple[np.ndarray, ...]
    lesion: tuple[np.ndarray, ...]
    lesions: tuple[tuple[str, ...], ...]
    geometry: heatmap.Geometry

    @property
    def scored(self) -> np.ndarray:
        """Where the slides of the lesion task are, (k,)."""
        return np.flatnonzero((self.split == "test") & self.about["scored"].to_numpy(bool))


def read(path: Path, cases: Cases, geometry: heatmap.Geometry, microns_per_pixel: float, cache: Path | None) -> Slides:
    """What `camelyon16.cases` found, with cells and lesions.

    microns_per_pixel: taken for every slide when lesions are measured, as the official script takes 0.243.
    Raises DataError as the reader does.
    """
    settings = {"slides": cases.fingerprint, "stride": geometry.stride, "microns": microns_per_pixel}
    code = [module.__file__ for module in (camelyon16, asap, lesions, slides, tissue, heatmap)]
    key = digest({"of": settings, "code": code_of([*code, __file__])})[:32]
    kept = None if cache is None else cache / "cells" / f"{key}.npz"
    arrays = None if kept is None else _kept(kept)
    if arrays is None:
        arrays = _measured(path, cases, geometry, microns_per_pixel)
        if kept is not None:
            np.savez_compressed(packed := io.BytesIO(), **arrays)
            files.write(kept, packed.getvalue())
    cells, lesion, names = ([arrays[f"{what} {i}"] for i in range(len(cases))] for what in ("cells", "lesion", "names"))
    made = Slides(
        **vars(cases) | {"fingerprint": digest(settings)}, cells=tuple(cells), lesion=tuple(lesion),
        lesions=tuple(tuple(of.tolist()) for of in names), geometry=geometry,
    )  # fmt: skip
    return replace(made, truth=_truth(made))


def _kept(file: Path) -> dict[str, np.ndarray] | None:
    """What was measured before; None if it is not there, or damaged."""
    if not file.is_file():
        return None
    try:
        with np.load(file, allow_pickle=False) as npz:
            return {name: array_of(npz, name) for name in npz.files}
    except UNPACKED as error:
        warnings.warn(f"{file}: damaged ({first_line(error)}); its cells are measured again", stacklevel=3)
        return None


def _measured(path: Path, cases: Cases, geometry: heatmap.Geometry, microns_per_pixel: float) -> dict[str, np.ndarray]:
    copy, arrays, stride = camelyon16.find_slides(path), {}, geometry.stride
    downsample = 2 ** max(0, round(np.log2(MASK_MICRONS / microns_per_pixel)))
    for i, (name, file) in enumerate(zip(cases.case, cases.about["slide"], strict=True)):
        with slides.open_slide(Path(file), None if np.isfinite(cases.about["mpp"][i]) else microns_per_pixel) as slide:
            shows = heatmap.tissue_cells(slide, geometry)
            lesion, names = np.zeros(shows.shape, np.int16), []
            rows, columns = np.nonzero(shows)
            cells = np.where(shows, NORMAL, NOTHING).astype(np.int8)
            if cases.target[i] and cases.split[i] not in TESTS:  # those of test slides are not trained on
                touched = asap.touches(copy.annotation(name), columns * stride, rows * stride, stride)
                cells[rows[touched], columns[touched]] = TUMOUR
            if cases.target[i] and cases.split[i] == "test" and cases.about["scored"][i]:
                mask = camelyon16.lesion_mask(copy, name, slide, downsample)
                labelled = lesions.label(mask, microns_per_pixel * downsample)
                y, x = (((np.arange(n) + 0.5) * geometry.stride / downsample).astype(int) for n in shows.shape)
                y, x = (np.minimum(axis, side - 1) for axis, side in zip((y, x), mask.shape, strict=True))
                lesion = labelled.labels[np.ix_(y, x)].astype(np.int16)
                names = [f"{name}/{size} {k}" for k, size in enumerate(labelled.size, start=1)]
        arrays |= {f"cells {i}": cells, f"lesion {i}": lesion, f"names {i}": np.array(names, dtype=str)}
    return arrays


def _truth(cases: Slides) -> pd.DataFrame:
    """Scans, lesions and hits of the test split, as `stats.reference` wants them; isolated tumour cells count for
    nothing. A slide outside the lesion task is no scan.
    """
    rows = []
    for i in cases.scored:
        name = str(cases.case[i])
        rows.append(("scan", name, "", ""))
        for lesion in cases.lesions[i]:
            if size_of(lesion) == "itc":
                rows.append(("excluded", name, "", lesion))
            else:
                rows += [("nodule", name, lesion, ""), ("hit", name, lesion, lesion)]
    return pd.DataFrame([(*row, np.nan) for row in rows], columns=list(REFERENCE)).astype(REFERENCE)


def size_of(lesion: str) -> str:
    """ "itc" (isolated tumour cells), "micro" or "macro", from a lesion's name."""
    return lesion.partition("/")[2].partition(" ")[0]
