"""What networks on numbers see: hippocampi, brains with lesions, basal ganglia with tubes, and labels.

Slices are shown as a radiologist sees them: the patient's front above, his left at the right-hand side of the picture.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from fewscans import data, params, paths
from fewscans.data import box, msd, nifti, pvs, wmh2017
from fewscans.data.numbered import NumberedScans
from fewscans.errors import DataError, RunError
from fewscans.figures.picture import GREY, Picture, picture_only, sheet, styled, wrapped
from fewscans.figures.regression import labels_of
from fewscans.figures.sources import Source
from fewscans.figures.wording import listed, markdown, number
from fewscans.stats.icc import icc
from fewscans.twins import pvs as pvs_twin
from fewscans.twins import wmh2017 as wmh_twin

SHOWN = 8
LESION, OTHER, TUBE = "#E69F00", "#56B4E9", "#E69F00"
HALF = 2  # hippocampi as most networks here see them
SMALLEST = 12  # voxels that a side must have to be worth a picture


def hippocampi() -> NumberedScans | None:
    """The reader's own copy, cut as the networks see it at half resolution; None if there is none."""
    try:
        folder = data.find("msd-hippocampus", paths.data_root())
        return msd.hippocampus(folder, factor=HALF, cache=paths.build() / "scans")
    except DataError:
        return None  # the notebook says so, without the paths of somebody's disk


