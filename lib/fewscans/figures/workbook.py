"""The map of the workbook: how data flow from a public data set or its twin to a verdict; the state of the claims."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from fewscans.figures.picture import GREY, Picture, picture_only, sheet, styled

REAL, MADE, KEPT, FROM_GIT = "#0072B2", "#E69F00", "#009E73", "#8a949e"
# name, where it lies, (left, top), colour
ROOMS = {
    "public": ("public data set", "data_root/", (0.2, 9.6), REAL),
    "twin": ("synthetic twin", "build/twins/", (5.3, 9.6), MADE),
    "reader": ("reader: cases by patient,\nsplit by scan", "lib/fewscans/data/", (2.75, 7.65), FROM_GIT),
    "runs": ("runs: arms × sizes × seeds", "lib/fewscans/experiments/, build/store/", (2.75, 5.7), FROM_GIT),
    "mine": ("this machine's\npredictions", "runs/", (5.3, 3.75), MADE),
    "published": ("published predictions", "reports/published/", (0.2, 3.75), KEPT),
    "stats": ("scores with intervals", "lib/fewscans/stats/", (2.75, 1.8), FROM_GIT),
    "verdicts": ("claims → verdicts,\nnotebooks, figures", "claims.yaml, reports/", (2.75, -0.15), KEPT),
}
FLOW = (
    ("public", "reader"), ("twin", "reader"), ("reader", "runs"), ("runs", "published"), ("runs", "mine"),
    ("published", "stats"), ("mine", "stats"), ("stats", "verdicts"),
)  # fmt: skip
BOX = (4.5, 1.45)


@styled
def workbook_map() -> Picture:
    """Rooms and arrows; nothing flows back."""
    title = "Data flow one way: redrawing a figure trains nothing"
    figure, axes = sheet(title, height=5.6, note="Blue: yours. Orange: made here by `make repro`. Green: kept in git.")
    panel = axes[0, 0]
    panel.set_xlim(0, 10)
    panel.set_ylim(-1.7, 9.8)
    picture_only(panel)
    for name, where, corner, colour in ROOMS.values():
        _box(panel, name, where, corner, colour)
    for start, end in FLOW:
        _arrow(panel, ROOMS[start][2], ROOMS[end][2])
    return Picture(figure, title, {"figure": "map of the workbook"})


def _box(panel: Axes, name: str, where: str, corner: tuple[float, float], colour: str) -> None:
    x, y = corner
    width, height = BOX
    frame = {"boxstyle": "round,pad=0,rounding_size=0.15", "facecolor": "white", "edgecolor": colour, "linewidth": 2}
    panel.add_patch(FancyBboxPatch((x, y - height), width, height, **frame))
    middle = {"ha": "center", "va": "center"}
    panel.text(x + width / 2, y - 0.52, name, **middle, fontsize=10, fontweight="bold", linespacing=1.1)
    panel.text(x + width / 2, y - height + 0.22, where, **middle, fontsize=8, color=GREY, family="monospace")


def _arrow(panel: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    middle = BOX[0] / 2
    tail = (start[0] + middle, start[1] - BOX[1])
    head = (end[0] + middle + 0.35 * (start[0] - end[0]), end[1])
    panel.add_patch(FancyArrowPatch(tail, head, arrowstyle="-|>", mutation_scale=14, color=GREY, linewidth=1.4))


STATES = {"reproduced": "#009E73", "inconclusive": "#E69F00", "contradicted": "#D55E00", "not tested": "#d0d7de"}


@styled
def states(rows: Sequence) -> Picture:
    """How many claims have which verdict, on real data and on twins; rows of `scorecard.scorecard`."""
    sides = {"real data": [r for r in rows if r.real], "twins": [r for r in rows if not r.real]}
    tested = {name: sum(r.verdict != "not tested" for r in some) for name, some in sides.items()}
    done = sum(r.verdict == "reproduced" for r in sides["real data"])
    title = f"{tested['real data']} of {len(sides['real data'])} tests on real data are done, {done} of them reproduced"
    note = "A verdict on a twin says that the mechanism works in this implementation; only real data replicate."
    figure, axes = sheet(title, height=1.9, note=note)
    panel = axes[0, 0]
    for row, some in enumerate(sides.values()):
        left = 0
        for verdict, colour in STATES.items():
            count = sum(r.verdict == verdict for r in some)
            panel.barh(row, count, left=left, color=colour, height=0.62, label=verdict if row == 0 else None)
            if count:
                panel.text(left + count / 2, row, str(count), ha="center", va="center", fontsize=10)
            left += count
    panel.set_yticks(range(len(sides)), list(sides))
    panel.invert_yaxis()
    panel.grid(False)
    panel.set_xlabel("tests of claims")
    panel.legend(loc="upper center", bbox_to_anchor=(0.45, 1.32), ncols=4, handlelength=1.0)
    return Picture(figure, title, {"figure": "state of the claims"})
