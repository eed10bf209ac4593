"""Small folders in both layouts of the WMH challenge with nothing wrong, and folders that are wrong in one way each."""

import importlib.util
import shutil
from pathlib import Path

import nibabel
import numpy as np

_spec = importlib.util.spec_from_file_location("malformed_nifti", Path(__file__).with_name("nifti.py"))
NIFTI = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(NIFTI)

PER_SITE = 5
# site → first number, grid (z y x), voxel (z y x mm), order of storage; as published, a tenth of the size
SITES = {
    "Utrecht": (0, (9, 24, 24), (3.0, 0.96, 0.96), "LPS"),
    "Singapore": (50, (9, 26, 23), (3.0, 1.0, 1.0), "LPS"),
    "Amsterdam GE3T": (100, (11, 26, 13), (3.0, 0.98, 1.2), "PIR"),
    "Amsterdam Philips": (160, (11, 24, 32), (3.0, 1.04, 0.56), "LPS"),
}
FIRST = {"Utrecht": "public/Utrecht", "Singapore": "public/Singapore", "Amsterdam GE3T": "public/GE3T"}
SECOND = {
    "Utrecht": "training/Utrecht", "Singapore": "training/Singapore", "Amsterdam GE3T": "training/Amsterdam/GE3T",
    "Amsterdam Philips": "test/Amsterdam/Philips_VU .PETMR_01.",
}  # fmt: skip
OBSERVED = "additional_annotations/observer_o3/training/Singapore/{}/result.nii.gz"
OBSERVED_TOO = "additional_annotations/observer_o4/training/Amsterdam_GE3T/{}/result.nii.gz"
U = "training/Utrecht/1"


def flair(site: str, number: int) -> np.ndarray:
    """z y x: a bright head off the middle, brighter where the lesions are."""
    rng = np.random.default_rng([6, number])
    shape = SITES[site][1]
    head = np.zeros(shape, np.float32)
    head[2:, 5:-3, 2:-2] = rng.uniform(80, 120, head[2:, 5:-3, 2:-2].shape)
    return head + np.float32(150) * (labels(site, number) == 1)


def labels(site: str, number: int) -> np.ndarray:
    """z y x: lesions, more of them the higher the number within a site, and in every other case far more of label 2."""
    mask = np.zeros(SITES[site][1], np.uint8)
    if number % 2:
        mask[3:7, 6:20, 3:-3] = 2
    mask[4, 8 : 9 + number % 50 % 10, 4:7] = 1
    return mask


def write(folder, layout=None):
    for site, place in (SECOND if layout is None else layout).items():
        first, _, spacing, order = SITES[site]
        for number in range(first, first + PER_SITE):
            case = folder / place / str(number)
            image = flair(site, number)
            NIFTI.write(case / "pre" / "FLAIR.nii.gz", image, spacing, order)
            NIFTI.write(case / "orig" / "FLAIR.nii.gz", image * 2, spacing, order)
            NIFTI.write(case / "orig" / "3DT1.nii.gz", image[::-1], (1.0, 1.0, 1.0), "PIR")
            NIFTI.write(case / "wmh.nii.gz", labels(site, number).astype(np.float32), spacing, order)
    if layout is None:
        for place, site, number in ((OBSERVED, "Singapore", 51), (OBSERVED_TOO, "Amsterdam GE3T", 102)):
            observed = (labels(site, number) == 1).astype(np.float32)
            observed[5, 8, 4] = 1
            NIFTI.write(folder / place.format(number), observed, *SITES[site][2:])
    return folder


def save(folder, file, array, **changes):
    """Put an array (z y x) in place of a file of Utrecht's."""
    _, _, spacing, order = SITES["Utrecht"]
    return NIFTI.write(folder / file, array, **({"spacing": spacing, "order": order} | changes))


def _mask(change):
    return lambda folder: save(folder, f"{U}/wmh.nii.gz", change(labels("Utrecht", 1).astype(np.float32)))


def _set(value):
    def change(array):
        array[4, 8, 5] = value
        return array

    return change


def _flair(change, **changes):
    return lambda folder: save(folder, f"{U}/pre/FLAIR.nii.gz", change(flair("Utrecht", 1)), **changes)


def _nan(array):
    array[0, 0, 0] = np.nan
    return array


def _series(folder):
    nibabel.save(nibabel.Nifti1Image(np.zeros((24, 24, 9, 2), np.float32), np.eye(4)), folder / U / "pre/FLAIR.nii.gz")


def _cut(folder):
    file = folder / U / "wmh.nii.gz"
    file.write_bytes(file.read_bytes()[:-30])


def _move(old, new):
    def apply(folder):
        (folder / new).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(folder / old, folder / new)

    return apply


MASK, FLAIR = f"{U}/wmh.nii.gz", f"{U}/pre/FLAIR.nii.gz"
# name: (what to do to the good folder, words the message must hold, the file it must name)
CASES = {
    "nothing labelled": (_mask(lambda a: 0 * a), ["no voxel is labelled 1"], MASK),
    "other pathology alone": (_mask(lambda a: a * (a == 2)), ["no voxel is labelled 1"], MASK),
    "label below 0": (_mask(_set(-1)), ["the label -1"], MASK),
    "label 3": (_mask(_set(3)), ["unknown label 3"], MASK),
    "label in between": (_mask(_set(0.7)), ["the label 0.7"], MASK),
    "mask of another size": (_mask(lambda a: a[1:]), ["its shape", "(8, 24, 24)", "(9, 24, 24)"], MASK),
    "mask elsewhere": (
        lambda folder: save(folder, MASK, labels("Utrecht", 1), origin=(-20.0, -31.5, 15.25)),
        ["3 mm from"],
        MASK,
    ),
    "mask of other voxels": (
        lambda folder: save(folder, MASK, labels("Utrecht", 1), spacing=(3.0, 1.0, 0.96)),
        ["its affine"],
        MASK,
    ),
    "mask mirrored": (
        lambda folder: nibabel.save(
            nibabel.Nifti1Image(labels("Utrecht", 1).T, NIFTI.ras_affine((3.0, 0.96, -0.96))), folder / MASK
        ),
        ["its affine"],
        MASK,
    ),
    "mask cut short": (_cut, ["cut short"], MASK),
    "no image": (lambda folder: (folder / FLAIR).unlink(), ["no such file", "folder pre"], FLAIR),
    "black image": (_flair(lambda a: 0 * a), ["shows nothing"], FLAIR),
    "image with NaN": (_flair(_nan), ["NaN"], FLAIR),
    "image in time": (_series, ["(24, 24, 9, 2)"], FLAIR),
    "no cases": (lambda folder: [p.unlink() for p in folder.rglob("wmh.nii.gz")], ["no wmh.nii.gz"], ""),
    "unknown site": (_move(U, "training/Rotterdam/1"), ["named after a site", "Utrecht"], "training/Rotterdam/1"),
    "case twice": (
        lambda folder: shutil.copytree(folder / U, folder / "public/Utrecht/1"),
        ["Utrecht/1 is also", "one release"],
        MASK,
    ),
    "observer's mask of another size": (
        lambda folder: save(folder, OBSERVED.format(51), np.zeros((9, 26, 22))),
        ["its shape"],
        "observer_o3",
    ),
}
