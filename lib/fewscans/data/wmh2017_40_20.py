"""The WMH challenge split as in the larger training set of the Hydranet paper (Table 1), which tests on 20 of 60 scans.

Its 40 others hold those to validate on. Nearest to that: six of each site to test and two to validate leave 36, of
which 34 can be drawn as from the paper's 40.
"""

import dataclasses
from pathlib import Path

from fewscans.data import wmh2017
from fewscans.data.base import Cases, Cut

HELD_OUT = {"test": 0.3, "val": 0.1}  # of each site


def read(path: Path | str) -> Cases:
    """The scans of `wmh2017.read` in this split."""
    return wmh2017.read(path, held_out=HELD_OUT)


def cases(path: Path | str, cut: Cut, cache: Path | None = None) -> Cases:
    """The scans of `wmh2017.cases` in this split."""
    return wmh2017.cases(path, cut, cache, HELD_OUT)


DATASET = dataclasses.replace(
    wmh2017.DATASET,
    name="wmh2017-40-20",
    title="white-matter lesion volumes, 40 scans to train and validate",
    read=read,
    cases=cases,
    folder="wmh2017",
)
