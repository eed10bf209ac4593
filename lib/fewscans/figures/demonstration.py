"""The idea in one look: a nodule moved and a nodule turned, through a plain network and through a G-CNN."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from fewscans.figures import equivariance as measure
from fewscans.figures.arms import look
from fewscans.figures.equivariance import MOVES, Move
from fewscans.figures.picture import Picture, picture_only, sheet, styled
from fewscans.figures.wording import listed, markdown
from fewscans.nn.gcnn import HEADS, NoduleNet

SHOWN = "conv 3"  # deep enough to be abstract, large enough to see
LOOKS = {
    "shift by 1": ("#E69F00", "^"),
    "shift by 8": ("#009E73", "v"),
    "turn by 90°": ("#0072B2", "o"),
    "mirror": ("#CC79A7", "D"),
    "turn by 45°": ("#5a5a5a", "s"),
}
FLOOR = 1e-7
Errors = Mapping[str, Mapping[str, Mapping[str, float]]]  # arm → move → layer → error


def nets(seed: int, size: int = 48, width: int = 8) -> dict[str, NoduleNet]:
    """Untrained networks, plain and equivariant: what is shown holds for any weights."""
    made = {}
    for arm in ("Z2", "p4", "p4m"):
        made[arm] = NoduleNet(arm, (size, size), width)
        made[arm].reset_parameters(torch.Generator().manual_seed(seed))
    return made


@styled
def one_look(patch: np.ndarray, plain: NoduleNet, group: NoduleNet, where: str) -> Picture:
    """Rows: as it is, moved, turned. Columns: the input, then per network its map and how it departs from the map that
    moved or turned along.   where: what the patch is, for the note.
    """
    rows = (Move("as it is"), Move("moved by\n8 voxels", shift=8), Move("turned\nby 90°", element=measure.QUARTER))
    wide = measure.scene(patch)
    title = "Move the nodule and both networks' maps move along; turn it and only the G-CNN's map turns along"
    note = (
        f"{where}. Maps behind the third convolution of untrained networks. Of the G-CNN's orientations the maximum is "
        "drawn; errors are over all of them (0: moves along exactly; 1.4: nothing in common)."
    )
    figure, axes = sheet(title, 3, 5, 5.0, note)
    for row, move in enumerate(rows):
        axes[row, 0].imshow(measure.middle(measure.seen(wide, move))[0, 0].numpy(), vmin=-1, vmax=1)
        axes[row, 0].set_ylabel(move.name, fontsize=10)
    for column, net in ((1, plain), (3, group)):
        _column(axes[:, column : column + 2], net, wide, rows)
    heads = ("the network sees", "plain CNN:\nits map", "… and its error", "G-CNN p4m:\nits map", "… and its error")
    for panel, head in zip(axes[0], heads, strict=True):
        panel.set_title(head, loc="center", fontsize=9.5)
    for panel in axes.flat:
        picture_only(panel)
    return Picture(figure, title, {"figure": "one look", "patch": where})


def _column(axes, net: NoduleNet, wide, rows) -> None:
    """A network's maps and their errors, down the rows; one grey scale for all."""
    before = measure.maps(net.eval(), measure.seen(wide, rows[0]))[SHOWN]
    pooled = measure.middle(before.amax(2))
    channel = int(pooled.var((-1, -2))[0].argmax())
    scale = {"vmin": float(pooled[0, channel].min()), "vmax": float(pooled[0, channel].max())}
    for row, move in enumerate(rows):
        after = measure.maps(net, measure.seen(wide, move))[SHOWN]
        axes[row, 0].imshow(measure.middle(after.amax(2))[0, channel].numpy(), **scale)
        wanted = measure.expected(net, before, move, measure.SCENE // before.shape[-1])[0]
        gap = measure.middle(after.amax(2) - wanted.amax(2))[0, channel].abs()
        off = measure.error(measure.middle(after), measure.middle(wanted))
        if move.shift or move.element:
            axes[row, 1].imshow(gap.numpy(), vmin=0, vmax=scale["vmax"] - scale["vmin"], cmap="inferno")
            colour = "#b03a2e" if off > 0.01 else "#1a7f4b"
            axes[row, 1].set_xlabel(f"error {_short(off)}", fontsize=9.5, color=colour)


def _short(value: float) -> str:
    return "0" if value < 1e-5 else f"{value:.2f}"


@styled
def by_depth(found: Errors, arms=("Z2", "p4m")) -> Picture:
    """Error behind every layer, plain network and G-CNN.   found: as `measured` gives."""
    told = [f"the {look(arm).short} commutes with {listed(exact(found[arm]))}" for arm in reversed(arms)]
    title = f"Behind every layer, {', '.join(told)}"
    note = "Root mean square difference over the map's own spread; untrained networks. 0: nothing but rounding."
    figure, axes = sheet(title, 1, len(arms), 3.7, note, sharey=True)
    for arm, panel in zip(arms, axes[0], strict=True):
        for move, layers in found[arm].items():
            heights = [round(max(value, FLOOR), 3) if value > 1e-3 else FLOOR * 3 for value in layers.values()]
            colour, marker = LOOKS[move]
            settings = {"color": colour, "marker": marker, "linewidth": 1.4}
            settings["markersize"] = 8 if move == "turn by 90°" else 4.5  # where two lines coincide, both are seen
            panel.plot(range(len(layers)), heights, **settings, label=move)
        panel.set_yscale("log")
        panel.set_ylim(FLOOR, 6)
        panel.set_xticks(range(len(layers)), list(layers), rotation=60, ha="right", rotation_mode="anchor", fontsize=9)
        panel.set_title(look(arm).label)
        for position in (i for i, layer in enumerate(layers) if layer.startswith("pool")):
            panel.axvspan(position - 0.5, position + 0.5, color="#eef1f4", zorder=0, linewidth=0)
    axes[0, 0].set_yticks([3 * FLOOR, 1e-3, 1e-2, 1e-1, 1], ["0", "0.001", "0.01", "0.1", "1"])
    axes[0, 0].set_ylabel("error")
    axes[0, 0].minorticks_off()
    axes[0, -1].legend(loc="center right", fontsize=9)
    return Picture(figure, title, {"figure": "equivariance by depth"})


def exact(by_move: Mapping[str, Mapping[str, float]]) -> list[str]:
    """The moves with which every layer commutes, but for rounding."""
    return [move for move, layers in by_move.items() if max(layers.values()) < 1e-4]


def measured(networks: Mapping[str, NoduleNet], patch: np.ndarray, moves=MOVES) -> Errors:
    """The error of every arm, move and layer in the scene around a patch."""
    wide = measure.scene(patch)
    return {arm: {move.name: measure.errors(net, wide, move) for move in moves} for arm, net in networks.items()}


def last(found: Errors) -> dict[str, dict[str, float]]:
    """arm → move → error of the last map, to what can be told from rounding."""
    return {arm: {m: float(_short(list(e.values())[-1])) for m, e in moves.items()} for arm, moves in found.items()}


def windows(patch: np.ndarray, seed: int, sizes=(48, 50), arm: str = "p4m") -> str:
    """Markdown: error under a quarter turn behind each pool, for windows that stay even at each and others."""
    rows = []
    for size in sizes:
        net = nets(seed, size)[arm]
        pooled = [shape[0] for shape, pool in zip(net.feature_sizes(), net.pools, strict=False) if pool is not None]
        found = measure.errors_of_window(net, patch, size)
        shapes = " → ".join(str(n) for n in (*pooled, net.feature_sizes()[-1][0]))
        rows.append([f"{size} × {size}", shapes, *(_short(v) for name, v in found.items() if name.startswith("pool"))])
    return markdown(["window", "sizes at the pools", *(f"error behind pool {n}" for n in (1, 2, 3))], rows)


def heads(images: np.ndarray, seed: int, size: int = 48, arms=("Z2", "p4m"), width: int = 8) -> str:
    """Markdown: how much the answer wavers when patches are turned and mirrored, per network and head.

    images: (B, 50, 50) uint8.
    """
    start = (images.shape[-1] - size) // 2
    x = torch.from_numpy(images[:, start : start + size, start : start + size]).float()[:, None] / 127.5 - 1
    rows = []
    for arm in arms:
        found = []
        for head in HEADS:
            net = NoduleNet(arm, (size, size), width, head=head)
            net.reset_parameters(torch.Generator().manual_seed(seed))
            found.append(_short(measure.wavering(net, x)))
        rows.append([look(arm).label, *found])
    return markdown(["untrained", "paper's head (flatten)", "pooling head (invariant)"], rows)


def table(found: Errors) -> str:
    """Markdown: error of the last map, per arm and move."""
    moves = list(next(iter(found.values())))
    rows = []
    for arm, by_move in found.items():
        rows.append([look(arm).label, *(_short(list(by_move[move].values())[-1]) for move in moves)])
    return markdown(["error of the last map", *moves], rows)
