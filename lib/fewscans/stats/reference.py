"""What a detection score must know beside the predictions: the scans, their nodules, and which candidates hit them.

The reference of a test split is a table with columns kind, scan, nodule, case, malignant and four kinds of rows:
    scan      every scan of the split, also those without nodules or candidates
    nodule    every nodule: its scan, a name of its own, malignant (1, 0, or NaN if nobody graded it)
    hit       candidate `case` lies inside `nodule` (a case inside two nodules has two rows)
    excluded  candidate `case` lies inside an excluded finding and in no nodule: it counts for nothing
A candidate with neither a hit nor an excluded row is a false positive. Whether a mark hits does not depend on the
network, so predictions joined with this table give the same curve as `froc.luna16_froc` from coordinates.

For slides, scans are slides, nodules are lesions, and excluded findings are isolated tumour cells. Each lesion has one
case, the highest probability inside it; other cases are false positives. See `froc.camelyon16_froc`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from fewscans.stats.cells import Cell
from fewscans.stats.froc import Marks

COLUMNS = ("kind", "scan", "nodule", "case", "malignant")
KINDS = ("scan", "nodule", "hit", "excluded")


@dataclass(frozen=True, eq=False)
class Reference:
    """scans: (G,) str, ascending.   nodule_scan: (K,) each nodule's scan, a place in `scans`.   malignant: (K,) 1, 0
    or NaN.   hit_case: (H,) str, hit_nodule: (H,) ascending: which candidate lies inside which nodule.   excluded: (E,)
    str.
    """

    scans: np.ndarray
    nodule_scan: np.ndarray
    malignant: np.ndarray
    hit_case: np.ndarray
    hit_nodule: np.ndarray
    excluded: np.ndarray

    @classmethod
    def of(cls, frame: pd.DataFrame) -> Reference:
        """From the table.

        Raises ValueError naming the value: a missing column, an unknown kind, a scan or nodule named twice, a
        nodule of an unlisted scan, a hit of an unknown nodule, a case both hit and excluded, malignant not 0, 1 or NaN.
        """
        missing = [column for column in COLUMNS if column not in frame]
        if missing:
            raise ValueError(f"the reference lacks column {missing[0]!r}; it has {', '.join(map(str, frame))}")
        odd = sorted(set(frame["kind"]) - set(KINDS), key=str)
        if odd:
            raise ValueError(f"the reference has rows of kind {odd[0]!r}; kinds are {', '.join(KINDS)}")
        scan, nodule, hit, excluded = (frame[frame["kind"] == kind] for kind in KINDS)
        scans = pd.Index(scan["scan"].to_numpy(object)).sort_values()
        nodules = pd.Index(nodule["nodule"].to_numpy(object))
        for what, names in (("scan", scans), ("nodule", nodules)):
            if names.has_duplicates:
                raise ValueError(f"the reference names {what} {names[names.duplicated()][0]!r} twice")
        if not len(nodules):
            raise ValueError(f"the reference holds no nodule in its {len(scans)} scans; detection cannot be scored")
        malignant = nodule["malignant"].to_numpy(float)
        wrong = malignant[~(np.isin(malignant, (0, 1)) | np.isnan(malignant))]
        if wrong.size:
            raise ValueError(f"the reference grades a nodule {wrong[0]}; malignant is 1, 0, or NaN where not graded")
        hit_nodule = _place(hit["nodule"], nodules, "a hit of nodule")
        order = np.argsort(hit_nodule, kind="stable")
        both = set(hit["case"]) & set(excluded["case"])
        if both:
            raise ValueError(f"the reference has case {min(both)!r} both inside a nodule and excluded; a hit counts")
        return cls(
            scans=scans.to_numpy(object),
            nodule_scan=_place(nodule["scan"], scans, "a nodule of scan"),
            malignant=malignant,
            hit_case=hit["case"].to_numpy(object)[order],
            hit_nodule=hit_nodule[order],
            excluded=excluded["case"].to_numpy(object),
        )

    def layout(self, cell: Cell) -> Layout:
        """What the test cases of a cell are.

        Raises ValueError naming the case if a case that hits a nodule has no prediction (the table is then of another
        test set), belongs to another scan than the nodule, or if a case's group is none of the scans.
        """
        scan = pd.Index(self.scans).get_indexer(cell.group)
        if (scan < 0).any():
            case, group = cell.case[scan < 0][0], cell.group[scan < 0][0]
            raise ValueError(f"{cell}: case {case} belongs to group {group!r}, which is no scan of the reference")
        cases = pd.Index(cell.case)
        hit, excluded = cases.get_indexer(self.hit_case), cases.get_indexer(self.excluded)
        if (hit < 0).any():
            raise ValueError(
                f"{cell}: no prediction of case {self.hit_case[hit < 0][0]}, which lies inside a nodule of the "
                "reference; the reference belongs to another test set"
            )
        strange = np.flatnonzero(scan[hit] != self.nodule_scan[self.hit_nodule])
        if strange.size:
            case, other = hit[strange[0]], self.nodule_scan[self.hit_nodule[strange[0]]]
            raise ValueError(
                f"case {cell.case[case]} of scan {cell.group[case]} cannot hit a nodule of scan {self.scans[other]}"
            )
        counts = np.ones(len(cell.case), dtype=bool)
        counts[hit] = False
        counts[excluded[excluded >= 0]] = False  # one without a prediction counts for nothing anyway
        found, first = np.unique(self.hit_nodule, return_index=True)
        negative = np.ones(len(self.scans), dtype=bool)
        negative[np.append(self.nodule_scan, scan[excluded[excluded >= 0]])] = False
        return Layout(self, hit, first, found, np.flatnonzero(counts), scan[counts], negative)


@dataclass(frozen=True, eq=False)
class Layout:
    """hit: (H,) cases inside nodules, sorted by nodule; first: where each nodule's begin; found: (F,) which nodules
    these are.   false: cases that are false positives; false_scan: their scans.   negative: (G,) bool, scans without a
    nodule or a case in an excluded finding.
    """

    reference: Reference
    hit: np.ndarray
    first: np.ndarray
    found: np.ndarray
    false: np.ndarray
    false_scan: np.ndarray
    negative: np.ndarray

    def best(self, prediction: np.ndarray) -> np.ndarray:
        """(F,) the highest prediction among each found nodule's marks."""
        return np.maximum.reduceat(prediction[self.hit], self.first) if len(self.hit) else np.empty(0)

    def nodules_per_scan(self) -> np.ndarray:
        """(G,) found or not."""
        return np.bincount(self.reference.nodule_scan, minlength=len(self.reference.scans))

    def marks(self, prediction: np.ndarray, counted: np.ndarray | None = None) -> Marks:
        """What FROC counts, for the predictions (C,) of one seed.   counted: scans whose false positives do; all."""
        return Marks.ranked(
            probability=np.append(self.best(prediction), prediction[self.false]),
            found=np.repeat([True, False], [len(self.found), len(self.false)]),
            scan=np.append(self.reference.nodule_scan[self.found], self.false_scan),
            nodules=self.nodules_per_scan(),
            counted=counted,
        )


def _place(names: pd.Series, known: pd.Index, what: str) -> np.ndarray:
    place = known.get_indexer(names.to_numpy(object))
    if (place < 0).any():
        raise ValueError(f"the reference has {what} {names.to_numpy(object)[place < 0][0]!r}, which it does not list")
    return place
