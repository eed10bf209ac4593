"""One colour, marker and name per arm through the whole workbook.

Plain networks are grey, p4 and its relatives orange, p4m blue: families of the palette of Okabe & Ito (2008), which
colour-blind readers can tell apart. The same arm of the paper in space (Z3, D4, D4h) has the same colour as ours on
the plane, and hollow markers.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Look:
    """label: for legends.   line: a matplotlib line style."""

    label: str
    colour: str
    marker: str = "o"
    line: str = "-"

    @property
    def short(self) -> str:
        """The label without what stands in brackets."""
        return self.label.partition(" (")[0]


LOOKS: dict[str, Look] = {
    "Z2": Look("plain CNN", "#5a5a5a", "s"),
    "p4": Look("G-CNN p4 (turns)", "#E69F00", "^"),
    "p4m": Look("G-CNN p4m (turns, mirrors)", "#0072B2", "o"),
    "p4-compute": Look("p4 at the plain CNN's compute", "#B87A00", "v", "--"),
    "p4m-compute": Look("p4m at the plain CNN's compute", "#56B4E9", "D", "--"),
    "Z2-wide": Look("plain, widened to p4m's compute", "#8c8c8c", "D", "--"),
    "Z2-long": Look("plain, 4 times the updates", "#a8a8a8", "v", "--"),
    "Z2-tta-p4": Look("plain, mean over 4 turned copies", "#7fc9b0", "^", "-."),
    "Z2-tta-p4m": Look("plain, mean over 8 turned copies", "#009E73", "o", "-."),
    "p4m-sham": Look("sham group of order 8", "#D55E00", "X", ":"),
    "Z2-invariant": Look("plain, pooling head", "#777777", "P", ":"),
    "p4-invariant": Look("p4, pooling head", "#CC8400", "P", ":"),
    "p4m-invariant": Look("p4m, pooling head", "#004c78", "P", ":"),
    "Z2-leaky": Look("plain, on the leaky split", "#b03a2e", "s", ":"),
    "histogram": Look("intensity histogram", "#CC79A7", "d", ":"),
    "centre": Look("brightness of the centre", "#b58fc2", "h", ":"),
    "nearest": Look("nearest neighbour", "#8f6a2a", "*", ":"),
    "nearest-leaky": Look("nearest neighbour, on the leaky split", "#d98880", "*", ":"),
    # the paper's, in space
    "Z3": Look("plain CNN", "#5a5a5a", "s"),
    "D4": Look("G-CNN D4", "#E69F00", "^"),
    "D4h": Look("G-CNN D4h", "#0072B2", "o"),
    "O": Look("G-CNN O", "#009E73", "D"),
    "Oh": Look("G-CNN Oh", "#CC79A7", "v"),
}
ARM_COLOURS: dict[str, str] = {arm: look.colour for arm, look in LOOKS.items()}
MAIN = ("Z2", "p4", "p4m")


def look(arm: str) -> Look:
    """An arm's look; an arm that is not listed here gets its own name, in black."""
    return LOOKS.get(arm, Look(arm, "#000000", "o"))


def filled(arm: str) -> dict:
    """Plot settings of our own numbers: filled markers."""
    chosen = look(arm)
    return {"color": chosen.colour, "marker": chosen.marker, "linestyle": chosen.line, "markeredgecolor": chosen.colour}


def hollow(arm: str) -> dict:
    """Plot settings of a paper's numbers: hollow markers."""
    return filled(arm) | {"markerfacecolor": "white", "markeredgewidth": 1.6, "linewidth": 1.3}
