"""Check a user's copy of a data set, once, and note in the project what was found.

The pipeline depends on the manifest instead of the data: nobody wants a large data set hashed on every run, nor the
path of somebody's disk in dvc.lock. The manifest therefore holds no path and no date, and the same copy gives the
same bytes.
"""

import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from fewscans.data.registry import dataset, find, read
from fewscans.errors import DataError


@dataclass(frozen=True)
class Manifest:
    """What a verified copy is."""

    name: str
    file: str
    size_bytes: int
    sha256: str
    as_published: bool  # the very bytes that the published results were computed from
    cases: dict[str, int]  # split → patches
    positives: dict[str, int]
    licence: str
    cite: str

    def summary(self) -> str:
        """The finding in words, for a terminal."""
        counts = ", ".join(f"{split} {n} ({self.positives[split]} positive)" for split, n in self.cases.items())
        same = (
            "the same bytes as the copy behind the published results"
            if self.as_published
            else f"the same counts, but other bytes, than the copy behind the published results ({self.sha256[:12]})"
        )
        return f"{self.name}: complete; {same}. {counts}. Licence: {self.licence}. Cite: {self.cite}"


def verify(name: str, root: Path | str, manifests: Path | None = None) -> Manifest:
    """Check the copy of a data set under `root` and write its manifest.

    Args:    manifests: where to, else data/manifests/ in the project.
    Raises:  DataError if the copy is absent, unreadable, or has other numbers of patches than the published one; it
             says all that differs.
    """
    entry, path = dataset(name), find(name, root)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    patches = read(name, path)
    found = {split: patches.indices(split) for split in entry.counts}
    cases = {split: len(index) for split, index in found.items()}
    positives = {split: int(patches.labels[index].sum()) for split, index in found.items()}
    wrong = [
        f"{split} has {cases[split]} patches with {positives[split]} positive, not {n} with {k}"
        for split, (n, k) in entry.counts.items()
        if (cases[split], positives[split]) != (n, k)
    ]
    if wrong:
        size = path.stat().st_size
        raise DataError(
            f"{path} is not the whole of '{name}': {'; '.join(wrong)}. It has {size:,} bytes, the published copy "
            f"{entry.size_bytes:,}. Get {entry.source}"
        )
    manifest = Manifest(
        name=name,
        file=path.name,
        size_bytes=path.stat().st_size,
        sha256=sha256,
        as_published=sha256 == entry.sha256,
        cases=cases,
        positives=positives,
        licence=entry.licence,
        cite=entry.cite,
    )
    _write(manifest, _folder() if manifests is None else Path(manifests))
    return manifest


def _folder() -> Path:
    from fewscans import paths

    return paths.root() / "data" / "manifests"


def _write(manifest: Manifest, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{manifest.name}.json"
    partial = target.with_suffix(".part")
    partial.write_text(json.dumps(dataclasses.asdict(manifest), indent=2) + "\n", encoding="utf-8")
    os.replace(partial, target)
