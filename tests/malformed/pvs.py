"""A small folder in the layout of the perivascular spaces with nothing wrong, and folders wrong in one way each."""

import importlib.util
import shutil
from pathlib import Path

import nibabel
import numpy as np

_spec = importlib.util.spec_from_file_location("malformed_nifti", Path(__file__).with_name("nifti.py"))
NIFTI = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(NIFTI)

CASES_IN_ALL = 12
SHAPE = (10, 22, 20)  # z y x
SPACING = (2.0, 1.0, 0.9)  # z y x, mm
T2, MASK, COUNTS = "sub-03/T2.nii.gz", "sub-03/basal_ganglia.nii.gz", "counts.csv"


def name(number: int) -> str:
    return f"sub-{number:02d}"


def count(number: int) -> int:
    return number * number % 11  # 0 among them


def image(number: int) -> np.ndarray:
    """z y x: tissue, and fluid along one side."""
    rng = np.random.default_rng([7, number])
    array = rng.uniform(80, 120, SHAPE).astype(np.float32)
    array[..., :3] = 300
    return array


def mask(number: int) -> np.ndarray:
    """z y x: a box off the middle, another one for each case."""
    array = np.zeros(SHAPE, np.uint8)
    array[2:7, 6 + number % 4 : 15, 7:13] = 1
    return array


def write(folder, persons=None):
    """persons: case number → name of the person, or None for no column of that name."""
    for number in range(1, CASES_IN_ALL + 1):
        order = "RAS" if number % 2 else "PIL"
        NIFTI.write(folder / name(number) / "T2.nii.gz", image(number), SPACING, order)
        NIFTI.write(folder / name(number) / "basal_ganglia.nii.gz", mask(number), SPACING, "LPS")
    rows = [[name(number), str(count(number))] for number in range(CASES_IN_ALL, 0, -1)]
    header = ["case", "count"]
    if persons is not None:
        header = ["group", *header]
        rows = [[persons(int(row[0][4:])), *row] for row in rows]
    (folder / COUNTS).write_text("\n".join(",".join(row) for row in [header, *rows]) + "\n")
    return folder


def save(folder, file, array, **changes):
    """Put an array (z y x) in place of a file."""
    return NIFTI.write(folder / file, array, **({"spacing": SPACING} | changes))


def _nan(array):
    array[4, 8, 9] = np.nan
    return array


def _series(folder):
    nibabel.save(nibabel.Nifti1Image(np.zeros((*SHAPE[::-1], 2), np.float32), np.eye(4)), folder / T2)


def table(change):
    """Change the table's text."""
    return lambda folder: (folder / COUNTS).write_text(change((folder / COUNTS).read_text()))


def _count(value):
    return table(lambda text: text.replace(f"{name(3)},{count(3)}", f"{name(3)},{value}"))


def _cut(folder):
    (folder / MASK).write_bytes((folder / MASK).read_bytes()[:-30])


# name: (what to do to the good folder, words the message must hold, the file it must name)
CASES = {
    "image in time": (_series, ["(20, 22, 10, 2)", "three axes"], T2),
    "image with NaN": (lambda folder: save(folder, T2, _nan(image(3))), ["NaN"], T2),
    "even image": (lambda folder: save(folder, T2, np.full(SHAPE, 5, np.float32)), ["the same value, 5"], T2),
    "no image": (lambda folder: (folder / T2).unlink(), ["no such file", "copy it again"], T2),
    "no mask": (lambda folder: (folder / MASK).unlink(), ["no such file"], MASK),
    "mask of another size": (
        lambda folder: save(folder, MASK, mask(3)[1:]), ["its shape", "(9, 22, 20)", "(10, 22, 20)"], MASK,
    ),
    "mask elsewhere": (
        lambda folder: save(folder, MASK, mask(3), origin=(-20.0, -31.5, 16.25)), ["4 mm from"], MASK,
    ),
    "mask of other voxels": (lambda folder: save(folder, MASK, mask(3), spacing=(2.0, 1.0, 1.0)), ["its affine"], MASK),
    "mask in between": (lambda folder: save(folder, MASK, mask(3) * 0.5), ["the label 0.5"], MASK),
    "empty mask": (lambda folder: save(folder, MASK, 0 * mask(3)), ["0 everywhere", "segment"], MASK),
    "mask cut short": (_cut, ["cut short"], MASK),
    "count below 0": (_count(-1), ["sub-03 is '-1'", "whole number from 0"], COUNTS),
    "count in between": (_count(2.5), ["sub-03 is '2.5'"], COUNTS),
    "count in words": (_count("many"), ["sub-03 is 'many'"], COUNTS),
    "count without end": (_count("9" * 30), ["whole number"], COUNTS),
    "count empty": (_count(""), ["sub-03 has no count"], COUNTS),
    "case twice": (table(lambda text: text + "sub-03,4\n"), ["sub-03 is there twice", "remove"], COUNTS),
    "case not counted": (table(lambda text: text.replace(f"sub-03,{count(3)}\n", "")), ["count it"], "sub-03"),
    "count without a case": (lambda folder: shutil.rmtree(folder / "sub-03"), ["no such folder", COUNTS], "sub-03"),
    "column absent": (table(lambda text: text.replace("count", "number", 1)), ["'count' is missing"], COUNTS),
    "rows of unlike length": (table(lambda text: text + "a,b,c,d\n"), ["cannot be read as CSV"], COUNTS),
    "empty table": (table(lambda text: ""), ["cannot be read as CSV"], COUNTS),
    "another encoding": (
        lambda folder: (folder / COUNTS).write_bytes("case,count,größe\n".encode("latin-1")), ["UTF-8"], COUNTS,
    ),
    "no table": (lambda folder: (folder / COUNTS).unlink(), ["no such file", "columns case, count"], COUNTS),
    "no cases": (lambda folder: [shutil.rmtree(p) for p in folder.glob("sub-*")], ["holds no cases"], ""),
}  # fmt: skip
