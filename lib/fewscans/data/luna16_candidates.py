"""LUNA16's candidates as samples: which of them, cut to patches, and what FROC must know of the test scans.

Training, validation and test are LUNA16's own folds 0-5, 6 and 7-9, so that no scan is in two. Its files name no
patients: should one of them have two of the 888 scans, they may lie in different folds. All positives are taken;
of the hundreds of negatives a scan has, a draw: for testing so many a scan (Winkels and Cohen's own list had about 8.4,
LUNA16's second has about 850), for training a pool. A candidate's chance depends on the seed, its scan and its place
alone, and a larger draw holds the smaller ones.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from fewscans.data import cut as cutting
from fewscans.data import luna16, mhd
from fewscans.data.cut import axial, cut, to_code, to_unit
from fewscans.data.luna16 import XYZ, Luna16
from fewscans.data.patch_cache import opened
from fewscans.data.samples import Samples
from fewscans.errors import DataError

__all__ = ["axial", "choose", "cut", "inside", "prepare", "reference", "to_code", "to_unit"]

AT_ONCE = 64  # patches in memory; LUNA16's second list has up to some thousand a scan
REFERENCE = ["kind", "scan", "nodule", "case", "malignant"]


def prepare(
    folder: Path | str,
    size: Sequence[int],
    spacing_mm: Sequence[float],
    margin: Sequence[int] | int = 1,
    negatives_per_scan: int | None = None,
    train_negatives: int | None = None,
    seed: int = 0,
    cache: Path | str | None = None,
) -> Samples:
    """The candidates of a folder in LUNA16's layout as samples, cut once and kept.

    Args:    size: (D, H, W) at spacing_mm (z, y, x), or (H, W) at (y, x) for one axial cut through the centre.
             margin: samples more on every side, for augmentation to crop from; per axis, or one number for all.
             negatives_per_scan: at most so many are drawn of each scan; None: all.
             train_negatives: at most so many are drawn of all training scans together, instead.
             cache: the folder of all such patches; None: the project's build/patches.
    Returns: Samples with images (n, D + 2 margin, H + 2 margin, W + 2 margin), ordered by scan and row; group is the
             series, case its last twelve characters and the row (from 0) in the candidates' file, reference() for FROC.
    Raises:  DataError for what `luna16.read` refuses, an impossible argument, or a split without one of the classes.
    """
    settings = _checked(size, spacing_mm, margin, negatives_per_scan, train_negatives, seed)
    data = luna16.read(folder)
    chosen = choose(data, negatives_per_scan, train_negatives, seed)
    for split in ("train", "val", "test"):
        for label in (0, 1):
            if not ((chosen["split"] == split) & (chosen["label"] == label)).any():
                raise DataError(
                    f"{data.path}: no candidate of class {label} is in split '{split}'; {data.candidates_file} and the "
                    "folds 0-5 (train), 6 (val), 7-9 (test) must give each split both"
                )
    fingerprint = _digest({"data": data.fingerprint, "split": "folds 0-5, 6, 7-9", **settings})
    if cache is None:
        from fewscans import paths

        cache = paths.build() / "patches"
    place = Path(cache) / _digest({"fingerprint": fingerprint, "code": _code()})[:32]
    shape = tuple(n + 2 * m for n, m in zip(settings["size"], settings["margin"], strict=True))
    images = opened(place, chosen, shape, lambda: _patches(data, chosen, shape, settings["spacing_mm"]))
    return Samples(
        images=images,
        labels=chosen["label"].to_numpy(np.int64),
        case=chosen["case"].to_numpy(str),
        group=chosen["series"].to_numpy(str),
        split=chosen["split"].to_numpy(str),
        fingerprint=fingerprint,
        path=data.path,
        truth=reference(data, chosen),
    )


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
        hit, off = (_inside_any(points, found.get(series)) for found in (nodules, findings))
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
        found = nodules.get(series)
        names = [] if found is None else [f"{series[-12:]}:nodule{row}" for row in found.index]
        grades = [] if found is None else found["malignant"].tolist()
        named += [("nodule", series, name, "", grade) for name, grade in zip(names, grades, strict=True)]
        if series not in cases:
            continue
        points, case = cases[series][XYZ].to_numpy(), cases[series]["case"].tolist()
        lies = np.zeros((len(points), 0), bool)
        if found is not None:
            lies = inside(points, found[XYZ].to_numpy(), found["diameter_mm"].to_numpy())
        hits += [("hit", series, names[j], case[i], np.nan) for i, j in np.argwhere(lies)]
        off = _inside_any(points, findings.get(series)) & ~lies.any(axis=1)
        aside += [("excluded", series, "", case[i], np.nan) for i in np.flatnonzero(off)]
    frame = pd.DataFrame([*scans, *named, *hits, *aside], columns=REFERENCE)
    return frame.astype({**dict.fromkeys(REFERENCE[:4], "str"), "malignant": "float64"})


def _patches(
    data: Luna16, chosen: pd.DataFrame, shape: tuple[int, ...], spacing_mm: tuple[float, ...]
) -> Iterator[np.ndarray]:
    """(k, *shape) uint8 in the order of `chosen`, one scan open at a time."""
    one = cut if len(shape) == 3 else axial
    paths = dict(zip(data.scans["series"], data.scans["path"], strict=True))
    for series, rows in chosen.groupby("series"):  # ascending, as chosen is
        volume = mhd.read(paths[series])
        points = rows[XYZ].to_numpy()
        for start in range(0, len(points), AT_ONCE):
            yield to_code(to_unit(one(volume, points[start : start + AT_ONCE], shape, spacing_mm)))


def _by_scan(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {series: rows for series, rows in frame.groupby("seriesuid")}


def _inside_any(points: np.ndarray, found: pd.DataFrame | None) -> np.ndarray:
    if found is None:
        return np.zeros(len(points), bool)
    return inside(points, found[XYZ].to_numpy(), found["diameter_mm"].to_numpy()).any(axis=1)


def _first_of_each(ordered: pd.DataFrame, number: int | None) -> pd.DataFrame:
    return ordered if number is None else ordered.groupby("series").head(number)


def _checked(size, spacing_mm, margin, negatives_per_scan, train_negatives, seed) -> dict:
    """The arguments in one spelling, so that equal ones have equal hashes."""
    size = tuple(size)
    margin = (margin,) * len(size) if isinstance(margin, int) else tuple(margin)
    spacing = tuple(float(s) for s in spacing_mm)

    def whole(values, least: int) -> bool:
        return all(isinstance(v, int | np.integer) and not isinstance(v, bool) and v >= least for v in values)

    if len(size) not in (2, 3) or not whole(size, 1):
        raise DataError(f"size {size}: it must be whole numbers of samples, (D, H, W) or (H, W)")
    if len(spacing) != len(size) or not all(np.isfinite(s) and s > 0 for s in spacing):
        raise DataError(f"spacing_mm {spacing}: it must be {len(size)} numbers above 0, one for each axis of {size}")
    if len(margin) != len(size) or not whole(margin, 0):
        raise DataError(f"margin {margin}: it must be whole numbers from 0, one for each axis of {size}")
    for name, value in (("negatives_per_scan", negatives_per_scan), ("train_negatives", train_negatives)):
        if value is not None and not whole((value,), 1):
            raise DataError(f"{name} {value!r}: it must be a whole number above 0, or None")
    if not whole((seed,), 0):
        raise DataError(f"seed {seed!r}: it must be a whole number from 0")
    return {
        "size": [int(n) for n in size],
        "spacing_mm": list(spacing),
        "margin": [int(n) for n in margin],
        "negatives_per_scan": None if negatives_per_scan is None else int(negatives_per_scan),
        "train_negatives": None if train_negatives is None else int(train_negatives),
        "seed": int(seed),
    }


def _chance(text: str) -> float:
    """A number in [0, 1) that a text decides, alone."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest()) / 2**56


def _digest(content: dict) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _code() -> str:
    """What cuts the patches, without its comments: patches kept from before a change of it are not taken for new."""
    sources = [Path(module.__file__).read_text(encoding="utf-8") for module in (mhd, cutting)]
    sources.append(Path(__file__).read_text(encoding="utf-8"))
    return "\n".join(ast.unparse(ast.parse(source)) for source in sources)
