"""Boxes in a user's own pictures: columns x, y, w, h of cases.csv, in pixels of the picture's file.

One box a picture of label 1, around all that its label says; x and y are its left and upper edge. Pictures of label 0
have none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from fewscans.errors import DataError

if TYPE_CHECKING:
    from fewscans.data.radiographs import Box

COLUMNS = ("x", "y", "w", "h")
FINDING = "finding"  # what is in a box, by the one name that it needs
STORED = (64, 224)  # pixels a side of a picture as it is kept for windows to be cut from: at least, at most


def why_not(table: pd.DataFrame, spacing_mm: tuple[float, ...] | None) -> str:
    """Why the boxes of a table cannot be used, the first fault with its row; empty if they can."""
    if lacking := [name for name in COLUMNS if name not in table]:
        return f"it wants boxes, columns x, y, w, h of cases.csv in pixels, and there is no column {lacking[0]}"
    if spacing_mm is not None:
        return "it wants pictures that are stretched whole, and these say the size of their pixels and are cut"
    if table["colour"].any():
        return "it wants grey pictures"
    try:
        _read(table)
    except DataError as error:
        return str(error)
    return ""


def columns(table: pd.DataFrame, spacing_mm: tuple[float, ...] | None) -> Mapping[str, list]:
    """What `Cases.about` says of the boxes, see `radiographs`; nothing where they cannot be used."""
    if why_not(table, spacing_mm):
        return {}
    from fewscans.data.radiographs import about  # it imports torch, which sets without boxes do not need

    return about({FINDING: table["target"]}, [[] if box is None else [box] for box in _read(table)]).to_dict("list")


def side(table: pd.DataFrame) -> int:
    """Pixels a side of pictures as windows are cut from them: as in the files, within limits."""
    return int(np.clip(np.median(table[["shape_y", "shape_x"]].max(axis=1)), *STORED))


def _read(table: pd.DataFrame) -> list[Box | None]:
    """The box of each case. Raises DataError for a faulty row."""
    from fewscans.data.radiographs import checked_box

    found: list[Box | None] = []
    said = table[list(COLUMNS)].astype(object).fillna("").astype(str).apply(lambda column: column.str.strip())
    number = said.apply(pd.to_numeric, errors="coerce").to_numpy(float)
    empty = said.eq("").to_numpy()
    sizes = table[["shape_x", "shape_y"]].to_numpy(int)
    for row, label in enumerate(table["target"]):
        where = f"cases.csv: row {row + 2}"
        if empty[row].all() and label == 0:
            found.append(None)
        elif label == 0:
            raise DataError(f"{where}: label 0 with a box; a box says where the finding is, so leave it empty")
        elif not np.isfinite(number[row]).all():
            wrong = COLUMNS[int(np.flatnonzero(~np.isfinite(number[row]))[0])]
            shown = f"is {said[wrong].iloc[row]!r}" if said[wrong].iloc[row] else "is empty"
            raise DataError(f"{where}: {wrong} {shown}; each picture of label 1 has a box, four numbers in pixels")
        else:
            found.append(checked_box(where, FINDING, *number[row], tuple(sizes[row])))
    return found
