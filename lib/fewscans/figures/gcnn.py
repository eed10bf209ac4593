"""Figures and tables of one result: group-equivariant networks on lung nodules (Winkels & Cohen, 2019).

What the networks see; how a feature map answers to a shift, a turn and a mirror image; a kernel in every orientation
of a group; last, what git keeps of our runs, which notebook 01 draws in the same way.

A layer f is equivariant to a transformation h if f(h·x) = h·f(x). The error of a layer is the root mean square of the
difference, divided by the spread of h·f(x): 0 where the map moves along exactly, about 1.4 where the two have nothing
in common. Networks are untrained: what comes out as 0 is 0 for any weights.
"""

from __future__ import annotations

import math
import tempfile
from collections import namedtuple
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Circle
from torch import Tensor
from torch.nn import functional as F

from fewscans import claims, paths, results
from fewscans.data import registry
from fewscans.data.base import Cases
from fewscans.data.formats import mhd
from fewscans.data.formats.cut import WINDOW_HU, cut
from fewscans.data.formats.luna16 import SPLITS, XYZ, Luna16
from fewscans.data.lidc_nodules import LidcNodules
from fewscans.errors import DataError
from fewscans.experiments.gcnn.arms import ARMS
from fewscans.figures import curves, slices
from fewscans.figures.style import Picture, picture_only, sheet, styled
from fewscans.groups import Group
from fewscans.nn.gcnn import NoduleNet
from fewscans.nn.gconv import GroupConv, act_on_features, act_on_image
from fewscans.results import Results
from fewscans.twins import luna16_patches

PLANE = ("Z2", "p4", "p4m")  # the plain network and the groups of the plane
SPACE = ("Z3", "D4", "D4h", "O", "Oh")  # of space: the arms of the paper's Table 2
P4M = Group.named("p4m")
SCENE, MIDDLE = 144, 48  # pixels: an image larger than the patch, so that its border plays no part; what is compared
SHOWN = "conv 3"  # behind this layer a map is abstract, and still large enough to see
PLANES = {"axial": "zyx", "coronal": "yzx", "sagittal": "xzy"}  # through which axis, what runs up or down, and across
EXACT = 1e-4  # rounding of 32-bit arithmetic stays far below


def groups_of(run: Results) -> tuple[list[str], str]:
    """The group networks of a run in the paper's order, and its plain network."""
    plain, *groups = PLANE if "Z2" in run.arms else SPACE
    return [arm for arm in groups if arm in run.arms], plain


def name(run: Results) -> str:
    """ "Real CT patches", "Twin: CT scans"."""
    shown = {"luna16-patches": "CT patches", "luna16": "CT scans", "adrenalmnist3d": "adrenal glands",
             "lidc-voi": "CT nodules", "hippocampus-patches": "MR patches"}  # fmt: skip
    return f"{'Real' if run.real else 'Twin:'} {shown.get(run.dataset.name, run.dataset.title)}"


# What the networks see


def copies(dataset: str) -> dict[str, Any]:
    """The copies of a data set on this machine, as its reader gives them: "real", "synthetic", both or none."""
    entry, twin, found = registry.dataset(dataset), paths.build() / "twins" / dataset, {}
    with suppress(DataError):  # the notebook says so; the error would name folders of this machine
        found["real"] = registry.find(dataset, paths.data_root())
    if twin.exists():
        found["synthetic"] = twin
    return {which: entry.read(path) for which, path in found.items()}


def patches() -> dict[str, Cases]:
    """Copies of the planar patches; where there are none, a small twin that is written for the occasion."""
    found = copies("luna16-patches")
    if found:
        return found
    with tempfile.TemporaryDirectory() as folder:
        spec = luna16_patches.PatchesSpec(scans=80, candidates_per_scan=12, positive_fraction=0.3, seed=0)
        luna16_patches.write(Path(folder), spec)
        return {"synthetic": registry.dataset("luna16-patches").read(Path(folder))}


