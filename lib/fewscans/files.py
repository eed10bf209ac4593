"""The one way in which files appear: whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import uuid
from pathlib import Path

SUMS, POINTER = "SHA256SUMS", b"version https://git-lfs"


def partial(path: Path) -> Path:
    """Where to write what replaces `path`: beside it, under a name that no other writer has, on any machine."""
    return path.with_name(f"{path.name}.{_host()}-{os.getpid()}-{uuid.uuid4().hex}.part")


def abandoned(part: Path) -> bool:
    """Whether the process that made a name of `partial` was of this machine and is gone."""
    writer = re.search(r"\.([A-Za-z0-9-]*)-(\d+)-[0-9a-f]{32}\.part$", part.name)
    if writer is None or writer[1] != _host():
        return False
    try:
        os.kill(int(writer[2]), 0)
    except ProcessLookupError:
        return True
    except OSError:  # another user's
        pass
    return False


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:40]


def write(path: Path, content: bytes | str) -> Path:
    """Replaces a file at once, and only if its content changes; its folder is made. Raises OSError."""
    data = content.encode() if isinstance(content, str) else content
    if path.is_file() and path.read_bytes() == data:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = partial(path)
    try:
        fresh.write_bytes(data)
        os.replace(fresh, path)
    except OSError as error:
        error.filename, error.filename2 = str(path), None  # a full disk names no file
        raise
    finally:
        fresh.unlink(missing_ok=True)
    return path


def lists_of_hashes(folder: Path) -> dict[str, str]:
    """Name → SHA-256, as the folder's SHA256SUMS lists them; none where there is no such file."""
    sums = folder / SUMS
    lines = sums.read_text(encoding="utf-8").splitlines() if sums.is_file() else []
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def seal(folder: Path) -> Path:
    """Lists the folder's files, but its pages to read, with their SHA-256 in SHA256SUMS, as `sha256sum -c` reads it."""
    found = sorted(path for path in folder.iterdir() if path.is_file() and path.name != SUMS and path.suffix != ".md")
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" for path in found]
    return write(folder / SUMS, "\n".join(lines) + "\n")


def is_pointer(path: Path) -> bool:
    """Whether a file is what git leaves in place of one that Git LFS holds."""
    with path.open("rb") as stream:
        return stream.read(len(POINTER)) == POINTER


def write_json(path: Path, content: object) -> Path:
    """The same bytes for the same content."""
    return write(path, json.dumps(content, indent=1, sort_keys=True) + "\n")
