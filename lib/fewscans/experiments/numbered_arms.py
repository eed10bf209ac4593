"""The arms of the Hydranet experiment: single scans, sums over sets, peers, controls, trivial baselines."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Arm:
    """One line of the figure.

    size: scans in a set; 1 for single scans.   share: of the grid's updates; see `hydranet.updates`.   p_black,
    replacement, fixed, permuted: see `fewscans.sets`.   loss: "mse" or "mae".   centred: the training labels' mean is
    taken off.   mix: "mixup" or "c-mixup".   uniform: training scans evenly spread over the labels, not at random.
    unseen: tested on the site that it was not trained on.   trivial: no network at all.   black: also asked with the
    other branches at zero, as an arm of its own.
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
    trivial: str | None = None
    black: bool = False
    intensities: str | None = None


# The paper compares `hydra-4` with `base`: m sets of 4 an epoch cost four times what m single scans do. What has this
# share has a quarter of the forward passes of `hydra-4`, and all other networks as many.
QUARTER = 0.25
NETWORKS: dict[str, Arm] = {
    "base": Arm(share=QUARTER),
    "base-compute": Arm(),
    "hydra-4": Arm(size=4, black=True),
    "hydra-2": Arm(size=2),
    "hydra-8": Arm(size=8),
    "hydra-4-p0": Arm(size=4, p_black=0.0),
    "hydra-4-p30": Arm(size=4, p_black=0.3),
    "hydra-4-p50": Arm(size=4, p_black=0.5),
    "hydra-4-replacement": Arm(size=4, replacement=True),
    "base-mae": Arm(share=QUARTER, loss="mae"),
    "hydra-4-mae": Arm(size=4, loss="mae"),
    "base-centred": Arm(centred=True),
    "hydra-4-centred": Arm(size=4, centred=True),
    "base-dropout": Arm(dropout=0.3),
    "mixup": Arm(mix="mixup"),
    "c-mixup": Arm(mix="c-mixup"),
    "hydra-4-fixed": Arm(size=4, fixed=True),
    "hydra-4-permuted": Arm(size=4, permuted=True),
    "base-compute-unit": Arm(intensities="unit"),
    "hydra-4-unit": Arm(size=4, intensities="unit"),
    "base-uniform": Arm(share=QUARTER, uniform=True),
    "base-compute-uniform": Arm(uniform=True),
    "hydra-4-uniform": Arm(size=4, uniform=True),
    "base-unseen": Arm(share=QUARTER, unseen=True),
    "base-compute-unseen": Arm(unseen=True),
    "hydra-4-unseen": Arm(size=4, unseen=True),
}
TRIVIAL: dict[str, Arm] = {name: Arm(trivial=name) for name in ("mean", "histogram", "crop")}
ARMS: dict[str, Arm] = NETWORKS | TRIVIAL
