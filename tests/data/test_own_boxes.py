"""Boxes in a user's table: read as shares of each picture, or one sentence that names the row and the column."""

import json

import numpy as np
import pandas as pd
import pytest

from fewscans.data import own_boxes


def table(**changes) -> pd.DataFrame:
    """Two pictures of 40 x 20 pixels, the second with a box."""
    known = {"x": [np.nan, 10], "y": [np.nan, 5], "w": [np.nan, 20], "h": [np.nan, 10]}
    rest = {"target": [0, 1], "colour": False, "shape_y": 20, "shape_x": 40}
    return pd.DataFrame(known | rest | changes)


@pytest.mark.parametrize("empty", [np.nan, "", " "])
def test_boxes_are_shares_of_their_picture_and_empty_where_the_label_is_0(empty):
    some = table(x=[empty, "10"], y=[empty, "5"])
    assert own_boxes.why_not(some, None) == ""
    told = own_boxes.columns(some, None)
    assert [json.loads(text) for text in told["boxes"]] == [[], [["finding", 0.25, 0.25, 0.5, 0.5]]]
    assert told["label finding"] == [0.0, 1.0]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"x": ["", "ten"]}, "row 3: x is 'ten'; each picture of label 1 has a box, four numbers in pixels"),
        ({"h": [np.nan, np.nan]}, "row 3: h is empty"),
        ({"x": ["", "inf"]}, "row 3: x is 'inf'"),
        ({"x": [1, 10]}, "row 2: label 0 with a box"),
        ({"w": [np.nan, 0]}, "row 3: a box of 0 x 10 pixels shows nothing"),
        ({"x": [np.nan, 40], "w": [np.nan, 1]}, "row 3: a box of 1 x 10 pixels shows nothing"),
        ({"x": [np.nan, 30]}, "row 3: the box from (30, 5) to (50, 15) reaches over the image of 40 x 20 pixels"),
        ({"colour": True}, "it wants grey pictures"),
    ],
)
def test_a_faulty_box_is_named_with_its_row(changes, why):
    some = table(**changes)
    assert why in own_boxes.why_not(some, None) and own_boxes.columns(some, None) == {}


def test_pictures_in_mm_and_tables_without_boxes_are_told_apart():
    assert "cut" in own_boxes.why_not(table(), (1.0, 1.0))
    assert "there is no column w" in own_boxes.why_not(table().drop(columns="w"), None)


@pytest.mark.parametrize(("longest", "side"), [(28, 64), (100, 100), (3000, 224)])
def test_pictures_are_kept_as_large_as_in_their_files_within_limits(longest, side):
    assert own_boxes.side(table(shape_x=longest)) == side
