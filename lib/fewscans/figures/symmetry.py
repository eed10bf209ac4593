"""What is left of a group's symmetry behind the whole network, in space: measured for a window and its pools.

Every layer commutes with its group; a pool need not. One that halves y and x but not z knows no turn that swaps z with
them, and one that meets an odd size drops a slice at one side, and at the other once the image is mirrored. So a group
convolution is not yet an equivariant network. Measured on untrained networks: what comes out as 0 is 0 for any weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fewscans.figures.arms import look
from fewscans.figures.budgets import grid_of
from fewscans.figures.sources import Source
from fewscans.figures.wording import listed, markdown, number
from fewscans.groups import Group
from fewscans.nn.gcnn import NoduleNet
from fewscans.nn.gconv import act_on_features, act_on_image

GROUPS = ("D4", "D4h", "O", "Oh")
EXACT = 1e-4  # rounding of 32-bit arithmetic stays far below


@dataclass(frozen=True)
class Window:
    """What a network sees and how it is pooled.   pools: None: the paper's, 1 × 2 × 2 and then twice 2 × 2 × 2."""

    name: str
    patch: tuple[int, int, int]
    pools: tuple[tuple[int, int, int], ...] | None = None


@dataclass(frozen=True)
class Kept:
    """fitting, order: elements that map the patch onto itself, and all.   map_error: the largest error of the last
    feature map under these; None where a turned map has another shape.   logit_error: largest change of the logit, with
    the invariant head, over its spread between images.
    """

    fitting: int
    order: int
    map_error: float | None
    logit_error: float

    @property
    def whole(self) -> bool:
        """Whether the network keeps all of its group's symmetry."""
        return self.fitting == self.order and self.map_error is not None and self.map_error < EXACT


CUBE = ((2, 2, 2),) * 3
WINDOWS = (
    Window("12 × 72 × 72, the paper's pools", (12, 72, 72)),
    Window("a cube of 16, the paper's pools", (16, 16, 16)),
    Window("a cube of 16, pools of 2 × 2 × 2", (16, 16, 16), CUBE),
    Window("a cube of 12, pools of 2 × 2 × 2", (12, 12, 12), CUBE),
    Window("a cube of 12, two pools (glands)", (12, 12, 12), ((2, 2, 2), (2, 2, 2), (1, 1, 1))),
)


def with_those_of(sources: Sequence[Source]) -> list[Window]:
    """The windows above, and those that the sources' networks see where these are others."""
    found = list(WINDOWS)
    for source in sources:
        grid = grid_of(source)
        if grid is None or (grid.patch, grid.pools) in [(window.patch, window.pools) for window in found]:
            continue
        pools = "the paper's pools" if grid.pools is None else "its own pools"
        name = f"{' × '.join(map(str, grid.patch))}, {pools} ({'twin' if not source.real else source.task.title})"
        found.append(Window(name, grid.patch, grid.pools))
    return found


@torch.no_grad()
def kept(group: str, window: Window, seed: int = 0, width: int = 2) -> Kept:
    """Measured on an image of noise, under every element that maps the patch onto itself; three others for scale."""
    made = Group.named(group)
    net = NoduleNet(made, window.patch, width, "invariant", pools=window.pools).eval()
    generator = torch.Generator().manual_seed(seed)
    net.reset_parameters(generator)
    x, *others = torch.randn(4, 1, 1, *window.patch, generator=generator)
    fitting = [h for h, m in enumerate(made.elements) if np.array_equal(np.abs(m) @ window.patch, window.patch)]
    before = net.features(x)
    answer = _answer(net, before)
    apart = float(np.std([answer, *(_answer(net, net.features(other)) for other in others)]))
    off, wavers = 0.0, 0.0
    for h in fitting:
        after, wanted = net.features(act_on_image(made, h, x)), act_on_features(made, h, before)
        wavers = max(wavers, abs(_answer(net, after) - answer))
        if off is not None:
            off = max(off, _error(after, wanted)) if after.shape == wanted.shape else None
    return Kept(len(fitting), made.order, off, wavers / apart)


def _answer(net: NoduleNet, features: torch.Tensor) -> float:
    return float(net.classifier(net.orientation_pool(features).flatten(2).mean(2)))


def _error(after: torch.Tensor, wanted: torch.Tensor) -> float:
    """Root mean square of the difference over the spread of what was wanted."""
    return float((after - wanted).square().mean().sqrt() / (wanted - wanted.mean()).square().mean().sqrt())


def measured(windows: Sequence[Window] = WINDOWS, groups: Sequence[str] = GROUPS) -> Mapping[str, Mapping[str, Kept]]:
    """By window and group."""
    return {window.name: {group: kept(group, window) for group in groups} for window in windows}


def table(found: Mapping[str, Mapping[str, Kept]]) -> str:
    """Markdown: error of the last map, and change of the logit behind an invariant head, per window and group."""
    groups = list(next(iter(found.values())))
    rows = [[name, *(_cell(by_group[group]) for group in groups)] for name, by_group in found.items()]
    head = ["largest error of the last map / of the logit", *(look(group).short for group in groups)]
    return f"{markdown(head, rows)}\n\n{FOOTNOTE}"


FOOTNOTE = (
    "Over all elements of the group; the logit with the invariant head, over its spread between images. "
    "*shape*: turned, the last map has another shape. (8 of 24): so many elements map the patch onto itself; the "
    "others would turn it into a window that the network does not take."
)


def _cell(k: Kept) -> str:
    errors = "shape" if k.map_error is None else _short(k.map_error), _short(k.logit_error)
    return " / ".join(errors) + ("" if k.fitting == k.order else f" ({k.fitting} of {k.order})")


def _short(error: float) -> str:
    return "0" if error < 10 * EXACT else number(error, 2)


def in_words(found: Mapping[str, Mapping[str, Kept]]) -> str:
    """Which groups each window keeps whole."""
    told = []
    for name, by_group in found.items():
        whole = [group for group, k in by_group.items() if k.whole]
        told.append(f"{name}: {'all groups' if len(whole) == len(by_group) else listed(whole)}")
    return f"Kept whole, from the first layer to the last map: {'; '.join(told)}."
