"""Predictions over labels, and images in rows: every case is a dot, and the front of a patient is above."""

import numpy as np
import pytest

from fewscans.figures import scatter, slices

from .test_hydranet import run


def test_every_case_of_every_seed_is_a_dot():
    picture = scatter.scatter(run(), [("base", 12), ("hydra-4", 25)], "predicted over true")
    panels = picture.figure.axes
    assert [len(panel.collections[0].get_offsets()) for panel in panels] == [3 * 40, 3 * 40]
    assert [panel.get_title(loc="left") for panel in panels] == [
        "single scans, equal labels\nN = 12",
        "sums of 4\nN = 25",
    ]


def test_the_same_predictions_give_the_same_bytes():
    first, again = (scatter.scatter(run(), [("hydra-4", 12)], "dots") for _ in range(2))
    other = scatter.scatter(run({"base": 0.3, "hydra-4": 0.2}), [("hydra-4", 12)], "dots")
    assert first.png == again.png != other.png


@pytest.mark.parametrize(
    ("axis", "shown"),
    [(0, {"coronal": "top", "sagittal": "top"}), (1, {"axial": "top", "sagittal": "right"}), (2, {"axial": "right"})],
)
def test_head_and_front_are_above_and_the_high_end_of_x_is_at_the_right(axis, shown):
    """A volume that is bright at the high end of one axis: z to the head, y to the front, x."""
    ramp = np.arange(5.0).reshape([-1 if a == axis else 1 for a in range(3)]) + np.zeros((5, 5, 5))
    for name, side in shown.items():
        plane = slices.planes(ramp)[name]
        edge = plane[0] if side == "top" else plane[:, -1]
        assert (edge == 4).all(), (name, side)


def test_a_row_has_one_grey_scale_and_each_row_its_own():
    dark, bright = np.zeros((3, 4)), np.full((3, 4), 9.0)
    picture = slices.rows_of({"both": [dark, bright], "half": [dark, bright / 2]}, "rows", headings=["a", "b"])
    limits = [panel.images[0].get_clim() for panel in picture.figure.axes]
    assert limits == [(0, 9), (0, 9), (0, 4.5), (0, 4.5)]
    assert [panel.get_title(loc="center") for panel in picture.figure.axes] == ["a", "b", "", ""]


def test_a_row_with_fewer_images_leaves_places_empty():
    picture = slices.rows_of({"one": [np.eye(3)], "two": [np.eye(3), np.eye(3)]}, "rows")
    assert [len(panel.images) for panel in picture.figure.axes] == [1, 0, 1, 1]
