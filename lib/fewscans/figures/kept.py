"""`python -m fewscans.figures.kept`: redraw what git keeps under reports/figures/, from published results alone.

A result's own figures file, or `summary`, may have a function `kept`: pictures by the names of their files.
"""

from __future__ import annotations

import importlib
import os
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

from fewscans import experiments, guard, paths


def redraw(folder: Path | None = None) -> list[Path]:
    """Draws them into figures/ as PNG and into svg/ as SVG, both of reports/ (or `folder`), to the same bytes in any
    clone. A process draws those of one file, one on each core. Returns the files.
    """
    places = [f"fewscans.figures.{name}" for name in ("summary", *experiments.names())]  # the longest first
    with ProcessPoolExecutor(min(4, os.cpu_count() or 1), get_context("spawn")) as pool:
        drawn = pool.map(_of_module, filter(find_spec, places), repeat(folder or paths.reports()))
        return [path for some in drawn for path in some]


def _of_module(place: str, folder: Path) -> list[Path]:
    module = importlib.import_module(place)
    return [
        picture.save(path)
        for name, picture in (module.kept() if hasattr(module, "kept") else {}).items()
        for path in (folder / "figures" / f"{name}.png", folder / "svg" / f"{name}.svg")
    ]


if __name__ == "__main__":
    with guard.guarded():
        for path in redraw():
            print(f"wrote {path.name}")