def example(cases: Cases, look_at: int = 200) -> np.ndarray:
    """(50, 50) a training nodule that lies free in the lung and that a quarter turn changes much."""
    index = cases.indices("train")
    images = cases.images[index[cases.target[index] == 1][:look_at]]
    inner = images[:, 13:-13, 13:-13].astype(float)
    change = np.abs(inner - np.rot90(inner, axes=(1, 2))).mean((1, 2))
    bright = (images > 128).mean((1, 2))  # chest wall and rib fill much of a patch
    return images[(change * (bright < 0.15)).argmax()]


def cubes(copy: Luna16 | LidcNodules, seed: int = 0, each: int = 8, side: int = 36) -> dict[str, list[np.ndarray]]:
    """Nodules and other places, drawn at random, as cubes in HU at 1 mm, cut through their middle in three planes: rows
    for `slices.rows_of`. Of LUNA16, or its twin, from the training folds.
    """
    rng, rows = np.random.default_rng(seed), {}
    for label, what in ((True, "nodule"), (False, "other")):
        if isinstance(copy, LidcNodules):
            inner = slice((copy.hu.shape[-1] - side) // 2, (copy.hu.shape[-1] + side) // 2)
            drawn = rng.permutation(np.flatnonzero(copy.is_nodule == label))[:each]
            hu = copy.hu[drawn][:, inner, inner, inner]
        else:
            scans = copy.scans.set_index("series")
            marks = copy.candidates[copy.candidates["class"] == label]
            marks = marks[marks["seriesuid"].map(scans["subset"]).map(SPLITS) == "train"]
            marks = marks.iloc[rng.permutation(len(marks))].drop_duplicates("seriesuid").head(each)
            places = zip(marks["seriesuid"].map(scans["path"]), marks[XYZ].to_numpy(), strict=True)
            hu = [cut(mhd.read(path), [place], (side,) * 3, (1.0,) * 3)[0] for path, place in places]
        planes = [slices.planes(cube[:, ::-1]) for cube in hu]  # rows run to the back of the patient
        rows |= {f"{what},\n{plane}": [cube[plane] for cube in planes] for plane in PLANES}
    return rows


@styled
def scan(copy: Luna16, title: str, half_mm: int = 50, near_mm: float = 3.0) -> Picture:
    """The training scan with most nodules, in three planes through one in its middle; other marks as crosses."""
    path = copy.scans[copy.scans["subset"].map(SPLITS) == "train"].set_index("series")["path"]
    series = copy.annotations["seriesuid"].value_counts().reindex(path.index, fill_value=0).idxmax()
    nodules, marks = (table[table["seriesuid"] == series] for table in (copy.annotations, copy.candidates))
    centre = nodules.loc[(nodules[XYZ] - marks[XYZ].mean()).abs().max(axis=1).idxmin(), XYZ].to_numpy(float)
    at = (nodules[XYZ] - centre).set_axis(list("xyz"), axis=1).assign(radius=nodules["diameter_mm"] / 2)
    others = (marks.loc[marks["class"] == 0, XYZ] - centre).set_axis(list("xyz"), axis=1)
    note = f"{2 * half_mm} mm a side. Circles: nodules. Crosses: other candidates within {near_mm:g} mm of the plane."
    figure, axes = sheet(title, 1, 3, 2.8, note)
    for panel, (plane, (axis, up, across)) in zip(axes[0], PLANES.items(), strict=True):
        size = [1 if one == axis else 2 * half_mm for one in "zyx"]
        image = cut(mhd.read(path[series]), [centre], size, (1.0,) * 3)[0].squeeze()
        top = half_mm if up == "z" else -half_mm  # the head is above, and so is the front
        frame, origin = (-half_mm, half_mm, -top, top), "lower" if up == "z" else "upper"
        panel.imshow(image, vmin=WINDOW_HU[0], vmax=WINDOW_HU[1], extent=frame, origin=origin)
        for row in at[at[axis].abs() < at["radius"]].to_dict("records"):
            around = math.sqrt(row["radius"] ** 2 - row[axis] ** 2) + 2
            panel.add_patch(Circle((row[across], row[up]), around, fill=False, color="#56B4E9"))
        near = others[others[axis].abs() < near_mm]
        panel.plot(near[across], near[up], "x", color="#E69F00", markersize=5)
        panel.axis(frame)
        panel.set_title(plane, loc="center")
        picture_only(panel)
    return Picture(figure, title, {"figure": title, "data": copy.fingerprint, "series": series})


@styled
def glands(cases: Cases, seed: int = 0, each: int = 8) -> Picture:
    """Normal and enlarged glands, drawn at random from the training set: thickness of the shape along two axes."""
    rng, pool = np.random.default_rng(seed), cases.indices("train")
    rows = {}
    for label, what in enumerate(("normal", "enlarged")):
        drawn = cases.images[rng.choice(pool[cases.target[pool] == label], each, replace=False)] > 0
        rows |= {f"{what},\nalong {axis}": list(drawn.sum(1 + number)) for number, axis in ((0, "z"), (2, "x"))}
    note = "AdrenalMNIST3D (MedMNIST v2, CC BY 4.0). Brighter: more of the shape along the line of sight."
    return slices.rows_of(rows, "Adrenal glands as shapes", note, limits=(0, 14))


# A shift, a turn, a mirror image

# Something done to an image: a shift in pixels to the right, an element of p4m, a turn in degrees by resampling.
Move = namedtuple("Move", ("name", "shift", "element", "angle"), defaults=(0, 0, 0.0))


def describe(matrix: np.ndarray) -> tuple[int, bool]:
    """A plane element as (degrees counter-clockwise on the screen, mirrored first?). Rows run down, columns right."""
    mirrored = round(float(np.linalg.det(matrix))) < 0
    right = matrix @ np.array([0, -1 if mirrored else 1])  # where the unit step to the right goes
    return round(math.degrees(math.atan2(-right[0], right[1]))) % 360, mirrored


def in_order(group: Group) -> list[int]:
    """Indices of a plane group's elements for people: by angle, mirror images last."""
    return sorted(range(group.order), key=lambda g: describe(group.elements[g])[::-1])


STILL = Move("as it is")
MOVES = (
    Move("shift by 1", shift=1),
    Move("shift by 8", shift=8),
    Move("turn by 90°", element=in_order(P4M)[1]),
    Move("mirror image", element=in_order(P4M)[4]),
    Move("turn by 45°", angle=45.0),
)


def networks(seed: int, arms: Sequence[str] = PLANE, size: int = 48, width: int = 8) -> dict[str, NoduleNet]:
    """Untrained networks of the plane."""
    made = {arm: NoduleNet(arm, (size, size), width) for arm in arms}
    for net in made.values():
        net.reset_parameters(torch.Generator().manual_seed(seed))
    return made


def as_input(images: np.ndarray, size: int | None = None) -> Tensor:
    """uint8 (..., H, W) → float (..., H, W) in [-1, 1], its middle of `size` pixels a side."""
    start = (images.shape[-1] - size) // 2 if size else 0
    return torch.from_numpy(images).float()[..., start:, start:][..., :size, :size] / 127.5 - 1


def errors(nets: Mapping[str, NoduleNet], patch: np.ndarray) -> pd.DataFrame:
    """The error over a patch, (50, 50) uint8, of every network under every move, behind every layer."""
    rows = []
    for arm, net in nets.items():
        before = _maps(net, seen(patch, STILL))
        for move in MOVES:
            after = _maps(net, seen(patch, move))
            for layer, y in before.items():
                got = after[layer].amax(2, keepdim=True) if move.angle else after[layer]
                error = min(_error(middle(got), middle(wanted)) for wanted in _expected(net, y, move))
                rows.append([arm, move.name, layer, error])
    return pd.DataFrame(rows, columns=["arm", "move", "layer", "error"])


@styled
def one_look(patch: np.ndarray, plain: NoduleNet, group: NoduleNet, note: str = "") -> Picture:
    """Down: as it is, moved, turned. Across: the input, then per network its map and how it departs from the map that
    moved or turned along.
    """
    moves = (STILL, MOVES[1], MOVES[2])
    title = "A nodule moved and turned, and two untrained networks' maps"
    figure, axes = sheet(title, 3, 5, 5.0, note)
    for row, move in enumerate(moves):
        axes[row, 0].imshow(middle(seen(patch, move))[0, 0].numpy(), vmin=-1, vmax=1)
        axes[row, 0].set_ylabel(move.name.replace(" by", "\nby"), fontsize=10)
    for column, net in ((1, plain), (3, group)):
        _column(axes[:, column : column + 2], net, patch, moves)
    heads = ("the network sees", "plain CNN:\nits map", "… and its error", "G-CNN p4m:\nits map", "… and its error")
    for panel, head in zip(axes.flat, (*heads, *[""] * 10), strict=True):
        panel.set_title(head, loc="center", fontsize=9.5)
        picture_only(panel)
    return Picture(figure, title, {"figure": title})


def _column(axes: np.ndarray, net: NoduleNet, patch: np.ndarray, moves: Sequence[Move]) -> None:
    """A network's maps, the maximum over orientations, and their errors; one grey scale for all."""
    before = _maps(net, seen(patch, STILL))[SHOWN]
    first = middle(before.amax(2))[0]
    channel = int(first.var((-1, -2)).argmax())
    low, high = float(first[channel].min()), float(first[channel].max())
    for row, move in enumerate(moves):
        after = _maps(net, seen(patch, move))[SHOWN]
        axes[row, 0].imshow(middle(after.amax(2))[0, channel].numpy(), vmin=low, vmax=high)
        if move is not STILL:
            wanted = _expected(net, before, move)[0]
            gap = middle(after.amax(2) - wanted.amax(2))[0, channel].abs()
            axes[row, 1].imshow(gap.numpy(), vmin=0, vmax=high - low, cmap="inferno")
            axes[row, 1].set_xlabel(f"error {short(_error(middle(after), middle(wanted)))}", fontsize=9.5)


def short(error: float) -> str:
    """To what can be told from rounding."""
    return "0" if error < 10 * EXACT else f"{error:.2f}"


def seen(patch: np.ndarray, move: Move) -> Tensor:
    """The scene around a patch as the network sees it after the move: (1, 1, 144, 144)."""
    before = (SCENE + 16 - len(patch)) // 2
    wide = as_input(np.pad(patch, ((before, SCENE + 16 - len(patch) - before),) * 2, mode="reflect"))[None, None]
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
def _maps(net: NoduleNet, x: Tensor) -> dict[str, Tensor]:
    """The feature map behind each convolution (with its norm and ReLU) and each pool: name → (B, C, G, H, W)."""
    found = {}
    for number, (convolution, norm, pool) in enumerate(zip(net.convolutions, net.eval().norms, net.pools, strict=True)):
        found[f"conv {number + 1}"] = x = F.relu(norm(convolution(x)))
        if pool is not None:
            found[f"pool {number // 2 + 1}"] = x = F.max_pool2d(x.flatten(1, 2), pool).unflatten(1, x.shape[1:3])
    return found


def _expected(net: NoduleNet, y: Tensor, move: Move) -> list[Tensor]:
    """h·f(x), as well as the map can follow: for a shift that is no whole number of cells, both neighbours."""
    if move.shift:
        cells = move.shift * y.shape[-1] / SCENE
        return [torch.roll(y, cell, -1) for cell in sorted({math.floor(cells), math.ceil(cells)})]
    if move.angle:
        return [_turned(y.amax(2), move.angle)[:, :, None]]
    inside = [i for i, m in enumerate(net.group.elements) if np.array_equal(m, P4M.elements[move.element])]
    return [act_on_features(net.group, inside[0], y) if inside else act_on_image(P4M, move.element, y)]


def _error(after: Tensor, wanted: Tensor) -> float:
    """Root mean square of the difference over that of `wanted` about its mean, channel by channel."""
    spread = (wanted - wanted.mean((-1, -2), keepdim=True)).square().mean().sqrt()
    return float((after - wanted).square().mean().sqrt() / spread)


def middle(y: Tensor) -> Tensor:
    """The cells that lie over the patch."""
    keep = y.shape[-1] * MIDDLE // SCENE
    start = (y.shape[-1] - keep) // 2
    return y[..., start : start + keep, start : start + keep]


@torch.no_grad()
def symmetry(group: str, patch: tuple[int, ...], pools=None, seed: int = 0) -> str:
    """What is left of a group's symmetry behind the whole network, on noise: the largest error of the last map over all
    elements that map the patch onto itself, and how many do, if not all. "shape": a turned map has another shape.
    """
    made, generator = Group.named(group), torch.Generator().manual_seed(seed)
    net = NoduleNet(made, patch, 2, pools=pools).eval()
    net.reset_parameters(generator)
    x = torch.randn(1, 1, *patch, generator=generator)
    fitting = [h for h, m in enumerate(made.elements) if np.array_equal(np.abs(m) @ patch, patch)]
    with torch.no_grad():
        before, *turned = net.features(torch.cat([x, *(act_on_image(made, h, x) for h in fitting)])).split(1)
        pairs = [(after, act_on_features(made, h, before)) for h, after in zip(fitting, turned, strict=True)]
    same = all(after.shape == wanted.shape for after, wanted in pairs)
    left = short(max(float((a - b).square().mean().sqrt() / b.std()) for a, b in pairs)) if same else "shape"
    return left + ("" if len(fitting) == made.order else f" ({len(fitting)} of {made.order})")


# Kernels


@styled
def kernels(kernel: Tensor, group: Group, responses: Tensor) -> Picture:
    """A kernel (3, 3) in every orientation of a plane group, and what each finds in a patch, (G, H, W)."""
    title = f"One filter in {group.order} orientations"
    note = "Above: the kernel turned by each element; the dot marks the same weight. Below: what it finds in the patch."
    figure, axes = sheet(title, 2, group.order, 2.6, note)
    for (above, below), (g, image, dot) in zip(axes.T, _oriented(kernel, group, in_order(group)), strict=True):
        _kernel(above, image, float(kernel.abs().max()), dot)
        degrees, mirrored = describe(group.elements[g])
        above.set_title(f"{'mirror' * mirrored}\n{degrees}°" if mirrored else f"{degrees}°", fontsize=9, loc="center")
        below.imshow(responses[g].numpy(), vmin=0, vmax=float(responses.max()))
        picture_only(below)
    return Picture(figure, title, {"figure": title, "group": group.name})


@styled
def kernels_in_space(kernel: Tensor, group: Group, inner: Group) -> Picture:
    """A kernel (3, 3, 3) in every orientation of a group of rotations, three slices each; first those of a subgroup."""
    own = {m.tobytes() for m in inner.elements}
    order = sorted(range(group.order), key=lambda g: (group.elements[g].tobytes() not in own, *turn(group.elements[g])))
    across, down = len(own), group.order // len(own)
    title = f"One filter in the {group.order} orientations of {group.name}; first row: the {across} of {inner.name}"
    note = "Three slices each, z from top to bottom. The dot marks the same weight in every copy."
    figure, axes = sheet(title, down, across, 0.9 + 1.7 * down, note)
    for panel, (g, image, (z, y, x)) in zip(axes.flat, _oriented(kernel, group, order), strict=True):
        strip = np.full((11, 3), np.nan)
        for number, section in enumerate(image):
            strip[4 * number : 4 * number + 3] = section
        _kernel(panel, strip, float(kernel.abs().max()), (4 * z + y, x))
        degrees, axis = turn(group.elements[g])
        panel.set_title(f"{degrees}° {axis}" if degrees else "as it is", fontsize=9, loc="center", pad=3)
    for row, whose in enumerate([inner.name, *[f"only {group.name}"] * (down - 1)]):
        axes[row, 0].set_ylabel(whose, fontsize=10, fontweight="bold")
    return Picture(figure, title, {"figure": title, "group": group.name})


@styled
def second_layer(layer: GroupConv) -> Picture:
    """A plane group's convolution, expanded: row g is the filter turned by g, reading orientations in turned order."""
    group = layer.group
    bank = layer.expanded_weight().detach().view(group.order, group.order, *layer.kernel_size)
    title = "A filter of the second layer, in four orientations"
    note = "Rows: the output's orientation. Columns: the input's. The frame marks the same slice of the kernel."
    figure, axes = sheet(title, group.order, group.order, 4.3, note)
    read = group.product[group.inverse]
    for row, g in enumerate(in_order(group)):
        axes[row, 0].set_ylabel(f"turned\n{describe(group.elements[g])[0]}°", fontsize=9.5)
        for column, h in enumerate(in_order(group)):
            panel = axes[row, column]
            _kernel(panel, bank[g, h].numpy(), float(bank.abs().max()))
            for spine in panel.spines.values():
                spine.set(visible=bool(read[g, h] == 0), color="black", linewidth=1.8)
    for panel, h in zip(axes[0], in_order(group), strict=True):
        panel.set_title(f"reads {describe(group.elements[h])[0]}°", fontsize=9.5, loc="center")
    return Picture(figure, title, {"figure": title, "group": group.name})


def _oriented(kernel: Tensor, group: Group, order: Sequence[int]) -> Iterator[tuple[int, np.ndarray, tuple[int, ...]]]:
    """Per element: its index, the turned kernel, and where its first weight has gone."""
    for g, taps in zip(order, group.taps(tuple(kernel.shape))[list(order)], strict=True):
        place = np.unravel_index(int(np.flatnonzero(taps == 0)[0]), kernel.shape)
        yield g, kernel.flatten().numpy()[taps].reshape(kernel.shape), tuple(map(int, place))


def _kernel(panel: Axes, image: np.ndarray, largest: float, dot: tuple[int, int] | None = None) -> None:
    """Weights in red and blue, white for 0."""
    panel.imshow(image, cmap="RdBu_r", vmin=-1.3 * largest, vmax=1.3 * largest)
    if dot is not None:
        panel.plot(dot[1], dot[0], "ko", markersize=3.8)
    picture_only(panel)


def turn(matrix: np.ndarray) -> tuple[int, str]:
    """A rotation of the cube in (z, y, x) order as (degrees, axis): "z"; "xy" about an edge; "" about a corner."""
    degrees = round(math.degrees(math.acos((np.trace(matrix) - 1) / 2)))
    fixed = matrix + matrix.T + (1 - np.trace(matrix)) * np.eye(3)  # every column runs along the axis
    along = np.abs(fixed).sum(1) > 1e-6 if degrees else np.zeros(3, bool)
    letters = "".join(letter for letter, on in zip("zyx", along, strict=True) if on)[::-1]
    return degrees, "" if len(letters) == 3 else letters


# Results, and what git keeps of them

BARS = "Bars: 95 % intervals over seeds and test cases."
BESIDE = f"{BARS} Hollow: the paper, which prints none. Heights of different panels cannot be compared."
FACTORS = "Cases the plain network needs for the group's score, over the group's. Dashed: 1, 10. Arrow: no bound."


def paper_panel(arms: Sequence[str] = SPACE) -> curves.Panel:
    """The paper's FROC scores over training candidates, hollow."""
    table, looks = claims.load().table("winkels-cohen-2019", "Table 2"), {arm: ARMS[arm] for arm in arms}
    return curves.paper_table(table, looks, "overall FROC score", xlabel="candidates", title="Paper, real CT scans")


def kept() -> dict[str, Picture]:
    """What git keeps, drawn from published results: on the plane; real nodules and hippocampi; real glands and twin."""
    plane = _kept("gcnn", "on the plane", ("luna16-patches",), SPACE[:3])
    volumes = _kept("gcnn_volumes", "real volumes", ("lidc-voi", "hippocampus-patches"), SPACE)
    return plane | volumes | _kept("gcnn_space", "in space", ("adrenalmnist3d", "luna16-twin"), SPACE)


def _kept(prefix: str, where: str, datasets: Sequence[str], paper: Sequence[str]) -> dict[str, Picture]:
    runs = [run for dataset in datasets if (run := results.published("gcnn", dataset)) is not None]
    scores = [paper_panel(paper), *(curves.scores(run, PLANE + SPACE, title=name(run)) for run in runs)]
    gains = [curves.gains(run, *groups_of(run), title=name(run)) for run in runs]
    factors = [curves.factors(run, *groups_of(run), title=name(run)) for run in runs]
    drawn = {
        "learning_curves": (scores, "Scores over training size", BESIDE),
        "gains": (gains, "Gain of group networks over the plain network", BARS),
        "data_efficiency": (factors, "How many times fewer training cases", FACTORS),
    }
    return {
        f"{prefix}_{what}": curves.over_n(panels, f"{title}, {where}", note)
        for what, (panels, title, note) in drawn.items()
        if any(len(panel.table) and not panel.paper for panel in panels)
    }
