"""NIfTI out: labels in the patient's axes go back into the order, affine and header of the file that was asked about.

Every program that shows the input then shows the answer in its place.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from fewscans import files
from fewscans.data.formats import nifti
from fewscans.errors import DataError

ENDINGS = (".nii", ".nii.gz")


def write_labels(path: Path | str, labels: np.ndarray, like: Path | str) -> Path:
    """Write labels (D, H, W), as `nifti.read` turns volumes, with the affine, shape and header codes of a file.

    path: .nii or .nii.gz; the same labels give the same bytes.   like: the file whose voxels they label.
    Raises:  DataError for labels of another shape than the file's or beyond 0 to 255, a name that is no NIfTI file's, a
             path that is the file's own, and whatever `nifti.read` refuses.
    """
    import nibabel
    from nibabel import orientations

    path, like = Path(path), Path(like)
    if not path.name.endswith(ENDINGS):
        raise DataError(f"{path}: a NIfTI file's name ends in {' or '.join(ENDINGS)}")
    if path.resolve() == like.resolve():
        raise DataError(f"{path}: is the image itself; name another file for its labels")
    shape = nifti.read(like).array.shape
    if labels.shape != shape:
        raise DataError(f"{path}: labels are {labels.shape}, and {like} is {shape} (z y x); they must agree")
    if labels.min() < 0 or labels.max() > 255 or (labels != np.rint(labels)).any():
        raise DataError(f"{path}: labels are from {labels.min():g} to {labels.max():g}; they are whole, 0 to 255")
    image = nibabel.load(like)
    stored = orientations.io_orientation(image.affine)  # of each stored axis: which of the patient's, and its sense
    back = orientations.ornt_transform(orientations.axcodes2ornt("RAS"), stored)
    voxels = orientations.apply_orientation(labels.astype(np.uint8).T, back)
    header = image.header.copy()
    header.set_data_dtype(np.uint8)
    header.set_slope_inter(1, 0)
    header["cal_min"], header["cal_max"] = 0, 0
    content = type(image)(np.ascontiguousarray(voxels), image.affine, header).to_bytes()
    return files.write(path, gzip.compress(content, mtime=0) if path.name.endswith(".gz") else content)
