"""The nodules of `lidc_voi` that its readers called malignant (4 or 5 of 5) or benign (1 or 2): which are they?

A radiologist's opinion and no pathology, and nearly a label of size: see the module's docstring.
"""

import dataclasses
import hashlib
from pathlib import Path

import numpy as np

from fewscans.data import lidc_voi
from fewscans.data.base import Cases, Cut


def read(path: Path | str) -> Cases:
    """The nodules of `lidc_voi.read` with the reading; those rated 3 are left out."""
    return _graded(lidc_voi.read(path))


def cases(path: Path | str, cut: Cut, cache: Path | None = None) -> Cases:
    """The nodules of `lidc_voi.cases` with the reading."""
    return _graded(lidc_voi.cases(path, cut, cache))


def _graded(nodules: Cases) -> Cases:
    grade = nodules.about["malignant"].to_numpy()
    graded = grade >= 0
    each = {name: getattr(nodules, name)[graded] for name in ("images", "case", "group", "split", "spacing_mm")}
    return dataclasses.replace(
        nodules, **each, target=grade[graded].astype(np.int64), about=nodules.about[graded].reset_index(drop=True),
        left_out=tuple(nodules.case[~graded].tolist()),
        fingerprint=hashlib.sha256(f"{nodules.fingerprint} malignant".encode()).hexdigest(),
    )  # fmt: skip


DATASET = dataclasses.replace(
    lidc_voi.DATASET, name="lidc-voi-malignancy", title="graded lung nodules in 3D", shows="lung nodules",
    read=read, cases=cases,
)  # fmt: skip
