"""VinDr-CXR: chest X-rays from two hospitals in Hanoi, with radiologists' boxes around what they found.

The folder has train/<image_id>.dicom (or .dcm) and train.csv (Kaggle) or annotations_train.csv (PhysioNet), a row a box
of a reader, in pixels of the DICOM. Three readers saw each training image. The test images, in test/, have one
consensus; Kaggle's have no test.csv and are passed over. Our twin adds test_style/, of makers never trained on.

A label is 1 if two readers found it, or the one whose reading there is. Findings that are not among Park et al.'s five
give no label: an image with those alone has the label 0 five times, like one of a healthy person.

Nguyen et al., Scientific Data 9:429 (2022); data doi 10.13026/3akn-b287, by credentialed access.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fewscans.data import radiographs
from fewscans.data.base import Cases, Cut, Dataset, and_more, digest, ends, read_table, report
from fewscans.data.formats import xray_dicom
from fewscans.data.listing import a_file, ending, entries, named
from fewscans.data.radiographs import FINDINGS, Box, each
from fewscans.errors import DataError

PARTS = {"train": "train", "test": "test", "test_style": "test-style"}  # folder → split
CLASSES = {
    "nodule/mass": "nodule", "consolidation": "consolidation", "ild": "interstitial", "pleural effusion": "effusion",
    "pneumothorax": "pneumothorax",
}  # fmt: skip
OTHERS = {
    "no finding", "aortic enlargement", "atelectasis", "calcification", "cardiomegaly", "clavicle fracture", "edema",
    "emphysema", "enlarged pa", "infiltration", "lung cavity", "lung cyst", "lung opacity", "mediastinal shift",
    "other lesion", "pleural thickening", "pulmonary fibrosis", "rib fracture",
}  # fmt: skip
CORNERS = ["x_min", "y_min", "x_max", "y_max"]
COLUMNS = ("image_id", "class_name", *CORNERS)
AGREE = 2  # readers who must have found it, where that many read the image
SAME = 0.4  # intersection over union from which boxes of two readers are of one finding
PUBLISHED = {"train": 15000, "test": 3000}


@dataclass(frozen=True, eq=False)
class Copy:
    """The images of a copy, as files. All have the same order."""

    path: Path
    file: tuple[Path, ...]
    case: np.ndarray  # (n,) str, the image's id
    group: np.ndarray  # (n,) str, the patient; where the DICOM does not say who it is, the image
    split: np.ndarray  # (n,) str, "train", "val", "test" or "test-style"
    about: pd.DataFrame  # as `radiographs.about`, and manufacturer


def read(path: Path | str) -> Copy:
    """Find all images with their labels and boxes, without decoding them.

    About one patient of the training images in eight is "val"; without test.csv, one in ten, and two in ten are "test".
    A hash of the patient decides, so it is the same in every copy.
    Raises:  DataError naming the file or row: no table, an image without file or row, or there twice, a patient in two
             of the folders, an unknown class, a box that is impossible; also what `xray_dicom.header` refuses.
    """
    path = Path(path)
    tables = {part: _table(path, part) for part in PARTS}
    if tables["train"] is None:
        raise DataError(f"{path}: has no train.csv or annotations_train.csv; get it, and the images in train")
    rows = []
    for part, table in tables.items():
        if table is not None:
            files = _files(path / part, table)
            for image, of_image in table[1].groupby("image_id"):
                rows.append((part, image, files[image], *_image(table[0], of_image, files[image])))
    frame = pd.DataFrame(rows, columns=["part", "case", "file", "patient", "manufacturer", "labels", "boxes"])
    for column, kind in (("case", "image"), ("patient", "patient")):
        parts = frame.groupby(column)["part"].unique()
        parts = parts[parts.map(len) > 1]
        if len(parts):
            who, where = f"{kind} {parts.index[0]}{and_more(parts)}", " and in ".join(parts.iloc[0])
            raise DataError(f"{path}: the {who} is in {where}; leave it out of one of them")
    has_test = tables["test"] is not None
    split = [
        _split(patient, has_test) if part == "train" else PARTS[part]
        for part, patient in zip(frame["part"], frame["patient"], strict=True)
    ]
    labels = dict(zip(FINDINGS, np.array(frame["labels"].tolist()).T, strict=True))
    about = radiographs.about(labels, frame["boxes"], manufacturer=frame["manufacturer"].to_numpy(str))
    case, group = frame["case"].to_numpy(str), frame["patient"].to_numpy(str)
    return Copy(path, tuple(frame["file"]), case, group, np.array(split), about)


def cases(path: Path | str, cut: Cut, cache: Path | None = None) -> Cases:
    """The images stretched to the square of the cut, (n, S, S); the target is 1 where any of the five labels is.

    Raises:  ValueError for a cut that is no square; DataError as `read` and `xray_dicom.read`.
    """
    if len(cut.size) != 2 or cut.size[0] != cut.size[1]:
        raise ValueError(f"size {cut.size}: a chest X-ray is stretched to a square, (S, S)")
    copy, side = read(path), cut.size[0]

    def decoded() -> Iterator[np.ndarray]:
        for image in each(copy.file, lambda file: radiographs.square(xray_dicom.read(file).pixels, side)):
            yield image[None]

    fingerprint = digest({"data": _fingerprint(copy), "side": side})
    images = radiographs.stored(cache, fingerprint, (xray_dicom.__file__, __file__), copy.case, side, decoded)
    target = (copy.about[[f"label {finding}" for finding in FINDINGS]] == 1).any(axis=1).to_numpy(np.int64)
    return Cases(images, target, copy.case, copy.group, copy.split, fingerprint, copy.path, about=copy.about)


def check_copy(folder: Path | str) -> dict[str, Any]:
    """What a copy holds, and what it lacks of the published images; see `base.report`. Each one is decoded."""
    try:
        copy = read(folder)
        for _ in each(copy.file, lambda file: xray_dicom.read(file) and None):
            pass
    except DataError as error:
        return report([str(error)])
    parts = [file.parent.name for file in copy.file]
    counts = {f"{part} images": parts.count(part) for part in PARTS}
    lacks = [
        f"{part} has {counts[f'{part} images']} images with annotations, published are {published}"
        for part, published in PUBLISHED.items()
        if counts[f"{part} images"] != published
    ]
    return report(lacks, counts, _fingerprint(copy))


def merged(drawn: Sequence[tuple[str, Box]], agree: int) -> list[Box]:
    """One box for each finding of a class, of all that readers drew of it.

    A box joins the finding that its reader has not drawn yet and whose mean box it overlaps most, if that is by SAME
    (intersection over union); else it is a new one. Findings that fewer than `agree` readers drew are left out, unless
    all are: readers may agree on the class and not on the place, and a positive image has a box.
    Args:    drawn: (reader, box).
    Returns: the mean box of each.
    """
    findings: list[dict[str, Box]] = []  # reader → box
    for reader, box in sorted(drawn):
        overlaps = [0 if reader in known else _overlap(_mean(known), box) for known in findings]
        best = int(np.argmax(overlaps)) if findings else 0
        if findings and overlaps[best] >= SAME:
            findings[best][reader] = box
        else:
            findings.append({reader: box})
    return [_mean(known) for known in findings if len(known) >= agree] or [_mean(known) for known in findings]


def _mean(boxes: dict[str, Box]) -> Box:
    finding = next(iter(boxes.values())).finding
    return Box(finding, *np.mean([box[1:] for box in boxes.values()], axis=0).tolist())


def _overlap(a: Box, b: Box) -> float:
    """Intersection over union, which is the same in pixels as in shares of the image."""
    across = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
    down = min(a.y + a.height, b.y + b.height) - max(a.y, b.y)
    both = max(across, 0) * max(down, 0)
    return both / (a.width * a.height + b.width * b.height - both)


def _table(path: Path, part: str) -> tuple[Path, pd.DataFrame] | None:
    """The annotations of a folder and where they are, with class names in small letters; None if there are none."""
    stems = (part, f"annotations_{part}") if path.is_dir() else ()
    found = [file for stem in stems if (file := named(path, stem, (".csv",)))]
    if not found:
        return None
    file = found[0]
    if file.read_bytes() != found[-1].read_bytes():
        raise DataError(f"{file} and {found[-1]}: two tables of one folder that differ; remove the wrong one")
    text = ["image_id", "class_name", "rad_id"]
    types = dict.fromkeys(text, str) | dict.fromkeys(CORNERS, float)
    table = read_table(file, COLUMNS, f"it has the columns {', '.join(COLUMNS)}, and rad_id", dtype=types)
    if table.empty:
        raise DataError(f"{file}: has no rows; copy it again")
    if "rad_id" not in table:
        table["rad_id"] = "consensus"
    unnamed = table[table[text].isna().any(axis=1)]
    if len(unnamed):
        raise DataError(f"{_row(file, unnamed.index[0])} has no image_id, class_name or rad_id; add it")
    name = table["class_name"].str.strip().str.lower()
    unknown = table["class_name"][~name.isin(OTHERS | set(CLASSES))]
    if len(unknown):
        names = ", ".join(sorted(OTHERS | set(CLASSES)))
        raise DataError(f"{_row(file, unknown.index[0])} has the unknown class {unknown.iloc[0]!r}; known are {names}")
    return file, table.assign(class_name=name)


def _row(file: Path, index: int) -> str:
    return f"{file}: row {index + 2}"  # counted as lines of the file, the first of which is the header


def _files(folder: Path, table: tuple[Path, pd.DataFrame]) -> dict[str, Path]:
    """Image → file, the same images as in the table."""
    files: dict[str, Path] = {}
    for file in (a_file(f) for f in entries(folder) if ending(f, (".dicom", ".dcm"))):
        if files.setdefault(file.stem, file) != file:
            raise DataError(f"{file}: the image is also {files[file.stem]}; keep one of them")
    listed = set(table[1]["image_id"])
    absent, unlisted = sorted(listed - set(files)), sorted(set(files) - listed)
    if absent:
        raise DataError(f"{folder / absent[0]}.dicom: no such file{and_more(absent)}, but {table[0]} lists it; get it")
    if unlisted:
        raise DataError(f"{files[unlisted[0]]}: has no row{and_more(unlisted)} in {table[0]}; get the whole table")
    return files


def _image(table: Path, rows: pd.DataFrame, file: Path) -> tuple[str, str, list[int], list[Box]]:
    """Patient, manufacturer, labels and boxes of one image."""
    header = xray_dicom.header(file)
    agree = min(AGREE, rows["rad_id"].nunique())
    named = rows["class_name"].map(CLASSES)
    labels, boxes = [], []
    for finding in FINDINGS:
        drawn = []
        for index, row in rows[named == finding].iterrows():
            x, y, right, bottom = row[CORNERS]
            what = f"{_row(table, index)} ({row['image_id']})"
            box = radiographs.checked_box(what, finding, x, y, right - x, bottom - y, header.size)
            drawn.append((row["rad_id"], box))
        labels.append(int(bool(drawn) and len({reader for reader, _ in drawn}) >= agree))
        boxes += merged(drawn, agree) if labels[-1] else []
    return header.patient or file.stem, header.manufacturer, labels, boxes


def _split(patient: str, has_test: bool) -> str:
    """Of a training image's patient."""
    share = int(hashlib.sha256(patient.encode()).hexdigest()[:8], 16) / 16**8
    if has_test:
        return "val" if share < 1 / 8 else "train"
    return "val" if share < 0.1 else "test" if share < 0.3 else "train"


