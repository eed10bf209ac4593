"""FROC: the share of nodules found, against the mean number of false positives per scan, as LUNA16 scores it; and the
share of lesions found, against false positives per slide, as CAMELYON16 does.

LUNA16's rule is that of the organisers' script, noduleCADEvaluationLUNA16.py (Setio et al., Medical Image Analysis
42:1-13, 2017): a mark lies inside a finding if its distance to the centre is strictly below the radius; a diameter
below 0 is unknown and taken as 10 mm. A nodule is found at the highest probability among the marks inside it; its
other marks are ignored. A mark inside two nodules finds both. A mark inside an excluded finding, and in no nodule,
counts for nothing; any other mark is a false positive. A nodule without a mark is never found, but counts among the
nodules. Marks of equal probability enter together, so the curve has one point per distinct probability; the overall
score is the mean of the sensitivities at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false positives per scan.

Where this differs from the script, on purpose:
* The script's main program, in the copies one finds, keeps the 100 most probable marks of each scan; here all count,
  which is the default of the function it calls.
* It leaves out marks and findings of scans that are not listed without a word, and lets a nodule of diameter 0 never
  be found; here both are errors.
* It reads the curve on 10,001 equally spaced rates, of which only 1/8 and 8 are among the seven; here they are exact.
* Its bootstrap bounds the sensitivity at each rate. `FrocCurve.interval` bounds the score, by the same order statistics
  of 1,000 resamples of the scans; resamples without a nodule, on which the script fails, are left out.

CAMELYON16's rule is that of the organisers' Evaluation_FROC.py: lesions are those of `data.formats.lesions`, on masks
of level 5. A detection is one pixel of the mask. Outside all lesions it is a false positive, inside isolated tumour
cells it counts for nothing. A lesion is found at the highest probability inside it. The false positives of all slides
are divided by the number of all slides; the score is the mean sensitivity at 1/4, 1/2, 1, 2, 4 and 8 of them.

Where this differs from that script, on purpose:
* The script gives a missed lesion, and each one of isolated cells, the probability 0, and then drops the lowest of all
  probabilities. That is the 0, if there is one: a detection of probability 0 never counts, and here it is left out
  from the start. If there is none, because all lesions are found and none is of isolated cells, the script loses the
  curve's last point. Here it is kept. The score differs only if a found lesion has the lowest probability of all.
* The script holds the probabilities of lesions in single precision, those of false positives in double, so that ties
  may split. Here all are double.
* A mask that is 0 everywhere holds no lesion; the script's distance transform invents one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from fewscans.data.formats import lesions
from fewscans.stats.estimate import Estimate
from fewscans.stats.weighted import last_of_runs

RATES = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0)  # false positives per scan
SLIDE_RATES = RATES[1:]  # false positives per slide
UNKNOWN_DIAMETER_MM = 10.0

_PLACE = ("seriesuid", "coordX", "coordY", "coordZ")
_CHUNK = 250_000  # elements of an intermediate array: 2 MB, so that it stays in the processor's cache
_USABLE = 0.9  # share of resamples that must hold a nodule


@dataclass(frozen=True, eq=False)
class Marks:
    """All that FROC needs to know of a test set. Make it with `ranked`.

    probability: (m,) descending.   found: (m,) bool; True is a nodule at its best mark, False a false positive.
    scan: (m,) its scan's number.   nodules: (n_scans,) how many each scan holds, found or not.   counted: (n_scans,)
    bool, the scans whose false positives count, and whose number divides them.
    """

    probability: np.ndarray
    found: np.ndarray
    scan: np.ndarray
    nodules: np.ndarray
    counted: np.ndarray

    @classmethod
    def ranked(cls, probability, found, scan, nodules, counted=None) -> Marks:
        """From marks in any order.   counted: default all scans; false positives of the others are left out."""
        order = np.argsort(-probability, kind="stable")
        counted = np.ones(len(nodules), dtype=bool) if counted is None else np.asarray(counted)
        order = order[found[order] | counted[scan[order]]]
        return cls(probability[order], found[order], scan[order], np.asarray(nodules), counted)

    def above(self, probability: float) -> Marks:
        """Without the marks of this probability or a lower one."""
        n = np.count_nonzero(self.probability > probability)
        return replace(self, probability=self.probability[:n], found=self.found[:n], scan=self.scan[:n])

    def thresholds(self) -> np.ndarray:
        """(t,) how many marks have at least each distinct probability, highest first."""
        return last_of_runs(self.probability) + 1


@dataclass(frozen=True, eq=False)
class FrocCurve:
    """false_positives: (t + 1,) mean per scan, ascending from 0; sensitivity: (t + 1,) from 0; one point per distinct
    probability after the first, (0, 0).   thresholds: (t + 1,) probabilities from infinity down.   marks: what is
    resampled.   rates: the false positives per scan at which it is scored by default.

    Several points may share one false-positive rate: there the curve is vertical, and its highest sensitivity counts.
    """

    false_positives: np.ndarray
    sensitivity: np.ndarray
    thresholds: np.ndarray
    marks: Marks
    rates: tuple[float, ...] = RATES

    @classmethod
    def of(cls, marks: Marks, rates: tuple[float, ...] = RATES) -> FrocCurve:
        """Raises ValueError if there is no nodule to be found, or no scan whose false positives count."""
        if not marks.nodules.sum():
            raise ValueError(f"none of the {len(marks.nodules)} scans holds a nodule; sensitivity is not defined")
        if not marks.counted.any():
            raise ValueError(f"none of the {len(marks.nodules)} scans is negative; false positives cannot be counted")
        ends = marks.thresholds()
        found = np.append(0, np.cumsum(marks.found)[ends - 1])
        return cls(
            false_positives=(np.append(0, ends) - found) / marks.counted.sum(),
            sensitivity=found / marks.nodules.sum(),
            thresholds=np.append(np.inf, marks.probability[ends - 1]),
            marks=marks,
            rates=rates,
        )

    def score(self, at: float | Iterable[float] | None = None) -> float:
        """Mean sensitivity at these false-positive rates per scan, by default the curve's: straight lines between
        points, the last value beyond the last point. Raises ValueError for a rate below 0 or none at all.
        """
        alone = np.ones((1, len(self.marks.nodules)))
        return float(sensitivities(self.marks, alone, self.rates if at is None else at).mean())

    def interval(
        self,
        at: float | Iterable[float] | None = None,
        n_bootstrap: int = 1000,
        rng: int | np.random.Generator = 0,
        level: float = 0.95,
    ) -> Estimate:
        """The score with its percentile interval over resamples of whole scans, those without marks included.

        It knows of other scans only, not of other trainings: for scores of trained networks see `intervals`.
        Raises ValueError for fewer than 2 scans or 100 resamples, or if too few resamples hold a nodule and a scan
        whose false positives count.
        """
        n = len(self.marks.nodules)
        if n < 2:
            raise ValueError(f"scans are resampled, and there is {n}; an interval needs at least 2")
        if n_bootstrap < 100:
            raise ValueError(f"n_bootstrap must be at least 100 for percentiles, got {n_bootstrap}")
        weights = np.random.default_rng(rng).multinomial(n, np.full(n, 1 / n), size=n_bootstrap).astype(float)
        usable = (weights @ self.marks.nodules > 0) & (weights @ self.marks.counted > 0)
        if usable.mean() < _USABLE:
            raise ValueError(
                f"only {usable.mean():.0%} of the resamples of {n} scans hold a nodule"
                f"{'' if self.marks.counted.all() else ' and a negative scan'}; too few do for an interval"
            )
        drawn = sensitivities(self.marks, weights[usable], self.rates if at is None else at).mean(axis=1)
        low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], method="higher")
        value = self.score(at)
        return Estimate(value, min(low, value), max(high, value), level)


def luna16_froc(
    annotations: pd.DataFrame, excluded: pd.DataFrame, candidates: pd.DataFrame, series_uids: Iterable[str]
) -> FrocCurve:
    """The curve of one system's marks, by LUNA16's rule (see above).

    annotations, excluded: seriesuid, coordX, coordY, coordZ, diameter_mm (world coordinates and mm).   candidates:
    seriesuid, coordX, coordY, coordZ, probability (any finite number, higher is more suspicious).   series_uids: all
    scans of the test set, also those without nodules or marks: their number divides the false positives.
    Raises ValueError naming table, row and value: a missing column, a scan that is not listed, or listed twice, a
    coordinate, diameter or probability that is not finite, a diameter of 0, no scans, no nodules.
    """
    scans = _scans(series_uids)
    nodule_scan, nodule_mm, nodule_radius = _findings(annotations, "annotations", scans)
    other_scan, other_mm, other_radius = _findings(excluded, "excluded", scans)
    mark_scan, mark_mm = _places(candidates, "candidates", (*_PLACE, "probability"), scans)
    probability = _finite(candidates, "candidates", "probability")

    n_nodules = len(nodule_scan)
    mark, finding = _inside(
        mark_mm, mark_scan, np.vstack([nodule_mm, other_mm]), np.append(nodule_radius, other_radius),
        np.append(nodule_scan, other_scan), len(scans),
    )  # fmt: skip
    best = np.full(n_nodules, -np.inf)
    hit = finding < n_nodules
    np.maximum.at(best, finding[hit], probability[mark[hit]])
    is_false = np.ones(len(mark_scan), dtype=bool)
    is_false[mark] = False  # inside a nodule, or inside an excluded finding
    is_found = np.isfinite(best)
    n_found, n_false = is_found.sum(), is_false.sum()
    marks = Marks.ranked(
        probability=np.append(best[is_found], probability[is_false]),
        found=np.repeat([True, False], [n_found, n_false]),
        scan=np.append(nodule_scan[is_found], mark_scan[is_false]),
        nodules=np.bincount(nodule_scan, minlength=len(scans)),
    )
    return FrocCurve.of(marks)


def camelyon16_froc(
    masks: Mapping[str, np.ndarray | None],
    detections: Mapping[str, pd.DataFrame],
    per: Literal["slide", "negative slide"] = "slide",
    level: int = 5,
    microns_per_pixel: float = 0.243,
) -> FrocCurve:
    """The curve of one system's detections, by CAMELYON16's rule (see above).

    masks: by slide, (H, W) with 255 for tumour, or None for a normal slide.   detections: by slide, a table of
    probability, x, y (level-0 pixels), empty where there are none.   per: "negative slide" counts false positives only
    on slides without any tumour, and divides by their number.   level: of the masks.   microns_per_pixel: of level 0.
    Raises ValueError naming slide, row and value: a slide that only one of both has, a missing column, a probability
    below 0, a number that is not finite, a detection outside the mask, a mask without 255 (`lesions.label`), no
    lesions, and no negative slide where these are asked for.
    """
    if per not in ("slide", "negative slide"):
        raise ValueError(f"per must be 'slide' or 'negative slide', got {per!r}")
    if not masks:
        raise ValueError("masks is empty; give every slide of the test set, with None for a normal one")
    if odd := sorted(set(masks) ^ set(detections)):
        here, there = ("masks", "detections") if odd[0] in masks else ("detections", "masks")
        raise ValueError(
            f"slide {odd[0]!r} is in {here} and not in {there}; both must name every slide of the test set"
        )
    found, false, negative = [], [], []
    for slide, frame in detections.items():
        try:
            labelled = None if (mask := masks[slide]) is None else lesions.label(mask, microns_per_pixel * 2**level)
        except ValueError as error:
            raise ValueError(f"mask of slide {slide!r}: {error}") from None
        probability, lesion = _hits(frame, f"detections of slide {slide!r}", labelled, level)
        scored = np.zeros(0, dtype=bool) if labelled is None else ~labelled.itc
        best = np.zeros(len(scored) + 1)
        np.maximum.at(best, lesion, probability)
        found.append(best[1:][scored])
        false.append(probability[lesion == 0])
        negative.append(not len(scored))
    n_found, n_false = ([len(p) for p in part] for part in (found, false))
    marks = Marks.ranked(
        probability=np.concatenate(found + false),
        found=np.repeat([True, False], [sum(n_found), sum(n_false)]),
        scan=np.repeat(np.tile(np.arange(len(found)), 2), n_found + n_false),
        nodules=np.array(n_found),
        counted=np.array(negative) if per == "negative slide" else None,
    )
    return FrocCurve.of(marks.above(0.0), SLIDE_RATES)


def _hits(
    frame: pd.DataFrame, name: str, labelled: lesions.Lesions | None, level: int
) -> tuple[np.ndarray, np.ndarray]:
    """Probability of each detection, and the number of the lesion that it lies in, 0 for none."""
    columns = ("probability", "x", "y")
    _require(frame, name, columns)
    probability, x, y = (_finite(frame, name, column) for column in columns)
    column, row = (np.floor(place / 2**level) for place in (x, y))
    height, width = (math.inf, math.inf) if labelled is None else labelled.labels.shape
    outside = (row < 0) | (row >= height) | (column < 0) | (column >= width)
    for wrong, what in ((probability < 0, "has a probability below 0"), (outside, "lies outside the slide")):
        if wrong.any():
            i = np.flatnonzero(wrong)[0]
            raise ValueError(f"{name}: row {i} (probability {probability[i]}, x {x[i]}, y {y[i]}) {what}")
    if labelled is None:
        return probability, np.zeros(len(frame), dtype=int)
    return probability, labelled.labels[row.astype(int), column.astype(int)]


def sensitivities(marks: Marks, weights: np.ndarray, at: float | Iterable[float] = RATES) -> np.ndarray:
    """Sensitivity at R false-positive rates in B resamples of the scans: (B, R).

    weights: (B, n_scans), how often each scan counts; every resample must hold a nodule, and a scan whose false
    positives count. Equals the curve of a test set in which each scan stands that often. Only as many marks are looked
    at as the highest rate asks for, so long lists of improbable marks cost nothing. Raises ValueError for a rate below
    0 or none at all.
    """
    at = np.atleast_1d(np.asarray(at if np.isscalar(at) else list(at), dtype=float))
    if at.ndim != 1 or at.size == 0 or not (np.isfinite(at) & (at >= 0)).all():
        raise ValueError(f"false-positive rates per scan must be numbers of at least 0, got {at.tolist()}")
    ends = np.append(0, marks.thresholds())
    n_found = np.append(0, np.cumsum(marks.found))[ends]
    n_false = ends - n_found
    scan_found, scan_false = marks.scan[marks.found], marks.scan[~marks.found]
    result = np.empty((len(weights), len(at)))
    scans, nodules = weights @ marks.counted, weights @ marks.nodules
    enough = 1.5 * at.max() * scans.max(initial=0) + 10  # false positives to look at, to begin with
    start = 0
    while start < len(weights):
        last = min(int(np.searchsorted(n_false, enough)), len(ends) - 1)
        stop = start + max(1, _CHUNK // (ends[last] + 1))
        some, total = weights[start:stop], scans[start:stop]
        false = _running(some, scan_false[: n_false[last]])
        if last < len(ends) - 1 and (false[:, -1] <= at.max() * total).any():
            enough *= 2
            continue
        found = _running(some, scan_found[: n_found[last]])
        limit, near = total[:, None] * at, np.rint(total[:, None] * at)  # (b, R)
        limit = np.where(near / total[:, None] == at, near, limit)  # 0.29 per scan of 100 is 29, not 28.999...
        within = [np.searchsorted(*pair, side="right") for pair in zip(false, limit, strict=True)]
        left = np.searchsorted(n_false[: last + 1], np.stack(within) - 1, side="right") - 1  # the last point that fits
        right = np.minimum(left + 1, last)
        x, x_right = (np.take_along_axis(false, n_false[point], axis=1) for point in (left, right))
        y, y_right = (np.take_along_axis(found, n_found[point], axis=1) for point in (left, right))
        share = np.divide(limit - x, x_right - x, out=np.zeros_like(x), where=x_right > x)
        result[start:stop] = (y + share * (y_right - y)) / nodules[start:stop, None]
        start = stop
    return result


def _running(weights: np.ndarray, scan: np.ndarray) -> np.ndarray:
    """(B, m + 1) running totals, from 0, of the weights of the marks' scans."""
    totals = np.zeros((len(weights), len(scan) + 1))
    np.cumsum(weights[:, scan], axis=1, out=totals[:, 1:])
    return totals


