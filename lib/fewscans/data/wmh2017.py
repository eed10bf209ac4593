"""WMH Segmentation Challenge (MICCAI 2017): FLAIR images, and how much white-matter hyperintensity each one holds.

Two releases hold the same 60 training cases: the first, `public/{Utrecht,Singapore,GE3T}/<id>`, and that of 2022,
`{training,test}/{Utrecht,Singapore,Amsterdam/<scanner>}/<id>`, with 110 test cases and two more observers. A case is
any folder with a wmh.nii.gz or its image, wherever it was unpacked; its site is read from the folders above it.

Only label 1 is counted. Label 2 is other pathology, a rough outline to be ignored in evaluation; where it is large,
`mask > 0` would be ten times the lesions. Voxels are of 2.7 to 3.5 mm3, so the number of voxels, which the paper
predicts, is partly the scanner's; the volume in ml is not. Both are given.

Kuijf et al., IEEE TMI 38:2556-2568 (2019), arXiv 1904.00682; data doi 10.34894/AECRSD, CC BY-NC 4.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fewscans.data import group_splits
from fewscans.data.base import Cases, Cut, Dataset, digest, kept, quantised, report
from fewscans.data.formats import nifti
from fewscans.data.group_splits import split_by_group
from fewscans.data.listing import below, ending, entries, named
from fewscans.errors import DataError

REFERENCE, IMAGE, OBSERVED = "wmh", "FLAIR", "result"  # names of files, with one of these endings
ENDINGS = (".nii.gz", ".nii")
STAGES = ("pre", "orig")
# What a folder's name must contain, and the site that it then is. Amsterdam's name alone says no scanner.
SITES = {
    "utrecht": "Utrecht", "singapore": "Singapore", "ge3t": "Amsterdam GE3T", "ge1t5": "Amsterdam GE1T5",
    "philips": "Amsterdam Philips",
}  # fmt: skip
TRAINING_SITES = ("Utrecht", "Singapore", "Amsterdam GE3T")
ROOTS = (".", "public", "training", "dataverse_files/training")  # where the sites lie in what people unpack
PUBLISHED_PER_SITE = 20
WMH, OTHER = 1, 2
BY = "observer_"  # how the folders of further observers begin

SIZE = (48, 192, 144)  # z y x voxels: a brain at about 3 x 1 x 1 mm. The paper does not give its own
HELD_OUT = {"test": 0.5, "val": 0.1}  # of each site: 30 and 6 of the 60, as many as in the paper
SPLIT_SEED = 2017


@dataclass(frozen=True, eq=False)
class Scan:
    """One case, in the patient's axes."""

    flair: nifti.Volume
    wmh: np.ndarray  # (D, H, W) bool, label 1
    other: np.ndarray  # (D, H, W) bool, label 2: other pathology, neither lesion nor background

    @property
    def voxels(self) -> int:
        return int(self.wmh.sum())

    @property
    def volume_ml(self) -> float:
        return self.voxels * self.flair.voxel_ml


@dataclass(frozen=True, eq=False)
class Challenge:
    """The cases of a copy, as files."""

    path: Path
    cases: pd.DataFrame  # case ("Utrecht/17"), site, part ("training" or "test"), flair, wmh (Path)
    observers: Mapping[str, Mapping[str, Path]]  # observer ("o3") → case → label map; empty where a copy has none

    def read(self, row: int) -> Scan:
        """Image and labels of one case.

        Raises:  DataError naming the file: whatever `nifti` refuses, image and mask on different grids, a label that is
                 not 0, 1 or 2, no voxel of label 1.
        """
        flair = nifti.read(self.cases["flair"].iloc[row])
        mask = _labels(self.cases["wmh"].iloc[row], flair)
        if not (mask.array == WMH).any():
            raise DataError(f"{mask.path}: no voxel is labelled 1; every case of the challenge has some, copy it again")
        return Scan(flair=flair, wmh=mask.array == WMH, other=mask.array == OTHER)

    def observed_ml(self, observer: str, case: str, flair: nifti.Volume) -> float:
        """How much another observer saw in a case; NaN where the copy does not have it."""
        file = self.observers.get(observer, {}).get(case)
        if file is None:
            return np.nan
        return int((_labels(file, flair).array == WMH).sum()) * flair.voxel_ml


