"""The threshold by hand: what is marked, counted and said agrees with the heatmap and with the FROC rule."""

import numpy as np
import pandas as pd
import pytest

from fewscans.data.formats.asap import Annotation
from fewscans.experiments.camelyon16.arms import SMALL
from fewscans.figures import camelyon16
from fewscans.figures.viewer import outlines
from fewscans.slides.heatmap import Geometry
from fewscans.widgets import threshold

from ..figures.test_camelyon16 import N, made_up

GEOMETRY = Geometry(40, 16)


@pytest.fixture(scope="module")
def run():
    return made_up()


@pytest.mark.parametrize("seed", [0, 1])
def test_a_point_of_the_curve_counts_the_detections_of_that_seed_at_or_above_the_threshold(run, seed):
    froc = threshold.curve(run, SMALL, N, seed)
    rows = run.predictions.query("split == 'test-lesions' and arm == @SMALL and n_train == @N and seed == @seed")
    rows = rows[~rows["case"].str.contains("itc")]  # isolated tumour cells count for nothing
    slides, lesions = rows["group"].nunique(), (rows["target"] == 1).sum()
    for least in (0.5, 0.7, float(rows["prediction"].max())):
        above = rows[rows["prediction"] >= least]
        expected = (above["target"] == 0).sum() / slides, (above["target"] == 1).sum() / lesions
        assert threshold.at(froc, least) == pytest.approx(expected) and sum(expected) > 0
    assert threshold.at(froc, 1.1) == (0, 0)


def test_a_seed_that_was_not_trained_is_named(run):
    with pytest.raises(ValueError, match="no seed 7; it has 0, 1"):
        threshold.curve(run, SMALL, N, 7)
    with pytest.raises(ValueError, match=f"no heatmap of overview is kept at N = {N}"):
        threshold.slider(run, "overview", N, GEOMETRY)


def test_moving_the_threshold_changes_marks_words_and_picture_and_a_saved_page_shows_the_picture(run):
    hand = threshold.slider(run, SMALL, N, GEOMETRY)
    slide, control = hand.controls["slide"], hand.controls["threshold"]
    assert slide.value == "test_000", "the first slide with a lesion"
    seen = []
    for value in (0.5, 0.7, 1.0):
        control.value = value
        found = hand.detections[slide.value].query("probability >= @value")
        told = f"{found['hit'].sum()} detections in lesions, {(~found['hit']).sum()} outside"
        assert told in hand.sentence and f"threshold {value:.2f}" in hand.sentence
        seen.append(hand.image)
    assert len(set(seen)) == 3 and len(hand.detections[slide.value]) > 0
    slide.value = "test_001"
    assert hand.sentence.startswith("test_001") and hand.image not in seen
    data, _ = hand._repr_mimebundle_()
    assert data["image/png"] == hand.image and data["text/plain"] == hand.sentence


def test_a_hit_is_a_detection_whose_cell_lies_in_a_lesion(run):
    probability, lesion = (camelyon16.heatmaps(run, SMALL, N, of)["test_000"] for of in ("prediction", "target"))
    found = threshold.detections(probability, lesion, GEOMETRY)
    assert found["hit"].tolist() == [
        bool(lesion[r, c] == 1) for r, c in zip(found["row"], found["column"], strict=True)
    ]
    assert found["probability"].min() >= 0.5
    assert not threshold.detections(probability, np.zeros_like(lesion), GEOMETRY)["hit"].any()


def test_detections_lie_on_a_slide_as_squares_about_their_point_coloured_by_hit():
    found = pd.DataFrame({"x": [100.0, 300.0], "y": [200.0, 400.0], "hit": [True, False]})
    tumour = np.array([[0.0, 0.0], [9.0, 0.0], [9.0, 9.0]])
    drawn = outlines(Annotation(tumour=(tumour,), excluded=()), found, GEOMETRY)["features"]
    first, *squares = [np.array(feature["geometry"]["coordinates"][0]) for feature in drawn]
    assert np.array_equal(first, tumour)
    assert [square.mean(axis=0).tolist() for square in squares] == [[100, 200], [300, 400]]
    assert len({feature["properties"]["color"] for feature in drawn}) == 3
    assert outlines(None) == {"type": "FeatureCollection", "features": []}
