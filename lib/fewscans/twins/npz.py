"""Write a twin in the layout of the LUNA16 patches, to the same bytes every time.

`np.savez` stamps its entries with the time of day; here every entry carries the first date a zip can hold, and is
stored rather than compressed, as compressors differ between builds of zlib.
"""

import io
import zipfile
from pathlib import Path

import numpy as np

from fewscans.data.luna16_patches import REPOSITORY_SPLITS
from fewscans.twins.cases import Cases

EPOCH = (1980, 1, 1, 0, 0, 0)


def write(path: Path, images: np.ndarray, cases: Cases) -> Path:
    """Write images (n, 50, 50) uint8 and who they are, split as `cases.repository_split` says."""
    arrays = {}
    for name in REPOSITORY_SPLITS:
        index = np.flatnonzero(cases.repository_split == name)
        arrays[f"{name}_images"] = images[index]
        arrays[f"{name}_labels"] = cases.labels[index, None].astype(np.uint8)
        arrays[f"{name}_candidate_row"] = cases.candidate_row[index].astype(np.int64)
    return write_arrays(path, arrays)


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    """An npz of the given arrays, in their order; equal arrays give equal bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for key, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{key}.npy", date_time=EPOCH)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, buffer.getvalue())
    return path
