"""Images in rows: patches, slices of scans, three planes of a volume.

Axial slices are shown as a radiologist sees them: the front of the patient above, the left side at the right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fewscans.figures.style import WIDTH_INCHES, Picture, picture_only, sheet, styled


@styled
def rows_of(
    rows: Mapping[str, Sequence[np.ndarray]],
    title: str,
    note: str = "",
    headings: Sequence[str] = (),
    limits: tuple[float, float] | None = None,
    row_height: float | None = None,
    provenance: Mapping | None = None,
) -> Picture:
    """A row of images under each name.

    rows: name → images (H, W), or in colour (H, W, 3).   headings: above the columns.   limits: grey values of black
    and white; by default those of each row.   row_height: inches; by default what fits the images' shape, at most 1.
    """
    columns = max(len(images) for images in rows.values())
    shapes = [max(h / w for h, w in (image.shape[:2] for image in images)) for images in rows.values()]
    heights = [row_height or min(1.0, ((WIDTH_INCHES - 0.3) / columns - 0.11) * shape) for shape in shapes]
    height = 0.35 + 0.25 * bool(headings) + 0.35 * bool(note) + sum(heights) + 0.05 * len(rows)
    figure, axes = sheet(title, len(rows), columns, height, note, height_ratios=heights)
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        low, high = limits or (min(i.min() for i in images), max(i.max() for i in images))
        for panel in line:
            picture_only(panel)
        for panel, image in zip(line, images, strict=False):
            panel.imshow(image, vmin=low, vmax=high)
        line[0].set_ylabel(name, fontsize=9)
    for panel, heading in zip(axes[0], headings, strict=False):
        panel.set_title(heading, fontsize=9.5, loc="center")
    return Picture(figure, title, dict(provenance or {}) | {"figure": title})


def planes(volume: np.ndarray) -> dict[str, np.ndarray]:
    """The middle cuts of a volume (D, H, W) with z to the head, y to the front: "axial", "coronal", "sagittal"."""
    d, h, w = (side // 2 for side in volume.shape)
    return {"axial": volume[d, ::-1], "coronal": volume[::-1, h], "sagittal": volume[::-1, :, w]}
