"""The arms of the dynamic G-CNN: static and dynamic networks with about equal parameters, rivals, controls.

Grey: plain; blue: p4m; green and pink: dynamic on p4m; the rest: rivals and controls.
"""

from __future__ import annotations

from dataclasses import dataclass

from fewscans.experiments.gcnn import arms as gcnn
from fewscans.experiments.gcnn.arms import BLUE, GREEN, GREY, PINK, TRIVIAL_ARMS


@dataclass(frozen=True, kw_only=True)
class Arm(gcnn.Arm):
    """channels: of each convolution, per orientation, in grids of width 8; other widths scale it.   kernels, attention,
    gate: see `DenseGcnn`.   noise: attention is fed with noise.   blind: with ones.
    """

    channels: int = 8
    kernels: int = 1
    attention: str = "invariant"
    gate: bool = False
    noise: bool = False
    blind: bool = False


ARMS: dict[str, Arm] = {
    "Z2": Arm(label="plain CNN", colour=GREY, marker="s", channels=23),
    "p4m": Arm(group="p4m", label="static p4m", colour=BLUE),
    "dynamic": Arm(
        group="p4m", label="dynamic p4m, invariant attention", colour=GREEN, marker="^", channels=4, kernels=4
    ),
    "dynamic-equivariant": Arm(
        group="p4m", label="dynamic p4m, equivariant attention", colour=PINK, marker="v", channels=4, kernels=4,
        attention="equivariant", derived_from="dynamic",
    ),
    "dynamic-compute": Arm(
        group="p4m", label="dynamic p4m at the static network's compute", colour="#004d37", marker="D", kernels=4,
        line="--", derived_from="dynamic",
    ),
    "dynamic-Z2": Arm(label="dynamic, no group", colour="#8c8c8c", marker="P", line="--", channels=11, kernels=4,
                      derived_from="dynamic"),
    "p4m-gated": Arm(group="p4m", label="static p4m, channel attention", colour="#56B4E9", marker="X", line="--",
                     gate=True, derived_from="p4m"),
    "dynamic-noise": Arm(group="p4m", label="dynamic p4m, attention sees noise", colour="#D55E00", marker="x", line=":",
                         channels=4, kernels=4, noise=True, derived_from="dynamic"),
    "dynamic-blind": Arm(group="p4m", label="dynamic p4m, one mixture for all", colour="#E69F00", marker="+", line=":",
                         channels=4, kernels=4, blind=True, derived_from="dynamic"),
    # the mean over eight turned and mirrored copies of each test patch: nothing changes where the answer is invariant
    "dynamic-turned": Arm(group="p4m", label="dynamic, mean over 8 copies", colour=GREEN, marker="1", line="-.",
                          averaged="p4m", computed_with="dynamic", derived_from="dynamic"),
    "equivariant-turned": Arm(group="p4m", label="dynamic, equivariant, mean over 8 copies", colour=PINK, marker="2",
                              line="-.", averaged="p4m", computed_with="dynamic-equivariant",
                              derived_from="dynamic-equivariant"),
} | {name: TRIVIAL_ARMS[name] for name in ("histogram", "centre")}  # fmt: skip
