"""The files of a copy, all of them: what cannot be looked into is an error, not an empty folder.

`Path.glob` passes over folders that it may not read, and over linked ones where it goes deep. A case that lies there is
missed without a word, and the split of the others changes. Hidden files (of unpackers and of macOS) are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from fewscans.data.base import and_more
from fewscans.errors import DataError

# Names of files. A folder of such a name was made by an unpacker, with the file inside.
FILES = (".nii", ".nii.gz", ".mhd", ".raw", ".tif", ".svs", ".png", ".dicom", ".dcm", ".xml", ".csv", ".npz", ".zip")


def entries(folder: Path) -> list[Path]:
    """The visible files and folders of a folder, sorted.

    Raises:  DataError for a folder that is absent or cannot be read, and a link that leads nowhere.
    """
    try:
        found = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        for path in found:
            path.stat()  # follows links
    except FileNotFoundError as error:
        wrong = Path(error.filename)
        if not wrong.is_symlink():
            raise DataError(f"{wrong}: no such folder") from error
        raise DataError(f"{wrong}: is a link to {wrong.readlink()}, which is not there; mount it or mend it") from error
    except OSError as error:
        fault = f"cannot be looked into ({error.strerror})"
        raise DataError(f"{error.filename or folder}: {fault}; make it readable, or take it away") from error
    return found


def below(folder: Path) -> list[Path]:
    """All visible files in a folder and below, sorted, through links as well.

    Raises:  DataError as `entries`, for a folder named as a file, and for a link to a folder that holds it.
    """
    return sorted(_below(folder, ()))


def _below(folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    real = folder.resolve()
    if real in above:
        raise DataError(f"{folder}: is a link to a folder that holds it, {real}; remove the link")
    for path in entries(folder):
        if path.is_dir():
            if ending(path, FILES):
                a_file(path)
            yield from _below(path, (*above, real))
        else:
            yield path


def ending(path: Path, endings: Sequence[str]) -> str:
    """Which of some endings (in small letters) the file's name has, in any capitals, as it is written; "" for none."""
    name = path.name.lower()
    return next((path.name[-len(end) :] for end in endings if name.endswith(end)), "")


def named(folder: Path, stem: str, endings: Sequence[str]) -> Path | None:
    """The file of a folder that is called `stem` with one of some endings, in any capitals; None if there is none.

    Raises:  DataError as `entries`, and if there are two of them, or if it is a folder.
    """
    wanted = {f"{stem}{end}".lower() for end in endings}
    found = [path for path in entries(folder) if path.name.lower() in wanted]
    if len(found) > 1:
        raise DataError(f"{found[1]}: is also there as {found[0].name}; keep one of the two")
    for path in found:
        a_file(path)
    return found[0] if found else None


def a_file(path: Path) -> Path:
    """The path. Raises DataError if it is a folder: some unpackers make one of a file's name."""
    if path.is_dir():
        raise DataError(f"{path}: is a folder, where a file of this name belongs; move the file out of it")
    return path


def strays(paths: Sequence[Path], fault: str) -> None:
    """Raises DataError that names the first of some files which would not be read, and says why, if there are any."""
    if paths:
        raise DataError(f"{paths[0]}{and_more(paths)}: {fault}")
