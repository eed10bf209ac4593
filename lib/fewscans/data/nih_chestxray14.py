"""NIH ChestX-ray14: 112,120 frontal chest X-rays of 30,805 patients, 14 text-mined labels, boxes on 880 images.

A copy is a folder with the files of NIH's download page: Data_Entry_2017_v2020.csv (or the older Data_Entry_2017.csv),
BBox_List_2017.csv, train_val_list.txt, test_list.txt, and the images, PNG of 1024 x 1024 pixels, in `images` or in
`images_001/images` to `images_012/images`. NIH's test list is the test; about one patient in eight of the others is
"val". All boxes lie in the test list. Labels come from reports by text mining and are partly wrong.

Wang et al., ChestX-ray8, IEEE CVPR 2017, pp. 3462-3471.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fewscans.data import radiographs
from fewscans.data.base import Cases, Cut, Dataset, and_more, digest, first_line, read_table, report
from fewscans.data.content import not_blank
from fewscans.data.listing import a_file, ending, entries
from fewscans.data.radiographs import Box, checked_box, each, square
from fewscans.errors import DataError

TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
BOXES = "BBox_List_2017.csv"
ARCHIVES = tuple(f"images_{n:03d}" for n in range(1, 13))
LISTS = ("train_val_list.txt", "test_list.txt")
COLUMNS = {
    "Image Index": "image", "Finding Labels": "finding_labels", "Follow-up #": "followup", "Patient ID": "patient",
    "Patient Age": "age", "Patient Gender": "sex", "View Position": "view",
}  # fmt: skip
LABELS = (
    "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion", "Emphysema", "Fibrosis", "Hernia",
    "Infiltration", "Mass", "No Finding", "Nodule", "Pleural_Thickening", "Pneumonia", "Pneumothorax",
)  # fmt: skip
# NIH's label → our finding. A mass is a nodule above 3 cm. NIH has no interstitial opacity; fibrosis is the nearest.
FINDING_OF = {
    "Nodule": "nodule", "Mass": "nodule", "Consolidation": "consolidation", "Fibrosis": "interstitial",
    "Effusion": "effusion", "Pneumothorax": "pneumothorax",
}  # fmt: skip
BOX_SIZE = (1024, 1024)  # of the image in whose pixels boxes are given
ONE_IN = 8  # patients outside the test list that are "val"
OLDEST = 120  # years; the table of 2017 has ages up to 414, which are taken as unknown
PUBLISHED = {"train and val": 86_524, "test": 25_596, "patients": 30_805, "boxes": 984}
TAIL, LAST_CHUNK = 64, b"IEND\xaeB`\x82"  # bytes at the end of a PNG, with a checksum of its pixels; its last ones
AGAIN = "copy it again from NIH's download page, nihcc.app.box.com/v/ChestXray-NIHCC"


@dataclass(frozen=True, eq=False)
class Archive:
    """A copy: its tables read, its images as files."""

    path: Path
    tables: tuple[Path, ...]
    images: pd.DataFrame  # the columns `described` returns, split, file (Path, or None where it is absent)
    boxes: pd.DataFrame  # image, box
    fingerprint: str


def read(path: Path | str) -> Archive:
    """Read the tables and find the images; none is decoded. Lists and boxes may name images that the table lacks.

    Raises:  DataError naming the file: whatever `described` and `boxes` refuse, a list that is absent, an image in
             neither list or in both, a patient in both, an image file that is cut short.
    """
    path = Path(path)
    table = next((path / name for name in TABLES if (path / name).is_file()), path / TABLES[0])
    images = described(table, COLUMNS)
    images["split"] = _splits(path, images)
    files = _files(path)
    images["file"] = np.array([files.get(name) for name in images["image"]], object)
    tables = (table, path / BOXES, *(path / name for name in LISTS))
    ends = {file.name: _end(file) for file in images["file"].dropna()}
    return Archive(path, tables, images, boxes(path / BOXES, FINDING_OF), digest({"images": ends}, tables, path))


def cases(path: Path | str, cut: Cut, cache: Path | None = None) -> Cases:
    """All images at the size of the cut, which is square; with a cache they are decoded once and are a memory map.

    Returns: target 1: any of the five findings.   `about` as in `gathered`.
    Raises:  DataError as `read`, and for images that are absent, unreadable, not 8-bit grey or colour, or blank;
             ValueError for a cut that is not square.
    """
    side, archive = side_of(cut), read(path)
    images = archive.images
    absent = images["image"][images["file"].isna()].tolist()
    if absent:
        raise DataError(
            f"{archive.path}: has no file for {absent[0]}{and_more(absent)}; unpack all archives of images, or take "
            f"the rows of absent images out of {archive.tables[0].name}"
        )
    fingerprint = digest({"data": archive.fingerprint, "side": side, "one in": ONE_IN})
    case = images["image"].to_numpy(str)
    pixels = radiographs.stored(cache, fingerprint, (__file__,), case, side, lambda: _decoded(images["file"], side))
    labels = findings(images, FINDING_OF)
    return gathered(
        images, labels, archive.boxes, images=pixels, target=any_of(labels.values()), fingerprint=fingerprint,
        split=images["split"].to_numpy(str), path=archive.path,
    )  # fmt: skip


def check_copy(folder: Path | str) -> dict[str, Any]:
    """What a copy holds, and what it lacks of the published images; see `base.report`. Each one is decoded."""
    try:
        archive = read(folder)
    except DataError as error:
        return report([str(error)])
    images, test = archive.images, archive.images["split"] == "test"
    numbers = (int((~test).sum()), int(test.sum()), images["patient"].nunique(), len(archive.boxes))
    counts = dict(zip(PUBLISHED, numbers, strict=True))
    lacks = [
        f"{what}: {counts[what]} are listed, published are {n}" for what, n in PUBLISHED.items() if counts[what] != n
    ]
    try:
        for _ in each(images["file"].dropna(), lambda file: _grey(file) is None):
            pass
    except DataError as error:
        lacks.append(str(error))
    absent = images["image"][images["file"].isna()].tolist()
    if absent:
        folders = {name: (archive.path / name / "images").is_dir() for name in ARCHIVES}
        without = [name for name, there in folders.items() if not there] if any(folders.values()) else []
        lacks.append(
            f"{archive.path}: {len(absent)} images have no file, the first is {absent[0]}"
            + (f"; the folders {', '.join(without)} are absent" if without else "")
        )
    return report(lacks, counts | {"image files": len(images) - len(absent)}, archive.fingerprint)


def described(file: Path, columns: Mapping[str, str], again: str = AGAIN) -> pd.DataFrame:
    """A table of images: image, finding_labels ("|" between), followup (int), patient (str), age (years), sex, view.

    Args:    columns: the file's name of each → ours.   again: what to do about a faulty file.
    Raises:  DataError naming the file and value: no such table or column, no rows, an image that is listed twice, an
             unknown label, a follow-up or age that is no number.
    """
    table = read_table(file, tuple(columns), again, dtype=str, keep_default_na=False)
    if table.empty:
        raise DataError(f"{file}: has no rows; {again}")
    table = table[list(columns)].rename(columns=columns)
    age = table["age"].str.extract(r"^(\d+)([YMD]?)$")  # the oldest table writes "058Y", "006M"
    unknown = ~table["finding_labels"].str.split("|").map(set(LABELS).issuperset)
    for column, wrong, fault in (
        ("image", table["image"].duplicated(), "is listed twice"),
        ("finding_labels", unknown, f"has an unknown label; known are {', '.join(LABELS)}"),
        ("followup", ~table["followup"].str.fullmatch(r"\d+"), "is no whole number"),
        ("age", age[0].isna(), "is no age"),
    ):
        if wrong.any():
            row = table[wrong].iloc[0]
            raise DataError(f"{file}: {row['image']}: {column} {row[column]!r} {fault}; {again}")
    years = age[0].astype(float) / age[1].map({"": 1, "Y": 1, "M": 12, "D": 365})
    return table.assign(followup=table["followup"].astype(int), age=years.where(years <= OLDEST))


def findings(images: pd.DataFrame, finding_of: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Finding → (n,) float, 1 where `finding_labels` has a label of it. NIH labels every image: there is no NaN."""
    of_image = [{finding_of.get(label) for label in text.split("|")} for text in images["finding_labels"]]
    return {name: np.array([name in found for found in of_image], float) for name in dict.fromkeys(finding_of.values())}


