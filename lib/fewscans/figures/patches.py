"""What the networks see: patches with and without a nodule, real and synthetic, and how the splits differ."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fewscans.data.audit import Matches, near_duplicates
from fewscans.data.luna16_patches import Patches
from fewscans.figures.picture import Picture, picture_only, sheet, styled
from fewscans.figures.wording import listed, markdown

SHOWN = 8
SPLITS = ("train", "val", "test", "dropped")


@styled
def gallery(sets: Mapping[str, Patches], seed: int = 0) -> Picture:
    """Eight positives and eight negatives of each set, drawn at random from its training split."""
    names = listed(list(sets))
    title = f"Nodule or not? Patches from the {names}"
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
        line[0].set_ylabel(f"{name}:\n{'nodule' if label else 'none'}", fontsize=9)
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


def duplicates(patches: Patches, shift: int = 4) -> dict[str, Matches]:
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
