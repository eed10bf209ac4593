"""A small folder in the layout of MSD's Task04 with nothing wrong, and folders that are wrong in one way each."""

import json
import shutil

import nibabel
import numpy as np

PERSONS = 24  # of which every third has one side only
SMALL = 7  # a case that is too small for the window
ANTERIOR, POSTERIOR = 1, 2


def numbers() -> list[int]:
    return [number for number in range(1, 2 * PERSONS + 1) if number % 6 != 2]


def name(number: int) -> str:
    return f"hippocampus_{number:03d}"


def shape(number: int) -> tuple[int, int, int]:
    """The size of a published image, z y x: it grows with the hippocampus in it."""
    growth = 0 if number == SMALL else 2 + round(6 * _size(number))
    return 24 + growth, 40 + growth, 30 + growth


def ball(number: int) -> np.ndarray:
    """The label map, z y x: an ellipsoid about the middle, cut in two along y."""
    sides = np.array(shape(number))
    z, y, x = ((np.arange(n) - (n - 1) / 2) / (n / 2 - 4) for n in sides)
    inside = z[:, None, None] ** 2 + y[:, None] ** 2 + x**2 < 1
    front = np.broadcast_to(y[:, None] > 0, inside.shape)
    return np.where(inside, np.where(front, ANTERIOR, POSTERIOR), 0).astype(np.uint8)


def image(number: int) -> np.ndarray:
    """The image, z y x: tissue that varies, the label darker, in the scanner's own unit."""
    rng = np.random.default_rng([3, number])
    tissue = 100 + rng.normal(0, 8, shape(number)) - 30 * (ball(number) > 0)
    return tissue.clip(0) * rng.choice([1, 50, 1000])


def write(folder, listed=True):
    (folder / "imagesTr").mkdir(parents=True)
    (folder / "labelsTr").mkdir()
    for number in numbers():
        save(folder, number, "imagesTr", image(number).astype(np.float32))
        save(folder, number, "labelsTr", ball(number))
    if listed:
        files = [{kind: f"./{kind}sTr/{name(n)}.nii.gz" for kind in ("image", "label")} for n in numbers()]
        content = {"labels": {"0": "background", "1": "Anterior", "2": "Posterior"}, "training": files}
        (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def save(folder, number, kind, array, affine=None):
    nibabel.save(nibabel.Nifti1Image(array.T, np.eye(4) if affine is None else affine), path(folder, number, kind))


def path(folder, number, kind):
    return folder / kind / f"{name(number)}.nii.gz"


def _size(number: int) -> float:
    return np.random.default_rng([4, (number + 1) // 2]).uniform()


def _label(number, change):
    def apply(folder):
        array = ball(number).astype(np.float32)
        save(folder, number, "labelsTr", change(array))

    return apply


def _set(value):
    def change(array):
        array[12, 20, 15] = value
        return array

    return change


def _remove(number, kind):
    return lambda folder: path(folder, number, kind).unlink()


def _copy(old, new):
    return lambda folder: shutil.copy(folder / old, folder / new)


def _foreign(folder):
    for kind in ("imagesTr", "labelsTr"):
        path(folder, 3, kind).rename(folder / kind / "pancreas_003.nii.gz")
    (folder / "dataset.json").unlink()


def _moved(folder):
    affine = np.eye(4)
    affine[0, 3] = 1
    save(folder, 3, "labelsTr", ball(3), affine)


def _text(content):
    return lambda folder: (folder / "dataset.json").write_text(content)


# name: (what to do to the good folder, words the message must hold, the file it must name)
CASES = {
    "no images": (lambda folder: shutil.rmtree(folder / "imagesTr"), ["no such folder", "labelsTr"], "imagesTr"),
    "empty folder": (lambda folder: [p.unlink() for p in (folder / "labelsTr").iterdir()], ["no .nii.gz"], "labelsTr"),
    "no label map": (_remove(3, "labelsTr"), ["not in", "labelsTr", "in both"], "imagesTr/hippocampus_003.nii.gz"),
    "no image": (_remove(4, "imagesTr"), ["not in", "imagesTr"], "labelsTr/hippocampus_004.nii.gz"),
    "case twice": (_copy("imagesTr/hippocampus_003.nii.gz", "imagesTr/hippocampus_003.nii"), ["there twice"], "_003"),
    "another task": (_foreign, ["not a case of Task04"], "imagesTr/pancreas_003.nii.gz"),
    "label 3": (_label(3, _set(3)), ["unknown label 3"], "labelsTr/hippocampus_003.nii.gz"),
    "label below 0": (_label(3, _set(-1)), ["the label -1"], "labelsTr/hippocampus_003.nii.gz"),
    "label in between": (_label(3, _set(0.5)), ["the label 0.5"], "labelsTr/hippocampus_003.nii.gz"),
    "no posterior": (_label(3, lambda a: a * (a == 1)), ["no voxel is labelled 2"], "labelsTr/hippocampus_003.nii.gz"),
    "nothing labelled": (_label(3, lambda a: 0 * a), ["no voxel is labelled"], "labelsTr/hippocampus_003.nii.gz"),
    "label map of another size": (_label(3, lambda a: a[1:]), ["its shape"], "labelsTr/hippocampus_003.nii.gz"),
    "label map elsewhere": (_moved, ["its affine"], "labelsTr/hippocampus_003.nii.gz"),
    "list without cases": (_text('{"labels": {"0": "background"}}'), ["KeyError", "remove it"], "dataset.json"),
    "list that is none": (_text("imagesTr,labelsTr"), ["cannot be read"], "dataset.json"),
    "listed case absent": (
        lambda folder: [_remove(3, kind)(folder) for kind in ("imagesTr", "labelsTr")],
        ["hippocampus_003", "absent"],
        "dataset.json",
    ),
}
