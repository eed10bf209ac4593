"""LUNA16's candidates as cases: which of them, cut to patches, and what FROC must know of the test scans.

Training, validation and test are LUNA16's own folds 0-5, 6 and 7-9, so that no scan is in two. Its files name no
patients: should one of them have two of the 888 scans, they may lie in different folds. All positives are taken;
of the hundreds of negatives a scan has, a draw: for testing so many a scan (Winkels and Cohen's own list had about 8.4,
LUNA16's second has about 850), for training a pool. A candidate's chance depends on the seed, its scan and its place
alone, and a larger draw holds the smaller ones.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from fewscans.data import content
from fewscans.data.base import REFERENCE, Cases, Cut, code_of, digest
from fewscans.data.formats import cut as cutting
from fewscans.data.formats import luna16, mhd
from fewscans.data.formats.cut import axial, cut, to_code, to_unit
from fewscans.data.formats.luna16 import XYZ, Luna16
from fewscans.data.patch_cache import opened
from fewscans.errors import DataError

AT_ONCE = 64  # patches in memory; LUNA16's second list has up to some thousand a scan


def prepare(folder: Path | str, wanted: Cut, seed: int = 0, cache: Path | str | None = None) -> Cases:
    """The candidates of a folder in LUNA16's layout, cut once and kept.

    Args:    wanted: a size of (D, H, W) at spacing_mm (z, y, x), or (H, W) at (y, x) for one axial cut through the
             centre. Of the negatives of each scan at most `negatives_per_scan` are drawn; of all training scans
             together at most `train_negatives`, instead, if that is a number.   seed: of the draw.
             cache: the folder of all such patches, which are then a memory map; None: nothing is kept, and the images
             lie in memory, some GB of them where every candidate of LUNA16 is cut.
    Returns: images (n, D + 2 margin, H + 2 margin, W + 2 margin), ordered by scan and row; group is the series, case
             its last twelve characters and the row (from 0) in the candidates' file, reference() is for FROC.
    Raises:  DataError for what `luna16.read` refuses, or a split without one of the classes; ParamsError for a cut
             without a spacing.
    """
    size, margin = list(wanted.size), list(wanted.margin or (0,) * len(wanted.size))
    spacing = [float(mm) for mm in wanted.spacing_for("luna16")]
    drawn = {"negatives_per_scan": wanted.negatives_per_scan, "train_negatives": wanted.train_negatives, "seed": seed}
    data = luna16.read(folder)
    chosen = choose(data, **drawn)
    for split in ("train", "val", "test"):
        for label in (0, 1):
            if not ((chosen["split"] == split) & (chosen["label"] == label)).any():
                needed = "the folds 0-5 (train), 6 (val), 7-9 (test) must give each split both"
                fault = f"no candidate of class {label} is in split '{split}'"
                raise DataError(f"{data.path}: {fault}; {data.candidates_file} and {needed}")
    settings = {"size": size, "spacing_mm": spacing, "margin": margin, **drawn}
    fingerprint = digest({"data": data.fingerprint, "split": "folds 0-5, 6, 7-9", **settings})
    shape = tuple(n + 2 * m for n, m in zip(size, margin, strict=True))
    if cache is None:
        images = np.concatenate([*_patches(data, chosen, shape, spacing)])
    else:
        place = Path(cache) / digest({"fingerprint": fingerprint, "code": _code()})[:32]
        images = opened(place, chosen, shape, lambda: _patches(data, chosen, shape, spacing))
    return Cases(
        images=images, target=chosen["label"].to_numpy(np.int64), case=chosen["case"].to_numpy(str),
        group=chosen["series"].to_numpy(str), split=chosen["split"].to_numpy(str), fingerprint=fingerprint,
        path=data.path, truth=reference(data, chosen),
    )  # fmt: skip


def choose(
    data: Luna16, negatives_per_scan: int | None = None, train_negatives: int | None = None, seed: int = 0
) -> pd.DataFrame:
    """Which candidates are used: series, row (in the file, from 0), subset, split, label, case, coordX, coordY, coordZ.

    A candidate inside an excluded finding, and in no nodule, counts neither way in FROC, and is left out of all splits:
    an AUC over the same table would else take it for a negative.
    """
    table = data.candidates.rename(columns={"seriesuid": "series", "class": "label"})
    table = table.assign(row=np.arange(len(table))).merge(data.scans[["series", "subset"]], on="series")
    table = table.sort_values(["series", "row"], ignore_index=True)
    places, excluded, chance = table[XYZ].to_numpy(), np.zeros(len(table), bool), np.empty(len(table))
    nodules, findings = _by_scan(data.annotations), _by_scan(data.excluded)
    for series, rows in table.groupby("series").indices.items():
        points = places[rows]
        hit, off = (_inside(points, found[series]).any(axis=1) for found in (nodules, findings))
        excluded[rows] = off & ~hit
        chance[rows] = [_chance(f"{seed} {series} {x} {y} {z}") for x, y, z in points]
    table = table.assign(split=table["subset"].map(luna16.SPLITS), excluded=excluded, chance=chance)
    ordered = table[(table["label"] == 0) & ~table["excluded"]].sort_values(["chance", "series", "row"])
    train = ordered[ordered["split"] == "train"]
    rest = ordered[ordered["split"] != "train"]
    pool = _first_of_each(train, negatives_per_scan) if train_negatives is None else train[:train_negatives]
    positive = table[(table["label"] == 1) & ~table["excluded"]]
    chosen = pd.concat([positive, pool, _first_of_each(rest, negatives_per_scan)])
    chosen = chosen.sort_values(["series", "row"], ignore_index=True)
    case = [f"{series[-12:]}:{row}" for series, row in zip(chosen["series"], chosen["row"], strict=True)]
    return chosen.assign(case=case)[["series", "row", "subset", "split", "label", "case", *XYZ]]


def inside(points_mm: np.ndarray, centres_mm: np.ndarray, diameter_mm: np.ndarray) -> np.ndarray:
    """(n, m) bool: which of n points lie in which of m findings, as LUNA16's evaluation has it.

    The distance is strictly below the radius; a diameter below 0 is unknown and taken as 10 mm.
    """
    diameter = np.where(np.asarray(diameter_mm) < 0, luna16.UNKNOWN_DIAMETER_MM, diameter_mm)
    squared = ((points_mm[:, None, :] - centres_mm[None, :, :]) ** 2).sum(axis=2)
    return squared < (diameter / 2) ** 2


def reference(data: Luna16, chosen: pd.DataFrame) -> pd.DataFrame:
    """What FROC must know of the test scans: columns kind, scan, nodule, case, malignant.

    Rows: a "scan" each, a "nodule" each (named by its scan and its line in annotations.csv, from 0), a "hit" for each
    chosen candidate and nodule it lies in, an "excluded" for each that lies in an excluded finding and in no nodule
    (none, if `choose` made the list).
    """
    test = data.scans["series"][data.scans["subset"].map(luna16.SPLITS) == "test"].tolist()
    nodules, findings = _by_scan(data.annotations), _by_scan(data.excluded)
    cases = {series: rows for series, rows in chosen[chosen["split"] == "test"].groupby("series")}
    scans = [("scan", series, "", "", np.nan) for series in test]
    named, hits, aside = [], [], []
    for series in test:
        names = [f"{series[-12:]}:nodule{row}" for row in nodules[series].index]
        grades = zip(names, nodules[series]["malignant"].tolist(), strict=True)
        named += [("nodule", series, name, "", grade) for name, grade in grades]
        if series not in cases:
            continue
        points, case = cases[series][XYZ].to_numpy(), cases[series]["case"].tolist()
        lies = _inside(points, nodules[series])
        hits += [("hit", series, names[j], case[i], np.nan) for i, j in np.argwhere(lies)]
        off = _inside(points, findings[series]).any(axis=1) & ~lies.any(axis=1)
        aside += [("excluded", series, "", case[i], np.nan) for i in np.flatnonzero(off)]
    return pd.DataFrame([*scans, *named, *hits, *aside], columns=list(REFERENCE)).astype(REFERENCE)


def _patches(data: Luna16, chosen: pd.DataFrame, shape: Sequence[int], spacing_mm: Sequence) -> Iterator[np.ndarray]:
    """(k, *shape) uint8 in the order of `chosen`, one scan open at a time."""
    one = cut if len(shape) == 3 else axial
    paths = dict(zip(data.scans["series"], data.scans["path"], strict=True))
    for series, rows in chosen.groupby("series"):  # ascending, as chosen is
        volume = luna16.scan(paths[series])
        points = rows[XYZ].to_numpy()
        for start in range(0, len(points), AT_ONCE):
            yield to_code(to_unit(one(volume, points[start : start + AT_ONCE], shape, spacing_mm)))


def _by_scan(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """A scan's rows; none for a scan that the frame does not name."""
    return defaultdict(lambda: frame[:0], {series: rows for series, rows in frame.groupby("seriesuid")})


def _inside(points: np.ndarray, found: pd.DataFrame) -> np.ndarray:
    return inside(points, found[XYZ].to_numpy(), found["diameter_mm"].to_numpy())


def _first_of_each(ordered: pd.DataFrame, number: int | None) -> pd.DataFrame:
    return ordered if number is None else ordered.groupby("series").head(number)


def _chance(text: str) -> float:
    """A number in [0, 1) that a text decides, alone."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest()) / 2**56


def _code() -> list[str]:
    """What cuts the patches: those kept from before a change of it are not taken for new."""
    return code_of([mhd.__file__, luna16.__file__, content.__file__, cutting.__file__, __file__])
