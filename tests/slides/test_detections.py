"""Detections: the highest cells first, none near another, written and read without loss."""

import json

import numpy as np
import pandas as pd
import pytest

from fewscans.slides.detections import suppress, to_geojson, write_csv
from fewscans.slides.heatmap import Geometry

from .fake import read_csv

GEOMETRY = Geometry(299, 128)


def step_by_step(heatmap, radius, threshold):
    """The published rule, literally."""
    left = np.nan_to_num(heatmap.astype(float))
    y, x = np.indices(left.shape)
    result = []
    while left.max() >= threshold:
        i, j = np.unravel_index(left.argmax(), left.shape)
        result.append((left[i, j], i, j))
        left[(y - i) ** 2 + (x - j) ** 2 <= radius**2] = 0
    return result


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("radius, threshold", [(0, 0.9), (1, 0.5), (2.5, 0.2), (6, 0.5), (100, 0.1)])
def test_suppression_follows_the_rule_step_by_step(seed, radius, threshold):
    rng = np.random.default_rng(seed)
    heatmap = rng.integers(0, 9, (17, 23)).astype(np.float32) / 8  # many ties
    heatmap[rng.random(heatmap.shape) < 0.2] = np.nan
    found = suppress(heatmap, GEOMETRY, radius, threshold)
    assert list(zip(found["probability"], found["row"], found["column"], strict=True)) == step_by_step(
        heatmap, radius, threshold
    )


def test_a_cell_at_the_radius_is_suppressed_and_one_beyond_is_kept():
    heatmap = np.zeros((1, 20))
    heatmap[0, [2, 8, 15]] = 0.9, 0.8, 0.7
    assert suppress(heatmap, GEOMETRY, radius=6)["column"].tolist() == [2, 15]
    assert suppress(heatmap, GEOMETRY, radius=5.9)["column"].tolist() == [2, 8, 15]


def test_a_cell_at_the_threshold_counts_and_one_below_does_not():
    heatmap = np.array([[0.5, 0, 0, np.nextafter(0.5, 0)]])
    assert suppress(heatmap, GEOMETRY, radius=1, threshold=0.5)["column"].tolist() == [0]


def test_detections_come_highest_first_and_lie_in_the_middle_of_their_cells():
    heatmap = np.zeros((30, 30))
    heatmap[3, 20], heatmap[20, 4] = 0.6, 0.9
    found = suppress(heatmap, GEOMETRY)
    assert found["probability"].tolist() == [0.9, 0.6]
    assert found[["x", "y"]].to_numpy().tolist() == [[4.5 * 128, 20.5 * 128], [20.5 * 128, 3.5 * 128]]


def test_impossible_settings_are_refused():
    for wrong in ({"radius": -1}, {"threshold": 0}, {"radius": np.nan}):
        with pytest.raises(ValueError, match="radius must be at least 0 and threshold above 0"):
            suppress(np.zeros((2, 2)), GEOMETRY, **wrong)


def test_a_csv_file_is_the_challenges_and_loses_no_probability(tmp_path):
    heatmap = np.random.default_rng(0).random((40, 40)).astype(np.float32)
    found = suppress(heatmap, Geometry(39, 15))
    path = write_csv(found, tmp_path / "test_001.csv")
    first = path.read_text().splitlines()[0].split(",")
    assert len(first) == 3 and first[1].isdigit() and first[2].isdigit()
    again = read_csv(path)
    np.testing.assert_array_equal(again["probability"].astype(np.float32), found["probability"].astype(np.float32))
    np.testing.assert_array_equal(again[["x", "y"]], np.floor(found[["x", "y"]]))


def test_no_detections_are_an_empty_file_and_an_empty_collection(tmp_path):
    none = suppress(np.full((4, 4), np.nan), GEOMETRY)
    path = write_csv(none, tmp_path / "normal_001.csv")
    assert path.read_bytes() == b""
    pd.testing.assert_frame_equal(read_csv(path), none[["probability", "x", "y"]])
    assert to_geojson(none, GEOMETRY) == {"type": "FeatureCollection", "features": []}


def test_geojson_holds_each_point_and_its_cell_in_level_0_pixels_as_qupath_reads_them():
    heatmap = np.zeros((9, 9))
    heatmap[2, 7], heatmap[8, 0] = 0.75, 0.625
    found = suppress(heatmap, GEOMETRY, radius=2)
    found[["x", "y"]] *= 2  # a geometry that begins at a level 1
    collection = json.loads(json.dumps(to_geojson(found, GEOMETRY, scale=2)))
    assert collection["type"] == "FeatureCollection" and len(collection["features"]) == 4
    for (_, detection), k in zip(found.iterrows(), (0, 2), strict=True):
        point, cell = collection["features"][k : k + 2]
        assert point["geometry"] == {"type": "Point", "coordinates": [detection["x"], detection["y"]]}
        ring = np.array(cell["geometry"]["coordinates"][0])
        assert cell["geometry"]["type"] == "Polygon" and (ring[0] == ring[-1]).all()
        low, high = ring.min(axis=0), ring.max(axis=0)
        assert low.tolist() == [256 * detection["column"], 256 * detection["row"]] and (high - low == 256).all()
        for feature, kind in ((point, "annotation"), (cell, "detection")):
            assert feature["type"] == "Feature"
            assert feature["properties"]["objectType"] == kind
            assert feature["properties"]["classification"]["name"] == "Tumor"
            assert feature["properties"]["measurements"] == {"probability": detection["probability"]}
