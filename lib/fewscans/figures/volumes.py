"""What the networks in space see: scans with their candidates, patches in three planes, shapes of glands.

Cuts are taken from the scan's own voxels along the patient's axes and shown as a radiologist sees them: the patient's
front above, his left at the right-hand side of the picture, his head above in the upright planes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Circle

from fewscans import data, paths
from fewscans.data import mhd
from fewscans.data.cut import WINDOW_HU, cut
from fewscans.data.lidc_nodules import LidcNodules
from fewscans.data.luna16 import SPLITS, UNKNOWN_DIAMETER_MM, Luna16
from fewscans.data.samples import Samples
from fewscans.errors import DataError
from fewscans.figures.picture import Picture, picture_only, sheet, styled
from fewscans.figures.wording import listed, markdown, number
from fewscans.groups import Group
from fewscans.nn.gconv import act_on_image

SIDE = 36  # mm, of the patches shown; the paper's window is 15 × 36 × 36 mm
SHOWN = 8
NEAR_MM = 3.0  # candidates this near a plane are marked in it
PLANES = {"axial": ("y", "x"), "coronal": ("z", "x"), "sagittal": ("z", "y")}
NODULE, MARK, EXCLUDED = "#56B4E9", "#E69F00", "#b0b0b0"
NAMES = {"real LIDC": "real CT of LIDC-IDRI", "real LUNA16": "LUNA16", "twin": "the synthetic twin"}
GREYS = {"vmin": WINDOW_HU[0], "vmax": WINDOW_HU[1]}


def scans() -> dict[str, Luna16]:
    """The reader's copy of LUNA16, if there is one, and the twin that the pipeline wrote, by name."""
    found = {}
    try:
        found["real LUNA16"] = data.read("luna16", data.find("luna16", paths.data_root()))
    except DataError:
        pass  # the notebook says so, without the paths of somebody's disk
    if (paths.build() / "twins" / "luna16").exists():
        found["twin"] = data.read("luna16", paths.build() / "twins" / "luna16")
    return found


def copy_of(name: str) -> Samples | LidcNodules | None:
    """The reader's copy of a data set that has no twin; None if there is none."""
    try:
        return data.read(name, data.find(name, paths.data_root()))
    except DataError:
        return None


def scan_with_most(luna: Luna16, look_at: int = 10) -> str:
    """Of the first scans of the training folds, the one with most nodules."""
    training = luna.scans[luna.scans["subset"].map(SPLITS) == "train"]["series"].head(look_at)
    counts = luna.annotations["seriesuid"].value_counts().reindex(training, fill_value=0)
    return str(counts.idxmax())


@styled
def three_planes(luna: Luna16, name: str, series: str | None = None, step_mm: float = 0.7) -> Picture:
    """One scan in three planes, each through the nodule where it meets most; all that lies in them is marked."""
    series = series or scan_with_most(luna)
    row = luna.scans[luna.scans["series"] == series].iloc[0]
    volume, header = mhd.read(row["path"]), luna.headers[series]
    nodules, others, marks = (_of(frame, series) for frame in (luna.annotations, luna.excluded, luna.candidates))
    marks = marks[marks["class"] == 0]
    size, middle = _extent(header)
    title = f"{'A scan of LUNA16' if name.startswith('real') else 'A synthetic scan'}: {len(nodules)} nodules among "
    title += f"{len(nodules) + len(marks)} places to look at"
    note = (
        f"Blue: nodules, as large as they are. Orange: candidates that are none, within {NEAR_MM:g} mm of the plane. "
    )
    note += f"Grey, dashed: findings that count neither way. Window {WINDOW_HU[0]:g} to {WINDOW_HU[1]:g} HU."
    figure, axes = sheet(title, 1, 3, 2.95, note)
    for (plane, shown), panel in zip(PLANES.items(), axes[0], strict=True):
        through = next(axis for axis in "zyx" if axis not in shown)
        centre = {axis: middle[axis] for axis in "xyz"} | {through: _busiest(nodules, marks, through)}
        samples = [1 if axis == through else int(size[axis] / step_mm) for axis in "zyx"]
        image = cut(volume, [[centre[axis] for axis in "xyz"]], samples, (step_mm,) * 3)[0].squeeze()
        half = [n * step_mm / 2 for n in image.shape]
        panel.imshow(image, **GREYS, extent=(-half[1], half[1], half[0], -half[0]), interpolation="bilinear")
        if shown[0] == "z":
            panel.invert_yaxis()
        _mark(panel, nodules, centre, through, shown, NODULE, "-")
        _mark(panel, others, centre, through, shown, EXCLUDED, "--")
        near = marks[(marks[f"coord{through.upper()}"] - centre[through]).abs() < NEAR_MM]
        places = [near[f"coord{axis.upper()}"] - centre[axis] for axis in shown]
        panel.plot(places[1], places[0], "x", color=MARK, markersize=5, markeredgewidth=1.6)
        panel.set_title(plane, loc="center")
        picture_only(panel)
    return Picture(figure, title, {"figure": "a scan in three planes", "data": luna.fingerprint, "series": series})