@styled
def hippocampus_gallery(scans: NumberedScans, seed: int = 0) -> Picture:
    """Training scans drawn at random, from the smallest hippocampus to the largest, in two planes."""
    pool = scans.indices("train")
    chosen = np.random.default_rng(seed).choice(pool, SHOWN, replace=False)
    chosen = chosen[np.argsort(scans.number[chosen], kind="stable")]
    ends = [f"{number(scans.number[i], 1)} ml" for i in chosen[[0, -1]]]
    title = f"The label is one number: {SHOWN} real hippocampi, {ends[0]} to {ends[1]}"
    d, h, w = scans.images.shape[1:]
    note = f"Real MR, Medical Segmentation Decathlon, CC BY-SA 4.0. {d} × {h} × {w} voxels of "
    note += f"{scans.spacing_mm[0][0]:g} mm, as the networks see them: one window for all. Training scans drawn at "
    note += "random, then ordered. Middle slices."
    figure, axes = sheet(title, 2, SHOWN, 2.9, note)
    for column, i in zip(axes.T, chosen, strict=True):
        image = scans.images[i]
        column[0].imshow(image[d // 2, ::-1], vmin=0, vmax=255)  # y to the front, upwards
        column[1].imshow(image[::-1, :, w // 2], vmin=0, vmax=255)  # z upwards
        column[0].set_title(number(scans.number[i], 2), fontsize=9.5, loc="center")
        for panel in column:
            picture_only(panel)
    axes[0, 0].set_ylabel("axial", fontsize=9)
    axes[1, 0].set_ylabel("sagittal", fontsize=9)
    return Picture(figure, title, {"figure": "hippocampi", "data": scans.fingerprint})


def split_table(scans: NumberedScans) -> str:
    """Markdown: scans, people and labels of each split."""
    rows = []
    for split in ("train", "val", "test"):
        index = scans.indices(split)
        y = scans.number[index]
        spread = f"{number(y.mean(), 2)} ± {number(y.std(ddof=1), 2)}"
        people = f"{len(np.unique(scans.group[index])):,}"
        rows.append([split, f"{len(index):,}", people, spread, f"{number(y.min(), 2)} to {number(y.max(), 2)}"])
    return markdown(["", "scans", "people", f"mean ± sd ({scans.unit})", f"range ({scans.unit})"], rows)


def crop_table(scans: NumberedScans) -> str:
    """Markdown: what the published crop gives away of the volume, and what is left of it in the window cut here."""
    sides = scans.about[["shape_z", "shape_y", "shape_x"]].to_numpy(float)
    rows = []
    for words, features in (
        ("side lengths of the published images", sides),
        ("padding that can be seen in our windows", box.padding(scans.images).astype(float)),
        ("mean intensity of our windows", scans.images.reshape(len(scans), -1).mean(1, keepdims=True)),
    ):
        made = box.predicted(features, scans.number, scans.group)
        e = icc(np.column_stack([scans.number, made]))
        rows.append([words, f"{number(e.value, 2)} ({number(e.low, 2)} to {number(e.high, 2)})"])
    return markdown(["least squares on …, fitted to other people", "ICC(A,1) with the volume"], rows)


def sides_of_one(labels: pd.DataFrame) -> np.ndarray:
    """(k, 2): the labels of people who have two scans.   labels: columns case, group, target."""
    both = labels.sort_values("case").groupby("group")["target"].agg(list)
    return np.array([pair for pair in both if len(pair) == 2], dtype=float).reshape(-1, 2)


@styled
def labels(sources: Sequence[Source]) -> Picture:
    """The test scans' labels, a panel a data set; and, where people have two scans, one side over the other."""
    found = {source.run: labels_of(source) for source in sources}
    pairs = next((p for s in sources if len(p := sides_of_one(found[s.run])) > 2), None)
    told = [f"{_skew(found[source.run]['target'])} ({_bare(source)})" for source in sources]
    title = f"The highest label is {listed(told)} times the median"
    if pairs is not None:
        r = float(np.corrcoef(pairs.T)[0, 1])
        title += f"; two sides of one person correlate at {number(r, 2)}, so people are never split"
    notes = [f"{s.prefix}: {len(found[s.run]):,} test scans, {'real' if s.real else 'synthetic'}." for s in sources]
    figure, axes = sheet(title, 1, len(sources) + (pairs is not None), 3.0, " ".join(notes))
    for panel, source in zip(axes[0], sources, strict=False):
        y, unit = found[source.run]["target"].to_numpy(), source.task.unit or "count"
        panel.hist(y, bins=16, color="#0072B2" if source.real else "#56B4E9")
        panel.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        panel.axvline(float(np.median(y)), color=GREY, linewidth=1.2, linestyle="--")
        panel.set_xlabel(f"label ({unit})", fontsize=9)
        panel.set_title(source.prefix.partition(",")[0].replace(" ", "\n", 1), fontsize=9.5)
        panel.tick_params(labelsize=8.5)
    axes[0, 0].set_ylabel("test scans")
    if pairs is not None:
        panel = axes[0, -1]
        panel.scatter(*pairs.T, s=9, color="#0072B2", linewidths=0, alpha=0.7)
        ends = [pairs.min(), pairs.max()]
        panel.plot(ends, ends, color=GREY, linewidth=1.0, linestyle="--")
        panel.set_xlabel("one side (ml)", fontsize=9)
        panel.set_ylabel("other side (ml)", fontsize=9)
        panel.set_title("Real\npeople", fontsize=9.5)
        panel.tick_params(labelsize=8.5)
    return Picture(figure, title, {"figure": "labels", "runs": [s.provenance for s in sources]})


def _skew(y: pd.Series) -> str:
    return f"{y.max() / y.median():.2g}" if y.median() > 0 else "∞"


def _bare(source: Source) -> str:
    """ "hippocampi", "brains"."""
    return source.prefix.partition(",")[0].partition(" ")[2]


def twin_folder(name: str) -> Path | None:
    """Where the pipeline wrote a twin; None if it did not yet."""
    folder = paths.build() / "twins" / name
    return folder if folder.is_dir() else None


@styled
def brains(folder: Path, window: Sequence[int] = (), factor: int = 0) -> Picture:
    """A scan of each site of the WMH twin: drawn in finer voxels, as it is on disk, and as networks are given it.

    window, factor: voxels that the networks' scans are cut to, and how many a side are averaged into one; none: as
    params.yaml says.
    """
    grid = params.load().grid("hydranet-wmh2017-twin")
    window, factor = tuple(window or grid.window), factor or grid.downsample
    found = wmh2017.find_cases(folder)
    spec = json.loads((folder / "twin.json").read_text(encoding="utf-8"))
    title = "Synthetic brains of three sites: lesions outlined, their volume is the label"
    figure, axes = sheet(title, 3, 5, 5.4, " ")
    shown, given = set(), ""
    for line, site in zip(axes, wmh2017.TRAINING_SITES, strict=True):
        scan, name = _middling(found, site)
        which = list(wmh_twin.SITES).index(site) * spec["scans_per_site"]
        finer = wmh_twin.WmhSpec(spec["scans_per_site"], "medium", spec["seed"])
        fine = wmh_twin.draw_case(finer, site, int(name) - which)
        for panel, z in zip(line, _busiest(fine.labels, 3), strict=False):
            _slice(panel, fine.corrected[z], fine.labels[z], fine.spacing_mm)
            shown |= set(np.unique(fine.labels[z]).tolist())
        line[0].set_ylabel(f"{site.replace(' ', chr(10))}\n{scan.volume_ml:.1f} ml", fontsize=9)
        both = np.where(scan.wmh, wmh2017.WMH, np.where(scan.other, wmh2017.OTHER, 0))
        z = _busiest(both, 1)[0]
        _slice(line[3], scan.flair.array[z], both[z], scan.flair.spacing_mm)
        shown |= set(np.unique(both[z]).tolist())
        image, lesion = given_to_networks(scan, window, factor)
        line[4].imshow(image[int(lesion.sum(axis=(1, 2)).argmax()), ::-1, ::-1],
                       aspect=scan.flair.spacing_mm[1] / scan.flair.spacing_mm[2])  # fmt: skip
        picture_only(line[4])
        sides = " × ".join(str(side) for side in image.shape)
        given = given or f"{sides} voxels of {' × '.join(f'{factor * mm:.0f}' for mm in scan.flair.spacing_mm)} mm"
    for panel, words in zip(axes[0], ("drawn finer", "", "", "on disk", "networks' input"), strict=True):
        panel.set_title(words, fontsize=9)
    note = (
        "Synthetic FLAIR of a person with about the site's median. The first three: in voxels of about 6 × 5 × 5 mm. "
    )
    note += "Another grid draws another brain of the same person, of the same volume of lesion: shapes differ from the "
    note += f"fourth, the scan on disk. Last: what networks are given of it, for {wmh2017.TRAINING_SITES[0]} {given}. "
    note += "Orange: lesions, counted." + " Blue: other pathology, not counted." * (wmh2017.OTHER in shown)
    figure._supxlabel.set_text(wrapped(note))
    return Picture(figure, title, {"figure": "brains of the twin", "spec": spec, "given": [window, factor]})


def given_to_networks(scan: wmh2017.Scan, size: tuple[int, int, int], factor: int) -> tuple[np.ndarray, np.ndarray]:
    """A scan cut as its reader cuts it and averaged over blocks; and the share of lesion in each of these voxels.

    size: (D, H, W) voxels of the cut.   Returns two arrays of (D, H, W) / factor.
    """
    array = scan.flair.array
    centre = wmh2017.centre_of_mass(array)
    cut = nifti.unit(nifti.crop(array, centre, size, outside=array.min()))
    lesion = nifti.crop(scan.wmh.astype(np.float32), centre, size, outside=0)
    return tuple(nifti.block_mean(np.asarray(a, np.float32), factor) for a in (cut, lesion))


def _middling(found: wmh2017.Challenge, site: str, look_at: int = 9) -> tuple[wmh2017.Scan, str]:
    """Of the first scans of a site, the one with the median volume; and its name."""
    rows = np.flatnonzero(found.cases["site"] == site)[:look_at]
    scans = [found.read(int(row)) for row in rows]
    nth = int(np.argsort([scan.volume_ml for scan in scans], kind="stable")[len(scans) // 2])
    return scans[nth], str(found.cases["case"].iloc[rows[nth]]).rpartition("/")[2]


def _busiest(mask: np.ndarray, count: int) -> list[int]:
    """Slices with most lesion, apart from one another where that is possible, in order."""
    left = (mask == wmh2017.WMH).sum(axis=(1, 2)).astype(float)
    chosen = [int(left.argmax())]
    while len(chosen) < count:
        far = np.array([min(abs(z - other) for other in chosen) for z in range(len(left))])
        worth = (
            np.where(far > 1, left, 0.0) if (left * (far > 1)).any() else np.where(far > 0, left - 0.01 * far, -np.inf)
        )
        chosen.append(int(worth.argmax()))
    return sorted(chosen)


def _slice(panel: Axes, image: np.ndarray, mask: np.ndarray, spacing_mm) -> None:
    """One axial slice, the front up and the patient's left to the right, with outlines."""
    top = np.percentile(image, 99.5)
    panel.imshow(image[::-1, ::-1], vmin=0, vmax=top, aspect=spacing_mm[1] / spacing_mm[2])
    for value, colour in ((wmh2017.WMH, LESION), (wmh2017.OTHER, OTHER)):
        _outline(panel, (mask == value)[::-1, ::-1], colour)
    picture_only(panel)


def _outline(panel: Axes, mask: np.ndarray, colour: str) -> None:
    """Around voxels, along their edges."""
    padded = np.pad(mask, 1)
    for y, x in np.argwhere(mask):
        for inside, (x0, y0, x1, y1) in (
            (padded[y, x + 1], (x - 0.5, y - 0.5, x + 0.5, y - 0.5)),
            (padded[y + 2, x + 1], (x - 0.5, y + 0.5, x + 0.5, y + 0.5)),
            (padded[y + 1, x], (x - 0.5, y - 0.5, x - 0.5, y + 0.5)),
            (padded[y + 1, x + 2], (x + 0.5, y - 0.5, x + 0.5, y + 0.5)),
        ):
            if not inside:
                panel.plot([x0, x1], [y0, y1], color=colour, linewidth=0.9)


def brains_table(folder: Path) -> str:
    """Markdown: ml of lesion by site in the twin, and in the challenge's training scans, as a third party measured."""
    table = wmh_twin.statistics(folder)
    what = list(dict.fromkeys(table["quantity"]))
    rows = []
    for site, part in table.groupby("site", sort=False):
        part = part.set_index("quantity")
        for column, name in (("twin", "twin"), ("wmh2017", "challenge")):
            rows.append(
                [
                    f"{site}, {name}",
                    *(f"{part.loc[q, column]:.0f}" if q == "scans" else f"{part.loc[q, column]:.1f}" for q in what),
                ]
            )
    return markdown(["ml of lesion", *what], rows)


@styled
def ganglia(folder: Path, shown: int = 4) -> Picture:
    """Scans of the PVS twin from few tubes to many: tubes that count are marked, what looks like them is not."""
    spec = json.loads((folder / "twin.json").read_text(encoding="utf-8"))
    fine = pvs_twin.PvsSpec(spec["scans"], "medium", spec["count"], spec["seed"])
    drawn = [pvs_twin.draw_scan(fine, i) for i in range(12)]
    order = np.argsort([len(scan.tubes) for scan in drawn], kind="stable")
    chosen = order[np.linspace(0, len(order) - 1, shown).round().astype(int)]
    title = f"Synthetic basal ganglia with {listed([str(len(drawn[i].tubes)) for i in chosen])} perivascular spaces: "
    title += "not all that is bright is counted"
    note = (
        "Synthetic T2, drawn in voxels of 1.1 × 0.85 × 0.85 mm. Circles: where counted tubes cross the slice. Bright "
    )
    note += (
        "and not marked: lacunes, patches, fluid at the border. Last row: the twin's own voxels, times the mask, as "
    )
    note += "networks see it."
    figure, axes = sheet(title, 3, shown, 5.2, note)
    found = pvs.find_cases(folder)
    for column, nth in zip(axes.T, chosen, strict=True):
        scan = drawn[nth]
        middle = scan.t2.shape[0] // 2
        for panel, z in zip(column, (middle, middle + 4), strict=False):
            _tubes(panel, scan, z)
        column[0].set_title(f"{len(scan.tubes)} counted", fontsize=9.5, loc="center")
        image, mask = found.read(int(np.flatnonzero(found.cases["case"] == f"sub-{nth + 1:04d}")[0]))
        crop = pvs_twin.GRIDS[spec["grid"]].crop
        seen = pvs.region(image.array, mask.array > 0, crop, pvs.COARSE_SIGMA)
        column[2].imshow(seen[crop[0] // 2, ::-1])
        picture_only(column[2])
    for panel, words in zip(axes[:, 0], ("middle", "4.4 mm higher", "as seen"), strict=True):
        panel.set_ylabel(words, fontsize=9)
    return Picture(figure, title, {"figure": "basal ganglia of the twin", "spec": spec})


def _tubes(panel: Axes, scan: pvs_twin.Scan, z: int) -> None:
    """One axial slice, with a circle where a counted tube crosses it."""
    image = scan.t2[z]
    panel.imshow(image[::-1], vmin=np.percentile(image, 1), vmax=1.4 * np.percentile(scan.t2[scan.mask], 98))
    height = scan.grid.origin[0] + z * scan.grid.spacing[0]
    for start, end in zip(scan.tubes.start, scan.tubes.end, strict=True):
        low, high = sorted((start[0], end[0]))
        if low - 0.5 <= height <= high + 0.5:
            share = 0.5 if high == low else np.clip((height - start[0]) / (end[0] - start[0]), 0, 1)
            y, x = ((start + share * (end - start) - scan.grid.origin) / scan.grid.spacing)[1:]
            ring = {"markersize": 7, "markerfacecolor": "none", "markeredgecolor": TUBE}
            panel.plot(x, image.shape[0] - 1 - y, marker="o", **ring,
                       markeredgewidth=1.1)  # fmt: skip
    picture_only(panel)


def labels_at_hand(
    sources: Sequence[Source], hippocampi: NumberedScans | None = None
) -> dict[str, tuple[np.ndarray, str]]:
    """Labels and their unit by name: of every run's test scans; of all hippocampi, if they are at hand.

    Raises RunError if there are none at all.
    """
    found = {f"{'real' if s.real else 'synthetic'} {_bare(s)}": (labels_of(s)["target"].to_numpy(), s.task.unit)
             for s in sources}  # fmt: skip
    if hippocampi is not None:
        found = {"real hippocampi": (hippocampi.number, hippocampi.unit)} | {
            name: of for name, of in found.items() if name != "real hippocampi"
        }
    if not found:
        raise RunError("no labels are at hand: no run is published or trained; `fewscans train hydranet-pvs-twin`")
    return found
