"""Download a public data set that needs no registration: resumed where it broke off, checked, unpacked with care.

Addresses and checksums stand in the data sets' records. Only https is spoken, and plain http to this very machine.
"""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import urljoin, urlsplit

from fewscans.data.base import first_line
from fewscans.data.registry import dataset, home
from fewscans.errors import DataError, of_the_system

LOOPBACK = ("127.0.0.1", "::1", "localhost")
MOST_REDIRECTS, CHUNK, TIMEOUT_SECONDS = 5, 1 << 16, 60
MOST_BYTES, MOST_FILES = 1 << 33, 100_000  # of a download, and of what an archive holds
ARCHIVES = (".tar", ".zip")
GOES_ON = "the same command goes on from there"


def fetch(name: str, root: Path | str) -> Path:
    """Downloads a data set to where its reader looks under `root`, and unpacks it. Returns its folder.

    Files that are there with the right checksum are kept, as is an archive's content that lacks nothing. What broke
    off goes on from where it was.
    Raises:  DataError for a set that is not to be had this way, an address that does not answer, a redirection away
             from https, a checksum that differs, an archive that would write outside its folder, a disk that is full.
    """
    import pooch

    entry, folder = dataset(name), home(name, root)
    if not entry.downloads:
        raise DataError(f"'{name}' cannot be downloaded without a person: get {entry.source}; put it at {folder}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for address, known in entry.downloads.items():
            file = folder / PurePosixPath(urlsplit(address).path).name
            if file.suffix in ARCHIVES and entry.check is not None and entry.check(folder)["complete"]:
                continue
            if not (file.is_file() and pooch.hashes.hash_matches(file, known)):
                _retrieve(address, known, file)
            if file.suffix in ARCHIVES:
                unpack(file, folder)
                file.unlink()
    except OSError as error:
        error.filename = error.filename or str(folder)
        raise DataError(of_the_system(error)) from error
    return folder


def _retrieve(address: str, known: str, file: Path) -> None:
    import pooch

    try:
        pooch.retrieve(address, known, file.name, file.parent, downloader=_download)
    except ValueError as error:  # pooch's for a checksum that differs; what came is removed
        raise DataError(
            f"{address}: what came has another checksum than the published file; it was removed, so try again, and if "
            f"it stays so, the publisher has changed it ({first_line(error)})"
        ) from error


@dataclass(frozen=True)
class Member:
    """What an archive holds under one name.   plain: a file or a folder, not a link or a device."""

    name: str
    size: int
    plain: bool
    folder: bool
    open: Callable[[], BinaryIO]


def unpack(archive: Path, folder: Path) -> None:
    """Unpacks a tar or zip, without its own top folder and macOS's `._` files; all of it or nothing appears.

    Other files in the folder stay.
    Raises:  DataError, before anything is written, for a member that is no plain file or folder, that would lie
             outside, or that comes twice, and for more bytes or files than a data set has; and for an archive that is
             damaged. OSError.
    """
    try:
        with _members(archive) as members, tempfile.TemporaryDirectory(dir=folder, prefix=".unpacking-") as room:
            places = _places(archive, members)
            for place, member in places.items():
                target = Path(room, place)
                target.parent.mkdir(parents=True, exist_ok=True)
                with member.open() as source, target.open("wb") as stream:
                    shutil.copyfileobj(source, stream, CHUNK)
                if target.stat().st_size != member.size:
                    raise DataError(f"{archive}: {member.name!r} is cut short; download it again")
            tops = {place.parts[0] if len(place.parts) > 1 else "" for place in places}
            inner = Path(room, *tops) if len(tops) == 1 else Path(room)
            for source in sorted(path for path in inner.rglob("*") if path.is_file()):
                target = folder / source.relative_to(inner)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(source, target)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{archive}: is no whole archive ({first_line(error)}); download it again") from error


@contextmanager
def _members(archive: Path) -> Iterator[list[Member]]:
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as packed:
            kinds = {i.filename: stat.S_IFMT(i.external_attr >> 16) for i in packed.infolist()}  # 0: not said
            yield [
                Member(i.filename, i.file_size, kinds[i.filename] in (0, stat.S_IFREG, stat.S_IFDIR), i.is_dir(),
                       partial(packed.open, i))
                for i in packed.infolist()
            ]  # fmt: skip
    else:
        with tarfile.open(archive) as packed:
            yield [
                Member(m.name, m.size, m.isfile() or m.isdir(), m.isdir(), partial(packed.extractfile, m))
                for m in packed.getmembers()
            ]


def _places(archive: Path, members: list[Member]) -> dict[PurePosixPath, Member]:
    """Where each file belongs below the folder. Raises DataError if one of them has no place there."""
    if len(members) > MOST_FILES or sum(member.size for member in members) > MOST_BYTES:
        raise DataError(f"{archive}: unpacks to {len(members)} files, more than a data set holds; not unpacked")
    places: dict[PurePosixPath, Member] = {}
    for member in members:
        place = PurePosixPath(member.name)
        if not member.plain or place.is_absolute() or ".." in place.parts or "\\" in member.name:
            raise DataError(
                f"{archive}: holds {member.name!r}, which is a link, a device, or lies outside its folder; not "
                "unpacked, as a data set holds plain files alone"
            )
        if member.folder or place.name.startswith("._"):
            continue
        if place in places:
            raise DataError(f"{archive}: holds {member.name!r} twice; not unpacked")
        places[place] = member
    return places


def _download(address: str, output: str, _) -> None:
    """What pooch calls: the file at an address, into `output`; a part that is there from before is gone on from."""
    import requests
    from tqdm import tqdm

    part = Path(output).parent / f".{PurePosixPath(urlsplit(address).path).name}.part"
    try:
        with requests.Session() as session, _answer(session, address, part) as answer:
            resumed = answer.status_code == 206
            whole = answer.headers.get("Content-Range", "").rpartition("/")[2] if resumed else ""
            whole = int(whole) if whole.isdecimal() else int(answer.headers.get("Content-Length", 0))
            with (
                part.open("ab" if resumed else "wb") as stream,
                tqdm(total=whole or None, initial=stream.tell(), unit="B", unit_scale=True, desc=part.name[1:-5],
                     disable=None) as bar,
            ):  # fmt: skip
                for chunk in answer.iter_content(CHUNK):
                    if stream.tell() + len(chunk) > MOST_BYTES:
                        part.unlink()
                        raise DataError(f"{address}: sends more bytes than a data set has; removed")
                    stream.write(chunk)
                    bar.update(len(chunk))
        if part.stat().st_size < whole:
            raise DataError(f"{address}: broke off after {part.stat().st_size:,} of {whole:,} bytes; {GOES_ON}")
    except requests.RequestException as error:
        kept = part.stat().st_size if part.exists() else 0
        raise DataError(f"{address}: {_why(error)}; {kept:,} bytes are kept, and {GOES_ON}") from error
    os.replace(part, output)


def _why(error) -> str:
    from requests import exceptions

    if isinstance(error, exceptions.Timeout):
        return f"nothing came for {TIMEOUT_SECONDS} s"
    if isinstance(error, exceptions.SSLError):
        return f"the server's certificate is not accepted ({first_line(error)})"
    if isinstance(error, exceptions.ChunkedEncodingError):
        return "the connection broke off"
    if isinstance(error, exceptions.ConnectionError):
        return f"cannot be reached ({first_line(error)})"
    return first_line(error)


def _answer(session, address: str, part: Path):
    """The answer behind all redirections, each of which must stay with https. Raises DataError."""
    base = address
    for _ in range(MOST_REDIRECTS + 1):
        try:
            address = urljoin(base, address)
            where = urlsplit(address)
            here = where.hostname in LOOPBACK
            if where.scheme != "https" and not (where.scheme == "http" and here):
                raise DataError(f"{address}: is not https, so anybody on the way could change it; not downloaded")
            have = part.stat().st_size if part.exists() else 0
            headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
            session.trust_env = not here  # no proxy on the way to this machine
            answer = session.get(address, headers=headers, stream=True, timeout=TIMEOUT_SECONDS, allow_redirects=False)
        except ValueError as error:
            raise DataError(f"{address}: is no address, or redirects to none; download the file by hand") from error
        if answer.is_redirect:
            answer.close()
            base, address = address, answer.headers["Location"]
        elif answer.status_code == 416 or (
            answer.status_code == 206 and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        ):
            answer.close()
            part.unlink()  # what is there now is another file, so from its start
        elif answer.status_code in (200, 206):
            return answer
        else:
            answer.close()
            raise DataError(
                f"{address}: answers {answer.status_code} {answer.reason}; try later, or download it by hand"
            )
    raise DataError(f"{address}: is redirected more than {MOST_REDIRECTS} times; download it by hand")
