"""Measured, not asserted: does a network's feature map move along when its input is moved, turned or mirrored?

f commutes with a transformation h if f(h·x) = h·f(x). The error here is the root mean square of the difference over
the spread of h·f(x): 0 where the map moves along exactly, about 1.4 where the two have nothing in common. It is
measured in the middle of a scene that is larger than the patch, so that the network's own border plays no part, and
behind every convolution and pool of NoduleNet; for window sizes and heads, on the patch itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fewscans.groups import Group
from fewscans.nn.gcnn import NoduleNet
from fewscans.nn.gconv import act_on_features, act_on_image

SCENE = 144  # 18 cells behind all three pools
MIDDLE = 48  # compared: the patch itself
P4M = Group.named("p4m")


@dataclass(frozen=True)
class Move:
    """Something done to an image.   shift: voxels to the right.   element: of p4m.   angle: degrees, resampled."""

    name: str
    shift: int = 0
    element: int = 0
    angle: float = 0.0


def element_called(degrees: int, mirrored: bool) -> int:
    """The index in p4m of the turn by so many degrees counter-clockwise, behind a mirror image left to right or not."""
    return next(i for i in range(P4M.order) if describe(P4M.elements[i]) == (degrees, mirrored))


def describe(matrix: np.ndarray) -> tuple[int, bool]:
    """A plane element as (degrees counter-clockwise on the screen, mirrored first?). Rows run down, columns right."""
    mirrored = round(float(np.linalg.det(matrix))) < 0
    right = matrix @ np.array([0, -1 if mirrored else 1])  # where the unit step to the right goes
    return round(math.degrees(math.atan2(-right[0], right[1]))) % 360, mirrored


def in_order(group: Group) -> list[int]:
    """Indices of a plane group's elements for people: by angle, mirror images last."""
    return sorted(range(group.order), key=lambda g: describe(group.elements[g])[::-1])


QUARTER, MIRROR = element_called(90, False), element_called(0, True)
MOVES = (
    Move("shift by 1", shift=1),
    Move("shift by 8", shift=8),
    Move("turn by 90°", element=QUARTER),
    Move("mirror", element=MIRROR),
    Move("turn by 45°", angle=45.0),
)


def scene(patch: np.ndarray) -> Tensor:
    """A patch continued by its mirror images: (50, 50) uint8 → (1, 1, S, S) in [-1, 1], S = 144 + 16."""
    side = SCENE + 16
    before = (side - patch.shape[0]) // 2
    wide = np.pad(patch, ((before, side - patch.shape[0] - before),) * 2, mode="reflect")
    return torch.from_numpy(wide).float()[None, None] / 127.5 - 1


def seen(wide: Tensor, move: Move) -> Tensor:
    """The scene as the network sees it after the move: (1, 1, 160, 160) → (1, 1, 144, 144)."""
    x = wide[..., 8 : 8 + SCENE, 8 - move.shift : 8 - move.shift + SCENE]
    return _turned(act_on_image(P4M, move.element, x), move.angle)


def _turned(x: Tensor, degrees: float) -> Tensor:
    """Any angle, by linear resampling: (B, C, H, W) turned counter-clockwise about its centre."""
    if not degrees:
        return x
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = torch.tensor([[[cos, -sin, 0.0], [sin, cos, 0.0]]]).expand(len(x), -1, -1)
    grid = F.affine_grid(turn, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)


@torch.no_grad()
def maps(net: NoduleNet, x: Tensor) -> dict[str, Tensor]:
    """The feature map behind each convolution (with its norm and ReLU) and each pool: name → (B, C, G, H, W)."""
    found = {}
    for number, (convolution, norm, pool) in enumerate(zip(net.convolutions, net.norms, net.pools, strict=True), 1):
        x = F.relu(norm(convolution(x)))
        found[f"conv {number}"] = x
        if pool is not None:
            x = F.max_pool2d(x.flatten(1, 2), pool).unflatten(1, x.shape[1:3])
            found[f"pool {number // 2 + 1}"] = x
    return found


def expected(net: NoduleNet, y: Tensor, move: Move, stride: int) -> list[Tensor]:
    """h·f(x), as well as the map can follow: for a shift that is no whole number of cells, both neighbours."""
    if move.shift:
        cells = {math.floor(move.shift / stride), math.ceil(move.shift / stride)}
        return [torch.roll(y, cell, -1) for cell in sorted(cells)]
    if move.angle:
        return [_turned(y.amax(2), move.angle)[:, :, None]]
    inside = [i for i, m in enumerate(net.group.elements) if np.array_equal(m, P4M.elements[move.element])]
    return [act_on_features(net.group, inside[0], y) if inside else act_on_image(P4M, move.element, y)]


def error(after: Tensor, wanted: Tensor) -> float:
    """Root mean square of the difference over that of `wanted` about its mean, channel by channel."""
    spread = (wanted - wanted.mean((-1, -2), keepdim=True)).square().mean().sqrt()
    return float((after - wanted).square().mean().sqrt() / spread)


def errors(net: NoduleNet, wide: Tensor, move: Move) -> dict[str, float]:
    """Error of each feature map in the middle of the scene."""
    net.eval()
    before, after = maps(net, seen(wide, Move("none"))), maps(net, seen(wide, move))
    found = {}
    for name, y in before.items():
        stride = SCENE // y.shape[-1]
        got = after[name].amax(2, keepdim=True) if move.angle else after[name]
        found[name] = min(error(middle(got), middle(wanted)) for wanted in expected(net, y, move, stride))
    return found


def middle(y: Tensor) -> Tensor:
    """The cells that lie over the patch."""
    keep = y.shape[-1] * MIDDLE // SCENE
    start = (y.shape[-1] - keep) // 2
    return y[..., start : start + keep, start : start + keep]


def errors_of_window(net: NoduleNet, patch: np.ndarray, size: int, element: int = QUARTER) -> dict[str, float]:
    """The same on a window of the patch alone, border and all: an odd size at a pool breaks the law."""
    net.eval()
    start = (patch.shape[0] - size) // 2
    x = torch.from_numpy(patch[start : start + size, start : start + size]).float()[None, None] / 127.5 - 1
    before, after = maps(net, x), maps(net, act_on_image(P4M, element, x))
    return {name: error(after[name], act_on_features(net.group, element, y)) for name, y in before.items()}


@torch.no_grad()
def wavering(net: NoduleNet, images: Tensor) -> float:
    """How much the answer wavers under the eight turns and mirror images of a patch, as a share of how much it differs
    between patches: 0 for an invariant network.   images: (B, 1, H, W) in [-1, 1].
    """
    net.eval()
    logits = torch.stack([net(act_on_image(P4M, h, images)) for h in range(P4M.order)])  # (8, B)
    return float(logits.var(0).mean().sqrt() / logits.mean(0).std())
