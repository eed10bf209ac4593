"""The scores that the workbook reports, by name, each with a fast way to compute it in every resample of the groups.

A score is a function of (target, prediction) → float. Any such function can be given instead of a name; it is then
called once per seed and resample (about 10,000 times for an interval), so give names where there is one.

Scores of regression (icc, icc:C, mse, mae, log_mse, r2) take any numbers as targets, the others labels of 0 and 1.

Scores by finding (mean_auc, auc:FINDING) take several findings from one table: the case of a row is then called
"<image>/<finding>". matched_auc takes cases that are called by a diameter at their end, "<case>@8.3mm".

Scores by measure (mean:MEASURE, bias:MEASURE, mae:MEASURE) take several measures of one case from one table: the case
of a row is then called "<case>/<measure>", its target is the measure of the truth, its prediction the network's.

Scores of detection (froc, lesion_froc, malignant_in_top) need more than targets: which candidates lie in which nodule
of which scan, the test split's `reference`. So a score is bound to the test cases before it is computed, and what is
resampled is the groups of these cases, or, for detection, all scans of the reference, those without a candidate among
them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from fewscans.stats.auc import auc, checked, sensitivity_at
from fewscans.stats.calibration import brier, expected_calibration_error
from fewscans.stats.cells import Cell
from fewscans.stats.froc import RATES, SLIDE_RATES, sensitivities
from fewscans.stats.icc import agreement, paired, resampled_icc, targets_differ
from fewscans.stats.reference import Layout, Reference
from fewscans.stats.weighted import area, explained, in_top, mean, sensitivity, slowly

KNOWN = (
    "auc, auc:FINDING, mean_auc, accuracy, accuracy:FINDING, log_loss, log_loss:FINDING, "
    "sensitivity@RATE with 0 < RATE < 1, brier, calibration error, "
    "matched_auc@SHARE with 0 < SHARE < 1, positives_in_top@K, "
    "icc, icc:C, mse, mae, log_mse, r2, mean:MEASURE, bias:MEASURE, mae:MEASURE, froc, froc@RATE, malignant_in_top@K, "
    "lesion_froc, lesion_froc@RATE, lesion_froc:negative, lesion_froc:negative@RATE"
)

_NODULE = "a nodule; too few scans hold one"


@dataclass(frozen=True)
class Score:
    """function(target, prediction) → float.   resample(target, prediction, group, weights) → (B,) in B resamples,
    where case i counts weights[b, group[i]] times.   bounds: what the score cannot leave.   both_classes: where
    targets are 0 and 1, it needs cases of each.   varied: it needs two different targets.   detection: for a score
    that needs the reference, how it is bound to a layout of test cases; function and resample then only say so.
    rows: what is appended to a split's name for the split that holds the score's rows, "-lesions" for those of slides.
    findings: for a score that is the mean over some findings, cell → their rows; None: it is of all rows together.
    named: for a score that needs the names of the cases, how it is bound to them.
    """

    name: str
    function: Callable[[np.ndarray, np.ndarray], float]
    resample: Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]
    higher_is_better: bool = True
    bounds: tuple[float, float] = (-math.inf, math.inf)
    both_classes: bool = False
    varied: bool = False
    detection: Callable[[Layout], Bound] | None = None
    rows: str = ""
    findings: Callable[[Cell], list[np.ndarray]] | None = None
    named: Callable[[Cell], Bound] | None = None

    def bind(self, cell: Cell, reference: Reference | None = None) -> Bound:
        """The score of these test cases.

        Raises ValueError if it needs the reference and there is none, for a finding that no row has, or of one class
        only, and for cases that are not called as the score needs.
        """
        if self.detection is not None:
            if reference is None:
                raise ValueError(_without(self.name))
            return self.detection(reference.layout(cell))
        if self.named is not None:
            return self.named(cell)
        parts = [np.arange(len(cell.case))] if self.findings is None else self.findings(cell)
        used = np.concatenate(parts)
        groups, place = np.unique(cell.group[used].astype(str), return_inverse=True)
        group = np.zeros(len(cell.case), dtype=int)  # of rows of other findings it is never read
        group[used] = place
        needed, holds, need = [], None, "both classes; too few groups hold a positive, or a negative,"
        if self.both_classes and np.isin(cell.target, (0, 1)).all():
            needed = [
                np.bincount(group[part], cell.target[part] == label, minlength=len(groups))
                for part in parts
                for label in (0, 1)
            ]
        if self.varied:
            need = "two different targets; too few groups differ in theirs"

            def holds(weights):
                return targets_differ(cell.target, group, weights)

        def function(prediction):
            return float(np.mean([self.function(cell.target[part], prediction[part]) for part in parts]))

        def resample(prediction, weights):
            drawn = [self.resample(cell.target[part], prediction[part], group[part], weights) for part in parts]
            return np.mean(drawn, axis=0)

        return Bound(
            groups=groups,
            function=function,
            resample=resample,
            needed=tuple(needed),
            need=need,
            holds=holds,
        )


@dataclass(frozen=True, eq=False)
class Bound:
    """groups: (G,) names of what is resampled.   function(prediction) → float.   resample(prediction, weights) → (B,)
    in B resamples in which group g stands weights[b, g] times.   needed: counts by group (G,), of each of which a
    resample must hold some; holds: (B, G) → (B,), which resamples hold what no count can tell; need: both in words.
    """

    groups: np.ndarray
    function: Callable[[np.ndarray], float]
    resample: Callable[[np.ndarray, np.ndarray], np.ndarray]
    needed: tuple[np.ndarray, ...] = ()
    need: str = ""
    holds: Callable[[np.ndarray], np.ndarray] | None = None

    def usable(self, weights: np.ndarray) -> np.ndarray:
        """(B,) bool: in which resamples the score can be computed."""
        usable = np.ones(len(weights), dtype=bool) if self.holds is None else self.holds(weights)
        for count in self.needed:
            usable &= weights @ count > 0
        return usable


def score(name: str | Callable | Score) -> Score:
    """The score of that name.

    "auc", "sensitivity@0.05" (at that false-positive rate), "brier", "calibration error".   "mean_auc", the mean of the
    AUCs of all findings.   "accuracy", the share of predictions on the right side of 0.5, which itself counts as 1;
    "log_loss", the mean cross-entropy in nats, of predictions cut to [1e-7, 1 - 1e-7].   "auc:effusion",
    "accuracy:effusion", "log_loss:effusion", those of one finding's rows.   "icc", the absolute agreement of
    predictions with targets, ICC(A,1); "icc:C", their consistency, ICC(C,1); "mse" and "mae", mean squared and absolute
    differences, in the targets' unit, squared or not; "log_mse", the natural logarithm of mse, whose differences are
    logarithms of ratios; "r2", 1 - mse / variance of the targets.   "mean:dice", the mean prediction of one measure's
    rows; "bias:dice", the mean of prediction minus target; "mae:dice", that of its size.   "matched_auc@0.1", of the
    pairs of a positive and a negative case whose diameters differ by at most 10 % of the smaller, the share in which
    the positive has the higher prediction, ties one half.   "positives_in_top@50", how many of the 50 highest
    predictions are of positive cases, equal ones as on average over their orders.   "froc", LUNA16's overall score,
    the mean sensitivity at 1/8 to 8 false positives per scan; "froc@1", the sensitivity at one.
    "lesion_froc", CAMELYON16's, at 1/4 to 8 false positives per slide; "lesion_froc:negative", the same with the false
    positives of slides without tumour alone; both also "@8". Of these a prediction of 0 is no detection.
    "malignant_in_top@250", how many malignant nodules are among the 250 found with the highest predictions.
    A function of (target, prediction) becomes a slow Score in which higher is taken as better.
    Raises ValueError for an unknown name.
    """
    if isinstance(name, Score):
        return name
    if callable(name):
        names = {auc: "auc", brier: "brier", expected_calibration_error: "calibration error", agreement: "icc"}
        known = names.get(name)
        title = getattr(name, "__name__", "score")
        return score(known) if known else Score(title, name, slowly(name), both_classes=True)
    if name == "auc":
        return Score(name, auc, area, bounds=(0.0, 1.0), both_classes=True)
    family, _, finding = str(name).partition(":")
    rows = partial(_rows_by_finding, only=finding) if finding or name == "mean_auc" else None
    if name == "mean_auc" or (family == "auc" and finding):
        return Score(name, auc, area, bounds=(0.0, 1.0), both_classes=True, findings=rows)
    if family == "accuracy":
        return Score(name, _label_loss(_right), mean(_right), bounds=(0.0, 1.0), findings=rows)
    if name == "brier":
        return Score(name, brier, mean(_squared), higher_is_better=False, bounds=(0.0, 1.0))
    if name == "icc":  # no fixed lower bound: it reaches a little below -1
        return Score(name, agreement, resampled_icc("A,1"), bounds=(-math.inf, 1.0), varied=True)
    if name == "icc:C":
        consistency = partial(agreement, kind="C,1")
        return Score(name, consistency, resampled_icc("C,1"), bounds=(-1.0, 1.0), varied=True)
    if family == "log_loss":
        return Score(name, _label_loss(_cross_entropy), mean(_cross_entropy), False, (0.0, math.inf), findings=rows)
    if name in _LOSSES:
        loss = _LOSSES[name]
        return Score(name, lambda y, p: _mean_loss(loss, y, p), mean(loss), False, (0.0, math.inf))
    if family in _MEASURED and finding:
        of = _MEASURED[family]
        bounds = (0.0, 1.0) if family == "mean" and finding.startswith(_SHARES) else (-math.inf, math.inf)
        higher = family == "mean" and not finding.startswith("hd95")
        loss, rows = (lambda y, p: float(of(y, p).mean())), partial(_rows_of_measure, only=finding)
        return Score(name, loss, mean(of), higher, bounds, findings=rows)
    if name == "calibration error":
        slow = slowly(expected_calibration_error)
        return Score(name, expected_calibration_error, slow, False, (0.0, 1.0), both_classes=True)
    if name == "log_mse":
        return Score(name, lambda y, p: _log(_mean_loss(_squared, y, p)), _log_mse, False)
    if name == "r2":
        return Score(name, _r2, explained, bounds=(-math.inf, 1.0), varied=True)
    kind, _, rate = str(name).partition("@")
    at = _number(rate)
    if kind == "matched_auc" and 0 < at < 1:
        return Score(name, *[_says(f"{name} needs the names of the cases")] * 2, bounds=(0.0, 1.0), named=_matched(at))
    if kind == "positives_in_top" and re.fullmatch(r"[1-9]\d*", rate):
        return Score(name, _positives_in_top(int(rate)), _resampled_positives(int(rate)), bounds=(0.0, float(rate)))
    if kind == "sensitivity" and 0 < at < 1:
        return Score(name, lambda y, p: sensitivity_at(y, p, at), sensitivity(at), bounds=(0.0, 1.0), both_classes=True)
    if name == "froc":
        return _detection(name, _froc(RATES), bounds=(0.0, 1.0))
    if kind == "froc" and 0 < at < math.inf:
        return _detection(name, _froc((at,)), bounds=(0.0, 1.0))
    if name in _LESIONS or (kind in _LESIONS and 0 < at < math.inf):
        rates = SLIDE_RATES if name == kind else (at,)
        return _detection(
            name, _froc(rates, lesions=True, negative=kind != "lesion_froc"), bounds=(0.0, 1.0), rows="-lesions"
        )
    if kind == "malignant_in_top" and re.fullmatch(r"[1-9]\d*", rate):
        return _detection(name, _malignant(int(rate)), bounds=(0.0, float(rate)))
    raise ValueError(f"unknown score {name!r}; known: {KNOWN}")


_LESIONS = ("lesion_froc", "lesion_froc:negative")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _rows_by_finding(cell: Cell, only: str) -> list[np.ndarray]:
    """The rows of each finding, by name; only: of this one, unless it is empty."""
    of = np.array([case.rpartition("/")[2] for case in cell.case])
    rows = {finding: np.flatnonzero(of == finding) for finding in ([only] if only else np.unique(of))}
    for finding, row in rows.items():
        labels = np.unique(cell.target[row])
        if len(labels) < 2:
            held = f"have target {labels[0]:g}; an AUC needs both classes" if len(labels) else "are none"
            raise ValueError(f"{cell}: the cases <image>/{finding} {held}; a case here is {cell.case[0]}")
    return list(rows.values())


def _squared(target, prediction):
    return (prediction - target) ** 2


def _absolute(target, prediction):
    return np.abs(prediction - target)


def _rows_of_measure(cell: Cell, only: str) -> list[np.ndarray]:
    """The rows of one measure."""
    rows = np.flatnonzero([case.rpartition("/")[2] == only for case in cell.case])
    if not len(rows):
        raise ValueError(f"{cell}: no case <case>/{only}; a case here is {cell.case[0]}")
    return [rows]


_MEASURED = {"mean": lambda target, prediction: prediction, "bias": lambda t, p: p - t, "mae": _absolute}
_SHARES = ("dice", "surface", "consistency")  # how measures between 0 and 1 begin
_LOSSES = {"mse": _squared, "mae": _absolute}


def _right(target, prediction):
    return (prediction >= 0.5) == (target == 1)


def _cross_entropy(target, prediction):
    cut = np.clip(prediction, 1e-7, 1 - 1e-7)
    return -np.log(np.where(target == 1, cut, 1 - cut))


def _label_loss(loss):
    return lambda target, prediction: _mean_loss(loss, *checked(target, prediction))


def _mean_loss(loss, target, prediction) -> float:
    return float(loss(*paired(target, prediction)).mean())


def _log(value):
    return np.log(np.maximum(value, np.finfo(float).tiny))  # of no error at all, too


def _log_mse(target, prediction, group, weights):
    return _log(mean(_squared)(target, prediction, group, weights))


def _r2(target, prediction) -> float:
    target, prediction = paired(target, prediction)
    if target.min() == target.max():
        raise ValueError(f"all {len(target)} targets are {target[0]:g}; r2 needs two different ones")
    return float(1 - np.mean((prediction - target) ** 2) / target.var())


def _diameters(cell: Cell) -> np.ndarray:
    """(C,) in mm, from the cases' names."""
    found = [re.fullmatch(r".*@(\d+(?:\.\d+)?)mm", str(case)) for case in cell.case]
    if None in found:
        case = cell.case[found.index(None)]
        raise ValueError(f"{cell}: case {case} names no diameter; names end in one, as LIDC-IDRI-0001/1@8.3mm")
    return np.array([float(match[1]) for match in found])


