"""The practitioners' smaller questions, each as one table or picture: 8-bit slices, slices of one person on both sides
of a split, scores that change from subset to subset, preprocessing before and after, and a volume to look at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from fewscans.data import lidc_voi
from fewscans.data.base import Cases
from fewscans.data.formats.nifti import Volume
from fewscans.errors import DataError
from fewscans.experiments import baselines
from fewscans.figures import slices
from fewscans.figures.style import Picture, picture_only, sheet, styled
from fewscans.stats.auc import auc, delong_test

STORED = "stored values"
WINDOWS_HU = {
    "8 bits, lung window (-1000 to 300 HU)": (-1000, 300),
    "8 bits, soft tissue (-160 to 240 HU)": (-160, 240),
}
EACH_SLICE = "8 bits, each slice from its darkest to its brightest voxel"
PEOPLE = (63, 108)  # in the thread: those at hand first, and all
HELD_OUT = 0.2
OVERLAYS = ("red", "blue", "green", "yellow")


def nodules(folder: Path) -> tuple[list[np.ndarray], np.ndarray]:
    """The CT cuts of `lidc-voi` as stored, (D, H, W) HU each, and whether each nodule is not solid, (n,) 0 or 1."""
    table = lidc_voi.nodules(folder)
    with lidc_voi.Archive(folder / lidc_voi.IMAGES) as scans:
        volumes = [scans.read(name).array for name in table["file"]]
    return volumes, (table["texture_value"] <= lidc_voi.NON_SOLID).to_numpy(int)


def as_png(volume: np.ndarray, window: tuple[float, float] | None) -> np.ndarray:
    """Axial slices (D, H, W) as 8-bit grey: of a window, clipped; or each slice by its own darkest and brightest."""
    low, high = window or (volume.min(axis=(1, 2), keepdims=True), volume.max(axis=(1, 2), keepdims=True))
    share = (volume - low) / np.maximum(np.subtract(high, low), 1e-6)
    return np.rint(np.clip(share, 0, 1) * 255).astype(np.uint8)


def eight_bit(volumes: Sequence[np.ndarray], labels: np.ndarray) -> pd.DataFrame:
    """What slices lose as 8-bit images: a row a way to save them.

    HU a step: between neighbouring grey values, the median over slices.   clipped: voxels beyond the window.   error:
    root mean square, in HU, after the straight line from grey values to HU that fits all voxels best.   AUC: of the
    brightness of the middle voxels for the label; p: of its difference to that of stored values (DeLong).
    """
    rows, middles = {}, {}
    for name, window in {STORED: None, **WINDOWS_HU, EACH_SLICE: None}.items():
        codes = volumes if name == STORED else [as_png(volume, window) for volume in volumes]
        middles[name] = np.array([code[_middle(code)].mean() for code in codes])
        spans = [[high - low for low, high in [window]] if window else np.ptp(v, axis=(1, 2)) for v in volumes]
        step = 1.0 if name == STORED else float(np.median(np.concatenate(spans))) / 255
        beyond = np.mean([np.mean((v < window[0]) | (v > window[1])) for v in volumes]) if window else 0.0
        area, _, _, p = delong_test(labels, middles[name], middles[STORED])
        rows[name] = {
            "HU a step": step, "clipped": f"{beyond:.1%}", "error, HU": _line_error(codes, volumes),
            "AUC of the middle's brightness": max(area, 1 - area), "p": p,
        }  # fmt: skip
    table = pd.DataFrame.from_dict(rows, orient="index").round({"HU a step": 1, "error, HU": 1, "p": 4})
    return table.round({"AUC of the middle's brightness": 3})


def by_slice_or_person(cases: Cases, draws: int = 20, seed: int = 0) -> pd.DataFrame:
    """What a split by slice seems to show: AUC of single slices for a person's label, means over draws (lowest to
    highest).

    The label: are the person's hippocampi larger than those of half of the people? A slice is answered by its nearest
    training slices (`baselines.nearest`), so memory alone can score. 63 and 108 people as in the thread.
    Raises:  DataError for cases of fewer people.
    """
    size = pd.Series(cases.target).groupby(cases.group).mean()
    if len(size) < PEOPLE[1]:
        raise DataError(f"{cases.path}: scans of {len(size)} people; the comparison needs {PEOPLE[1]} or more")
    large = size > size.median()
    depth = cases.images.shape[1]
    images, person = cases.images.reshape(-1, *cases.images.shape[2:]), np.repeat(cases.group, depth)
    label = large.loc[person].to_numpy(int)
    found: dict[tuple[str, int], list[float]] = {}
    for draw in range(draws):
        rng = np.random.default_rng([seed, draw])
        people = rng.permutation(size.index.to_numpy(str))[: PEOPLE[1]]
        for count in PEOPLE:
            mine = np.flatnonzero(np.isin(person, people[:count]))
            held = people[: round(HELD_OUT * count)]
            parts = {
                "slices drawn at random": rng.permutation(len(mine)) < HELD_OUT * len(mine),
                "people held out": np.isin(person[mine], held),
            }
            for name, test in parts.items():
                found.setdefault((name, count), []).append(_nearest(images, label, mine[~test], mine[test]))
        first, others = (np.flatnonzero(np.isin(person, some)) for some in np.split(people, [PEOPLE[0]]))
        further = f"{PEOPLE[1] - PEOPLE[0]} further people, training on the first {PEOPLE[0]}"
        found.setdefault((further, PEOPLE[0]), []).append(_nearest(images, label, first, others))
    shown = {
        (name, f"{n} people"): f"{np.mean(x):.2f} ({min(x):.2f} to {max(x):.2f})" for (name, n), x in found.items()
    }
    return pd.Series(shown).unstack(sort=False, fill_value="").rename_axis(index="AUC, tested on")


def over_subsets(
    answers: pd.DataFrame, score: Callable[[pd.DataFrame], float], draws: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """How much a score of one and the same model varies over test sets of 63 and 108 people, drawn from all.

    answers: a row a case: group, and what the score reads. Subsets without both classes are drawn again.
    Returns: a row a size: the mean, the standard deviation and the middle 95 % of draws. No rows for sizes that
    there are not enough people for.
    """
    members = {group: rows.to_numpy() for group, rows in answers.reset_index(drop=True).groupby("group").groups.items()}
    groups, rows = list(members), {f"all {len(members)}": {"mean": score(answers)}}
    for count in (n for n in PEOPLE if n < len(groups)):
        rng, scores = np.random.default_rng([seed, count]), []
        while len(scores) < draws:
            chosen = np.concatenate([members[groups[i]] for i in rng.permutation(len(groups))[:count]])
            value = score(answers.iloc[chosen])
            scores += [value] if np.isfinite(value) else []
        low, high = np.quantile(scores, [0.025, 0.975])
        rows[str(count)] = {"mean": np.mean(scores), "sd": np.std(scores), "2.5 %": low, "97.5 %": high}
    return pd.DataFrame.from_dict(rows, orient="index").round(3).rename_axis(index="people tested")


def auc_or_nan(answers: pd.DataFrame) -> float:
    """The AUC of predictions for targets of 0 and 1; NaN where there is one class alone."""
    return auc(answers["target"], answers["prediction"]) if answers["target"].nunique() == 2 else np.nan


@styled
def steps(volumes: Mapping[str, Volume], title: str, note: str = "") -> Picture:
    """One volume before and after steps of preprocessing: a row a step, three planes and the histogram of voxels.

    Planes are drawn in mm, so that thick slices look as thick as they are. Grey from the 0.5th to the 99.5th percentile
    of voxels above the volume's lowest value, of which the histogram is.
    """
    figure, axes = sheet(title, len(volumes), 4, 0.7 + 1.45 * len(volumes), note, width_ratios=[1, 1, 1, 1.25])
    for line, (name, volume) in zip(axes, volumes.items(), strict=True):
        z, y, x = volume.spacing_mm
        inside = volume.array[volume.array != np.median(volume.array[:, :2, :2])]
        low, high = np.percentile(inside, [0.5, 99.5])
        aspects = {"axial": y / x, "coronal": z / x, "sagittal": z / y}
        for panel, (plane, cut) in zip(line, slices.planes(volume.array).items(), strict=False):
            picture_only(panel)
            panel.imshow(cut, vmin=low, vmax=high, aspect=aspects[plane])
            if panel in axes[0]:
                panel.set_title(plane, fontsize=9.5, loc="center")
        line[0].set_ylabel(name, fontsize=8.5)
        line[3].hist(inside, bins=60, range=(low, high), color="#5f6872")
        line[3].set_yticks([])
        line[3].tick_params(labelsize=7.5)
    return Picture(figure, title, {"figure": title})


def in_space(image: Path, overlays: Mapping[str, Path], height: int = 400):
    """An image with label maps on top as a widget of ipyniivue, to stand last in a notebook's cell.

    overlays: what each shows → its NIfTI file, on the image's grid.   height: screen pixels. The widget needs a running
    kernel and a browser with WebGL2, no network; a saved page does not show it.
    Raises ImportError if ipyniivue is not installed.
    """
    try:
        from ipyniivue import NiiVue
    except ImportError as error:
        raise ImportError("volumes are shown by ipyniivue; install it: pip install 'fewscans[workbook]'") from error
    widget = NiiVue(height=height)
    drawn = [
        {"path": str(path), "name": name, "colormap": colour, "opacity": 0.4, "cal_min": 0.5, "cal_max": 2.5}
        for (name, path), colour in zip(overlays.items(), OVERLAYS, strict=False)
    ]
    widget.load_volumes([{"path": str(image), "colormap": "gray"}, *drawn])
    return widget


def _middle(volume: np.ndarray) -> tuple[slice, ...]:
    """The middle voxel along each axis, or the two next to the middle."""
    return tuple(slice((n - 1) // 2, n // 2 + 1) for n in volume.shape)


def _line_error(codes: Sequence[np.ndarray], volumes: Sequence[np.ndarray]) -> float:
    """Root mean square of what a straight line from codes to values leaves, over all voxels."""
    x, y = (np.concatenate([np.asarray(part, np.float64).ravel() for part in parts]) for parts in (codes, volumes))
    x, y = x - x.mean(), y - y.mean()
    return float(np.sqrt(max(0.0, (y @ y - (x @ y) ** 2 / (x @ x)) / len(y))))


def _nearest(images: np.ndarray, label: np.ndarray, known: np.ndarray, new: np.ndarray) -> float:
    return auc(label[new], baselines.nearest(images[known], label[known], images[new]))
