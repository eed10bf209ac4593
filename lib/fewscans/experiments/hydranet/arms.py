"""The arms of the Hydranet experiment: single scans, sums over sets, peers, controls, trivial baselines.

Single scans are grey, single scans with the forward passes of sums orange, sums blue, each with its relatives.
"""

from __future__ import annotations

from dataclasses import dataclass

from fewscans.experiments import base


@dataclass(frozen=True, kw_only=True)
class Arm(base.Arm):
    """size: scans in a set; 1 for single scans.   share: of the grid's updates; see `Hydranet.updates`.   p_black,
    replacement, fixed, permuted: see `hydranet.sets`.   loss: "mse" or "mae".   centred: the training labels' mean is
    subtracted.   mix: "mixup" or "c-mixup".   uniform: training scans spread evenly over the labels, not at random.
    unseen: tested on the site that it was not trained on.   intensities: in place of the grid's.   black: the
    predictions of `computed_with` with the other branches fed black images.
    """

    size: int = 1
    share: float = 1.0
    p_black: float = 0.1
    replacement: bool = False
    fixed: bool = False
    permuted: bool = False
    dropout: float = 0.0
    loss: str = "mse"
    centred: bool = False
    mix: str | None = None
    uniform: bool = False
    unseen: bool = False
    intensities: str | None = None
    black: bool = False


# The paper compares sums of 4 with `base`: m sets of 4 an epoch cost four times what m single scans do. An arm with
# this share has a quarter of the forward passes of `hydra-4`; all other networks have the same number.
QUARTER = 0.25
MAIN_ARMS = {
    "base": Arm(share=QUARTER, label="base", colour="#5a5a5a", marker="s"),
    "base-compute": Arm(derived_from="base", label="base at equal passes", colour="#E69F00", marker="^"),
    "hydra-4": Arm(size=4, label="sums of 4", colour="#0072B2"),
}


def _sums(label: str, colour: str, marker: str, line: str = "--", size: int = 4, **setting) -> Arm:
    return Arm(size=size, derived_from="hydra-4", label=label, colour=colour, marker=marker, line=line, **setting)


def _single(label: str, colour: str, marker: str, line: str = ":", **setting) -> Arm:
    origin = "base" if "share" in setting else "base-compute"
    return Arm(derived_from=origin, label=label, colour=colour, marker=marker, line=line, **setting)


VARIANT_ARMS = {
    "hydra-2": _sums("sums of 2", "#56B4E9", "v", "-", size=2),
    "hydra-8": _sums("sums of 8", "#004c78", "D", "-", size=8),
    "hydra-4-p0": _sums("no black images", "#56B4E9", "o", p_black=0.0),
    "hydra-4-p30": _sums("black with p = 0.3", "#3a8fc4", "P", p_black=0.3),
    "hydra-4-p50": _sums("black with p = 0.5", "#004c78", "P", p_black=0.5),
    "hydra-4-replacement": _sums("drawn with replacement", "#3a8fc4", "h", replacement=True),
    "hydra-4-black": _sums("sums of 4, others fed black", "#3a8fc4", "o", ":", black=True, computed_with="hydra-4"),
    "base-mae": _single("base, absolute error", "#8c8c8c", "s", share=QUARTER, loss="mae"),
    "hydra-4-mae": _sums("sums of 4, absolute error", "#3a8fc4", "D", ":", loss="mae"),
    "base-centred": _single("base, labels centred", "#B87A00", "v", centred=True),
    "hydra-4-centred": _sums("sums of 4, labels centred", "#004c78", "v", ":", centred=True),
    "base-dropout": _single("base, dropout 0.3", "#D55E00", "s", "-.", dropout=0.3),
    "mixup": _single("mixup", "#009E73", "^", "-.", mix="mixup"),
    "c-mixup": _single("C-Mixup", "#00694d", "D", "-.", mix="c-mixup"),
    "hydra-4-fixed": _sums("the same sets every epoch", "#CC79A7", "X", fixed=True),
    "hydra-4-permuted": _sums("sums permuted", "#9c4f7c", "X", ":", permuted=True),
    "base-compute-unit": _single("base, grey values in [0, 1]", "#B87A00", "^", "-.", intensities="unit"),
    "hydra-4-unit": _sums("sums of 4, grey values in [0, 1]", "#004c78", "o", "-.", intensities="unit"),
    "base-uniform": _single("base, uniform labels", "#5a5a5a", "p", share=QUARTER, uniform=True),
    "base-compute-uniform": _single("equal passes, uniform labels", "#E69F00", "p", uniform=True),
    "hydra-4-uniform": _sums("sums of 4, uniform labels", "#0072B2", "p", ":", uniform=True),
    "base-unseen": _single("base, unseen site", "#5a5a5a", "P", "-.", share=QUARTER, unseen=True),
    "base-compute-unseen": _single("equal passes, unseen site", "#E69F00", "P", "-.", unseen=True),
    "hydra-4-unseen": _sums("sums of 4, unseen site", "#0072B2", "P", "-.", unseen=True),
}
TRIVIAL_ARMS = {
    "mean": Arm(trivial="mean", label="mean of the training labels", colour="#b0b0b0", marker="_", line=":"),
    "histogram": Arm(trivial="histogram", label="histogram of values", colour="#CC79A7", marker="d", line=":"),
    "crop": Arm(trivial="crop", label="size of the published crop", colour="#B9770E", marker="*", line=":"),
}
ARMS: dict[str, Arm] = MAIN_ARMS | VARIANT_ARMS | TRIVIAL_ARMS
