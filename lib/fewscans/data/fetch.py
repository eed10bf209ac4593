"""Download a public data set that needs no registration: resumed where it broke off, checked, unpacked with care.

Addresses and checksums stand in the data sets' records. Only https is spoken, and plain http to this very machine.
"""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
import zlib
from pathlib import Path, PurePosixPath
from urllib.parse import urljoin, urlsplit

from fewscans.data.base import first_line
from fewscans.data.registry import dataset, home
from fewscans.errors import DataError

LOOPBACK = ("127.0.0.1", "::1", "localhost")
MOST_REDIRECTS, CHUNK, TIMEOUT_SECONDS = 5, 1 << 16, 60
MOST_BYTES, MOST_FILES = 1 << 33, 100_000  # of an unpacked archive


def fetch(name: str, root: Path | str) -> Path:
    """Downloads a data set to where its reader looks under `root`, and unpacks it. Returns its folder.

    Files that are there with the right checksum are kept. What broke off goes on from where it was.
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
            if not (file.is_file() and pooch.hashes.hash_matches(file, known)):
                pooch.retrieve(address, known, file.name, folder, downloader=_download)
            if file.suffix == ".tar":
                unpack(file, folder)
                file.unlink()
    except ValueError as error:  # pooch's for a checksum that differs
        raise DataError(
            f"{address}: what came has another checksum than the published file; it was removed, so try again, and if "
            f"it stays so, the publisher has changed it ({first_line(error)})"
        ) from error
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be written ({error.strerror or error}); make room or make it writable"
        ) from error
    return folder


def unpack(archive: Path, folder: Path) -> None:
    """Unpacks a tar, without its own top folder and macOS's `._` files; all of it or nothing appears.

    Raises:  DataError, before anything is written, for a member that is no plain file or folder, that would lie
             outside, and for more bytes or files than a data set has; and for an archive that is damaged.
    """
    try:
        with tarfile.open(archive) as tar, tempfile.TemporaryDirectory(dir=folder, prefix=".unpacking-") as room:
            members = [m for m in tar.getmembers() if not PurePosixPath(m.name).name.startswith("._")]
            if len(members) > MOST_FILES or sum(m.size for m in members) > MOST_BYTES:
                raise DataError(f"{archive}: unpacks to {len(members)} files, more than a data set holds; not unpacked")
            for member in members:
                place = PurePosixPath(member.name)
                if not (member.isfile() or member.isdir()) or place.is_absolute() or ".." in place.parts:
                    raise DataError(
                        f"{archive}: holds {member.name!r}, which is a link, a device, or lies outside its folder; not "
                        "unpacked, as a data set holds plain files alone"
                    )
            tar.extractall(room, members, filter="data")
            tops = list(Path(room).iterdir())
            inner = tops[0] if len(tops) == 1 and tops[0].is_dir() else Path(room)
            for part in sorted(inner.iterdir()):
                target = folder / part.name
                if target.is_dir():
                    shutil.rmtree(target)
                os.replace(part, target)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(f"{archive}: is no whole tar archive ({first_line(error)}); download it again") from error


def _download(address: str, output: str, _) -> None:
    """What pooch calls: the file at an address, into `output`; a part that is there from before is gone on from."""
    import requests

    part = Path(output).parent / f".{PurePosixPath(urlsplit(address).path).name}.part"
    try:
        with requests.Session() as session, _answer(session, address, part) as answer:
            resumed = answer.status_code == 206
            with part.open("ab" if resumed else "wb") as stream:
                shutil.copyfileobj(_Body(answer), stream, CHUNK)
            whole = answer.headers.get("Content-Range", "").rpartition("/")[2] if resumed else None
            whole = whole or answer.headers.get("Content-Length")
        if whole and whole.isdigit() and part.stat().st_size < int(whole):
            raise DataError(
                f"{address}: broke off after {part.stat().st_size:,} of {int(whole):,} bytes; the same command goes on "
                "from there"
            )
    except requests.RequestException as error:
        kept = part.stat().st_size if part.exists() else 0
        raise DataError(
            f"{address}: {first_line(error)}; {kept:,} bytes are kept, and the same command goes on from there"
        ) from error
    os.replace(part, output)


class _Body:
    """The body of an answer as a file to read; a connection that breaks raises requests' own error."""

    def __init__(self, answer):
        self.chunks = answer.iter_content(CHUNK)

    def read(self, _: int) -> bytes:
        return next(self.chunks, b"")


def _answer(session, address: str, part: Path):
    """The answer behind all redirections, each of which must stay with https. Raises DataError."""
    have = part.stat().st_size if part.exists() else 0
    for _ in range(MOST_REDIRECTS + 1):
        where = urlsplit(address)
        if where.scheme != "https" and not (where.scheme == "http" and where.hostname in LOOPBACK):
            raise DataError(f"{address}: is not https, so anybody on the way could change it; not downloaded")
        headers = (
            {"Range": f"bytes={have}-", "Accept-Encoding": "identity"} if have else {"Accept-Encoding": "identity"}
        )
        answer = session.get(address, headers=headers, stream=True, timeout=TIMEOUT_SECONDS, allow_redirects=False)
        if answer.is_redirect:
            address = urljoin(address, answer.headers["Location"])
            answer.close()
            continue
        if answer.status_code == 416:  # the part is already whole, or longer than what is there now
            part.unlink()
            have = 0
            answer.close()
            continue
        if answer.status_code not in (200, 206):
            raise DataError(
                f"{address}: answers {answer.status_code} {answer.reason}; try later, or download it by hand"
            )
        return answer
    raise DataError(f"{address}: is redirected more than {MOST_REDIRECTS} times; download it by hand")