def find_cases(folder: Path | str, stage: str = "pre") -> Challenge:
    """Find every case below a folder, in the layout of either release.

    Args:    stage: "pre" for FLAIR images corrected for bias, "orig" for those of the scanner.
    Raises:  DataError for a folder without cases, a case without its FLAIR or mask, of no known site, or there twice,
             and for what `listing.below` refuses. A folder is a case if it holds a mask or a folder of images, or if
             it is named by a number and lies beside one.
    """
    folder = Path(folder)
    if stage not in STAGES:
        raise ValueError(f"stage {stage!r} is unknown; the challenge has 'pre' and 'orig'")
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; name the one that holds Utrecht, Singapore and GE3T, or training")
    rows: dict[str, dict] = {}
    files = below(folder)
    for place in _case_folders(folder, files):
        reference, images = named(place, REFERENCE, ENDINGS), place / stage
        if reference is None:
            fault = f"holds no {REFERENCE}{ENDINGS[0]}, its mask"
            raise DataError(f"{place}: {fault}; copy the case again, or take its folder away")
        case, site, part = _who(folder, reference)
        flair = named(images, IMAGE, ENDINGS) if images.is_dir() else None
        if flair is None:
            absent = f"{images / IMAGE}{ENDINGS[0]}: no such file"
            raise DataError(f"{absent}; each case has its image in the folder {stage}, copy it again")
        if case in rows:
            raise DataError(f"{reference}: the case {case} is also {rows[case]['wmh']}; keep one release only")
        rows[case] = {"case": case, "site": site, "part": part, "flair": flair, "wmh": reference}
    if not rows:
        raise DataError(f"{folder}: no {REFERENCE}{ENDINGS[0]} in it or below; unpack the challenge's data there")
    return Challenge(
        path=folder,
        cases=pd.DataFrame([rows[case] for case in sorted(rows)]),
        observers=_observers(folder, files, set(rows)),
    )


def centre_of_mass(array: np.ndarray) -> np.ndarray:
    """The mean place of the voxels (D, H, W), weighted by intensity; what is below 0 weighs nothing. (3,) voxels."""
    weights = np.clip(array, 0, None)
    total = weights.sum(dtype=np.float64)
    sums = (weights.sum(axis=tuple({0, 1, 2} - {axis}), dtype=np.float64) for axis in range(3))
    return np.array([np.arange(len(along)) @ along / total for along in sums])


def read(
    folder: Path | str, size: tuple[int, int, int] = SIZE, unit: str = "ml", stage: str = "pre",
    official_test: bool = False, held_out: Mapping[str, float] = HELD_OUT, cache: Path | str | None = None,
) -> Cases:  # fmt: skip
    """FLAIR images cut about their centre of mass, in [0, 1], with the volume or the number of WMH voxels.

    Voxels keep their size: nothing is resampled. Of the paper's preprocessing the crop and the scale to [0, 1] are
    known; that the scale is set by percentiles of the crop, and the crop's size, are our choice.
    Args:    size: (D, H, W) voxels; beyond the image is its lowest intensity.   unit: "ml", or the paper's "voxels".
             official_test: test on the release's 110 test cases instead of on half of the 60.
             held_out: share of each site's training cases; with official_test, that of "test" is left to training.
             cache: a folder to keep the cut scans in; else they are cut every time.
    Returns: `about` has site, part, voxels, ml, other_ml (label 2), inside (share of WMH voxels that the crop shows)
             and the volumes of other observers, such as o3_ml, NaN where the copy has none.
    Raises:  DataError as `find_cases` and `Challenge.read`, and for an image without any intensity, or a copy that
             lacks the test cases asked for.
    """
    if unit not in ("ml", "voxels") or min(size) < 1:
        raise ValueError(f"unit {unit!r} and size {size}: 'ml' or 'voxels', and three sides of at least 1")
    found = find_cases(folder, stage)
    table = found.cases if official_test else found.cases[found.cases["part"] == "training"]
    for part in ("training", "test") if official_test else ("training",):
        if not (table["part"] == part).any():
            raise DataError(f"{folder}: has no {part} cases; the release of 2022 has both, doi.org/10.34894/AECRSD")
    observed = [file for files in found.observers.values() for file in files.values()]
    settings = {"size": size, "unit": unit, "official": official_test, "held_out": dict(held_out), "seed": SPLIT_SEED}
    settings["data"] = digest({}, [*table["flair"], *table["wmh"], *observed], found.path)
    split = _split(table, official_test, held_out)
    code = (nifti.__file__, group_splits.__file__, __file__)
    return kept(cache, settings, found.path, code, lambda: _cut(found, table, size, unit, split))


