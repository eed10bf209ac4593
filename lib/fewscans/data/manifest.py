"""Check a user's copy of a data set, once, and note in the project what was found.

The pipeline depends on the manifest instead of the data: nobody wants a large data set hashed on every run, nor the
path of somebody's disk in dvc.lock. The manifest therefore holds no path and no date, and the same copy gives the
same bytes.
"""

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from fewscans import files
from fewscans.data.base import Dataset
from fewscans.data.registry import dataset, find
from fewscans.errors import DataError


@dataclass(frozen=True)
class Manifest:
    """What a verified copy is."""

    name: str
    file: str  # "" where the copy is a folder
    size_bytes: int | None  # None for a folder
    sha256: str  # of the file; of a folder, the fingerprint that its reader gives
    as_published: bool | None  # the very bytes that the publisher or our results name; None where nobody names any
    cases: dict[str, int]  # split → cases; of a folder, how many there are of each thing
    positives: dict[str, int]
    licence: str
    cite: str

    def summary(self) -> str:
        """The finding in words, for a terminal."""
        counts = ", ".join(
            f"{what} {n}" + (f" ({self.positives[what]} positive)" if what in self.positives else "")
            for what, n in self.cases.items()
        )
        same = {
            True: "the same bytes as the published copy",
            False: f"the same counts, but other bytes, than the published copy ({self.sha256[:12]})",
            None: f"all counts are the published ones, bytes are not compared ({self.sha256[:12]})",
        }[self.as_published]
        return f"{self.name}: complete; {same}. {counts}. Licence: {self.licence}. Cite: {self.cite}"


def verify(name: str, root: Path | str, manifests: Path | None = None) -> Manifest:
    """Check the copy of a data set under `root` and write its manifest.

    Args:    manifests: where to, else data/manifests/ in the project.
    Raises:  DataError if the copy is absent, unreadable, or has other numbers of cases than the published one; it
             says all that differs.
    """
    entry, path = dataset(name), find(name, root)
    found = _of_file(entry, path) if entry.check is None else _of_folder(entry, path)
    manifest = Manifest(name=entry.name, licence=entry.licence, cite=entry.cite, **found)
    content = json.dumps(dataclasses.asdict(manifest), indent=2) + "\n"
    files.write((_folder() if manifests is None else Path(manifests)) / f"{name}.json", content)
    return manifest


def _of_file(entry: Dataset, path: Path) -> dict:
    """A file has the published number of cases in every split; whether its bytes are the published ones is noted."""
    content = path.read_bytes()
    sha256, md5 = hashlib.sha256(content).hexdigest(), hashlib.md5(content, usedforsecurity=False).hexdigest()
    copy = entry.read(path)
    labels = {split: entry.labels(copy, split) for split in entry.counts}
    cases = {split: len(of_split) for split, of_split in labels.items()}
    positives = {split: int(of_split.sum()) for split, of_split in labels.items()}
    wrong = [
        f"{split} has {cases[split]} cases"
        + (f", not {n}" if k is None else f" with {positives[split]} positive, not {n} with {k}")
        for split, (n, k) in entry.counts.items()
        if cases[split] != n or k not in (None, positives[split])
    ]
    if wrong:
        size = "" if entry.size_bytes is None else f", the published copy {entry.size_bytes:,}"
        size = f"It has {len(content):,} bytes{size}"
        raise DataError(f"{path} is not the whole of '{entry.name}': {'; '.join(wrong)}. {size}. Get {entry.source}")
    named = [known == of_copy for known, of_copy in ((entry.sha256, sha256), (entry.md5, md5)) if known is not None]
    return {
        "file": path.name, "size_bytes": len(content), "sha256": sha256, "as_published": all(named) if named else None,
        "cases": cases, "positives": positives,
    }  # fmt: skip


def _of_folder(entry: Dataset, path: Path) -> dict:
    """A folder lacks nothing of what its reader looks for; too large to be hashed, it is known by a fingerprint."""
    if files.SUMS in entry.source:
        _check_list(entry, path / files.SUMS)
    report = entry.check(path)
    if not report["complete"]:
        lacks = " ".join(f"({i}) {sentence.rstrip('.')}." for i, sentence in enumerate(report["lacks"], 1))
        raise DataError(f"{path} is not the whole of '{entry.name}': {lacks} Get {entry.source}")
    mark = report["fingerprint"]
    return {
        "file": "", "size_bytes": None, "sha256": mark, "as_published": entry.sha256 and mark == entry.sha256,
        "cases": dict(report["counts"]), "positives": {},
    }  # fmt: skip


def _check_list(entry: Dataset, sums: Path) -> None:
    """Raises DataError for a list of hashes that is missing, cannot be read, or lists nothing."""
    try:
        lines = sums.read_text(encoding="utf-8").splitlines()
        odd = [line for line in lines if not re.fullmatch(r"[0-9a-f]{64}  \S.*", line)]
        fault = f"{odd[0][:80]!a} is no SHA-256 with a name" if odd else "" if lines else "it lists no file"
    except FileNotFoundError:
        fault = "it is missing, so nothing says whether the copy is whole"
    except OSError as error:
        fault = f"it cannot be read ({error.strerror})"
    except UnicodeDecodeError:
        fault = "it is damaged, and no text"
    if fault:
        raise DataError(f"{sums}: {fault}; copy the folder again. Get {entry.source}")


def _folder() -> Path:
    from fewscans import paths

    return paths.root() / "data" / "manifests"
