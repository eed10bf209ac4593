"""The arms of the Hydranet experiment: single scans, sums over sets, the paper's own settings, controls, baselines.

Single scans are grey, single scans with the forward passes of sums orange, sums blue, each with its relatives.
"""

from __future__ import annotations

from dataclasses import dataclass

from fewscans.experiments import base
from fewscans.experiments.hydranet import sets


@dataclass(frozen=True, kw_only=True)
class Arm(base.Arm):
    """size: scans in a set; 1 for single scans.   share: of the grid's images in an update; a set counts all its scans.
    p_black, replacement, fixed, permuted: see `hydranet.sets`; where images may be black, labels are not centred.
    loss: "mse" or "mae".   uniform: training scans spread evenly over the labels, not at random.   published: trained
    as the paper says, see `hydranet`.   probe: the noise of gradients is measured on the way, see `hydranet.noise`.
    """

    size: int = 1
    share: float = 1.0
    p_black: float = 0.0
    replacement: bool = False
    fixed: bool = False
    permuted: bool = False
    dropout: float = 0.0
    loss: str = "mse"
    uniform: bool = False
    published: bool = False
    probe: bool = False

    @property
    def seen_as(self) -> str:
        """Which intensities its networks see, see `batches.scaled`."""
        return "unit" if self.published else "standard"


# An update of sums of 4 has a label for every four scans. An arm with this share has as many labels and updates, and a
# quarter of the forward passes; all other networks have as many forward passes and updates.
QUARTER = 0.25
MAIN_ARMS = {
    "base": Arm(share=QUARTER, label="single scans, equal labels", colour="#5a5a5a", marker="s"),
    "base-compute": Arm(derived_from="base", label="single scans, equal passes", colour="#E69F00", marker="^"),
    "hydra-4": Arm(size=4, label="sums of 4", colour="#0072B2"),
}


def _sums(label: str, colour: str, marker: str, line: str = "--", size: int = 4, **setting) -> Arm:
    return Arm(size=size, derived_from="hydra-4", label=label, colour=colour, marker=marker, line=line, **setting)


def _single(label: str, colour: str, marker: str, line: str = ":", **setting) -> Arm:
    origin = "base" if "share" in setting else "base-compute"
    return Arm(derived_from=origin, label=label, colour=colour, marker=marker, line=line, **setting)


PUBLISHED = {"published": True, "p_black": sets.P_BLACK}
VARIANT_ARMS = {
    "hydra-4-black10": _sums("sums of 4, a tenth black", "#56B4E9", "P", p_black=sets.P_BLACK),
    "base-published": _single("base as published", "#8c8c8c", "X", "-.", share=QUARTER, **PUBLISHED),
    "hydra-4-published": _sums("sums of 4 as published", "#004c78", "X", "-.", **PUBLISHED),
    "hydra-2": _sums("sums of 2", "#56B4E9", "v", "-", size=2),
    "hydra-4-replacement": _sums("drawn with replacement", "#3a8fc4", "h", replacement=True),
    "base-mae": _single("single scans, absolute error", "#8c8c8c", "s", share=QUARTER, loss="mae"),
    "hydra-4-mae": _sums("sums of 4, absolute error", "#3a8fc4", "D", ":", loss="mae"),
    "base-dropout": _single("single scans, dropout 0.3", "#D55E00", "s", "-.", dropout=0.3),
    "hydra-4-fixed": _sums("the same sets every epoch", "#CC79A7", "X", fixed=True),
    "hydra-4-permuted": _sums("sums permuted", "#9c4f7c", "X", ":", permuted=True),
    "base-probe": _single("single scans, gradients measured", "#B87A00", "^", probe=True),
    "base-uniform": _single("single scans, uniform labels", "#5a5a5a", "p", share=QUARTER, uniform=True),
    "hydra-4-uniform": _sums("sums of 4, uniform labels", "#0072B2", "p", ":", uniform=True),
}
TRIVIAL_ARMS = {
    "mean": Arm(trivial="mean", label="mean of the training labels", colour="#b0b0b0", marker="_", line=":"),
    "histogram": Arm(trivial="histogram", label="histogram of values", colour="#CC79A7", marker="d", line=":"),
    "crop": Arm(trivial="crop", label="size of the published crop", colour="#B9770E", marker="*", line=":"),
    "blocks": Arm(trivial="blocks", label="ridge on blocks of the image", colour="#009E73", marker="d", line=":"),
}
ARMS: dict[str, Arm] = MAIN_ARMS | VARIANT_ARMS | TRIVIAL_ARMS
