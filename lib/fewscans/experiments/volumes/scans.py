"""A trained network asked about scans in files: NIfTI in, labels out as NIfTI in the frame of the input.

A scan is brought to the voxels that the network was trained on, and its labels back to the scan's own voxels. Nothing
here looks for the structure: a network that was trained on crops around a hippocampus wants such crops.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fewscans.data import preprocess
from fewscans.data.base import quantised
from fewscans.data.formats import nifti, nifti_out
from fewscans.errors import DataError
from fewscans.experiments.volumes import Grid, loaded, segmented
from fewscans.experiments.volumes.arms import ARMS
from fewscans.experiments.volumes.batches import standardised

TRAINED_MM = (1.0, 1.0, 1.0)  # z y x, voxels of the Decathlon's hippocampi
SAME = 0.02  # share by which voxels may differ from these and are not resampled
LAST_LAYER = "output_block.conv.conv.weight"


def segment(
    files: Sequence[Path], out: Path, weights: Mapping[str, Tensor], grid: Grid, arm: str, device: torch.device,
    spacing_mm: Sequence[float] = TRAINED_MM,
) -> dict[Path, dict[int, float]]:  # fmt: skip
    """Draws the labels of each scan into the folder `out`, under the scan's own name.

    weights: of a run that trains what the arm needs.   spacing_mm: of the network's training voxels, z y x.
    Returns: written file → label → its volume in ml.
    Raises:  DataError for an arm without a network or whose networks the run did not train, two scans of one name, and
             whatever `nifti.read` and `nifti_out.write_labels` refuse. Hidden files, such as the `._` files that macOS
             puts beside others, are passed over.
    """
    files = [Path(file) for file in files if not Path(file).name.startswith(".")]
    names = [file.name for file in files]
    if len(set(names)) < len(names):
        raise DataError(f"{max(names, key=names.count)}: two scans of this name; segment them into two folders")
    trained = {key.partition(".")[0]: value.shape[0] for key, value in weights.items() if key.endswith(LAST_LAYER)}
    if ARMS[arm].trivial or (lacking := set(ARMS[arm].of) - set(trained)):
        what = "it has no network" if ARMS[arm].trivial else f"the run has no network on {', '.join(sorted(lacking))}"
        raise DataError(f"{arm} cannot draw labels: {what}; name another arm")
    nets, volumes = loaded(weights, grid, max(trained.values()), device), {}
    for file in files:
        scan = nifti.read(file)
        labels = _labels(scan, nets, arm, grid, device, np.array(spacing_mm, float))
        written = nifti_out.write_labels(Path(out) / file.name, labels, file)
        counts = np.bincount(labels.ravel())
        volumes[written] = {label: float(counts[label] * scan.voxel_ml) for label in range(1, len(counts))}
    return volumes


def _labels(scan: nifti.Volume, nets, arm: str, grid: Grid, device: torch.device, spacing: np.ndarray) -> np.ndarray:
    same = (np.abs(spacing / scan.spacing_mm - 1) < SAME).all()
    seen = scan if same else preprocess.resampled(scan, spacing)
    image = standardised(torch.from_numpy(quantised(nifti.unit(seen.array)))).to(device)
    with torch.inference_mode():
        finer = grid.parts_of(seen.spacing_mm[0])
        mask = segmented(nets, {arm: ARMS[arm]}, image, grid, finer)[arm].astype(np.uint8)
    if same:
        return mask
    drawn = nifti.Volume(mask, seen.spacing_mm, seen.affine, scan.path)
    return preprocess.onto(drawn, scan.array.shape, scan.affine, labels=True).array