def _inside(mark_mm, mark_scan, centre_mm, radius_mm, finding_scan, n_scans: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (mark, finding) of one scan with the mark strictly inside the finding."""
    marks, findings = _by_scan(mark_scan, n_scans), _by_scan(finding_scan, n_scans)
    pairs = [np.empty((2, 0), dtype=np.int64)]
    for some, here in zip(marks, findings, strict=True):
        if not len(here):
            continue
        step = max(1, _CHUNK // len(here))
        for begin in range(0, len(some), step):
            part = some[begin : begin + step]
            squared = np.zeros((len(part), len(here)))
            for axis in range(3):  # x, y, z, summed in the order of the script
                difference = mark_mm[part, axis, None] - centre_mm[here, axis]
                squared += np.multiply(difference, difference, out=difference)
            i, j = np.nonzero(squared < radius_mm[here] ** 2)
            pairs.append(np.stack([part[i], here[j]]))
    return tuple(np.concatenate(pairs, axis=1))


def _by_scan(scan: np.ndarray, n_scans: int) -> list[np.ndarray]:
    """Row numbers of each scan."""
    order = np.argsort(scan, kind="stable")
    return np.split(order, np.searchsorted(scan[order], np.arange(1, n_scans)))


def _scans(series_uids: Iterable[str]) -> pd.Index:
    if isinstance(series_uids, str | pd.DataFrame):
        raise ValueError(f"series_uids must be a list of scans, got a {type(series_uids).__name__}; give one column")
    scans = pd.Index(list(series_uids), dtype=object)
    if not len(scans):
        raise ValueError("series_uids is empty; list every scan of the test set")
    if scans.has_duplicates:
        raise ValueError(f"series_uids lists {scans[scans.duplicated()][0]!r} twice; each scan counts once")
    return scans


def _findings(frame: pd.DataFrame, name: str, scans: pd.Index) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scan number, centre (n, 3) and radius, in mm, of each finding."""
    scan, centre_mm = _places(frame, name, (*_PLACE, "diameter_mm"), scans)
    diameter_mm = _finite(frame, name, "diameter_mm")
    if (diameter_mm == 0).any():
        raise ValueError(
            f"{name}: diameter_mm is 0 in row {np.flatnonzero(diameter_mm == 0)[0]}; nothing lies inside such a "
            f"finding. An unknown diameter is written as -1 and taken as {UNKNOWN_DIAMETER_MM:g} mm"
        )
    return scan, centre_mm, np.where(diameter_mm < 0, UNKNOWN_DIAMETER_MM, diameter_mm) / 2


def _places(frame: pd.DataFrame, name: str, columns, scans: pd.Index) -> tuple[np.ndarray, np.ndarray]:
    """Scan number and coordinates (n, 3) of each row."""
    _require(frame, name, columns)
    uid = frame["seriesuid"].to_numpy(object)
    scan = scans.get_indexer(uid)
    if (scan < 0).any():
        row = np.flatnonzero(scan < 0)[0]
        raise ValueError(
            f"{name}: seriesuid {uid[row]!r} in row {row} is none of the {len(scans)} series_uids; list that scan, or "
            "leave its rows out"
        )
    return scan, np.stack([_finite(frame, name, column) for column in _PLACE[1:]], axis=1)


def _require(frame: pd.DataFrame, name: str, columns) -> None:
    missing = [column for column in columns if column not in frame]
    if missing:
        raise ValueError(f"{name}: column {missing[0]!r} is missing; needed are {', '.join(columns)}")


def _finite(frame: pd.DataFrame, name: str, column: str) -> np.ndarray:
    try:
        values = frame[column].to_numpy(float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: column {column!r} must hold numbers ({error})") from None
    wrong = np.flatnonzero(~np.isfinite(values))
    if wrong.size:
        raise ValueError(f"{name}: {column} is {values[wrong[0]]} in row {wrong[0]}; every row needs a finite number")
    return values
