"""The arms of the chest X-ray experiment: two models of the paper, what sets them apart, trivial baselines."""

from __future__ import annotations

from dataclasses import dataclass

from fewscans.experiments import base


@dataclass(frozen=True, kw_only=True)
class Arm(base.Arm):
    """patches: what step 1 shows, "boxes" (around findings, and normal lung) or "random" (anywhere, with the labels of
    the whole image); "" for no step 1.   share: of the images with boxes, those whose boxes step 1 may use.   shuffled:
    the labels of patches are permuted.   joint: patches and whole images take turns, instead of one step after the
    other.   longer: no patches, but as much computing as with them.   augment: random sharpening and blurring.
    """

    patches: str = ""
    share: float = 1.0
    shuffled: bool = False
    joint: bool = False
    longer: bool = False
    augment: bool = True


ORANGE, BLUE, GREEN, PINK, SKY, RED = "#E69F00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#c0392b"
CURRICULUM = "curriculum"


def _of(label: str, colour: str, marker: str, line: str = "--", **setting) -> Arm:
    """A variant of the curriculum."""
    return Arm(label=label, colour=colour, marker=marker, line=line, derived_from=CURRICULUM,
               **({"patches": "boxes"} | setting))  # fmt: skip


PAPER_ARMS = {
    "baseline": Arm(label="whole images only", colour=ORANGE),
    CURRICULUM: Arm(label="patches, then whole images", colour=BLUE, marker="s", patches="boxes"),
    "baseline-compute": Arm(label="whole images only, equal computing", colour="#B87A00", marker="^", line="--",
                            derived_from="baseline", longer=True),
    f"{CURRICULUM}-20": _of("20 % of the boxes", SKY, "v", share=0.2),
    f"{CURRICULUM}-5": _of("5 % of the boxes", "#a6cee3", "<", share=0.05),
    "joint": _of("patches and whole images in turn", GREEN, "D", joint=True),
    "baseline-plain": Arm(label="whole images only, no sharpening or blurring", colour="#c9a15a", marker="1", line=":",
                          derived_from="baseline", augment=False),
    f"{CURRICULUM}-plain": _of("patches first, no sharpening or blurring", "#6a8fb5", "2", ":", augment=False),
}  # fmt: skip
CONTROL_ARMS = {
    "random-patches": _of("patches anywhere, the image's labels", PINK, "P", patches="random"),
    f"{CURRICULUM}-shuffled": _of("labels of patches shuffled", RED, "x", ":", shuffled=True),
    "histogram": Arm(trivial="histogram", label="grey values", colour="#5a5a5a", marker="h", line=":"),
    "shortcuts": Arm(trivial="shortcuts", label="view, visit, age and sex", colour="#222222", marker="*", line=":"),
    "prior": Arm(trivial="prior", label="where boxes are most often", colour="#8c8c8c", marker="p", line=":"),
    "centre": Arm(trivial="centre", label="the image's centre", colour="#bbbbbb", marker="+", line=":"),
}
ARMS: dict[str, Arm] = PAPER_ARMS | CONTROL_ARMS
