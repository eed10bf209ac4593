"""The arms of the G-CNN experiment: the paper's networks, their rivals, controls that must fail, trivial baselines."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Arm:
    """One line of the figure.

    like: take the channels of that group's network, orientations and all, so that the plain network costs as much.
    updates: times the grid's steps.   sham: see `Group.sham`.   shuffled: trained and selected on permuted labels.
    repository_split: train and test on the source's leaky split.   trivial: no network at all.   turned: groups whose
    elements are averaged over at test time, as arms of their own.
    """

    group: str = "Z2"
    budget: str = "parameters"
    head: str = "paper"
    like: str | None = None
    updates: int = 1
    sham: bool = False
    shuffled: bool = False
    repository_split: bool = False
    trivial: str | None = None
    turned: tuple[str, ...] = ()


PLANE: dict[str, Arm] = {
    "Z2": Arm(turned=("p4", "p4m")),
    "p4": Arm("p4"),
    "p4m": Arm("p4m"),
    "p4-compute": Arm("p4", budget="compute"),
    "p4m-compute": Arm("p4m", budget="compute"),
    "Z2-wide": Arm(like="p4m"),
    "Z2-long": Arm(updates=4),
    "p4m-sham": Arm("p4m", sham=True),
    "Z2-invariant": Arm(head="invariant"),
    "p4-invariant": Arm("p4", head="invariant"),
    "p4m-invariant": Arm("p4m", head="invariant"),
    "Z2-leaky": Arm(repository_split=True),
}
GROUPS = ("Z3", "D4", "D4h", "O", "Oh")
SPACE: dict[str, Arm] = {
    "Z3": Arm("Z3", turned=("D4", "D4h")),
    **{group: Arm(group) for group in GROUPS[1:]},
    # O and Oh have no such network: 24 and 48 orientations are more than the plain network's first channels
    "D4-compute": Arm("D4", budget="compute"),
    "D4h-compute": Arm("D4h", budget="compute"),
    "Z3-wide": Arm("Z3", like="D4"),
    "Z3-long": Arm("Z3", updates=4),
    "D4-sham": Arm("D4", sham=True),
    "O-sham": Arm("O", sham=True),
    **{f"{group}-invariant": Arm(group, head="invariant") for group in GROUPS},
    **{f"{group}-shuffled": Arm(group, shuffled=True) for group in GROUPS},
}
TRIVIAL: dict[str, Arm] = {
    "histogram": Arm(trivial="histogram"),
    "centre": Arm(trivial="centre"),
    "volume": Arm(trivial="volume"),
    "nearest": Arm(trivial="nearest"),
    "nearest-leaky": Arm(trivial="nearest", repository_split=True),
}
ARMS: dict[str, Arm] = PLANE | SPACE | TRIVIAL
