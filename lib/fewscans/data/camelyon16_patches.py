"""89 patches of four CAMELYON16 slides, 256 pixels a side at level 0 (0.243 µm): real tissue in 12 MB, not 700 GB.

The folder has tumor/*.png and normal/*.png, named <slide>_<x>_<y> after their top left corner, patches.csv that lists
them, and SHA256SUMS. Patches without tumour lie outside the annotation of the same slides. A slide can be scored only
if it shows both: the patches of such slides are the split "test", all others are "train". Patches of a slide overlap.

Ehteshami Bejnordi et al., JAMA 318:2199-2210 (2017); data: Litjens et al., GigaScience 7:giy065 (2018), CC0.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fewscans.data import camelyon16
from fewscans.data.base import Cases, Cut, Dataset, and_more, digest, first_line, read_table, report, unlisted
from fewscans.data.content import not_blank
from fewscans.data.listing import ending, entries
from fewscans.errors import DataError

TABLE = "patches.csv"
COLUMNS = ("file", "label_tumor", "slide")
FOLDERS = {"normal": 0, "tumor": 1}
SIDE = 256
PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
AGAIN = "copy the folder again"


def read(path: Path | str) -> Cases:
    """Read and check all patches.

    Returns: images (n, 256, 256, 3), label 1: tumour.   case: the file's name without ending.   group: the slide.
             split: "test" for slides that show both labels, else "train".
    Raises:  DataError naming the file: a table or patch that is absent or damaged, a patch of another size, one that
             is not in the table or twice, another label than its folder's, no slide with both labels.
    """
    path = Path(path)
    table = read_table(path / TABLE, COLUMNS, AGAIN, dtype=str, keep_default_na=False)
    files = [file for folder in FOLDERS for file in _there(path / folder) if file.is_dir() or ending(file, PICTURES)]
    there = {f"{file.parent.name}/{file.name}" for file in files}
    twice = table["file"][table["file"].duplicated()].tolist()
    for names, fault in (
        (twice, f"is in {TABLE} twice"),
        (sorted(set(table["file"]) - there), "no such file"),
        (sorted(there - set(table["file"])), f"is not in {TABLE}"),
    ):
        if names:
            raise DataError(f"{path / names[0]}: {fault}{and_more(names)}; {AGAIN}")
    label = table["file"].str.partition("/")[0].map(FOLDERS)
    wrong = np.flatnonzero(table["label_tumor"] != label.astype(str))
    if len(wrong):
        name, value = table.iloc[wrong[0]][["file", "label_tumor"]]
        raise DataError(f"{path / TABLE}: {name} has label {value!r}, which is not its folder's; {AGAIN}")
    both = label.groupby(table["slide"]).transform("nunique") == 2
    if not both.any():
        raise DataError(f"{path}: no slide has patches of both labels, so none can be scored; {AGAIN}")
    other = np.flatnonzero(table["file"].str.extract(r"^[^/]*/(.*)_\d+_\d+\.\w+$")[0] != table["slide"])
    if len(other):
        name, slide = table.iloc[other[0]][["file", "slide"]]
        raise DataError(f"{path / TABLE}: {name} is of the slide {slide!r}, and named after another one; {AGAIN}")
    files = [path / name for name in table["file"]]
    return Cases(
        images=np.stack([_pixels(file) for file in files]), target=label.to_numpy(np.int64),
        case=np.array([file.stem for file in files]), group=table["slide"].to_numpy(str),
        split=np.where(both, "test", "train"), fingerprint=digest({}, [*files, path / TABLE], path), path=path,
    )  # fmt: skip


def cases(path: Path | str, cut: Cut, cache: Path | None = None) -> Cases:
    """The patches at their published size; networks see a part, as large as the experiment asks."""
    return read(path)


def check_copy(folder: Path | str) -> dict[str, Any]:
    """What a copy holds, and which files are absent or have other bytes than SHA256SUMS says; see `base.report`."""
    try:
        found = read(folder)
        lacks = unlisted(found.path)
    except (DataError, OSError, ValueError) as error:
        return report([first_line(error)])
    counts = {name: int((found.target == label).sum()) for name, label in FOLDERS.items()}
    return report(lacks, counts, found.fingerprint)


def _there(folder: Path) -> list[Path]:
    return entries(folder) if folder.is_dir() else []


def _pixels(file: Path) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(file) as image:
            pixels = np.asarray(image)[..., :3]  # alpha is 255 throughout
    except Exception as error:  # Pillow raises many kinds for a broken PNG
        raise DataError(f"{file}: cannot be read as an image ({first_line(error)}); {AGAIN}") from error
    if pixels.shape != (SIDE, SIDE, 3) or pixels.dtype != np.uint8:
        raise DataError(f"{file}: is {pixels.dtype} {pixels.shape}; it must be uint8 {(SIDE, SIDE, 3)}; {AGAIN}")
    return not_blank(str(file), pixels)


_WHOLE = camelyon16.DATASET
DATASET = Dataset(
    name="camelyon16-patches", title="CAMELYON16 patches", case="patch", group="slide", shows=_WHOLE.shows,
    target="label", read=read, cases=cases, licence=_WHOLE.licence, cite=_WHOLE.cite,
    source="the folder camelyon16-patches: 89 patches of github.com/DIDSR/DeepLearningCamelyon_II (commit 1d48032, "
    "CC0) in tumor and normal, with patches.csv and SHA256SUMS",
    attribution=_WHOLE.attribution.replace("Slides of", "Patches of").replace("each slide's", "each patch's"),
    people=_WHOLE.people, marks=((TABLE,), ("tumor",), ("normal",)), check=check_copy,
    sha256="87885e64fcdbd6b7e2dcca20e83c985f5eaf52677967cb307eb9b9e4c5180318",
)  # fmt: skip
