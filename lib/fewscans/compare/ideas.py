"""The ideas that can be tried on a user's own data, each with the network that it is compared with."""

from __future__ import annotations

from dataclasses import dataclass

from fewscans import experiments
from fewscans.data import own_boxes
from fewscans.data.own import Own, table_of
from fewscans.errors import DataError, ParamsError
from fewscans.nn import efficientnet


@dataclass(frozen=True)
class Idea:
    """title: what is tried.   experiment: whose arms.   baseline, arm: by the number of axes of the pictures.
    target: what cases must have.   trivial: baselines without a network, with the sums' crop in space alone.
    """

    title: str
    experiment: str
    baseline: dict[int, str]
    arm: dict[int, str]
    target: str
    trivial: tuple[str, ...] = ("histogram", "centre")


IDEAS = {
    "gcnn": Idea("group convolutions", "gcnn", {2: "Z2", 3: "Z3"}, {2: "p4m", 3: "D4"}, "label",
                 ("histogram", "centre", "nearest")),
    "sums": Idea("sums over sets of scans", "hydranet", dict.fromkeys((2, 3), "base-compute"),
                 dict.fromkeys((2, 3), "hydra-4"), "number", ("mean", "histogram", "blocks")),
    # whether kernels should depend on the picture: the group alone is what `gcnn` asks about
    "dynamic": Idea("dynamic group convolutions", "dynamic", {2: "p4m"}, {2: "dynamic"}, "label"),
    "pretrained": Idea("beginning with ImageNet's weights", "grey", {2: "copied-random"}, {2: "copied-imagenet"},
                       "label"),
    # as much computing as with patches, without them
    "curriculum": Idea("patches around boxes first", "curriculum", {2: "baseline-compute"}, {2: "curriculum"}, "label",
                       ("histogram",)),
}  # fmt: skip
NAMES = tuple(IDEAS)
FROM_IMAGENET = ("pretrained", "curriculum")
NEEDS = {"label": "a label of 0 or 1 for each case", "number": "a number for each case"}


def chosen(text: str | None, own: Own) -> tuple[list[str], dict[str, str]]:
    """The ideas to run, and of the others that were asked for why they cannot be.

    text: names joined by commas; None: all.   Raises ParamsError for an unknown one, and if none can be run.
    """
    wanted = list(NAMES) if text is None else [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in NAMES]
    if unknown or not wanted:
        raise ParamsError(f"--ideas {text}: ideas are {', '.join(NAMES)}, joined by commas")
    whys = {name: why_not(name, own) for name in dict.fromkeys(wanted)}
    run = [name for name, why in whys.items() if not why]
    if not run:
        raise ParamsError(
            f"--ideas {text}: none can be tried on {own.name}: " + "; ".join(f"{n}: {w}" for n, w in whys.items())
        )
    return run, {name: why for name, why in whys.items() if why}


def why_not(name: str, own: Own) -> str:
    """Why an idea cannot be tried on a set; empty if it can."""
    idea, axes = IDEAS[name], len(own.patch)
    if idea.experiment not in experiments.names():
        return f"the experiment {idea.experiment} is not part of this version"
    if idea.target != own.target:
        return f"it wants {NEEDS[idea.target]}, and the set has {NEEDS[own.target]}"
    if axes not in idea.baseline:
        return f"it wants pictures with {min(idea.baseline)} axes, and the set's have {axes}"
    try:
        if name in FROM_IMAGENET:
            efficientnet.weights_path()
    except DataError as error:
        return str(error)
    return own_boxes.why_not(table_of(own), own.spacing_mm) if name == "curriculum" else ""
