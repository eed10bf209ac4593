"""Files of results that are damaged: cut short, altered, or a pointer of Git LFS. Each is named with the remedy.

What is published together is listed with its hashes in SHA256SUMS; a run's tables are listed in its `.about.json`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from fewscans import files
from fewscans.errors import RunError

LISTED = (".parquet", ".json", ".csv")  # what a published folder's SHA256SUMS must list
ENDINGS = ("parquet", "history.parquet", "records.json", "reference.parquet")  # of a run's tables
HASHES = "sha256"  # in .about.json: ending → hash
RECORD = {"arm": str, "n_train": int, "seed": int}


def frame(path: Path, remedy: str) -> pd.DataFrame:
    """A Parquet file. Raises RunError for one that is damaged, or a pointer of Git LFS."""
    no_pointer(path)
    try:
        return pq.read_table(path, page_checksum_verification=True).to_pandas()
    except (pa.ArrowException, OSError, ValueError) as error:
        _from_the_system(error)
        cause = str(error).strip().partition("\n")[0]
        raise RunError(f"{path.parent.name}/{path.name}: damaged or cut short ({cause}); {remedy}") from error


def content(path: Path, remedy: str, kind: type = object) -> Any:
    """What a JSON file holds, a `kind`. Raises RunError for one that is damaged, or a pointer of Git LFS."""
    no_pointer(path)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # not JSON, or not text
        raise RunError(f"{path.parent.name}/{path.name}: damaged or cut short ({error}); {remedy}") from error
    if not isinstance(found, kind):
        raise RunError(f"{path.parent.name}/{path.name}: holds no {kind.__name__}, but {str(found)[:40]!r}; {remedy}")
    return found


def records(path: Path, remedy: str) -> list[dict]:
    """The records of a run, each with its arm, size and seed. Raises RunError as `content`."""
    found = content(path, remedy, list)
    for record in found:
        lacking = [k for k, t in RECORD.items() if not isinstance(record, dict) or not isinstance(record.get(k), t)]
        if lacking:
            raise RunError(f"{path.parent.name}/{path.name}: a record has no {lacking[0]!r}; {remedy}")
    return found


def about(path: Path, remedy: str) -> dict:
    """What a run is: its grid, code and data. Raises RunError as `content`."""
    found = content(path, remedy, dict)
    lacking = {"profile", "grid", "code", "data"} - set(found)
    if lacking:
        raise RunError(f"{path.parent.name}/{path.name}: has no {min(lacking)!r}; {remedy}")
    return found


def no_pointer(path: Path) -> None:
    """Raises RunError for what git leaves in place of a file that Git LFS holds."""
    if files.is_pointer(path):
        raise RunError(f"{path}: a pointer of Git LFS, not the file itself; `git lfs pull` fetches it")


def hashes(folder: Path, run: str) -> dict[str, str]:
    """Of a run's tables, for its `.about.json`: ending → SHA-256."""
    tables = {ending: folder / f"{run}.{ending}" for ending in ENDINGS}
    return {ending: _sha256(path) for ending, path in tables.items() if path.exists()}


def check_run(folder: Path, run: str, told: Mapping, remedy: str, endings: Collection[str] = ENDINGS) -> None:
    """A run's tables are those that were written together.   told: its `.about.json`; older ones list no hashes.

    endings: of the tables that matter.   Raises RunError naming a table that was altered, or is another run's.
    """
    for ending in told.get(HASHES, {}).keys() & set(endings):
        path, known = folder / f"{run}.{ending}", told[HASHES][ending]
        if not path.exists() or _sha256(path) != known:
            raise RunError(
                f"{folder.name}/{path.name}: not the file that {run}.about.json was written with: its SHA-256 differs; "
                f"{remedy}"
            )


def check_published(folder: Path) -> None:
    """What was published together is there, each file with the bytes that it had, and nothing else.

    Raises RunError naming a file, and the remedy.
    """
    listing, again = folder / files.SUMS, "restore the folder from git, or publish again"
    if not listing.is_file():
        raise RunError(f"{listing}: missing, so nothing says whether the tables are whole; {again}")
    no_pointer(listing)
    try:
        listed = files.lists_of_hashes(folder)
    except UnicodeDecodeError:
        listed = {}
    odd = [name for name, known in listed.items() if len(known) != 64 or Path(name).name != name]
    if odd or not listed:
        raise RunError(f"{listing}: damaged or cut short; {again}")
    for name, known in listed.items():
        path = folder / name
        if not path.is_file():
            raise RunError(f"{path}: missing, though {files.SUMS} lists it; {again}")
        no_pointer(path)
        if _sha256(path) != known:
            raise RunError(
                f"{path}: not the file that was published: its bytes are not those that {files.SUMS} lists; {again}"
            )
    unlisted = [path for path in sorted(folder.iterdir()) if path.suffix in LISTED and path.name not in listed]
    if unlisted:
        raise RunError(f"{unlisted[0]}: {files.SUMS} does not list it; {again}")


def sums(contents: Mapping[str, bytes]) -> str:
    """What SHA256SUMS says of files: all but pages to read."""
    listed = sorted(name for name in contents if not name.endswith(".md"))
    return "".join(f"{hashlib.sha256(contents[name]).hexdigest()}  {name}\n" for name in listed)


def write_all(folder: Path, contents: Mapping[str, bytes | str]) -> None:
    """Replaces several files of a folder, only once all are written: a full disk leaves what was there. OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    fresh = {folder / name: files.partial(folder / name) for name in contents}
    try:
        for path, part in fresh.items():
            content = contents[path.name]
            try:
                part.write_bytes(content.encode() if isinstance(content, str) else content)
            except OSError as error:
                error.filename, error.filename2 = str(path), None
                raise
        for path, part in fresh.items():
            os.replace(part, path)
    finally:
        for part in fresh.values():
            part.unlink(missing_ok=True)


def check_history(of: str, history: pd.DataFrame, trained: Iterable[tuple], beside: str, remedy: str) -> None:
    """A history is that of the trainings that the records name.   of, beside: names of both files.

    trained: (arm, n_train, seed) of each training.   Raises RunError naming both files and what only one has.
    """
    wanted = set(trained)
    told = set(history[["arm", "n_train", "seed"]].drop_duplicates().itertuples(index=False, name=None))
    for odd, one, other in ((told - wanted, of, beside), (wanted - told, beside, of)):
        if odd:
            arm, n, seed = min(odd)
            raise RunError(
                f"{one} has arm {arm} at N = {n}, seed {seed}, of which {other} knows nothing: they are of different "
                f"runs, or one is cut short; copy both again, or {remedy}"
            )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _from_the_system(error: Exception) -> None:
    """Raises what the system refused again: there the file's content is not at fault."""
    if isinstance(error, OSError) and error.errno is not None:
        raise error
