"""How large a planar twin is and where its cases sit: the same for every twin in the layout of the LUNA16 patches."""

from dataclasses import dataclass

import numpy as np

from fewscans.data.luna16_patches import REPOSITORY_SPLITS, ROWS_PER_SCAN, scan_disjoint
from fewscans.errors import DataError


@dataclass(frozen=True)
class TwinSpec:
    """A twin's size. Each scan takes 621 rows, as LUNA16's do on average, so that the reader's blocks are its scans."""

    scans: int
    candidates_per_scan: int
    positive_fraction: float
    seed: int

    def __post_init__(self) -> None:
        for name, low, high in (("scans", 1, 10_000), ("candidates_per_scan", 1, ROWS_PER_SCAN), ("seed", 0, 2**63)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise DataError(f"twin: {name} is {value!r}; it must be an integer from {low} to {high}")
        if not 0 < self.positive_fraction < 1:
            raise DataError(f"twin: positive_fraction is {self.positive_fraction!r}; it must lie between 0 and 1")

    @property
    def cases(self) -> int:
        return self.scans * self.candidates_per_scan


@dataclass(frozen=True)
class Cases:
    """Who is who in a twin, in the order of the candidate list."""

    labels: np.ndarray  # (n,) int64 in {0, 1}
    scan: np.ndarray  # (n,) int64, ascending
    candidate_row: np.ndarray  # (n,) int64, ascending, unique
    repository_split: np.ndarray  # (n,) str, at random over cases, so that it leaks as the real one does


def draw_cases(spec: TwinSpec, rng: np.random.Generator) -> Cases:
    """Place the cases in scans and in rows, and give them labels and the leaky split.

    Raises:  DataError if the scan-disjoint split of so few scans would lack a class.
    """
    n = spec.cases
    scan = np.repeat(np.arange(spec.scans), spec.candidates_per_scan)
    within = np.argsort(rng.random((spec.scans, ROWS_PER_SCAN)), axis=1)[:, : spec.candidates_per_scan]
    rows = np.sort(within, axis=1).reshape(n) + scan * ROWS_PER_SCAN
    labels = np.zeros(n, np.int64)
    labels[rng.permutation(n)[: round(n * spec.positive_fraction)]] = 1
    split = scan_disjoint(rows)
    for name in REPOSITORY_SPLITS:
        if set(labels[split == name]) != {0, 1}:
            raise DataError(
                f"twin: {spec.scans} scans with {spec.candidates_per_scan} candidates each leave split '{name}' "
                "without one of the classes; ask for more scans (60 or more are safe)"
            )
    # 64 : 16 : 20, the shares of the real file's splits
    counts = round(0.64 * n), round(0.80 * n)
    repository = np.full(n, "test", dtype="U5")
    order = rng.permutation(n)
    repository[order[: counts[0]]] = "train"
    repository[order[counts[0] : counts[1]]] = "val"
    return Cases(labels, scan, rows, repository)
