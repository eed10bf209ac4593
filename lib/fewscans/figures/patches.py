"""What the networks see: patches with and without a nodule, real and synthetic, and how the splits differ."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fewscans import data, paths
from fewscans.data.audit import SHIFT, Matches, near_duplicates
from fewscans.data.luna16_patches import Patches
from fewscans.errors import DataError
from fewscans.figures.picture import Picture, picture_only, sheet, styled
from fewscans.figures.wording import listed, markdown

SHOWN = 8
NAMES = {"real LUNA16": "LUNA16", "twin": "the synthetic twin"}
SPLITS = ("train", "val", "test", "dropped")


def available() -> dict[str, Patches]:
    """The reader's copy of the real patches, if there is one, and the twin that the pipeline wrote, by name."""
    folder = paths.build() / "twins" / "luna16-patches"
    found = {}
    try:
        found["real LUNA16"] = data.read("luna16-patches", data.find("luna16-patches", paths.data_root()))
    except DataError:
        pass  # the notebook says so, without the paths of somebody's disk
    if folder.exists():
        found["twin"] = data.read("luna16-patches", folder)
    if not found:
        raise DataError("neither real patches nor a twin; `fewscans twin luna16-patches` writes the twin")
    return found


def example(sets: Mapping[str, Patches]) -> tuple[np.ndarray, str]:
    """A nodule that a turn changes visibly, from the training split of the first set; and what it is, in words."""
    name, patches = next(iter(sets.items()))
    index = patches.indices("train")
    chosen = index[telling_patch(patches.images[index], patches.labels[index])]
    words = "A nodule of LUNA16 (CC BY 4.0)" if name == "real LUNA16" else "A synthetic nodule (twin)"
    return patches.images[chosen], words


def telling_patch(images: np.ndarray, labels: np.ndarray, look_at: int = 200) -> int:
    """Among the first positives that lie free in the lung, the one that a quarter turn changes most: a round one would
    show nothing.
    """
    positive = np.flatnonzero(labels == 1)[:look_at]
    inner = images[positive, 13:-13, 13:-13].astype(float)
    change = np.abs(inner - np.rot90(inner, axes=(1, 2))).mean((1, 2))
    bright = (images[positive] > 128).mean((1, 2))  # chest wall and rib fill much of a patch
    return int(positive[(change * (bright < 0.15)).argmax()])


@styled
def gallery(sets: Mapping[str, Patches], seed: int = 0) -> Picture:
    """Eight positives and eight negatives of each set, drawn at random from its training split."""
    title = f"Nodule or not? Patches of {listed([NAMES.get(name, name) for name in sets])}"
    rows = [(name, label) for name in sets for label in (1, 0)]
    note = "50 × 50 pixels, one axial slice, lung window. Drawn at random from the training split, not chosen."
    figure, axes = sheet(title, len(rows), SHOWN, 0.65 + 0.8 * len(rows), note)
    for (name, label), line in zip(rows, axes, strict=True):
        patches = sets[name]
        pool = np.array([i for i in patches.indices("train") if patches.labels[i] == label])
        chosen = np.random.default_rng(seed).choice(pool, SHOWN, replace=False)
        for panel, index in zip(line, chosen, strict=True):
            panel.imshow(patches.images[index], vmin=0, vmax=255)
            picture_only(panel)
        line[0].set_ylabel(f"{name.split()[0]}:\n{'nodule' if label else 'none'}", fontsize=9)
    return Picture(figure, title, {"figure": "gallery", "data": {name: p.fingerprint for name, p in sets.items()}})


def split_table(sets: Mapping[str, Patches]) -> str:
    """Markdown: patches, nodules and scans in each split."""
    rows = []
    for name, patches in sets.items():
        for split in SPLITS:
            index = patches.indices(split)
            if len(index):
                rows.append([f"{name}, {split}", f"{len(index):,}", f"{patches.labels[index].sum():,}",
                             f"{len(np.unique(patches.group[index])):,}"])  # fmt: skip
    return markdown(["", "patches", "nodules", "scans (blocks of rows)"], rows)


def duplicates(patches: Patches, shift: int = SHIFT) -> dict[str, Matches]:
    """Near-duplicates of test nodules in training or validation: by the scan-disjoint split, and by the leaky one."""
    return {words: near_duplicates(patches, repository, shift).above()
            for words, repository in (("split by scan", False), ("split at random over candidates", True))}  # fmt: skip


def leakage_table(patches: Patches, found: Mapping[str, Matches]) -> str:
    """Markdown: how many test nodules have a near-duplicate outside the test set."""
    rows = []
    for (words, matches), repository in zip(found.items(), (False, True), strict=True):
        test = patches.indices("test", repository)
        rows.append([words, f"{len(matches):,} of {patches.labels[test].sum():,}", f"{matches.same_scan.sum():,}"])
    head = ["", "test nodules with a near-duplicate in training or validation", "of them near in row order"]
    return markdown(head, rows)
