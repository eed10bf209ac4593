"""`python -m fewscans.figures.kept`: redraw what git keeps under reports/figures/, from published results alone.

A result's own figures file, or `summary`, may have a function `kept`: pictures by the names of their files.
"""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from pathlib import Path

from fewscans import experiments, guard, paths


def redraw(folder: Path | None = None) -> list[Path]:
    """Draws them into figures/ as PNG and into svg/ as SVG, both of reports/ (or `folder`), to the same bytes in any
    clone. Returns the files.
    """
    folder = folder or paths.reports()
    places = [f"fewscans.figures.{name}" for name in (*experiments.names(), "summary")]
    modules = [importlib.import_module(place) for place in places if find_spec(place) is not None]
    drawn = [module.kept() for module in modules if hasattr(module, "kept")]
    return [
        picture.save(path)
        for pictures in drawn
        for name, picture in pictures.items()
        for path in (folder / "figures" / f"{name}.png", folder / "svg" / f"{name}.svg")
    ]


if __name__ == "__main__":
    with guard.guarded():
        for path in redraw():
            print(f"wrote {path.name}")