def _busiest(nodules: pd.DataFrame, marks: pd.DataFrame, through: str) -> float:
    """Of the nodules' places along an axis, the one whose plane meets most nodules and marks."""
    axis = f"coord{through.upper()}"
    places = nodules[axis].to_numpy()
    apart = np.abs(places[:, None] - places)
    met = (apart < nodules["diameter_mm"].to_numpy() / 2).sum(1)
    met += (np.abs(places[:, None] - marks[axis].to_numpy()) < NEAR_MM).sum(1)
    return float(places[met.argmax()])


def _mark(panel: Axes, findings: pd.DataFrame, centre, through: str, shown, colour: str, line: str) -> None:
    """Circles where findings meet the plane."""
    for found in findings.itertuples():
        at = {axis: getattr(found, f"coord{axis.upper()}") - centre[axis] for axis in "xyz"}
        radius = (found.diameter_mm if found.diameter_mm > 0 else UNKNOWN_DIAMETER_MM) / 2
        if abs(at[through]) < radius:
            inside = (radius**2 - at[through] ** 2) ** 0.5
            around = Circle((at[shown[1]], at[shown[0]]), inside + 1.5, fill=False, color=colour)
            around.set(linewidth=1.4, linestyle=line)
            panel.add_patch(around)


def _of(frame: pd.DataFrame, series: str) -> pd.DataFrame:
    return frame[frame["seriesuid"] == series]


def _extent(header: mhd.Header) -> tuple[dict[str, float], dict[str, float]]:
    """How many mm a scan spans along the world's axes, and its middle."""
    ends = header.voxel_to_world(np.array([[0, 0, 0], np.array(header.shape) - 1]))
    return (dict(zip("xyz", values, strict=True)) for values in (np.abs(ends[1] - ends[0]), ends.mean(axis=0)))


@dataclass(frozen=True, eq=False)
class Cubes:
    """Places in scans, drawn at random.   hu: (n, 36, 36, 36) at 1 mm.   labels: (n,).   fingerprint: of the data."""

    hu: np.ndarray
    labels: np.ndarray
    fingerprint: str


def draw_cubes(luna: Luna16, seed: int = 0, each: int = SHOWN) -> Cubes:
    """So many candidates of either class from the training folds, one a scan where that is possible."""
    subset = luna.candidates["seriesuid"].map(luna.scans.set_index("series")["subset"])
    training = luna.candidates[subset.map(SPLITS) == "train"]
    rng = np.random.default_rng(seed)
    chosen = []
    for label in (1, 0):
        shuffled = training[training["class"] == label].iloc[rng.permutation((training["class"] == label).sum())]
        first = shuffled[~shuffled["seriesuid"].duplicated()]
        chosen.append(pd.concat([first, shuffled.drop(first.index)]).head(each))
    rows = pd.concat(chosen)
    path = luna.scans.set_index("series")["path"]
    hu = [cut(mhd.read(path[r.seriesuid]), [[r.coordX, r.coordY, r.coordZ]], (SIDE,) * 3, (1.0,) * 3)[0]
          for r in rows.itertuples()]  # fmt: skip
    return Cubes(np.stack(hu), rows["class"].to_numpy(), luna.fingerprint)


