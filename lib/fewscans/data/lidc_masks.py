"""The 994 lung nodules of `lidc_voi` with their masks, in the voxels of their scans.

Slices are 0.45 to 2.5 mm apart, voxels in the plane 0.46 to 0.98 mm. Nothing is resampled here: slices are as they were
scanned. Half of the published boxes have six slices or fewer, and end along z where the nodule ends, so there is little
context across slices, less in thick ones: a network on volumes has less to gain from space than in a whole scan.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fewscans.data import group_splits, lidc_voi
from fewscans.data.base import Cases, digest, kept
from fewscans.data.formats import cut as cutting
from fewscans.data.formats import nifti
from fewscans.data.group_splits import part_of_fold
from fewscans.data.lidc_voi import AGAIN, IMAGES, MASKS, TABLE, Archive
from fewscans.errors import DataError

WINDOW = (64, 80, 80)  # z y x voxels; cuts one mask, by 0.3 %
THIN_MM, THICK_MM = 1.25, 2.0  # at most, at least, between slices
THIN, THICK, BETWEEN = "thin", "thick2mm", "between"  # in `about["stored"]`


def read(folder: Path | str, window: tuple[int, int, int] = WINDOW, cache: Path | None = None) -> Cases:
    """Nodules and masks, (n, 2, D, H, W) uint8: lung window and label, in the middle of one window of voxels.

    Returns: as `msd_segmentation.read`: target: the nodule's volume in ml, as published.   case, group, fold: as
             `lidc_voi.read`.   about: fold, labels ("nodule"), shape_z, shape_y, shape_x, and stored, which is here how
             far slices are apart: "thin" (at most 1.25 mm), "thick2mm" (2 mm and more) or "between".
    Raises:  DataError as `lidc_voi.read`, and for a mask that is empty or whose voxels are not its image's.
    """
    folder = Path(folder)
    table = lidc_voi.nodules(folder)
    paths = [folder / name for name in (IMAGES, MASKS, TABLE)]
    absent = [path for path in paths if not path.is_file()]
    if absent:
        raise DataError(f"{absent[0]}: no such file; {AGAIN}")
    settings = {"data": digest({}, paths, folder), "masks": window}
    code = (cutting.__file__, group_splits.__file__, nifti.__file__, lidc_voi.__file__, __file__)
    return kept(cache, settings, folder, code, lambda: _cut(folder, table, window))


def _cut(folder: Path, table: pd.DataFrame, window: tuple[int, int, int]) -> dict[str, Any]:
    images, rows = [], []
    with Archive(folder / IMAGES) as scans, Archive(folder / MASKS) as masks:
        for name in table["file"]:
            scan, mask = scans.read(name), masks.read(name, mask=True)
            nifti.same_grid(scan, mask)
            middle = (np.array(scan.array.shape) - 1) / 2
            pair = cutting.to_code(cutting.to_unit(scan.array)), (mask.array > 0).astype(np.uint8)
            images.append(np.stack([nifti.crop(part, middle, window) for part in pair]))
            volume = np.count_nonzero(mask.array) * np.prod(scan.spacing_mm) / 1000
            mm = round(float(scan.spacing_mm[0]), 3)  # some files say 1.2500001
            apart = THIN if mm <= THIN_MM else THICK if mm >= THICK_MM else BETWEEN
            rows.append((volume, scan.spacing_mm, *np.minimum(scan.array.shape, window), apart))
    about = pd.DataFrame(rows, columns=["volume", "spacing", "shape_z", "shape_y", "shape_x", "stored"])
    case = table.apply(lambda r: f"{r['patient_id']}/{r['nodule_id']}@{r['diameter_mm']:.1f}mm", axis=1)
    return {
        "images": np.stack(images), "target": about.pop("volume").to_numpy(np.float64), "unit": "ml",
        "case": case.to_numpy(str), "group": table["patient_id"].to_numpy(str),
        "split": part_of_fold(table["fold"], 5), "spacing_mm": np.array(about.pop("spacing").tolist(), np.float64),
        "about": about.assign(fold=table["fold"].to_numpy(), labels="nodule"),
    }  # fmt: skip
