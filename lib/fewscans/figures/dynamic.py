"""Figures of one result: dynamic group convolutions. What attention does to a turned image, and how even it is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from fewscans import results
from fewscans.figures import curves
from fewscans.figures.style import Picture, legend, picture_only, sheet, styled
from fewscans.groups import Group
from fewscans.nn.dynamic import ATTENTIONS, DynamicGroupConv
from fewscans.nn.gconv import LiftingConv, act_on_features, act_on_image
from fewscans.results import Results

NETS = ("Z2", "p4m", "dynamic", "dynamic-equivariant", "dynamic-compute")
RIVALS = ("dynamic-Z2", "p4m-gated", "dynamic-noise", "dynamic-blind")
BARS = "Bars: 95 % intervals over seeds and test scans."
LAYERS = ("block 1", "transition 1", "block 2", "transition 2", "block 3")
P4M = Group.named("p4m")
TURN = next(h for h in range(P4M.order) if P4M.elements[h].tolist() == [[0, -1], [1, 0]])  # by 90 degrees


def layers(group: str = "p4m", channels: int = 4, seed: int = 0) -> tuple[nn.Module, dict[str, DynamicGroupConv]]:
    """A lifting layer with its ReLU, and behind it a dynamic layer for each kind of attention, drawn from the seed."""
    generator = torch.Generator().manual_seed(seed)
    lift = LiftingConv(group, 1, channels, 3)
    made = {kind: DynamicGroupConv(group, channels, channels, 3, attention=kind) for kind in ATTENTIONS}
    for layer in (lift, *made.values()):
        layer.reset_parameters(generator)
    for layer in made.values():
        layer.squeeze.bias.data.fill_(0.5)
        layer.weigh.weight.data.mul_(4)  # as after training: attention that differs from image to image
    return nn.Sequential(lift, nn.ReLU()), made


@torch.no_grad()
def errors(image: Tensor, seed: int = 0) -> pd.DataFrame:
    """Largest error of f(h·x) = h·f(x) over all elements of p4m, for each layer, relative to the largest answer.

    image: (1, 1, H, W).
    """
    lift, made = layers(seed=seed)
    rows = {}
    for kind, layer in made.items():
        group, x = layer.group, lift(image)
        y = layer(x)
        worst = [float((layer(act_on_features(group, h, x)) - act_on_features(group, h, y)).abs().max())
                 for h in range(group.order)]  # fmt: skip
        rows[kind] = {"largest error / largest answer": max(worst) / float(y.abs().max())}
    return pd.DataFrame(rows).T.rename_axis(index="attention")


def stripes(side: int = 48, degrees: float = 25.0) -> Tensor:
    """An image of slanted stripes, (1, 1, side, side): no two of the eight orientations of p4m see the same."""
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    angle = torch.deg2rad(torch.tensor(degrees))
    return torch.sin((x * torch.cos(angle) + y * torch.sin(angle)) / 1.5)[None, None]


@styled
@torch.no_grad()
def attention(image: Tensor, title: str, seed: int = 0) -> Picture:
    """The weights of four kernels for an image and for the image turned by 90 degrees.   image: (1, 1, H, W)."""
    lift, made = layers(seed=seed)
    note = "Below: turned by 90 degrees. Equivariant: a row a kernel, minus its mean over the eight orientations."
    figure, axes = sheet(title, 2, 3, 4.6, note)
    for row, x in zip(axes, (image, act_on_image(P4M, TURN, image)), strict=True):
        row[0].imshow(x[0, 0].numpy())
        picture_only(row[0])
        invariant, equivariant = (made[kind].attend(lift(x))[0].numpy() for kind in ATTENTIONS)
        row[1].bar(np.arange(1, 5), invariant[:, 0], color="#009E73")
        row[1].set(title="invariant", ylim=(0, 1), xticks=range(1, 5))
        row[2].imshow(equivariant - equivariant.mean(1, keepdims=True), cmap="PuOr", aspect="auto")
        row[2].set(title="equivariant", xlabel="orientation", yticks=range(4), yticklabels=range(1, 5))
        row[2].grid(False)
        for panel in row[1:]:
            panel.set_xlabel(panel.get_xlabel() or "kernel")
    return Picture(figure, title)


def seen(run: Results) -> pd.DataFrame:
    """Entropy and spread of attention after training: a row a network and layer, of records that have them."""
    rows = [
        {"arm": record["arm"], "n_train": record["n_train"], "seed": record["seed"], "layer": name, **layer}
        for record in run.records
        for name, layer in zip(LAYERS, record.get("attention", ()), strict=False)
    ]
    return pd.DataFrame(rows, columns=["arm", "n_train", "seed", "layer", "entropy", "spread"])


@styled
def evenness(run: Results) -> Picture | None:
    """Entropy and spread of attention by layer, a line an arm, at the largest size that most arms have; None where no
    record has them.
    """
    table = seen(run)
    if not len(table):
        return None
    arms = table.groupby("n_train")["arm"].nunique()
    n = arms[arms == arms.max()].index.max()
    table, title = table[table["n_train"] == n], f"Attention by layer, N = {n:,}, {run.name}"
    note = (
        "Means over seeds; bands: all. Entropy over log 4: 1 if all kernels weigh the same. Spread: standard deviation "
    )
    height = 3.2 + 0.19 * table["arm"].nunique()  # of which the legend takes a line an arm
    figure, axes = sheet(title, 1, 2, height, note + "of a weight over validation images.")
    handles = {}
    for arm, mine in table.groupby("arm", sort=False):
        look = run.arm(arm)
        for panel, what in zip(axes[0], ("entropy", "spread"), strict=True):
            by = mine.groupby("layer", sort=False)[what]
            x = np.arange(len(by))
            panel.fill_between(x, by.min(), by.max(), color=look.colour, alpha=0.15, linewidth=0)
            (handles[look.label],) = panel.plot(
                x, by.mean(), color=look.colour, marker=look.marker, linestyle=look.line
            )
            panel.set_xticks(x, by.mean().index, rotation=30, ha="right", fontsize=8.5)
            panel.set_ylabel({"entropy": "entropy / log 4", "spread": "spread over images"}[what])
    legend(figure, handles, 1)
    return Picture(figure, title, run.provenance)


def figures(run: Results) -> Mapping[str, Picture]:
    """What git keeps: scores and gains over training size, and attention, as far as the tables have them."""
    arms = [arm for arm in (*NETS, "centre") if arm in run.arms]
    scores = curves.scores(run, arms, title=run.name)
    gains = curves.gains(run, NETS[2:], "p4m", title=run.name)
    drawn = {"dynamic_learning_curves": (scores, "Scores over training size")}
    drawn |= {"dynamic_gains": (gains, "Gain over the static p4m network")} if len(gains.table) else {}
    even = evenness(run)
    pictures = {name: curves.over_n([panel], title, BARS) for name, (panel, title) in drawn.items()}
    return pictures | ({} if even is None else {"dynamic_attention": even})


def kept() -> dict[str, Picture]:
    """The figures of published results, by the names of their files."""
    run = results.published("dynamic", "luna16-patches")
    return {} if run is None else dict(figures(run))
