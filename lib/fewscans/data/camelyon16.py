"""CAMELYON16: whole slides of lymph nodes, some with breast cancer metastases, and outlines of the tumour.

Both published layouts are read: GigaDB's with the folders training and testing, and that of AWS with images, masks and
annotations. Files are known by their names (tumor_001.tif, tumor_001.xml, tumor_001_mask.tif), in any case, wherever
they lie. A folder `independent` with images, reference.csv and lesion_annotations is a second test set.

Ehteshami Bejnordi et al., JAMA 318:2199-2210 (2017); data: Litjens et al., GigaScience 7:giy065 (2018), CC0.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fewscans.data.base import Cases, Cut, Dataset, digest, ends, first_line, opened_zip, read_table, report
from fewscans.data.formats import asap, slides
from fewscans.data.group_splits import split_by_group
from fewscans.data.listing import below, strays
from fewscans.errors import DataError

NAME = re.compile(r"(normal|tumor|test)_\d+\.tif")
STRAY = re.compile(r"(normal|tumor|test)_\d+\.(tiff|svs|ndpi|mrxs|tif\..*)")
INDEPENDENT, SUFFIXES = "independent", (".tif", ".tiff", ".svs", ".ndpi", ".mrxs")
SPLITS = ("train", "test", INDEPENDENT)
PUBLISHED = {"normal": 159, "tumor": 111, "test": 129}  # slides, of which the first two are training
# From the README of the release: normal_086 has tumour and became tumor_111; test_049 is a duplicate; these hold tumour
# that is not outlined, and lie outside the lesion task.
LEFT_OUT = ("normal_086", "test_049")
PARTLY = (10, 15, 18, 20, 25, 29, 33, 34, 44, 46, 51, 54, 55, 56, 67, 79, 85, 92, 95, 110)
NOT_EXHAUSTIVE = (*(f"tumor_{n:03d}" for n in PARTLY), "test_114")
LABELS = {"normal": 0, "negative": 0, "tumor": 1, "tumour": 1, "macro": 1, "micro": 1, "itc": 1}

# name ("tumor_001"), split, label (0 or 1), slide (Path), annotation (Path, member of a zip file, or None),
# mask (Path or None), exhaustive (all tumour is outlined), scored (in the lesion task)
COLUMNS = ("name", "split", "label", "slide", "annotation", "mask", "exhaustive", "scored")

VAL, SPLIT_SEED = 0.2, 2016  # share of the training slides of either label: 54 of 270


@dataclass(frozen=True, eq=False)
class Copy:
    """The slides of a copy, as files."""

    path: Path
    slides: pd.DataFrame  # COLUMNS
    reference: Mapping[str, Mapping[str, int]]  # "test" or "independent" → name → label
    left_out: tuple[str, ...]

    def annotation(self, name: str) -> asap.Annotation:
        """The outlines of a slide's tumour; none for a normal slide.

        Raises:  DataError as `asap.read`, and for a tumour slide without an annotation, or with one that has no tumour.
        """
        slide = self.slide(name)
        if not slide["label"]:
            if slide["annotation"] is not None and asap.read(slide["annotation"]).tumour:
                fault = f"outlines tumour, but {name} is a normal slide by its name or reference.csv"
                raise DataError(f"{slide['annotation']}: {fault}; correct one of them, or leave the slide out")
            return asap.Annotation()
        if slide["annotation"] is None:
            raise DataError(f"{slide['slide']}: has tumour, but {name}.xml is absent; get lesion_annotations.zip")
        annotation = asap.read(slide["annotation"])
        if not annotation.tumour:
            raise DataError(f"{slide['annotation']}: outlines no tumour, but {name} has some; copy it again")
        return annotation

    def slide(self, name: str) -> pd.Series:
        """The row of a slide. Raises ValueError if there is none."""
        return self.slides.iloc[self.slides["name"].tolist().index(name)]


def find_slides(folder: Path | str) -> Copy:
    """Find every slide in a folder or below, with what belongs to it. A copy half downloaded has fewer slides.

    Raises:  DataError for a folder without slides, a slide that is there twice, a training slide with tumour but
             without annotation, a test slide that reference.csv does not list, an unknown type in that file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; name the one that holds training and testing, or images")
    files = below(folder)
    inside = {file: file.relative_to(folder).parts[0].lower() == INDEPENDENT for file in files}
    named = _once((file.stem.lower(), file) for file in files if _is_slide(file, inside[file]))
    found = {name: file for name, file in named.items() if name not in LEFT_OUT}
    strays([file for file in files if not inside[file] and STRAY.fullmatch(file.name.lower())],
           "is named as a slide, and slides are .tif files; convert it, or move it away")  # fmt: skip
    if not found:
        raise DataError(f"{folder}: no slide such as tumor_001.tif in it or below; put CAMELYON16's slides there")
    lists = [file for file in files if file.name.lower() == "reference.csv"]
    reference = {split: _labels(f for f in lists if inside[f] == (split == INDEPENDENT)) for split in SPLITS[1:]}
    masks = _ending(files, "_mask.tif", found)
    outlines = _ending(_zipped(files), ".xml", found) | _ending(files, ".xml", found)
    rows = []
    for name, file in found.items():
        split = INDEPENDENT if inside[file] else "test" if name.startswith("test") else "train"
        label = int(name.startswith("tumor")) if split == "train" else reference[split].get(name)
        if label is None:
            raise DataError(f"{file}: no reference.csv says whether it shows tumour; get testing/reference.csv")
        wrong = [s for s, known in reference.items() if not inside[file] and known.get(name, label) != label]
        if wrong:
            raise DataError(f"{file}: the reference.csv of {wrong[0]} gives it another label than its name; keep one")
        if label and split == "train" and name not in outlines:
            raise DataError(f"{file}: has tumour but no annotation, {name}.xml; get training/lesion_annotations.zip")
        outline, exhaustive = outlines.get(name), name not in NOT_EXHAUSTIVE
        rows.append((name, split, label, file, outline, masks.get(name), exhaustive, exhaustive))
    rows.sort(key=lambda row: (SPLITS.index(row[1]), row[0]))
    table = pd.DataFrame(rows, columns=COLUMNS).astype({"annotation": object, "mask": object})
    return Copy(folder, table, reference, tuple(name for name in LEFT_OUT if name in named))