def _matched(share: float):
    """The pairs are those of the cell; in a resample, one counts as often as both of its groups are drawn together."""

    def bound(cell: Cell) -> Bound:
        diameter = _diameters(cell)
        label, _ = checked(cell.target, diameter)
        positive, negative = np.flatnonzero(label == 1), np.flatnonzero(label == 0)
        one, other = diameter[positive, None], diameter[negative]
        up, down = np.nonzero(np.abs(one - other) <= share * np.minimum(one, other) * (1 + 1e-9))
        up, down = positive[up], negative[down]
        if not len(up):
            raise ValueError(f"{cell}: no positive and negative case have diameters within {share:.0%} of each other")
        groups, group = np.unique(cell.group.astype(str), return_inverse=True)
        place = group[up] * len(groups) + group[down]

        def by_groups(of_pairs):
            return np.bincount(place, of_pairs, len(groups) ** 2).reshape(len(groups), -1)

        def drawn(weights, of_groups):
            return np.einsum("bg,bg->b", weights @ of_groups, weights)

        def won(prediction):
            above, below = prediction[up], prediction[down]
            return (above > below) + 0.5 * (above == below)

        count = by_groups(np.ones(len(up)))
        return Bound(
            groups=groups,
            function=lambda prediction: float(won(prediction).mean()),
            resample=lambda prediction, weights: drawn(weights, by_groups(won(prediction))) / drawn(weights, count),
            need="a positive and a negative case of like diameters; too few groups do",
            holds=lambda weights: drawn(weights, count) > 0,
        )

    return bound