def any_of(labels: Collection[np.ndarray]) -> np.ndarray:
    """(n,) int64: 1 where any of the labels is 1; NaN is not."""
    return (np.stack([*labels]) == 1).any(axis=0).astype(np.int64)


def boxes(file: Path, finding_of: Mapping[str, str], again: str = AGAIN) -> pd.DataFrame:
    """All rows of a box list, read by position (its header is malformed): image, box.

    Box is None where its label is none of our findings. Numbers are x, y, width, height in pixels of BOX_SIZE.
    Raises:  DataError naming the file and line: no such table, no number, an unknown label, `radiographs.checked_box`.
    """
    names = ["image", "label", *Box._fields[1:]]
    kinds = dict.fromkeys(names[:2], str) | dict.fromkeys(names[2:], float)
    table = read_table(file, names, again, header=0, names=names, usecols=range(6), dtype=kinds)
    found = []
    for line, (label, *place) in enumerate(table[names[1:]].itertuples(index=False), start=2):
        if label not in {*LABELS, *finding_of, "Infiltrate"}:  # the box list's word for Infiltration
            raise DataError(f"{file}: line {line}: unknown label {label!r}; {again}")
        box = checked_box(f"{file}: line {line}", finding_of.get(label, label), *place, size=BOX_SIZE)
        found.append(box if label in finding_of else None)
    return pd.DataFrame({"image": table["image"], "box": pd.Series(found, dtype=object)})