def cases(path: Path | str, cut: Cut, cache: Path | None = None) -> Cases:
    """One case a slide: its overview, of the size of the cut, which is square, and whether it shows tumour.

    A fixed share of the training slides of either label is "val"; "independent" is a split of its own.
    Returns: images (n, S, S, 3). `about` has slide (its file), exhaustive and scored as in `Copy`, mpp (µm a level-0
             pixel; NaN where the file does not say it), width and height of level 0.
    Raises:  ValueError for a cut that is not square; DataError as `find_slides` and `slides.open_slide`.
    """
    if len(cut.size) != 2 or cut.size[0] != cut.size[1]:
        raise ValueError(f"size {cut.size}: an overview is a square, (S, S)")
    found = find_slides(path)
    table = found.slides
    split, name, label = table["split"].to_numpy(str), table["name"].to_numpy(str), table["label"].to_numpy(np.int64)
    for value, kind in enumerate(("normal slides", "tumour slides")):
        here = (split == "train") & (label == value)
        split[here] = split_by_group(name[here], {"val": VAL}, SPLIT_SEED, np.full(here.sum(), kind))
    images, rows = [], []
    for file in table["slide"]:
        with slides.open_slide(file) as slide:
            slides.not_blank(slide)
            images.append(overview(slide, cut.size[0]))
            rows.append((str(file), slide.mpp, slide.levels[0].width, slide.levels[0].height))
    about = pd.DataFrame(rows, columns=["slide", "mpp", "width", "height"]).astype({"mpp": float})
    settings = {"data": _fingerprint(found), "size": cut.size, "val": VAL, "seed": SPLIT_SEED}
    return Cases(
        images=np.stack(images), target=label, case=name, group=name.copy(), split=split,
        fingerprint=digest(settings), path=found.path, left_out=found.left_out,
        about=about.assign(exhaustive=table["exhaustive"], scored=table["scored"]),
    )  # fmt: skip


def overview(slide: slides.Slide, side: int) -> np.ndarray:
    """The whole slide averaged to fit into a square, (side, side, 3) uint8, white beside it; never enlarged."""
    whole = slide.levels[0]
    level = slide.at(max(1, max(whole.width, whole.height) / side))
    known = slide.levels[level]
    factor = max(1, max(known.width, known.height) / side)
    rows, columns = (
        np.linspace(0, pixels, max(1, round(pixels / factor)) + 1).astype(int) for pixels in (known.height, known.width)
    )
    image, widths = np.full((side, side, 3), slides.WHITE, np.uint8), np.diff(columns)[:, None]
    for i, (top, bottom) in enumerate(pairwise(rows)):  # a slide without small levels is too large to be read at once
        strip = slide.read(level, 0, top, known.width, bottom - top)
        sums = np.add.reduceat(strip.sum(axis=0, dtype=np.int64), columns[:-1], axis=0)  # (columns, 3)
        image[i, : len(widths)] = np.rint(sums / (widths * (bottom - top)))
    return image