def _positives_in_top(top: int):
    def function(target, prediction) -> float:
        target, prediction = checked(target, prediction)
        return float(in_top(top, prediction, target, np.zeros(len(target), dtype=int), np.ones((1, 1)))[0])

    return function


def _resampled_positives(top: int):
    return lambda target, prediction, group, weights: in_top(top, prediction, target, group, weights)


def _detection(name: str, bound: Callable[[Layout], Bound], bounds: tuple[float, float], rows: str = "") -> Score:
    unbound = _says(_without(name))
    return Score(name, unbound, unbound, bounds=bounds, detection=bound, rows=rows)


def _says(complaint: str):
    def unbound(*_):
        raise ValueError(complaint)

    return unbound


def _without(name: str) -> str:
    return (
        f"{name} needs the reference of the test split (its scans and nodules, and the candidates inside them), and "
        "there is none; give it as Resampled(..., reference=)"
    )


def _froc(at: tuple[float, ...], lesions: bool = False, negative: bool = False):
    """lesions: a prediction of 0 is no mark.   negative: only false positives of negative scans count."""

    def bound(layout: Layout) -> Bound:
        counted = layout.negative if negative else np.ones(len(layout.negative), dtype=bool)
        if not counted.any():
            raise ValueError(f"none of the {len(counted)} scans of the reference is negative")

        def resample(prediction, weights):
            marks = layout.marks(prediction, counted)
            return sensitivities(marks.above(0.0) if lesions else marks, weights, at).mean(axis=1)

        need = "a nodule and a negative scan; too few scans are of either kind" if negative else _NODULE
        return _bound(layout, resample, (layout.nodules_per_scan(), counted), need)

    return bound


def _malignant(top: int):
    """Of the `top` found nodules with the highest predictions, how many are malignant; a nodule without a grade is not,
    as in the paper, where a nodule is malignant or anything else. Nodules of equal prediction, a nodule and its own
    copies in a resample among them, count as on average over their orders.
    """

    def bound(layout: Layout) -> Bound:
        scan, ill = layout.reference.nodule_scan[layout.found], layout.reference.malignant[layout.found] == 1
        if not (layout.reference.malignant == 1).any():
            raise ValueError(f"malignant_in_top@{top}: no nodule of the reference is graded malignant")

        def resample(prediction, weights):
            return in_top(top, layout.best(prediction), ill, scan, weights)

        return _bound(layout, resample)

    return bound


def _bound(layout: Layout, resample, needed=(), need=_NODULE) -> Bound:
    once = np.ones((1, len(layout.reference.scans)))
    return Bound(layout.reference.scans, lambda p: float(resample(p, once)[0]), resample, needed, need)
