"""One look for all figures, and the same bytes for the same figure: fixed style, fixed size, provenance in the file.

A figure is drawn at 6.4 inches, the width of a page, and still read at half of that. Its title states what was found.
The user's own matplotlib settings play no part.
"""

from __future__ import annotations

import io
import json
import os
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

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
}


def style():
    """The look of all figures, as a context or a decorator (`@styled`)."""
    return matplotlib.style.context(["default", STYLE])


styled = style()


@dataclass(frozen=True, eq=False)
class Picture:
    """A finished figure: `title` says what it shows, `provenance` where its numbers come from.

    Shown by a notebook as it is, and saved with the same bytes.
    """

    figure: Figure
    title: str
    provenance: Mapping = field(default_factory=dict)

    @cached_property
    def png(self) -> bytes:
        """The file's bytes; title and provenance (as JSON, key "fewscans") are among its text entries."""
        about = json.dumps(dict(self.provenance), sort_keys=True, ensure_ascii=True)
        text = {"Title": self.title, "fewscans": about, "Software": None}
        buffer = io.BytesIO()
        with style():
            FigureCanvasAgg(self.figure)
            self.figure.savefig(buffer, format="png", dpi="figure", metadata=text)
        return buffer.getvalue()

    def save(self, path: Path) -> Path:
        """Writes the PNG, replaced at once, and only if its bytes changed."""
        if not path.is_file() or path.read_bytes() != self.png:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f".{path.name}.{os.getpid()}")
            partial.write_bytes(self.png)
            os.replace(partial, path)
        return path

    def _repr_png_(self) -> tuple[bytes, dict]:
        width, height = (round(inches * SHOWN_PIXELS_PER_INCH) for inches in self.figure.get_size_inches())
        return self.png, {"width": width, "height": height, "alt": self.title}

    def __repr__(self) -> str:
        return f"figure: {self.title}"


def sheet(
    title: str,
    rows: int = 1,
    columns: int = 1,
    height: float = 3.6,
    note: str = "",
    **options,
) -> tuple[Figure, np.ndarray]:
    """An empty figure and its axes, (rows, columns), with the title above and a small note below.

    height: inches.   options: as for `Figure.subplots`, such as width_ratios.
    """
    figure = Figure(figsize=(WIDTH_INCHES, height), dpi=DPI, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.05)
    letters = int(WIDTH_INCHES * 72 / 7.1)
    whole = title.replace("N = ", "N\u00a0=\u00a0")  # never parted at the end of a line
    figure.suptitle(textwrap.fill(whole, letters), x=0.012, ha="left", fontsize=12, fontweight="bold")
    if note:
        figure.supxlabel(wrapped(note), x=0.012, ha="left", fontsize=8, color=GREY)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def wrapped(note: str) -> str:
    """A note in lines that fit the page."""
    return textwrap.fill(note, int(WIDTH_INCHES * 72 / 4.3))


def sizes_axis(axes: Axes, sizes, label: str = "training patches", apart: float = 1.0) -> None:
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
    """ "300", "1k", "1856": short enough to stand beside its neighbour."""
    return f"{n // 1000}k" if n >= 1000 and n % 1000 == 0 else str(n)


def picture_only(axes: Axes) -> None:
    """No ticks, no frame, no grid: the axes hold an image."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
