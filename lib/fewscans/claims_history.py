"""claims/history.yaml: what every claim named, and when and why that changed. No claim changes unseen."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Annotated

from pydantic import Field

from fewscans import files, paths, strictyaml
from fewscans.claims import HISTORY, Claim, Claims, Part, inside, load, read, require


def changed_since_history(claims: Claims | None = None, folder: Path | str | None = None) -> list[str]:
    """What the claims name now and history.yaml does not: lines to put under `claims` of a new entry, with what each
    was before as a comment.
    """
    folder = paths.root() / "claims" if folder is None else Path(folder)
    with inside(HISTORY):
        entries = [read(_Entry, raw) for raw in strictyaml.load((folder / HISTORY).read_text(encoding="utf-8"))]
        dates = [entry.date for entry in entries]
        require((dates != sorted(dates), "entries must be in the order of their dates; new ones come last"))
    before = {name: text for entry in entries for name, text in entry.claims.items()}
    now = dict.fromkeys(before, "removed") | {c.id: _fixed(c) for c in (load(folder) if claims is None else claims)}
    return [f"{name}: {new}  # was: {before.get(name)}" for name, new in now.items() if before.get(name) != new]


def record(why: str) -> list[str]:
    """Appends what changed to history.yaml, with the date and why. Returns the changes."""
    lines = changed_since_history()
    named = "".join(f"    {line.partition('  # was: ')[0]}\n" for line in lines)
    entry = f"\n- date: {datetime.date.today()}\n  why: {json.dumps(why)}\n  claims:\n{named}" if lines else ""
    history = paths.root() / "claims" / HISTORY
    files.write(history, history.read_text(encoding="utf-8") + entry)
    return lines


def _fixed(claim: Claim) -> str:
    """All that a claim fixed, in one line: its tests, each with its runs, and when it was named."""
    runs: dict[str, list[str]] = {}
    for test in claim.tests:
        runs.setdefault(test.measured(), []).append(test.run)
    tests = " | ".join(f"{what}; {' '.join(names)}" for what, names in runs.items())
    return f"{tests}; named {claim.named}{', test set seen' * claim.seen}{', headline' * claim.headline}"


class _Entry(Part):
    date: datetime.date
    why: Annotated[str, Field(min_length=1)]
    claims: dict[str, str]
