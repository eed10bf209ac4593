"""One look for all figures, and the same bytes for the same figure: fixed style, fixed size, provenance in the file.

A figure is drawn at 6.4 inches, the width of a page, and still read at half of that. Its title says what is drawn. The
user's own matplotlib settings play no part.
"""

from __future__ import annotations

import io
import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import matplotlib.style
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from fewscans import files

WIDTH_INCHES = 6.4
DPI = 200
SHOWN_PIXELS_PER_INCH = 110  # in a notebook, where screens with fine pixels use the rest
GREY = "#5f6872"
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
    "axes.labelsize": 10.5,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a949e",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e8ec",
    "grid.linewidth": 0.8,
    "xtick.color": "#30363d",
    "ytick.color": "#30363d",
    "lines.linewidth": 1.8,
    "lines.markersize": 6.5,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "legend.handlelength": 1.8,
    "image.cmap": "gray",
    "image.interpolation": "nearest",
    "svg.hashsalt": "fewscans",  # its ids are random otherwise
}


def style():
    """The look of all figures, as a context or a decorator (`@styled`)."""
    return matplotlib.style.context(["default", STYLE])


styled = style()


@dataclass(frozen=True, eq=False)
class Picture:
    """A finished figure: `title` says what is drawn, `provenance` where its numbers come from.

    Shown by a notebook as it is, and saved with the same bytes.
    """

    figure: Figure
    title: str
    provenance: Mapping = field(default_factory=dict)

    @cached_property
    def png(self) -> bytes:
        """The file's bytes; title and provenance (as JSON, key "fewscans") are among its text entries."""
        return self._drawn("png", {"Title": self.title, "fewscans": self._about, "Software": None})

    @cached_property
    def svg(self) -> bytes:
        """The same to scale freely; title and provenance (as JSON, the description) are in its metadata."""
        return self._drawn("svg", {"Title": self.title, "Description": self._about, "Creator": None, "Date": None})

    @property
    def _about(self) -> str:
        return json.dumps(dict(self.provenance), sort_keys=True, ensure_ascii=True)

    def _drawn(self, kind: str, metadata: Mapping) -> bytes:
        buffer = io.BytesIO()
        with style():
            FigureCanvasAgg(self.figure)
            self.figure.savefig(buffer, format=kind, dpi="figure", metadata=metadata)
        return buffer.getvalue()

    def save(self, path: Path) -> Path:
        """Writes the PNG, or the SVG if the name ends so, replaced at once, and only if its bytes changed."""
        return files.write(path, self.svg if path.suffix == ".svg" else self.png)

    def _repr_png_(self) -> tuple[bytes, dict]:
        width, height = (round(inches * SHOWN_PIXELS_PER_INCH) for inches in self.figure.get_size_inches())
        return self.png, {"width": width, "height": height, "alt": self.title}

    def __repr__(self) -> str:
        return f"figure: {self.title}"


def sheet(
    title: str, rows: int = 1, columns: int = 1, height: float = 3.6, note: str = "", **options
) -> tuple[Figure, np.ndarray]:
    """An empty figure and its axes, (rows, columns), with the title above and a small note below.

    height: inches.   options: as for `Figure.subplots`, such as width_ratios.
    """
    figure = Figure(figsize=(WIDTH_INCHES, height), dpi=DPI, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.05)
    whole = title.replace("N = ", "N\u00a0=\u00a0")  # never parted at the end of a line
    wrapped = textwrap.fill(whole, int(WIDTH_INCHES * 72 / 7.1))
    figure.suptitle(wrapped, x=0.012, ha="left", fontsize=12, fontweight="bold")
    if note:
        lines = textwrap.wrap(note, int(WIDTH_INCHES * 72 / 4.3))
        bottom = (0.06 + 0.145 * len(lines)) / height
        figure.get_layout_engine().set(rect=(0, bottom, 1, 1 - bottom))
        figure.text(0.012, 0.05 / height, "\n".join(lines), fontsize=8, color=GREY, va="bottom")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def legend(figure: Figure, handles: Mapping[str, Artist], columns: int = 3) -> None:
    """One legend for all panels, below them and above the note.   handles: by what is written beside them."""
    left, bottom, width, height = free = figure.get_layout_engine().get()["rect"]
    options = {"bbox_to_anchor": free, "ncols": columns, "fontsize": 9, "borderaxespad": 0.2}
    figure.legend(handles.values(), handles.keys(), loc="lower center", **options)
    own = (0.1 + 0.19 * -(-len(handles) // columns)) / figure.get_figheight()
    figure.get_layout_engine().set(rect=(left, bottom + own, width, height - own))


def columns_for(labels: Sequence[str], most: int = 3) -> int:
    """In how many columns a legend below the panels has room."""
    for columns in range(min(most, len(labels)), 1, -1):
        longest = [max(map(len, part)) for part in np.array_split(labels, columns)]
        if 4.7 * sum(longest) + 41 * columns < WIDTH_INCHES * 72:  # points of a letter, and of a handle with its gaps
            return columns
    return 1


def sizes_axis(axes: Axes, sizes, label: str, apart: float = 1.0) -> None:
    """A logarithmic axis of training sizes, ticks at the sizes themselves.

    apart: in a narrow panel, the factor between neighbours below which the smaller one gets no number.
    """
    sizes = sorted(set(sizes))
    axes.set_xscale("log")
    crowded = {n for n, after in zip(sizes, sizes[1:], strict=False) if after / n < apart}
    axes.set_xticks(sizes, ["" if n in crowded else short(n) for n in sizes])
    axes.minorticks_off()
    axes.set_xlim(sizes[0] / 1.35, sizes[-1] * 1.35)
    axes.set_xlabel(label)


def short(n: int) -> str:
    """ "300", "1k", "1856": short enough for an axis."""
    return f"{n // 1000}k" if n >= 1000 and n % 1000 == 0 else str(n)


def picture_only(axes: Axes) -> None:
    """No ticks, no frame, no grid: the axes hold an image."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