def gathered(described: pd.DataFrame, labels: Mapping[str, np.ndarray], boxes: pd.DataFrame, **fields: Any) -> Cases:
    """The cases of images: `about` has their labels, boxes, and view, followup, age (years) and sex."""
    of_image: dict[str, list[Box]] = {}
    for image, box in boxes.dropna().itertuples(index=False):
        of_image.setdefault(image, []).append(box)
    others = {column: described[column].to_numpy() for column in ("view", "followup", "age", "sex")}
    about = radiographs.about(labels, [of_image.get(image, []) for image in described["image"]], **others)
    case, group = (described[column].to_numpy(str) for column in ("image", "patient"))
    return Cases(case=case, group=group, about=about, **fields)


def side_of(cut: Cut) -> int:
    """Pixels a side. Raises ValueError for a cut that is not square."""
    if len(cut.size) != 2 or cut.size[0] != cut.size[1]:
        raise ValueError(f"size {cut.size}: chest X-rays are cut to a square, (S, S)")
    return cut.size[0]


def _splits(path: Path, images: pd.DataFrame) -> np.ndarray:
    """NIH's test list is "test"; of the others a patient is "val" or "train" by a hash of its number alone."""
    lists = [read_table(path / name, ("image",), AGAIN, names=["image"], dtype=str)["image"] for name in LISTS]
    train_val, test = (images["image"].isin(names.str.strip()) for names in lists)
    wrong = images["image"][train_val == test].tolist()
    if wrong:
        fault = "both" if test[images["image"] == wrong[0]].item() else "none"
        raise DataError(f"{path}: {wrong[0]}{and_more(wrong)} is in {fault} of {' and '.join(LISTS)}; copy both again")
    parted = images["patient"][test.groupby(images["patient"]).transform("nunique") > 1].tolist()
    if parted:
        raise DataError(f"{path}: patient {parted[0]} is in both of {' and '.join(LISTS)}; copy both again")
    chance = [hashlib.blake2b(name.encode(), digest_size=1).digest()[0] for name in images["patient"]]  # 0 to 255
    return np.where(test, "test", np.where(np.array(chance) < 256 / ONE_IN, "val", "train"))


def _files(path: Path) -> dict[str, Path]:
    """The images of all folders, by name. Raises DataError for one that is there twice."""
    folders = [path / "images", *(f / "images" for f in entries(path) if f.name.lower().startswith("images_"))]
    files: dict[str, Path] = {}
    for file in (file for folder in folders if folder.is_dir() for file in entries(folder)):
        if end := ending(a_file(file), (".png",)):
            other = files.setdefault(file.name.removesuffix(end) + ".png", file)
            if other != file:
                raise DataError(f"{file}: the image is also {other}; keep one of the two")
    return files


def _decoded(files: Sequence[Path], side: int) -> Iterator[np.ndarray]:
    """(1, side, side) uint8 each."""
    for grey in each(files, _grey):
        yield square(grey / np.float32(255), side)[None]


def _grey(file: Path) -> np.ndarray:
    """(H, W) uint8."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            mode, grey = image.mode, np.asarray(image.convert("L"))  # a few are RGBA, of equal colours
    except Exception as error:  # Pillow raises many kinds for a broken PNG
        raise DataError(f"{file}: cannot be read as an image ({first_line(error)}); {AGAIN}") from error
    if mode not in ("L", "RGB", "RGBA"):
        raise DataError(f"{file}: is of mode {mode}; images are 8-bit grey or RGBA, {AGAIN}")
    return not_blank(str(file), grey)


def _end(file: Path) -> str:
    """A PNG's last bytes, which stand for it in the fingerprint: tens of GB are not read each time."""
    with file.open("rb") as stream:
        stream.seek(max(0, file.stat().st_size - TAIL))
        end = stream.read()
    if not end.endswith(LAST_CHUNK):
        raise DataError(f"{file}: is no PNG, or cut short; {AGAIN}")
    return end.hex()


DATASET = Dataset(
    name="nih-chestxray14", title="NIH ChestX-ray14", case="image", group="patient",
    shows="a chest X-ray and its findings", target="label", read=read, cases=cases,
    licence="NIH: no restriction on use",
    cite="Wang et al., ChestX-ray8, IEEE CVPR 2017, pp. 3462-3471, doi 10.1109/CVPR.2017.369",
    source="Data_Entry_2017_v2020.csv, BBox_List_2017.csv, train_val_list.txt, test_list.txt and the twelve archives "
    "of images, unpacked, from the NIH Clinical Center (nihcc.app.box.com/v/ChestXray-NIHCC)",
    attribution="""\
Chest X-rays of NIH ChestX-ray14, provided by the NIH Clinical Center, https://nihcc.app.box.com/v/ChestXray-NIHCC
(no restriction on use). No image is kept here, only each image's name, its labels and the networks' predictions. Cite:

- Wang X. et al., ChestX-ray8: Hospital-scale Chest X-ray Database and Benchmarks on Weakly-Supervised Classification
  and Localization of Common Thorax Diseases, IEEE CVPR 2017, pp. 3462-3471, doi 10.1109/CVPR.2017.369.
""",
    people="nih-chestxray14", score="mean_auc", marks=(TABLES, (BOXES,), *((name,) for name in LISTS)),
    check=check_copy,
)  # fmt: skip
