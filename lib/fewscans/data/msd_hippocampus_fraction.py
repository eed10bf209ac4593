"""The Decathlon's hippocampi with the anterior part's share of the volume, which does not add up over scans."""

import dataclasses
import hashlib
from pathlib import Path

from fewscans.data import msd_hippocampus
from fewscans.data.base import Cases, Cut


def read(path: Path | str) -> Cases:
    """The scans of `msd_hippocampus.read` with the share."""
    return _share(msd_hippocampus.read(path))


def cases(path: Path | str, cut: Cut, cache: Path | None = None) -> Cases:
    """The scans of `msd_hippocampus.cases` with the share."""
    return _share(msd_hippocampus.cases(path, cut, cache))


def _share(scans: Cases) -> Cases:
    share = scans.about["anterior_ml"].to_numpy() / scans.target
    mark = hashlib.sha256(f"{scans.fingerprint} anterior share".encode()).hexdigest()
    return dataclasses.replace(scans, target=share, unit="anterior share", fingerprint=mark)


DATASET = dataclasses.replace(
    msd_hippocampus.DATASET,
    name="msd-hippocampus-fraction",
    title="anterior shares of the hippocampus",
    read=read,
    cases=cases,
    unit="",
    folder="msd-hippocampus",
)
