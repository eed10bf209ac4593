"""Where the cases of a planar twin sit: in scans, in rows of a candidate list, in the leaky split.

The same for every twin in the layout of the LUNA16 patches.
"""

from dataclasses import dataclass

import numpy as np

from fewscans.data.luna16_patches import REPOSITORY_SPLITS, ROWS_PER_SCAN, scan_disjoint
from fewscans.errors import DataError


@dataclass(frozen=True)
class Cases:
    """Who is who in a twin, in the order of the candidate list."""

    labels: np.ndarray  # (n,) int64 in {0, 1}
    scan: np.ndarray  # (n,) int64, ascending
    candidate_row: np.ndarray  # (n,) int64, ascending, unique
    repository_split: np.ndarray  # (n,) str, at random over cases, so that it leaks as the real one does


def draw_cases(n: int, scans: int, positive_fraction: float, rng: np.random.Generator) -> Cases:
    """Spread n cases over scans of 621 rows, as LUNA16's hold on average, so that the reader's blocks are the scans.

    Raises:  DataError if the scan-disjoint split of so few scans would lack a class.
    """
    scan = np.arange(n) * scans // n
    within = np.argsort(rng.random((scans, ROWS_PER_SCAN)), axis=1)  # each scan's rows, shuffled
    place = np.arange(n) - np.searchsorted(scan, scan)  # of each case within its scan
    rows = np.sort(scan * ROWS_PER_SCAN + within[scan, place])
    labels = np.zeros(n, np.int64)
    labels[rng.permutation(n)[: round(n * positive_fraction)]] = 1
    split = scan_disjoint(rows)
    for name in REPOSITORY_SPLITS:
        if set(labels[split == name]) != {0, 1}:
            raise DataError(
                f"twin: {n} cases in {scans} scans leave the scan-disjoint split '{name}' without one of the classes; "
                "ask for more scans (60 or more are safe) or more cases"
            )
    # 64 : 16 : 20, the shares of the real file's splits
    counts = round(0.64 * n), round(0.80 * n)
    repository = np.full(n, "test", dtype="U5")
    order = rng.permutation(n)
    repository[order[: counts[0]]] = "train"
    repository[order[counts[0] : counts[1]]] = "val"
    return Cases(labels, scan, rows, repository)
