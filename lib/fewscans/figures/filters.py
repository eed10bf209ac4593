"""One filter and its turned copies, on the plane and in space: what an index table does to a kernel, drawn."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from fewscans.figures.equivariance import describe, in_order
from fewscans.figures.picture import Picture, picture_only, sheet, styled
from fewscans.groups import Group
from fewscans.nn.gconv import GroupConv


@styled
def copies(kernel: Tensor, group: Group, responses: Tensor) -> Picture:
    """A kernel (3, 3) in every orientation of the group, and what each finds in a patch, (G, H, W)."""
    taps = group.taps(tuple(kernel.shape))
    turned = kernel.flatten().numpy()[taps].reshape(group.order, *kernel.shape)
    title = f"One filter, {group.order} orientations, no new parameter: the dot marks the same weight in each copy"
    note = "Above: the kernel turned by each element. Below: what it finds in the patch of part 1."
    figure, axes = sheet(title, 2, group.order, 2.75, note)
    span = 1.3 * float(np.abs(turned).max())
    for column, g in enumerate(in_order(group)):
        above, below = axes[:, column]
        above.imshow(turned[g], cmap="RdBu_r", vmin=-span, vmax=span)
        y, x = divmod(int(np.flatnonzero(taps[g] == 0)[0]), kernel.shape[1])
        above.plot(x, y, "ko", markersize=4)
        degrees, mirrored = describe(group.elements[g])
        above.set_title(f"{'mirror' * mirrored}\n{degrees}°" if mirrored else f"{degrees}°", fontsize=9, loc="center")
        below.imshow(responses[g].numpy(), vmin=0, vmax=float(responses.max()))
    for panel in axes.flat:
        picture_only(panel)
    return Picture(figure, title, {"figure": "rotated copies of a filter", "group": group.name})


@styled
def copies_in_space(kernel: Tensor, group: Group, inner: Group) -> Picture:
    """A kernel (3, 3, 3) in every orientation of a rotation group, as three slices each; first those of `inner`.

    inner: a subgroup that leaves z in its place.
    """
    taps = group.taps(tuple(kernel.shape))
    turned = kernel.flatten().numpy()[taps].reshape(group.order, *kernel.shape)
    own = [g for g, m in enumerate(group.elements) if any(np.array_equal(m, e) for e in inner.elements)]
    order = _by_turn(group, own) + _by_turn(group, [g for g in range(group.order) if g not in own])
    across = len(own)
    title = (
        f"One filter, {group.order} orientations, no new parameter: {across} keep the z axis ({inner.name}), "
        f"{group.order - across} more do not ({group.name})"
    )
    note = "Three slices each, z from top to bottom. The dot marks the same weight in every copy."
    figure, axes = sheet(title, group.order // across, across, 1.0 + 1.75 * (group.order // across), note)
    span = 1.3 * float(np.abs(turned).max())
    for panel, g in zip(axes.flat, order, strict=True):
        strip = np.full((11, 3), np.nan)
        for z in range(3):
            strip[4 * z : 4 * z + 3] = turned[g, z]
        panel.imshow(strip, cmap="RdBu_r", vmin=-span, vmax=span)
        z, y, x = np.unravel_index(int(np.flatnonzero(taps[g] == 0)[0]), kernel.shape)
        panel.plot(x, 4 * z + y, "ko", markersize=3.5)
        panel.set_title(turn_called(group.elements[g]), fontsize=9, loc="center", pad=3)
        picture_only(panel)
    for row, name in enumerate([inner.name, *[group.name] * (group.order // across - 1)]):
        axes[row, 0].set_ylabel(f"{name if row == 0 else 'only ' + name}", fontsize=10, fontweight="bold")
    return Picture(figure, title, {"figure": "turned copies of a filter in space", "group": group.name})


def _by_turn(group: Group, indices: list[int]) -> list[int]:
    return sorted(indices, key=lambda g: (_angle(group.elements[g]), turn_called(group.elements[g]), g))


def _angle(matrix: np.ndarray) -> int:
    return round(math.degrees(math.acos((np.trace(matrix) - 1) / 2)))


def turn_called(matrix: np.ndarray) -> str:
    """A rotation of the cube: "180° z", "90° x", "120°" about a corner, "180° xy" about an edge; "as it is".

    matrix: (3, 3) in (z, y, x) order, determinant 1. Which way round is left out.
    """
    degrees = _angle(matrix)
    if degrees == 0:
        return "as it is"
    values, vectors = np.linalg.eig(matrix)
    axis = np.abs(vectors[:, np.argmin(np.abs(values - 1))].real) > 1e-6
    letters = "".join(letter for letter, on in zip("zyx", axis, strict=True) if on)[::-1]
    return f"{degrees}°" if len(letters) == 3 else f"{degrees}° {letters}"


@styled
def second_layer(layer: GroupConv) -> Picture:
    """A rotation group's convolution, expanded: row g is the filter turned by g, reading likewise."""
    group = layer.group
    shape = (layer.out_channels, group.order, layer.in_channels, group.order, *layer.kernel_size)
    bank = layer.expanded_weight().detach().view(shape)[0, :, 0]  # (G, G, k, k)
    title = "From the second layer on, turning a filter also permutes the orientations that it reads"
    note = "Rows: the output's orientation. Columns: the input's. The frame marks one and the same kernel slice."
    figure, axes = sheet(title, group.order, group.order, 4.3, note)
    span = 1.3 * float(bank.abs().max())
    inverse = group.product[group.inverse]
    for row, g in enumerate(in_order(group)):
        for column, h in enumerate(in_order(group)):
            panel = axes[row, column]
            panel.imshow(bank[g, h].numpy(), cmap="RdBu_r", vmin=-span, vmax=span)
            if row == 0:
                panel.set_title(f"reads {describe(group.elements[h])[0]}°", fontsize=9.5, loc="center")
            if column == 0:
                panel.set_ylabel(f"turned\n{describe(group.elements[g])[0]}°", fontsize=9.5)
            picture_only(panel)
            if inverse[g, h] == 0:  # the slice that reads the identity before turning
                _framed(panel)
    return Picture(figure, title, {"figure": "group convolution, expanded", "group": group.name})


def _framed(panel) -> None:
    for spine in panel.spines.values():
        spine.set(visible=True, color="black", linewidth=1.8)
