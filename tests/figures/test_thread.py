"""The practitioners' smaller questions: what 8 bits lose, what a split by slice shows, what a small test set says."""

from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

from fewscans.data.base import Cases
from fewscans.data.formats.nifti import Volume
from fewscans.errors import DataError
from fewscans.figures import thread
from fewscans.stats.auc import auc


@pytest.fixture(scope="module")
def nodules():
    """Bright and dark nodules in lung; in half of the slices metal sets the brightest voxel."""
    rng, labels = np.random.default_rng(0), np.arange(120) % 3 == 0
    volumes = []
    for dark in labels:
        volume = rng.normal(-800, 20, (4, 15, 15))
        volume[:, 4:11, 4:11] = rng.normal(-350 if dark else -150, 60)
        volume[:, 0, 0] = 3000 if rng.random() < 0.5 else volume.max() + 1
        volumes.append(volume.astype(np.float32))
    return volumes, labels.astype(int)


def test_a_window_keeps_the_unit_and_scaling_each_slice_by_itself_loses_it(nodules):
    table = thread.eight_bit(*nodules)
    area, error = table["AUC of the middle's brightness"], table["error, HU"]
    lung, soft = thread.WINDOWS_HU
    assert error[thread.STORED] == 0 and table["HU a step"][lung] == 5.1
    assert area[lung] == pytest.approx(area[thread.STORED], abs=0.01)
    assert area[thread.EACH_SLICE] < area[lung] - 0.1 and table["p"][thread.EACH_SLICE] < 0.01
    assert float(table["clipped"][soft].rstrip("%")) > 50 and table["clipped"][thread.STORED] == "0.0%"


def test_what_lies_within_a_window_is_off_by_half_a_step_at_most():
    volume = np.random.default_rng(0).uniform(-1000, 300, (3, 20, 20)).astype(np.float32)
    code = thread.as_png(volume, (-1000, 300))
    assert code.dtype == np.uint8
    assert np.abs(code * (1300 / 255) - 1000 - volume).max() <= 1300 / 255 / 2 + 1e-3
    assert {(s.min(), s.max()) for s in thread.as_png(volume, None)} == {(0, 255)}
    assert (thread.as_png(np.zeros((2, 3, 3)), None) == 0).all()


def people(n=120, scans=2, depth=6, known=1.0, seed=0):
    """Scans whose slices show who the person is (`known`), and nothing of the number."""
    rng = np.random.default_rng(seed)
    faces = rng.normal(0, 1, (n, 1, 8, 8)).repeat(depth, 1)
    person = np.repeat(np.arange(n), scans)
    images = 120 + 25 * (known * faces[person] + rng.normal(0, 1, (n * scans, depth, 8, 8)))
    name = np.array([f"person{i:03d}" for i in person])
    return Cases(
        images.clip(0, 255).astype(np.uint8), rng.normal(3, 0.4, n)[person] + rng.normal(0, 0.01, n * scans),
        np.array([f"scan{i:03d}" for i in range(n * scans)]), name, np.full(n * scans, "train"), "people",
        Path("people"),
    )  # fmt: skip


def mean(cell: str) -> float:
    return float(cell.partition(" ")[0])


def test_slices_of_one_person_on_both_sides_look_like_knowledge():
    table = thread.by_slice_or_person(people(), draws=5)
    assert all(mean(table.loc["slices drawn at random", f"{n} people"]) > 0.9 for n in thread.PEOPLE)
    held = table.loc["people held out"]
    assert all(abs(mean(cell) - 0.5) < 0.15 for cell in held)
    assert abs(mean(table.loc["45 further people, training on the first 63", "63 people"]) - 0.5) < 0.15
    nothing = thread.by_slice_or_person(people(known=0.0), draws=5)
    assert abs(mean(nothing.loc["slices drawn at random", "63 people"]) - 0.5) < 0.1  # the test can fail


def test_too_few_people_are_one_clear_error():
    with pytest.raises(DataError, match="people: scans of 60 people; the comparison needs 108 or more"):
        thread.by_slice_or_person(people(n=60), draws=1)


def test_the_same_seed_gives_the_same_tables():
    cases = people()
    assert thread.by_slice_or_person(cases, draws=2).equals(thread.by_slice_or_person(cases, draws=2))


def answers(n, seed=0):
    rng = np.random.default_rng(seed)
    target = (rng.random(n) < 0.3).astype(float)
    group = np.array([f"p{i // 2}" for i in range(n)])
    return pd.DataFrame({"group": group, "target": target, "prediction": target + rng.normal(0, 1, n)})


def test_a_score_of_one_model_varies_more_over_smaller_test_sets():
    some = answers(800)
    table = thread.over_subsets(some, thread.auc_or_nan, draws=400)
    assert list(table.index) == ["all 400", "63", "108"]
    assert table.loc["all 400", "mean"] == pytest.approx(auc(some["target"], some["prediction"]), abs=1e-3)
    assert table.loc["63", "sd"] > 1.15 * table.loc["108", "sd"] > 0
    assert table.loc["63", "2.5 %"] < table.loc["108", "2.5 %"] < table.loc["108", "97.5 %"] < table.loc["63", "97.5 %"]


def test_people_are_drawn_whole_and_sizes_beyond_them_are_left_out():
    seen = []

    def count(rows):
        seen.append(rows["group"].value_counts())
        return 1.0

    table = thread.over_subsets(answers(180), count, draws=3)  # 90 people
    assert list(table.index) == ["all 90", "63"]
    assert all(len(groups) == 63 and (groups == 2).all() for groups in seen[1:])


def test_subsets_of_one_class_are_drawn_again():
    rare = answers(200).assign(target=lambda rows: (rows["group"] == "p7").astype(float))
    assert np.isfinite(thread.over_subsets(rare, thread.auc_or_nan, draws=5).loc["63", "mean"])


def test_a_volume_is_drawn_before_and_after():
    def volume(spacing):
        array = np.random.default_rng(0).random((8, 20, 24)).astype(np.float32)
        array[:, :3] = 0
        return Volume(array, spacing, np.diag([*spacing[::-1], 1.0]), Path("scan.nii"))

    picture = thread.steps({"stored": volume((5.0, 1.0, 1.0)), "1 mm": volume((1.0, 1.0, 1.0))}, "Two steps", "A note.")
    assert picture.png[:4] == b"\x89PNG" and picture.title == "Two steps"
    panels = picture.figure.axes
    assert [panel.get_title("center") for panel in panels[:3]] == ["axial", "coronal", "sagittal"]
    assert panels[1].get_aspect() == 5.0 and panels[5].get_aspect() == 1.0  # thick slices look thick


def test_a_volume_is_shown_with_labels_on_top(tmp_path):
    pytest.importorskip("ipyniivue")
    for name in ("scan", "truth", "drawn"):
        nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 6), np.uint8), np.eye(4)), tmp_path / f"{name}.nii.gz")
    widget = thread.in_space(tmp_path / "scan.nii.gz", {n: tmp_path / f"{n}.nii.gz" for n in ("truth", "drawn")})
    assert [volume.colormap for volume in widget.volumes] == ["gray", "red", "blue"]
    assert widget.volumes[0].opacity == 1 and widget.volumes[1].opacity == 0.4
