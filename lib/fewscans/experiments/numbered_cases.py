"""The scans that the Hydranet experiment can be run on, cut and averaged as the grid says."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np

from fewscans import paths
from fewscans.data import nifti
from fewscans.data.numbered import NumberedScans, quantised
from fewscans.errors import DataError

# Data sets and the modules that read them, which decide runs as the experiment's own code does.
_SHARED = ("fewscans.data.nifti", "fewscans.data.numbered", "fewscans.data.group_splits")
READERS = {
    "msd-hippocampus": (*_SHARED, "fewscans.data.msd"),
    "msd-hippocampus-fraction": (*_SHARED, "fewscans.data.msd"),
    "wmh2017": (*_SHARED, "fewscans.data.wmh2017"),
    "wmh2017-40-20": (*_SHARED, "fewscans.data.wmh2017"),
    "pvs": (*_SHARED, "fewscans.data.pvs"),
}
# The nearest to the paper's larger training set (Table 1), which tests on 20 of the 60 scans: six of each site to test
# and two to validate leave 36, of which 34 can be drawn as from the paper's 40.
LARGER = {"test": 0.3, "val": 0.1}


def read(dataset: str, path: Path, grid) -> NumberedScans:
    """The data set's scans as the networks of `grid` (a `hydranet.Grid`) see them; what was cut is kept in build/.

    Raises DataError for a data set that this experiment cannot read, and for the copy at `path` if something is wrong
    with it.
    """
    if dataset not in READERS:
        raise DataError(f"the experiment hydranet cannot read {dataset!r}; it reads {', '.join(READERS)}")
    cache = paths.build() / "scans"
    if dataset.startswith("wmh2017"):
        from fewscans.data import wmh2017

        held_out = LARGER if dataset == "wmh2017-40-20" else wmh2017.HELD_OUT
        scans = wmh2017.numbered(path, grid.window, unit=grid.unit or "ml", held_out=held_out, cache=cache)
        return _averaged(scans, grid.downsample)
    if dataset == "pvs":
        from fewscans.data import pvs

        return _averaged(pvs.numbered(path, grid.window, cache=cache), grid.downsample)
    from fewscans.data import msd

    scans = msd.hippocampus(path, grid.window, factor=grid.downsample, cache=cache)
    return scans if dataset == "msd-hippocampus" else _fraction(scans)


def _averaged(scans: NumberedScans, factor: int) -> NumberedScans:
    """Means over blocks of so many voxels a side."""
    if factor == 1:
        return scans
    return dataclasses.replace(
        scans,
        images=np.stack([quantised(nifti.block_mean(image / np.float32(255), factor)) for image in scans.images]),
        spacing_mm=scans.spacing_mm * factor,
        fingerprint=hashlib.sha256(f"{scans.fingerprint} / {factor}".encode()).hexdigest(),
    )


def _fraction(scans: NumberedScans) -> NumberedScans:
    """The anterior part's share of the volume, a number that does not add up over scans."""
    share = scans.about["anterior_ml"].to_numpy() / scans.number
    mark = hashlib.sha256(f"{scans.fingerprint} anterior share".encode()).hexdigest()
    return dataclasses.replace(scans, number=share, unit="anterior share", fingerprint=mark)
