"""The arms of the G-CNN experiment: the paper's networks, their rivals, controls that must fail, trivial baselines.

Plain networks are grey; p4 and D4 orange, p4m and D4h blue, O green, Oh pink, each with its relatives, from the palette
of Okabe & Ito (2008), which colour-blind readers can tell apart.
"""

from __future__ import annotations

from dataclasses import dataclass

from fewscans.experiments import base


@dataclass(frozen=True, kw_only=True)
class Arm(base.Arm):
    """group: whose convolutions the network has.   budget: "parameters" or "compute", equal to the plain network's.
    like: take the channels of that group's network, orientations included, so that the plain network costs as much.
    updates: times the grid's steps.   sham: see `Group.sham`.   shuffled: trained and selected on permuted labels.
    upright: augmented without turns and mirror images.   turned: in a grid without augmentation, each training patch is
    one of its turned and mirrored copies.   averaged: a group over whose copies of each image the predictions of
    `computed_with` are averaged.   diameter: its logit and the logarithm of the diameter, weighted on the validation
    cases; only where the diameter of each case is known.
    """

    group: str = "Z2"
    budget: str = "parameters"
    head: str = "paper"
    like: str | None = None
    updates: int = 1
    sham: bool = False
    shuffled: bool = False
    upright: bool = False
    turned: bool = False
    averaged: str | None = None
    diameter: bool = False


GREY, ORANGE, BLUE, GREEN, PINK = "#5a5a5a", "#E69F00", "#0072B2", "#009E73", "#CC79A7"


def _of(name: str, label: str, colour: str, marker: str = "o", line: str = "--", **setting) -> Arm:
    """A variant of the arm of that name; its group is the name, unless the setting says otherwise."""
    return Arm(**{"group": name} | setting, derived_from=name, label=label, colour=colour, marker=marker, line=line)


