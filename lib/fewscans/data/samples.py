"""What a network is trained and tested on: one image a case, cut to size, with who it is and which split it is in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

REFERENCE = {"kind": "str", "scan": "str", "nodule": "str", "case": "str", "malignant": "float64"}  # of `truth`


@dataclass(frozen=True)
class Samples:
    """Cases of one data set, ready to be drawn from.

    images: (n, *S) uint8, possibly a memory map; a value v stands for the intensity v / 127.5 - 1, in [-1, 1].
    labels: (n,) int64, 0 or 1.   case: (n,) str, unique.   group: (n,) str, the patient or scan.   split: (n,) str.
    fingerprint: of what decides the content.   truth: what FROC must know of the test split, if it is scored by FROC.
    """

    images: np.ndarray
    labels: np.ndarray
    case: np.ndarray
    group: np.ndarray
    split: np.ndarray
    fingerprint: str
    path: Path
    truth: pd.DataFrame | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def indices(self, split: str, repository: bool = False) -> np.ndarray:
        """Where the cases of one split are, (k,) ascending; there is one split only, so no `repository` one."""
        if repository:
            raise ValueError(f"{self.path} has no second split")
        return np.flatnonzero(self.split == split)

    def reference(self) -> pd.DataFrame | None:
        """Scans, nodules, hits and excluded marks of the test split; None where FROC does not apply."""
        return self.truth


def reference_of(data: object) -> pd.DataFrame:
    """What FROC must know of a data set's test split, as it is kept: no rows for one that has no nodules to find."""
    truth = getattr(data, "reference", lambda: None)()
    return pd.DataFrame(columns=list(REFERENCE)).astype(REFERENCE) if truth is None else truth