def _fingerprint(copy: Copy) -> str:
    """Of labels, boxes and splits, and of the ends of files: those of all images are too many to be hashed."""
    settings = [copy.case.tolist(), copy.group.tolist(), copy.split.tolist(), copy.about.to_csv()]
    return digest({"images": [ends(file) for file in copy.file], "said": settings})


DATASET = Dataset(
    name="vindr-cxr", title="VinDr-CXR chest X-rays", case="image", group="patient",
    shows="a chest X-ray and its findings", target="label", read=read, cases=cases,
    licence="credentialed access at PhysioNet: after its training and under its data use agreement, for research and "
    "education, not to be shared",
    cite="Nguyen et al., Scientific Data 9:429 (2022), doi 10.1038/s41597-022-01498-w; data doi 10.13026/3akn-b287",
    source="VinDr-CXR 1.0.0 (physionet.org/content/vindr-cxr, credentialed access): its folders train and test with "
    "annotations_train.csv and annotations_test.csv beside them, or Kaggle's train and train.csv",
    attribution="""\
Chest X-rays of VinDr-CXR 1.0.0, doi 10.13026/3akn-b287 (credentialed access at PhysioNet: for research and education,
not to be shared). No image is kept here, only each image's name, its labels, and predictions. Cite:

- Nguyen H. Q. et al., VinDr-CXR: An open dataset of chest X-rays with radiologist's annotations, Scientific Data 9:429
  (2022), doi 10.1038/s41597-022-01498-w.
""",
    people="vindr-cxr", twin="vindr_cxr", score="mean_auc",
    marks=(("annotations_train.csv", "train.csv"), ("train",)), check=check_copy,
)  # fmt: skip