PLANE_ARMS = {
    "Z2": Arm(label="plain CNN", colour=GREY, marker="s"),
    "p4": Arm(group="p4", label="G-CNN p4 (turns)", colour=ORANGE, marker="^"),
    "p4m": Arm(group="p4m", label="G-CNN p4m (turns, mirrors)", colour=BLUE),
    "p4-compute": _of("p4", "p4 at the plain CNN's compute", "#B87A00", "v", budget="compute"),
    "p4m-compute": _of("p4m", "p4m at the plain CNN's compute", "#56B4E9", "D", budget="compute"),
    "Z2-wide": _of("Z2", "plain, widened to p4m's compute", "#8c8c8c", "D", like="p4m"),
    "Z2-double": _of("Z2", "plain, twice the updates", "#a8a8a8", "v", updates=2),
    "p4m-double": _of("p4m", "p4m, twice the updates", "#7fb8d8", "v", updates=2),
    "Z2-upright": _of("Z2", "plain, shown upright", "#8c8c8c", "s", "-.", upright=True),
    "p4m-upright": _of("p4m", "p4m, shown upright", "#003f63", "o", "-.", upright=True),
    "Z2-tta-p4": _of("Z2", "plain, mean over 4 turned copies", "#7fc9b0", "^", "-.", averaged="p4", computed_with="Z2"),
    "Z2-tta-p4m": _of("Z2", "plain, mean over 8 turned copies", GREEN, "o", "-.", averaged="p4m", computed_with="Z2"),
    "p4m-sham": _of("p4m", "sham group of order 8", "#D55E00", "X", ":", sham=True),
}
GROUP_ARMS = {
    "Z3": Arm(group="Z3", label="plain CNN", colour=GREY, marker="s"),
    "D4": Arm(group="D4", label="G-CNN D4 (8 turns)", colour=ORANGE, marker="^"),
    "D4h": Arm(group="D4h", label="G-CNN D4h (16, mirrors too)", colour=BLUE),
    "O": Arm(group="O", label="G-CNN O (24 turns)", colour=GREEN, marker="D"),
    "Oh": Arm(group="Oh", label="G-CNN Oh (48, mirrors too)", colour=PINK, marker="v"),
}
SPACE_ARMS = GROUP_ARMS | {
    # O and Oh have no such network: 24 and 48 orientations are more than the plain network's first channels
    "D4-compute": _of("D4", "D4 at the plain CNN's compute", "#B87A00", "^", budget="compute"),
    "D4h-compute": _of("D4h", "D4h at the plain CNN's compute", "#56B4E9", budget="compute"),
    "Z3-wide": _of("Z3", "plain, widened to D4's compute", "#8c8c8c", "D", like="D4"),
    "Z3-long": _of("Z3", "plain, 4 times the updates", "#a8a8a8", "v", updates=4),
    "Z3-double": _of("Z3", "plain, twice the updates", "#8c8c8c", "v", "-.", updates=2),
    "D4-double": _of("D4", "D4, twice the updates", "#f0c566", "v", updates=2),
    "Z3-upright": _of("Z3", "plain, shown upright", "#8c8c8c", "s", "-.", upright=True),
    "D4-upright": _of("D4", "D4, shown upright", "#8a5f00", "^", "-.", upright=True),
    "Z3-turned": _of("Z3", "plain, shown turned and mirrored", "#7a5c8f", "P", turned=True),
    "Z3-tta-D4": _of("Z3", "plain, mean over 8 turned copies", "#b08d57", "^", "-.", averaged="D4", computed_with="Z3"),
    "Z3-tta-D4h": _of("Z3", "plain, mean over 16 turned copies", "#5b7fa6", "o", "-.", averaged="D4h",
                      computed_with="Z3"),
    "Z3+diameter": _of("Z3", "plain CNN and diameter", GREY, "s", ":", diameter=True, computed_with="Z3"),
    "D4+diameter": _of("D4", "D4 and diameter", ORANGE, "^", ":", diameter=True, computed_with="D4"),
    "D4h+diameter": _of("D4h", "D4h and diameter", BLUE, "o", ":", diameter=True, computed_with="D4h"),
    "D4-sham": _of("D4", "sham group of order 8", "#D55E00", "X", ":", sham=True),
    "O-sham": _of("O", "sham group of order 24", "#a04000", "X", sham=True),
}  # fmt: skip
# Networks whose answer does not turn with the image, and networks that were told permuted labels.
CONTROL_ARMS = {
    f"{name}-{control}": _of(
        name, f"{arm.short.removeprefix('G-CNN ')}, {what}", arm.colour, marker, ":", **{"group": arm.group} | setting
    )
    for control, what, marker, setting, arms in (
        ("invariant", "pooling head", "P", {"head": "invariant"}, ("Z2", "p4", "p4m", *GROUP_ARMS)),
        ("shuffled", "labels shuffled", "x", {"shuffled": True}, tuple(GROUP_ARMS)),
    )
    for name, arm in ((name, (PLANE_ARMS | GROUP_ARMS)[name]) for name in arms)
}  # fmt: skip
TRIVIAL_ARMS = {
    "histogram": Arm(trivial="histogram", label="histogram of values", colour=PINK, marker="d", line=":"),
    "centre": Arm(trivial="centre", label="brightness of the centre", colour="#b58fc2", marker="h", line=":"),
    "centre5": Arm(trivial="centre5", label="mean of 5 voxels a side", colour="#8e6fa1", marker="h", line=":"),
    "diameter": Arm(trivial="diameter", label="diameter alone", colour="#7a4f0a", marker="H", line=":"),
    "box": Arm(trivial="box", label="shape of the published box", colour="#8f6a2a", marker="p", line=":"),
    "slices": Arm(trivial="slices", label="number of slices", colour="#d1a35c", marker="d", line=":"),
    "volume": Arm(trivial="volume", label="volume alone", colour="#B9770E", marker="h", line=":"),
    "nearest": Arm(trivial="nearest", label="nearest neighbour", colour="#8f6a2a", marker="*", line=":"),
}  # fmt: skip
ARMS: dict[str, Arm] = PLANE_ARMS | SPACE_ARMS | CONTROL_ARMS | TRIVIAL_ARMS