def lidc_cubes(lidc: LidcNodules, seed: int = 0, each: int = SHOWN) -> Cubes:
    """So many of LIDC's nodules and look-alikes, the same size."""
    rng = np.random.default_rng(seed)
    chosen = np.concatenate(
        [rng.permutation(np.flatnonzero(lidc.is_nodule == label))[:each] for label in (True, False)]
    )
    start = (lidc.hu.shape[-1] - SIDE) // 2
    inner = slice(start, start + SIDE)
    hu = lidc.hu[chosen][:, inner, inner, inner]
    return Cubes(hu, lidc.is_nodule[chosen].astype(int), lidc.fingerprint)


@styled
def gallery(sets: Mapping[str, Cubes]) -> Picture:
    """Nodules and what is none, each in three planes: one plane shows a vessel across as a nodule, three do not."""
    title = f"Nodule or not? Places in {listed([NAMES.get(name, name) for name in sets])}, each in three planes"
    note = f"Cubes of {SIDE} mm about the mark at 1 mm, cut through their middle. Drawn at random, not chosen. "
    note += f"Window {WINDOW_HU[0]:g} to {WINDOW_HU[1]:g} HU."
    if any(name.startswith("real") for name in sets):
        note += " Real: LIDC-IDRI, CC BY 3.0."
    count = 6 * len(sets)
    figure, axes = sheet(title, count, SHOWN, 0.9 + 0.74 * count, note)
    lines = iter(axes)
    for name, cubes in sets.items():
        for label in (1, 0):
            some = cubes.hu[cubes.labels == label][:SHOWN]
            for nth, plane in enumerate(PLANES):
                line = next(lines)
                for panel in line:
                    picture_only(panel)
                for panel, cube in zip(line, some, strict=False):
                    panel.imshow(_plane(cube, plane), **GREYS)
                what = f"{name}:\n{'nodules' if label else 'others'}" if nth == 1 else ""
                line[0].set_ylabel(what, fontsize=9)
    return Picture(figure, title, {"figure": "gallery in space", "data": {k: c.fingerprint for k, c in sets.items()}})


def _plane(cube: np.ndarray, plane: str) -> np.ndarray:
    """The middle cut, z up."""
    middle = len(cube) // 2
    return {"axial": cube[middle], "coronal": cube[::-1, middle], "sagittal": cube[::-1, :, middle]}[plane]


@styled
def glands(samples: Samples, seed: int = 0) -> Picture:
    """Normal and enlarged glands as the thickness of the shape along two axes, at random from the training set."""
    counts = {label: int((samples.labels == label).sum()) for label in (0, 1)}
    title = f"Normal or enlarged? {counts[0]:,} and {counts[1]:,} real adrenal glands, as shapes"
    note = (
        "AdrenalMNIST3D (MedMNIST v2, CC BY 4.0). Brighter: more of the shape along the line of sight. Drawn at random."
    )
    figure, axes = sheet(title, 4, SHOWN, 4.1, note)
    rng = np.random.default_rng(seed)
    pool = samples.indices("train")
    for row, label in enumerate((0, 1)):
        chosen = rng.choice(pool[samples.labels[pool] == label], SHOWN, replace=False)
        for view in (0, 1):
            line = axes[2 * row + view]
            for panel, index in zip(line, chosen, strict=True):
                depth = (samples.images[index] > 0).sum(axis=(0, 2)[view])
                panel.imshow(depth, vmin=0, vmax=14)
                picture_only(panel)
            line[0].set_ylabel(f"{'enlarged' if label else 'normal'}\n{('one axis', 'another')[view]}", fontsize=9)
    return Picture(figure, title, {"figure": "glands", "data": samples.fingerprint})