def lesion_mask(copy: Copy, name: str, slide: slides.Slide, downsample: float) -> np.ndarray:
    """Where a slide's tumour is: (H, W) uint8, 255 for tumour, else 0, the size of the slide's level.

    From the mask file if there is one, else drawn from the annotation. In the official masks tumour is 255, or 2 with
    1 for other tissue, or 1: the highest of them that occurs. A normal slide has none, whatever its mask says.
    Raises:  DataError as `Copy.annotation`, and for a mask that cannot be read, has no level of the slide's size within
             a pixel, or holds another value.
    """
    level = slide.levels[slide.at(downsample)]
    if abs(level.downsample / downsample - 1) > 0.01:  # a pyramid that has no such level
        width, height = (int(np.ceil(side / downsample)) for side in (slide.levels[0].width, slide.levels[0].height))
        level = slides.Level(width, height, downsample)
    row = copy.slide(name)
    if not row["label"]:
        return np.zeros((level.height, level.width), np.uint8)
    if row["mask"] is None:
        # Not level.downsample: halved without rounding up, odd sides have 4.01 for pixels that are 4 wide.
        return asap.mask(copy.annotation(name), level.width, level.height, downsample).astype(np.uint8) * 255
    stored = _stored(row["mask"], level)
    values = np.unique(stored)
    odd = np.setdiff1d(values, (0, 1, 2, 255))
    if odd.size:
        raise DataError(f"{row['mask']}: holds {odd[0]}; official masks have 0, 1, 2 or 255, and are never JPEG")
    mask = np.zeros((level.height, level.width), np.uint8)
    tumour = stored[: level.height, : level.width] == max(values[-1], 1)  # the level's size, or a pixel less
    mask[: tumour.shape[0], : tumour.shape[1]][tumour] = 255
    outlined = None
    if row["annotation"] is not None:
        outlined = asap.mask(copy.annotation(name), level.width, level.height, downsample)
    if outlined is not None and outlined.any() and not (outlined & (mask > 0)).any():
        fault = f"shows no tumour where {row['annotation']} outlines it"
        raise DataError(f"{row['mask']}: {fault}; one of them is damaged, or of another slide: copy both again")
    if outlined is None and not mask.any():
        raise DataError(f"{row['mask']}: shows no tumour, but {name} has some; copy it again")
    return mask


def check_copy(folder: Path | str) -> dict[str, Any]:
    """What a copy holds, and what it lacks of the published slides; see `base.report`."""
    try:
        found = find_slides(folder)
    except DataError as error:
        return report([str(error)])
    table = found.slides
    which = table["split"].where(table["split"] != "train", table["label"].map({0: "normal", 1: "tumor"}))
    counts = {what: int((which == what).sum()) for what in (*PUBLISHED, INDEPENDENT)}
    lacks = [f"{of} has {counts[of]} slides, published are {n}" for of, n in PUBLISHED.items() if counts[of] != n]
    for split, labels in found.reference.items():
        absent = sorted(set(labels) - {*table["name"], *LEFT_OUT})
        if absent:
            lacks.append(f"{len(absent)} slides that the reference.csv of {split} lists are absent: {absent[0]} ...")
    for name, file, outlined, masked in table[["name", "slide", "annotation", "mask"]].itertuples(index=False):
        try:
            with slides.open_slide(file) as slide:
                slides.not_blank(slide)
                if masked is not None:
                    lesion_mask(found, name, slide, slide.levels[-1].downsample)
            if outlined is not None or masked is None:
                found.annotation(name)
        except DataError as error:
            lacks.append(str(error))
    return report(lacks, counts, _fingerprint(found))


def _is_slide(file: Path, inside: bool) -> bool:
    name, folder = file.name.lower(), file.parent.name.lower()
    return folder == "images" and name.endswith(SUFFIXES) if inside else bool(NAME.fullmatch(name))


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    files: dict[str, Any] = {}
    for name, file in pairs:
        if files.setdefault(name, file) is not file:
            raise DataError(f"{file}: {name} is also {files[name]}; keep one of the two")
    return files


def _ending(files: Iterable[Any], end: str, names: Iterable[str]) -> dict[str, Any]:
    """Slide → its file with such an ending."""
    named = ((file.name.lower().removesuffix(end), file) for file in files if file.name.lower().endswith(end))
    return _once(pair for pair in named if pair[0] in names)


