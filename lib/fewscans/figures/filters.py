"""One filter and its rotated copies: what an index table does to a kernel, drawn."""

from __future__ import annotations

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
    figure, axes = sheet(title, 2, group.order, 2.75, "Above: the kernel turned by each element. Below: what it finds.")
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
