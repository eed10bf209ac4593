"""A slider that turns a nodule: the plain network's answer moves, that of the group network stays at quarter turns."""

from __future__ import annotations

from functools import cache, partial

import ipywidgets
import numpy as np
import torch

from fewscans.experiments.gcnn.arms import ARMS
from fewscans.figures import gcnn
from fewscans.figures.style import GREY, Picture, picture_only, sheet, styled
from fewscans.nn.gcnn import NoduleNet
from fewscans.widgets import ByHand, described

STEP = 15  # degrees
ANGLES = np.arange(0, 361, STEP)
NOTE = "Untrained networks that average over positions. Unit: standard deviation of the answers to 32 other patches."


@torch.no_grad()
def answers(patch: np.ndarray, others: np.ndarray, seed: int, arms=("Z2", "p4m")) -> tuple[np.ndarray, dict]:
    """A nodule turned by `ANGLES`, (25, 48, 48) in [-1, 1], and by arm the change of the network's answer, (25,).

    patch: (50, 50) uint8.   others: (n, 50, 50) uint8, whose answers' standard deviation is the unit of the change.
    """
    moves = [gcnn.Move("", angle=float(angle)) for angle in ANGLES]
    turned = torch.cat([gcnn.middle(gcnn.seen(patch, move)) for move in moves])  # (25, 1, 48, 48)
    changes = {}
    for arm in arms:
        net = NoduleNet(arm, (48, 48), 8, head="invariant").eval()
        net.reset_parameters(torch.Generator().manual_seed(seed))
        answer = net(turned)
        changes[arm] = ((answer - answer[0]) / net(gcnn.as_input(others, 48)[:, None]).std()).numpy()
    return turned[:, 0].numpy(), changes


@styled
def turned(images: np.ndarray, changes: dict[str, np.ndarray], angle: int) -> tuple[Picture, str]:
    """The nodule at this angle, and how far the answers have moved."""
    title, at = f"A nodule turned by {angle}°, and how two networks' answers change", int(angle) // STEP
    figure, ((left, right),) = sheet(title, 1, 2, 3.2, NOTE, width_ratios=(1, 2))
    left.imshow(images[at], vmin=-1, vmax=1)
    picture_only(left)
    for arm, change in changes.items():
        look = ARMS[arm]
        right.plot(ANGLES, change, color=look.colour, label=look.label)
        right.plot(angle, change[at], look.marker, color=look.colour, markersize=10)
    right.axvline(angle, color=GREY, linewidth=1)
    right.set(xlabel="turn (degrees)", ylabel="change of the answer", xticks=np.arange(0, 361, 90))
    right.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(changes), fontsize=8, columnspacing=1)
    told = "; ".join(f"{ARMS[arm].label} {round(float(change[at]), 2) + 0.0:.2f}" for arm, change in changes.items())
    return Picture(figure, title, {"figure": title}), f"Turned by {angle}°, the answer changes by: {told}."


def slider(patch: np.ndarray, others: np.ndarray) -> ByHand:
    """Sliders for the angle, and for the seed of the networks' weights; arguments as for `answers`."""
    drawn = cache(partial(answers, patch, others))
    angle = described(ipywidgets.IntSlider, "turn (degrees)", value=90, min=0, max=360, step=STEP)
    seed = described(ipywidgets.IntSlider, "seed of the weights", value=0, min=0, max=9)
    return ByHand(lambda angle, seed: turned(*drawn(seed), angle), angle=angle, seed=seed)