def _zipped(files: Iterable[Path]) -> Iterator[zipfile.Path]:
    """The annotations in zip files, which stay packed."""
    for file in files:
        if re.fullmatch(r"lesion_annotations.*\.zip", file.name.lower()):
            archive = opened_zip(file, "copy it again")
            yield from (zipfile.Path(archive, name) for name in archive.namelist())


def _labels(tables: Iterable[Path]) -> dict[str, int]:
    """Name → label from reference.csv, with a header or without."""
    labels: dict[str, int] = {}
    options = {"header": None, "names": ["image", "type"], "usecols": [0, 1], "dtype": str, "keep_default_na": False}
    for table in tables:
        rows = read_table(table, ("image", "type"), "a row has a slide and its type; copy it again", **options)
        if not rows["image"].str.strip().any():
            raise DataError(f"{table}: names no slide; copy it again")
        for image, kind in rows.apply(lambda column: column.str.strip().str.lower()).itertuples(index=False):
            if (image, kind) in (("image", "type"), ("", "")):
                continue
            name = re.sub(rf"({'|'.join(SUFFIXES)})$", "", image)
            if kind not in LABELS:
                raise DataError(f"{table}: {name} is of the unknown type {kind!r}; known are {', '.join(LABELS)}")
            if labels.setdefault(name, LABELS[kind]) != LABELS[kind]:
                raise DataError(f"{table}: {name} is {kind} here, and of the other label in another row; keep one")
    return labels


def _stored(file: Path, level: slides.Level) -> np.ndarray:
    """The mask's level of a slide's level, (h, w), by tifffile: tiles that are not stored are 0, not white."""
    import tifffile

    try:
        with tifffile.TiffFile(file) as tiff:
            levels = [known for series in tiff.series for known in series.levels if known.axes in ("YX", "YXS")]
            for known in levels:
                height, width = known.shape[:2]
                if max(abs(width - level.width), abs(height - level.height)) <= 1:
                    return known.asarray().reshape(height, width, -1)[..., 0]
    except Exception as error:  # each codec has its own
        raise DataError(f"{file}: cannot be read as a TIFF mask ({first_line(error)}); copy it again") from error
    sizes = ", ".join(f"{known.shape[1]} x {known.shape[0]}" for known in levels) or "none"
    theirs = f"the slide's is {level.width} x {level.height} pixels; get this slide's mask"
    raise DataError(f"{file}: its levels are {sizes}, {theirs}")


def _fingerprint(copy: Copy) -> str:
    """Of all that decides results, as 700 GB cannot be hashed: labels, outlines, and the ends of slides and masks."""
    content = []
    for name, split, label, slide, outline, mask in copy.slides.iloc[:, :6].itertuples(index=False):
        outlined = None if outline is None else hashlib.sha256(outline.read_bytes()).hexdigest()
        content.append([name, split, label, ends(slide), outlined, None if mask is None else ends(mask)])
    return digest({"slides": content})


DATASET = Dataset(
    name="camelyon16", title="CAMELYON16 slides", case="slide", group="slide", shows="lymph node sections",
    target="label", read=find_slides, cases=cases, licence="CC0",
    cite="Ehteshami Bejnordi et al., JAMA 318:2199-2210 (2017), doi 10.1001/jama.2017.14585; data: Litjens et al., "
    "GigaScience 7:giy065 (2018), doi 10.1093/gigascience/giy065",
    source="CAMELYON16 (gigadb.org/dataset/100439, or s3://camelyon-dataset/CAMELYON16 of AWS Open Data; 700 GB): its "
    "folders training and testing, or images, masks and annotations with reference.csv",
    attribution="""\
Slides of CAMELYON16, GigaDB 100439 (CC0: no rights reserved). No image is kept here, only each slide's name, its label,
and predictions. Cite:

- Ehteshami Bejnordi B. et al., Diagnostic assessment of deep learning algorithms for detection of lymph node metastases
  in women with breast cancer, JAMA 318:2199-2210 (2017).
- Litjens G. et al., 1399 H&E-stained sentinel lymph node sections of breast cancer patients: the CAMELYON dataset,
  GigaScience 7:giy065 (2018).
""",
    people="CAMELYON16", twin="camelyon16", score="lesion_froc",
    marks=(("training", "images", "testing"), ("training/tumor", "training/normal", "images/tumor_001.tif")),
    check=check_copy,
)  # fmt: skip
