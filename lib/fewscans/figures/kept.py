"""`python -m fewscans.figures.kept`: redraw what git keeps under reports/figures/, from published results alone.

A result's own figures file may have a function `kept`, which returns pictures by the names of their files.
"""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from pathlib import Path

from fewscans import experiments, guard, paths


def redraw(folder: Path | None = None) -> list[Path]:
    """Draws them into reports/figures/ (or `folder`), to the same bytes in any clone. Returns the files."""
    folder = folder or paths.reports() / "figures"
    places = [f"fewscans.figures.{name}" for name in experiments.names()]
    drawn = [importlib.import_module(place).kept() for place in places if find_spec(place) is not None]
    return [picture.save(folder / f"{name}.png") for pictures in drawn for name, picture in pictures.items()]


if __name__ == "__main__":
    with guard.guarded():
        for path in redraw():
            print(f"wrote {path.name}")