def cases(path: Path | str, cut: Cut, cache: Path | None = None, held_out: Mapping[str, float] = HELD_OUT) -> Cases:
    """The images cut to the window and averaged to the size of the cut, with the number in its unit, or else in ml."""
    scans = read(path, cut.window, cut.unit or "ml", held_out=held_out, cache=cache and cache / "scans")
    return nifti.averaged(scans, cut.downsample)


def _cut(found: Challenge, table: pd.DataFrame, size: tuple, unit: str, split: np.ndarray) -> dict[str, Any]:
    images, spacing, rows = [], [], []
    for row, case in zip(table.index, table["case"], strict=True):
        scan = found.read(row)
        array = scan.flair.array
        if not array.max() > 0:
            raise DataError(f"{scan.flair.path}: no voxel is above 0, so the image shows nothing; copy it again")
        centre = centre_of_mass(array)
        images.append(quantised(nifti.unit(nifti.crop(array, centre, size, outside=array.min()))))
        spacing.append(scan.flair.spacing_mm)
        inside = nifti.crop(scan.wmh, centre, size).sum() / scan.voxels
        other_ml = int(scan.other.sum()) * scan.flair.voxel_ml
        seen = {f"{name}_ml": found.observed_ml(name, case, scan.flair) for name in found.observers}
        measured = {"voxels": scan.voxels, "ml": scan.volume_ml, "other_ml": other_ml, "inside": inside}
        rows.append({"site": table["site"][row], "part": table["part"][row], **measured, **seen})
    about = pd.DataFrame(rows)
    case = table["case"].to_numpy(str)  # and the group: every scan is of another person
    return {
        "images": np.stack(images), "target": about[unit].to_numpy(np.float64), "unit": unit,
        "spacing_mm": np.array(spacing), "case": case, "group": case.copy(), "split": split, "about": about,
    }  # fmt: skip


def check_copy(folder: Path | str) -> dict[str, Any]:
    """What a copy holds, and what it lacks of the 60 training cases; see `base.report`."""
    try:
        found = find_cases(folder)
        for row in range(len(found.cases)):
            found.read(row)
    except DataError as error:
        return report([str(error)])
    training = found.cases[found.cases["part"] == "training"]
    counts = {f"training {site}": int((training["site"] == site).sum()) for site in TRAINING_SITES}
    wrong = {what: n for what, n in counts.items() if n != PUBLISHED_PER_SITE}
    lacks = [f"{what} has {n} cases, published are {PUBLISHED_PER_SITE}" for what, n in wrong.items()]
    counts["test"] = len(found.cases) - len(training)
    counts |= {f"observer {name}": len(files) for name, files in found.observers.items()}
    return report(lacks, counts, digest({}, [*found.cases["flair"], *found.cases["wmh"]], found.path))


def _labels(file: Path, flair: nifti.Volume) -> nifti.Volume:
    mask = nifti.read_mask(file)
    nifti.same_grid(flair, mask)
    if mask.array.max() > OTHER:
        raise DataError(f"{file}: unknown label {mask.array.max()}; 1 is WMH, 2 other pathology, 0 background")
    return mask


