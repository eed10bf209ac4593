"""The arms of the Camelyon16 experiment: the paper's networks and their variants, controls, a trivial baseline.

Names follow the paper: 40x is level 0 of a slide, 20x is level 1; small is the network with few filters.
"""

from __future__ import annotations

from dataclasses import dataclass

from fewscans.experiments import base


@dataclass(frozen=True, kw_only=True)
class Arm(base.Arm):
    """levels: of the pyramid that the network sees, one tower each.   full: as wide as the paper's large network.
    balanced: draw class, slide and patch in turn; else any patch of any slide.   augment: orientations and colours.
    networks: trained from different initial weights; their probabilities are averaged.   members: how many of the
    networks of `computed_with` are averaged.   averaged: over eight orientations at test time.   mislabelled: training
    slides with tumour whose patches are all labelled normal.   shuffled: patches carry the labels of whole slides,
    permuted.   overview: sees whole slides, downsampled.   stain: colours are normalised.   lite: EfficientNet-Lite0.
    imagenet: starts from ImageNet weights.   published: RMSProp with the paper's constants.
    """

    levels: tuple[int, ...] = (0,)
    full: bool = False
    balanced: bool = True
    augment: bool = True
    networks: int = 1
    members: int | None = None
    averaged: bool = False
    mislabelled: int = 0
    shuffled: bool = False
    overview: bool = False
    stain: bool = False
    lite: bool = False
    imagenet: bool = False
    published: bool = False


GREY, ORANGE, BLUE, GREEN, PINK, SKY = "#5a5a5a", "#E69F00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9"
SMALL = "40x-small"


def _of(label: str, colour: str, marker: str = "o", line: str = "--", **setting) -> Arm:
    """A variant of the small network."""
    return Arm(label=label, colour=colour, marker=marker, line=line, derived_from=SMALL, **setting)


PAPER_ARMS = {
    SMALL: Arm(label="40X-small", colour=BLUE),
    f"{SMALL}-averaged": _of("40X-small, mean over 8 orientations", GREEN, "s", averaged=True, computed_with=SMALL),
    "40x": _of("40X, full width", "#00405f", "D", full=True),
    "20x-small": _of("20X-small", ORANGE, "^", levels=(1,)),
    "40x20x-small": _of("40X+20X-small", "#B87A00", "v", levels=(0, 1)),
    "overview": _of("whole slide, downsampled", PINK, "P", overview=True),
    "ensemble-5": _of("ensemble of 5", "#6a51a3", "h", networks=5),
    "ensemble-3": _of("ensemble of 3", "#9e9ac8", "h", members=3, computed_with="ensemble-5"),
    "ensemble-1": _of("one of the ensemble", "#bcbddc", "h", members=1, computed_with="ensemble-5"),
    f"{SMALL}-mislabelled": _of("two slides mislabelled normal", "#D55E00", "X", mislabelled=2),
    f"{SMALL}-naive": _of("patches drawn at random", "#8c8c8c", "v", balanced=False),
    f"{SMALL}-plain": _of("no augmentation", "#a8a8a8", "^", augment=False),
    f"{SMALL}-stain": _of("colours normalised", SKY, "d", stain=True),
    "lite0": _of("EfficientNet-Lite0", "#7f7f00", "*", lite=True),
    "lite0-imagenet": _of("EfficientNet-Lite0, ImageNet weights", "#b5b500", "*", lite=True, imagenet=True),
    "40x-imagenet": _of("40X, ImageNet weights", "#3f7f7f", "*", full=True, imagenet=True),
    f"{SMALL}-published": _of("40X-small, RMSProp as published", "#80b1d3", "p", published=True),
}  # fmt: skip
CONTROL_ARMS = {
    f"{SMALL}-shuffled": _of("slide labels shuffled", "#c0392b", "x", ":", shuffled=True),
    "tissue": Arm(trivial="tissue", label="tissue alone", colour=GREY, marker="h", line=":"),
    "histogram": Arm(trivial="histogram", label="colour histogram", colour=GREY, marker="s", line=":"),
}
ARMS: dict[str, Arm] = PAPER_ARMS | CONTROL_ARMS
