"""One colour, marker and name per arm through the whole workbook.

Plain networks are grey; p4 and D4 orange, p4m and D4h blue, O green, Oh pink, each with its relatives: families of the
palette of Okabe & Ito (2008), which colour-blind readers can tell apart. Plane and space share colours and no axes, and
so do networks that are trained on numbers: the base network grey, with as many forward passes orange, sums over sets
blue. The paper's numbers have the same colours and hollow markers.
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
    "histogram": Look("histogram of values", "#CC79A7", "d", ":"),
    "centre": Look("brightness of the centre", "#b58fc2", "h", ":"),
    "nearest": Look("nearest neighbour", "#8f6a2a", "*", ":"),
    "nearest-leaky": Look("nearest neighbour, on the leaky split", "#d98880", "*", ":"),
    "volume": Look("volume alone", "#B9770E", "h", ":"),
    # in space
    "Z3": Look("plain CNN", "#5a5a5a", "s"),
    "D4": Look("G-CNN D4 (8 turns)", "#E69F00", "^"),
    "D4h": Look("G-CNN D4h (16, mirrors too)", "#0072B2", "o"),
    "O": Look("G-CNN O (24 turns)", "#009E73", "D"),
    "Oh": Look("G-CNN Oh (48, mirrors too)", "#CC79A7", "v"),
    "D4-compute": Look("D4 at the plain CNN's compute", "#B87A00", "^", "--"),
    "D4h-compute": Look("D4h at the plain CNN's compute", "#56B4E9", "o", "--"),
    "Z3-wide": Look("plain, widened to D4's compute", "#8c8c8c", "D", "--"),
    "Z3-long": Look("plain, 4 times the updates", "#a8a8a8", "v", "--"),
    "Z3-tta-D4": Look("plain, mean over 8 turned copies", "#b08d57", "^", "-."),
    "Z3-tta-D4h": Look("plain, mean over 16 turned copies", "#5b7fa6", "o", "-."),
    "D4-sham": Look("sham group of order 8", "#D55E00", "X", ":"),
    "O-sham": Look("sham group of order 24", "#a04000", "X", "--"),
    "Z3-invariant": Look("plain, pooling head", "#777777", "P", ":"),
    "D4-invariant": Look("D4, pooling head", "#CC8400", "P", ":"),
    "D4h-invariant": Look("D4h, pooling head", "#004c78", "P", ":"),
    "O-invariant": Look("O, pooling head", "#00694d", "P", ":"),
    "Oh-invariant": Look("Oh, pooling head", "#9c4f7c", "P", ":"),
    "Z3-shuffled": Look("plain, labels shuffled", "#5a5a5a", "x", ":"),
    "D4-shuffled": Look("D4, labels shuffled", "#E69F00", "x", ":"),
    "D4h-shuffled": Look("D4h, labels shuffled", "#0072B2", "x", ":"),
    "O-shuffled": Look("O, labels shuffled", "#009E73", "x", ":"),
    "Oh-shuffled": Look("Oh, labels shuffled", "#CC79A7", "x", ":"),
    # one number a scan
    "base": Look("base", "#5a5a5a", "s"),
    "base-compute": Look("base at equal passes", "#E69F00", "^"),
    "hydra-4": Look("sums of 4", "#0072B2", "o"),
    "hydra-2": Look("sums of 2", "#56B4E9", "v"),
    "hydra-8": Look("sums of 8", "#004c78", "D"),
    "hydra-4-p0": Look("no black images", "#56B4E9", "o", "--"),
    "hydra-4-p30": Look("black with p = 0.3", "#3a8fc4", "P", "--"),
    "hydra-4-p50": Look("black with p = 0.5", "#004c78", "P", "--"),
    "hydra-4-replacement": Look("drawn with replacement", "#3a8fc4", "h", "--"),
    "base-mae": Look("base, absolute error", "#8c8c8c", "s", ":"),
    "hydra-4-mae": Look("sums of 4, absolute error", "#3a8fc4", "D", ":"),
    "base-centred": Look("base, labels centred", "#B87A00", "v", ":"),
    "hydra-4-centred": Look("sums of 4, labels centred", "#004c78", "v", ":"),
    "base-dropout": Look("base, dropout 0.3", "#D55E00", "s", "-."),
    "mixup": Look("mixup", "#009E73", "^", "-."),
    "c-mixup": Look("C-Mixup", "#00694d", "D", "-."),
    "hydra-4-fixed": Look("the same sets every epoch", "#CC79A7", "X", "--"),
    "hydra-4-permuted": Look("sums permuted", "#9c4f7c", "X", ":"),
    "hydra-4-black": Look("sums of 4, others fed black", "#3a8fc4", "o", ":"),
    "base-compute-unit": Look("base, grey values in [0, 1]", "#B87A00", "^", "-."),
    "hydra-4-unit": Look("sums of 4, grey values in [0, 1]", "#004c78", "o", "-."),
    "base-uniform": Look("base, uniform labels", "#5a5a5a", "p", ":"),
    "base-compute-uniform": Look("equal passes, uniform labels", "#E69F00", "p", ":"),
    "hydra-4-uniform": Look("sums of 4, uniform labels", "#0072B2", "p", ":"),
    "base-unseen": Look("base, unseen site", "#5a5a5a", "P", "-."),
    "base-compute-unseen": Look("equal passes, unseen site", "#E69F00", "P", "-."),
    "hydra-4-unseen": Look("sums of 4, unseen site", "#0072B2", "P", "-."),
    "mean": Look("mean of the training labels", "#b0b0b0", "_", ":"),
    "crop": Look("size of the published crop", "#B9770E", "*", ":"),
}
ARM_COLOURS: dict[str, str] = {arm: look.colour for arm, look in LOOKS.items()}


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
