"""Compose a set of four scans, and see what its loss asks of each scan (Dubost et al., Hydranet, MICCAI 2019)."""

from __future__ import annotations

from dataclasses import dataclass

import ipywidgets
import numpy as np
import torch
from torch import Tensor

from fewscans.experiments.hydranet.sets import BLACK
from fewscans.figures import hydranet
from fewscans.figures.style import GREY, Picture, picture_only, sheet, styled
from fewscans.widgets import ByHand, described

SCANS, SHAPE = 8, (10, 16, 16)
ALONE, TOGETHER = "#0072B2", "#D55E00"
NOTE = (
    "Made-up scans: balls, whose volume is the label, centred. Untrained network. Below 0: the prediction should fall. "
    "Length of the gradient with respect to all weights, with that sign."
)


@dataclass(frozen=True, eq=False)
class Scans:
    """Made-up scans and what an untrained network makes of them.

    images: (n, 1, D, H, W).   residual: (n,) prediction minus label.   slope: (n, P) gradients of the predictions.
    The black image is last.
    """

    images: Tensor
    residual: Tensor
    slope: Tensor


def scans(seed: int = 0) -> Scans:
    """Eight balls of different volume, and a black image with label 0."""
    radius = torch.linspace(2.0, 5.0, SCANS)[torch.randperm(SCANS, generator=torch.Generator().manual_seed(seed))]
    axes = torch.meshgrid(*(torch.arange(side) - (side - 1) / 2 for side in SHAPE), indexing="ij")
    distance = sum(axis.square() for axis in axes).sqrt()
    images = torch.sigmoid(2 * (radius[:, None, None, None] - distance))[:, None].double()
    volume = radius.double() ** 3
    labels = torch.cat([(volume - volume.mean()) / volume.std(), torch.zeros(1)])
    images = torch.cat([images, torch.zeros_like(images[:1])])
    net, residual, slope = hydranet.untrained(seed), [], []
    for image, label in zip(images, labels, strict=True):
        prediction = net(image[None])[0]
        slope.append(torch.cat([g.flatten() for g in torch.autograd.grad(prediction, list(net.parameters()))]))
        residual.append(prediction.detach() - label)
    return Scans(images, torch.stack(residual), torch.stack(slope))


def pulls(made: Scans, members: list[int]) -> tuple[Tensor, Tensor]:
    """Gradients of a set's members, (4, P) each: of four single losses r², and of the set's loss (Σ r)²."""
    residual, slope = made.residual[members, None], made.slope[members]
    return 2 * residual * slope, 2 * residual.sum() * slope


@styled
def composed(made: Scans, members: list[int]) -> tuple[Picture, str]:
    """The set's scans, and below each what it is asked, alone and in the set."""
    alone, together = pulls(made, members)
    residual = made.residual[members]
    title = "What the loss asks of each scan, alone and in the set"
    figure, axes = sheet(title, 2, len(members), 4.2, NOTE, sharey="row")
    signs = (-residual.sign(), -residual.sum().sign().expand(len(members)))
    heights = [(sign * g.norm(dim=1)).numpy() for sign, g in zip(signs, (alone, together), strict=True)]
    for place, member in enumerate(members):
        axes[0, place].imshow(made.images[member, 0, SHAPE[0] // 2].numpy(), vmin=0, vmax=1)
        axes[0, place].set_title(f"{_name(member)}: error {_signed(residual[place])}", fontsize=9)
        picture_only(axes[0, place])
        axes[1, place].bar(("alone", "in the set"), [h[place] for h in heights], color=(ALONE, TOGETHER))
        axes[1, place].axhline(0, color=GREY, linewidth=1)
    axes[1, 0].set_ylabel("signed length of\nthe gradient")
    cosine = float(torch.cosine_similarity(alone.sum(0), together.sum(0), dim=0))
    against = int((np.sign(heights[0]) * np.sign(heights[1]) < 0).sum())
    sentence = (
        f"Error of the set: {_signed(residual.sum())}. {against} of {len(members)} scans are pulled against their own "
        f"error. Cosine between the set's gradient and that of four single losses: {_signed(cosine)}."
    )
    return Picture(figure, title, {"figure": title}), sentence


def composer(seed: int = 0) -> ByHand:
    """Four menus, one for each place of the set; at first with two scans that err one way and two the other."""
    made = scans(seed)
    order = made.residual[:SCANS].argsort().tolist()
    first = [order[0], order[-1], order[1], order[-2]]
    options = [(f"scan {i + 1}", i) for i in range(SCANS)] + [("black", BLACK)]
    menus = {f"place_{i + 1}": described(ipywidgets.Dropdown, f"place {i + 1}", options=options, value=member)
             for i, member in enumerate(first)}  # fmt: skip
    return ByHand(lambda **members: composed(made, list(members.values())), **menus)


def _name(member: int) -> str:
    return "black" if member == BLACK else f"scan {member + 1}"


def _signed(value: float | Tensor) -> str:
    return f"{round(float(value), 2) + 0.0:+.2f}".replace("-", "−")