def _split(table: pd.DataFrame, official_test: bool, held_out: Mapping[str, float]) -> np.ndarray:
    """By site, as many training cases of each; official test cases are all to test."""
    training = (table["part"] == "training").to_numpy()
    site, case = table["site"].to_numpy(str)[training], table["case"].to_numpy(str)[training]
    wanted = {name: share for name, share in held_out.items() if not (official_test and name == "test")}
    split = np.full(len(table), "test", dtype="<U8")
    split[training] = split_by_group(case, wanted, SPLIT_SEED, site)
    return split


def _case_folders(folder: Path, files: list[Path]) -> list[Path]:
    """All that look like cases, sorted, but for those of further observers."""
    found = set()
    for file in files:
        what, inside = file.name.removesuffix(ending(file, ENDINGS)).lower(), file.parent
        if what == REFERENCE and ending(file, ENDINGS):
            found.add(inside)
        elif inside.name.lower() in STAGES and what == IMAGE.lower():
            found.add(inside.parent)
    for site in {case.parent for case in found}:
        found |= {case for case in entries(site) if case.name.isdecimal() and case.is_dir()}
    return sorted(case for case in found if not _observer(folder, case))


def _observer(folder: Path, inside: Path) -> str:
    """The observer in whose folder a file or folder lies; "" for none."""
    names = [part.lower() for part in inside.relative_to(folder).parts if part.lower().startswith(BY)]
    return names[-1].removeprefix(BY) if names else ""


def _who(folder: Path, file: Path) -> tuple[str, str, str]:
    """Case, site and part from the folders above a label map, the nearest first."""
    above = [part.lower() for part in (folder.name, *file.relative_to(folder).parts[:-2])][::-1]
    site = next((site for part in above for name, site in SITES.items() if name in part), None)
    if site is None:
        raise DataError(f"{file}: no folder above it is named after a site, {', '.join(SITES.values())}")
    part = next((part for part in above if part in ("training", "test")), "training")
    return f"{site}/{file.parent.name}", site, part


def _observers(folder: Path, files: list[Path], cases: set[str]) -> dict[str, dict[str, Path]]:
    """Label maps of observer_o3, observer_o4 ... by case."""
    found: dict[str, dict[str, Path]] = {}
    for file in files:
        observer, end = _observer(folder, file), ending(file, ENDINGS)
        if not (observer and end and file.name.removesuffix(end).lower() == OBSERVED):
            continue
        case = _who(folder, file)[0]
        if case in cases:
            other = found.setdefault(observer, {}).setdefault(case, file)
            if other != file:
                raise DataError(f"{file}: what {observer} saw in {case} is also {other}; keep one of the two")
    return {name: found[name] for name in sorted(found)}


DATASET = Dataset(
    name="wmh2017", title="white-matter lesion volumes", case="scan", group="person", shows="white-matter lesions",
    target="number", read=read, cases=cases, licence="CC BY-NC 4.0",
    cite="Kuijf et al., IEEE TMI 38:2556-2568 (2019), doi 10.1109/TMI.2019.2905770; data doi 10.34894/AECRSD",
    source="the WMH Segmentation Challenge's data (doi.org/10.34894/AECRSD): its folder training, or that of the "
    "2017 release with Utrecht, Singapore and GE3T",
    attribution="""\
Scans of the WMH Segmentation Challenge of MICCAI 2017, doi 10.34894/AECRSD (CC BY-NC 4.0 as others quote its page: not
for commercial use). No image is kept here, only each scan's name, a number computed from its mask, and predictions.
Cite:

- Kuijf H. J. et al., Standardized assessment of automatic segmentation of white matter hyperintensities and results of
  the WMH segmentation challenge, IEEE Transactions on Medical Imaging (2019), arXiv 1904.00682.
""",
    people="the WMH Segmentation Challenge of 2017", unit="ml", twin="wmh2017", score="icc",
    marks=tuple(tuple(str(Path(above, site)) for above in ROOTS) for site in ("Utrecht", "Singapore")),
    check=check_copy,
)  # fmt: skip