def gland_table(samples: Samples) -> str:
    """Markdown: glands in each split, and the volume of either class, the one number that any network must beat."""
    volume = samples.images.reshape(len(samples), -1).astype(bool).sum(axis=1)
    rows = []
    for split in ("train", "val", "test"):
        index = samples.indices(split)
        label = samples.labels[index]
        medians = [f"{np.median(volume[index][label == value]):,.0f}" for value in (0, 1)]
        rows.append([split, f"{len(index):,}", f"{label.sum():,}", *medians])
    return markdown(["", "glands", "enlarged", "median voxels, normal", "median voxels, enlarged"], rows)


def alignment(samples: Samples, seed: int = 0, pairs: int = 400) -> tuple[float, float]:
    """Mean overlap (Dice) of two random glands of one class as they lie, and with one of them turned by an element of
    O other than the identity: equal where no orientation is special.
    """
    rng = np.random.default_rng(seed)
    train, group = samples.indices("train"), Group.named("O")
    shapes = torch.from_numpy(samples.images > 0)
    lying, turned = [], []
    for _ in range(pairs):
        label = rng.integers(2)
        one, other = (shapes[i] for i in rng.choice(train[samples.labels[train] == label], 2, replace=False))
        lying.append(_dice(one, other))
        turned.append(_dice(one, act_on_image(group, int(rng.integers(1, group.order)), other)))
    return float(np.mean(lying)), float(np.mean(turned))


def _dice(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def alignment_in_words(samples: Samples, seed: int = 0) -> str:
    """Whether the glands lie alike, which a network that shares its features over orientations cannot use for them."""
    lying, turned = alignment(samples, seed)
    told = (
        f"Two glands of one class overlap by {number(lying, 2)} (Dice) as they lie, by {number(turned, 2)} if one of "
    )
    told += "them is turned at random by O: "
    alike = "they lie alike, so **orientation is not arbitrary here**, which favours the plain network"
    return told + (alike if lying > 1.2 * turned else "no orientation is special") + "."


def statistics_table(statistics: pd.DataFrame) -> str:
    """Markdown: a twin's statistics beside LUNA16's.   statistics: columns quantity, twin, luna16 and grade."""
    rows = [[row.quantity, _plain(row.twin), _plain(row.luna16), row.grade] for row in statistics.itertuples()]
    return markdown(["", "twin", "LUNA16", "how we know"], rows)


def _plain(value: float) -> str:
    """To three digits; nothing where no source gives a number."""
    if not np.isfinite(value):
        return ""
    return f"{value:,.0f}".replace("-", "−") if abs(value) >= 100 else f"{value:.3g}".replace("-", "−")


def scan_table(sets: Mapping[str, Luna16]) -> str:
    """Markdown: scans, nodules, candidates and what of them are nodules, by split."""
    rows = []
    for name, luna in sets.items():
        split = luna.scans.set_index("series")["subset"].map(SPLITS)
        for part in ("train", "val", "test"):
            scans_in = split.index[split == part]
            nodules, marks = (f[f["seriesuid"].isin(scans_in)] for f in (luna.annotations, luna.candidates))
            positive = int(marks["class"].sum())
            rows.append([f"{name}, {part}", f"{len(scans_in):,}", f"{len(nodules):,}", f"{positive:,}",
                         f"{len(marks) - positive:,}", f"{(len(marks) - positive) / len(scans_in):.1f}"])  # fmt: skip
    head = ["", "scans", "nodules", "marks in a nodule", "other marks", "other marks a scan"]
    return markdown(head, rows)
