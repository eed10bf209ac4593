"""A small folder in LUNA16's layout with nothing wrong, and folders that are wrong in one way each."""

import shutil

import numpy as np
import pandas as pd

from fewscans.data.formats import mhd

SCANS = 12  # two in subset0 and subset9, one in the others
SHAPE = (16, 24, 26)
SPACING = (1.1, 1.0, 1.5)  # x y z
XYZ = ["coordX", "coordY", "coordZ"]
OBLIQUE = np.linalg.qr(np.random.default_rng(7).normal(size=(3, 3)))[0]
DIRECTIONS = {
    "identity": np.eye(3),
    "flipped": np.diag([-1.0, -1.0, 1.0]),
    "upside down": np.diag([1.0, -1.0, -1.0]),
    "axes exchanged": np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
    "oblique": OBLIQUE,
}


def uid(scan: int) -> str:
    return f"1.3.6.1.4.1.14519.5.2.1.6279.6001.{100225287222365663678666836860 + scan * 7919}"


def subset(scan: int) -> int:
    return min(scan, 9) if scan < 11 else 0


def anatomy(xyz_mm: np.ndarray, nodules: np.ndarray, radius_mm: float = 3.0) -> np.ndarray:
    """HU of points (..., 3): lung that varies smoothly, and a soft-edged ball around each nodule (m, 3)."""
    x, y, z = np.moveaxis(np.asarray(xyz_mm, float), -1, 0)
    hu = -800 + 60 * np.sin(x / 5) + 50 * np.cos(y / 6 + z / 9) + 40 * np.sin(z / 7)
    for nodule in np.reshape(nodules, (-1, 3)):
        away = np.linalg.norm(np.stack([x, y, z], -1) - nodule, axis=-1)
        hu = hu + 700 / (1 + np.exp((away - radius_mm) / 0.8))
    return hu


def centred_offset(shape, spacing, direction, middle) -> np.ndarray:
    """The offset of a scan whose middle is at a world point."""
    half = (np.array(shape[::-1]) - 1) / 2 * np.array(spacing)
    return np.asarray(middle, float) - direction @ half


def write(folder, subsets=subset):
    """The good folder: scan 1 flipped, scan 3 without nodules, each with negatives and one mark in an excluded finding.

    Scan 10 (subset9) has a mark in two nodules at once, scan 11 is one more of subset0.
    """
    annotations, excluded, candidates, grades = [], [], [], []
    for scan in range(SCANS):
        rng = np.random.default_rng([5, scan])
        direction = DIRECTIONS["flipped" if scan == 1 else "identity"]
        middle = rng.uniform(-50, 50, 3)
        offset = centred_offset(SHAPE, SPACING, direction, middle)
        nodules = middle + rng.uniform(-4, 4, (0 if scan == 3 else 2, 3))
        if scan == 10:
            nodules[1] = nodules[0] + (1.0, 0, 0)
        grid = np.moveaxis(np.indices(SHAPE), 0, -1).reshape(-1, 3)[:, ::-1]
        world = offset + (grid * SPACING) @ direction.T
        hu = anatomy(world, nodules).reshape(SHAPE) + rng.normal(0, 10, SHAPE)
        inside = folder / f"subset{subsets(scan)}"
        inside.mkdir(parents=True, exist_ok=True)
        mhd.write(inside / f"{uid(scan)}.mhd", hu.round().astype(np.int16), SPACING, offset, direction)
        annotations += [(uid(scan), *nodule.round(4), 6.0) for nodule in nodules]
        grades += [(uid(scan), *nodule.round(4), number % 2) for number, nodule in enumerate(nodules[:1])]
        finding = middle + (9.0, 8.0, -8.0)
        excluded += [(uid(scan), *finding.round(4), -1.0)]
        marks = [(*(nodule + rng.uniform(-1, 1, 3)).round(3), 1) for nodule in nodules]
        marks += [(*(finding + (1, 1, 0)).round(3), 0)]
        marks += [(*(middle + (-10.0 + i, -9.0, 7.0)).round(3), 0) for i in range(5)]
        candidates += [(uid(scan), *mark) for mark in marks]
    frame(folder, "annotations.csv", annotations, "diameter_mm")
    frame(folder, "annotations_excluded.csv", excluded, "diameter_mm")
    frame(folder, "candidates_V2.csv", candidates, "class")
    frame(folder, "malignancy.csv", grades, "malignant")
    (folder / "seriesuids.csv").write_text("".join(f"{uid(scan)}\n" for scan in range(SCANS)))
    return folder


def frame(folder, name, rows, last):
    pd.DataFrame(rows, columns=["seriesuid", *XYZ, last]).to_csv(folder / name, index=False)


def edit(name, change):
    """A change of one CSV: a function of its frame."""

    def apply(folder):
        change(pd.read_csv(folder / name, dtype={"seriesuid": str})).to_csv(folder / name, index=False)

    return apply


def put(name, row, column, value):
    return edit(name, lambda table: table.astype({column: object}).pipe(_put, row, column, value))


def _put(table, row, column, value):
    table.loc[row, column] = value
    return table


def header(scan, old, new):
    """A change of one line of a scan's header."""

    def apply(folder):
        path = mhd_of(folder, scan)
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return apply


def mhd_of(folder, scan):
    return folder / f"subset{subset(scan)}" / f"{uid(scan)}.mhd"


def raw(scan, change):
    def apply(folder):
        path = mhd_of(folder, scan).with_name(f"{uid(scan)}.raw")
        path.write_bytes(change(path.read_bytes()))

    return apply


def _move(source, target):
    return lambda folder: shutil.move(folder / source, folder / target)


def _copy(source, target):
    return lambda folder: shutil.copy(folder / source, folder / target)


def _remove(name):
    return lambda folder: (folder / name).unlink()


