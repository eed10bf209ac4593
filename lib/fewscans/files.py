"""The one way in which files appear: whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path


def write(path: Path, content: bytes | str) -> Path:
    """Replaces a file at once, and only if its content changes; its folder is made. Raises OSError."""
    data = content.encode() if isinstance(content, str) else content
    if path.is_file() and path.read_bytes() == data:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(data)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def write_json(path: Path, content: object) -> Path:
    """The same bytes for the same content."""
    return write(path, json.dumps(content, indent=1, sort_keys=True) + "\n")