def _text(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def _drop(folder):
    for path in (folder / "subset4").iterdir():
        path.unlink()


V2 = "candidates_V2.csv"
SPACED = "ElementSpacing = 1.1 1 1.5"
# name: (what to do to the good folder, words the message must hold, the file it must name)
CASES = {
    "column missing": (edit(V2, lambda t: t.drop(columns="class")), ["'class' is missing", "coordX"], V2),
    "column misspelt": (
        edit("annotations.csv", lambda t: t.rename(columns={"diameter_mm": "diameter"})),
        ["'diameter_mm' is missing"],
        "annotations.csv",
    ),
    "coordinate NaN": (put(V2, 4, "coordY", np.nan), ["coordY is nan in line 6"], V2),
    "coordinate infinite": (put(V2, 4, "coordY", np.inf), ["coordY is inf in line 6"], V2),
    "coordinate a word": (put("annotations.csv", 2, "coordZ", "left"), ["coordZ is left in line 4"], "annotations.csv"),
    "class 2": (put(V2, 3, "class", 2), ["class is 2", "line 5", "0 or 1"], V2),
    "class a half": (put(V2, 3, "class", 0.5), ["class is 0.5", "line 5"], V2),
    "diameter 0": (put("annotations.csv", 1, "diameter_mm", 0), ["diameter_mm is 0", "line 3"], "annotations.csv"),
    "diameter NaN": (put("annotations_excluded.csv", 1, "diameter_mm", np.nan), ["line 3"], "annotations_excluded.csv"),
    "no series in a row": (put(V2, 2, "seriesuid", np.nan), ["seriesuid is nan in line 4"], V2),
    "unknown series in candidates": (put(V2, 2, "seriesuid", "1.2.3"), ["1.2.3 in line 4", "seriesuids.csv"], V2),
    "unknown series in annotations": (put("annotations.csv", 0, "seriesuid", "1.2.3"), ["1.2.3"], "annotations.csv"),
    "candidate twice": (
        edit(V2, lambda t: pd.concat([t, t.iloc[[5]]])),
        ["line 96 is at the place of line 7"],
        V2,
    ),
    "candidate twice with another class": (
        edit(V2, lambda t: pd.concat([t, t.iloc[[5]].assign(**{"class": 1})])),
        ["line 96 is at the place of line 7"],
        V2,
    ),
    "candidate outside its scan": (put(V2, 7, "coordX", 400.0), ["line 9 is outside its scan", "400", "world mm"], V2),
    "nodule outside its scan": (put("annotations.csv", 0, "coordZ", -900.0), ["line 2 is outside"], "annotations.csv"),
    "grade of no annotation": (put("malignancy.csv", 1, "coordX", 0.5), ["line 3 is at no annot"], "malignancy.csv"),
    "grade 3": (put("malignancy.csv", 1, "malignant", 3), ["malignant is 3", "0 or 1"], "malignancy.csv"),
    "rows of two lengths": (_text(V2, b"seriesuid,coordX,coordY,coordZ,class\n1.2,1,2,3,0,9,9\n"), ["CSV"], V2),
    "an empty list": (_text(V2, b""), ["cannot be read as CSV"], V2),
    "a list that is no text": (_text(V2, b"\xff\xfe\x00\x01" * 50), ["cannot be read as CSV"], V2),
    "no annotations": (_remove("annotations.csv"), ["annotations.csv is missing"], ""),
    "no excluded findings": (_remove("annotations_excluded.csv"), ["annotations_excluded.csv", "evaluation"], ""),
    "no candidates": (_remove(V2), ["candidates_V2.csv is missing", "candidates.csv"], ""),
    "no list of series": (_remove("seriesuids.csv"), ["seriesuids.csv is missing"], ""),
    "series listed twice": (
        lambda folder: (folder / "seriesuids.csv").write_text((folder / "seriesuids.csv").read_text() + uid(2)),
        [uid(2), "twice"],
        "seriesuids.csv",
    ),
    "listed scan absent": (_drop, ["1 of 12 listed scans", uid(4), "complete the copy"], ""),
    "scan in no list": (_copy(f"subset3/{uid(3)}.mhd", "subset3/1.2.3.mhd"), ["is not in"], "1.2.3.mhd"),
    "scan in two subsets": (_copy(f"subset3/{uid(3)}.mhd", f"subset5/{uid(3)}.mhd"), ["two places"], uid(3)),
    "raw cut short": (raw(2, lambda b: b[:-2]), ["19,968", "19,966", "cut short"], uid(2)),
    "raw too long": (raw(2, lambda b: b + b"\0\0"), ["19,970", "too long"], uid(2)),
    "raw absent": (_remove(f"subset2/{uid(2)}.raw"), ["data file", "absent"], uid(2)),
    "header of another size": (header(2, "DimSize = 26 24 16", "DimSize = 26 24 17"), ["21,216", "19,968"], uid(2)),
    "spacing NaN": (header(2, SPACED, "ElementSpacing = 1.1 nan 1.5"), ["ElementSpacing", "nan"], uid(2)),
    "spacing 0": (header(2, SPACED, "ElementSpacing = 1.1 0 1.5"), ["ElementSpacing is 1.1 0 1.5"], uid(2)),
    "spacing below 0": (header(2, SPACED, "ElementSpacing = 1.1 1 -1.5"), ["-1.5", "above 0"], uid(2)),
    "two spacings": (header(2, SPACED, "ElementSpacing = 1.1 1"), ["must be 3 numbers"], uid(2)),
    "header without spacing": (header(2, SPACED + "\n", ""), ["ElementSpacing is missing"], uid(2)),
    "header emptied": (_text(f"subset2/{uid(2)}.mhd", b""), ["ElementDataFile is missing"], uid(2)),
}
