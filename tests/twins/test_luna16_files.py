"""The twin of LUNA16 is written as LUNA16 is published, and what its tables say is in its scans."""

import json
import os

import numpy as np
import pandas as pd
import pytest

from fewscans import twins
from fewscans.data.formats import luna16, mhd
from fewscans.errors import DataError
from fewscans.stats.auc import auc
from fewscans.twins.luna16 import draw_case, statistics

from .files import contents

SETTINGS = {
    "scans": 20, "nodules_per_scan": 3, "negatives_per_scan": 8, "field_of_view_mm": 96, "spacing": "coarse", "seed": 0,
}  # fmt: skip
SMALL = SETTINGS | {"scans": 10, "nodules_per_scan": 1, "negatives_per_scan": 1, "field_of_view_mm": 80}
PLACE = ["coordX", "coordY", "coordZ"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return twins.write("luna16", tmp_path_factory.mktemp("twins") / "luna16", twins.spec("luna16", SETTINGS))


@pytest.fixture(scope="module")
def tables(folder):
    return {path.stem: pd.read_csv(path) for path in folder.glob("[acm]*.csv")}


@pytest.fixture(scope="module")
def volumes(folder):
    return {path.stem: mhd.read(path) for path in folder.glob("subset*/*.mhd")}


def around(volume, xyz_mm, reach_mm):
    """The voxels of a cube about a point, and how far each is from it in mm."""
    spacing = volume.header.spacing_mm[::-1]
    middle = volume.world_to_voxel(np.atleast_2d(xyz_mm))[0]
    index = [
        np.arange(max(0, round(m - reach_mm / s)), min(n, round(m + reach_mm / s) + 1))
        for m, s, n in zip(middle, spacing, volume.array.shape, strict=True)
    ]
    away = np.meshgrid(*((i - m) * s for i, m, s in zip(index, middle, spacing, strict=True)), indexing="ij")
    return np.asarray(volume.array[np.ix_(*index)], float), np.sqrt(sum(a * a for a in away))


def test_the_layout_is_that_of_luna16(folder, tables):
    assert {p.name for p in folder.iterdir()} == {
        *(f"subset{k}" for k in range(10)), "annotations.csv", "annotations_excluded.csv", "candidates_V2.csv",
        "malignancy.csv", "seriesuids.csv", "twin.json",
    }  # fmt: skip
    last = {"annotations": "diameter_mm", "annotations_excluded": "diameter_mm", "candidates_V2": "class"}
    for name, column in (last | {"malignancy": "malignant"}).items():
        assert list(tables[name].columns) == ["seriesuid", *PLACE, column]
    about = json.loads((folder / "twin.json").read_text())
    assert (about["twin"], about["layout"], about["scans"]) == ("luna16", "luna16", 20)


def test_our_reader_takes_it(folder, tables):
    read = luna16.read(folder)
    assert len(read.annotations) == len(tables["annotations"])
    assert len(read.candidates) == len(tables["candidates_V2"])


def test_simpleitk_reads_the_same_voxels_at_the_same_places(folder, volumes):
    sitk = pytest.importorskip("SimpleITK")
    for path in sorted(folder.glob("subset[23]/*.mhd")):  # one of them is flipped
        image, volume = sitk.ReadImage(str(path)), volumes[path.stem]
        assert np.array_equal(sitk.GetArrayFromImage(image), volume.array)
        assert image.TransformIndexToPhysicalPoint((3, 5, 7)) == pytest.approx(
            tuple(volume.voxel_to_world(np.array([[7, 5, 3]]))[0])
        )


def test_some_files_run_against_the_patient(volumes):
    signs = [np.diag(v.header.direction) for v in volumes.values()]
    assert {tuple(s) for s in signs} == {(1, 1, 1), (-1, -1, 1)}


def test_every_subset_holds_both_classes_and_some_scan_no_nodule(folder, tables):
    for subset in range(10):
        uids = [path.stem for path in folder.glob(f"subset{subset}/*.mhd")]
        marks = tables["candidates_V2"][tables["candidates_V2"].seriesuid.isin(uids)]
        assert len(uids) == 2 and set(marks["class"]) == {0, 1}
    assert tables["annotations"].seriesuid.nunique() < 20


def test_a_nodule_is_denser_than_lung_where_the_table_says_and_not_where_it_does_not(tables, volumes):
    """Also in flipped files: read as if they were not, the same places hold lung, air or anything."""
    bright, mirrored = [], []
    for row in tables["annotations"].itertuples():
        volume = volumes[row.seriesuid]
        place = np.array([row.coordX, row.coordY, row.coordZ])
        hu, away = around(volume, place, 2.5)
        assert away.size and away.min() < 2
        bright.append(hu[away < max(row.diameter_mm / 2, away.min() + 0.1)].max())
        middle = volume.voxel_to_world(np.array([[n / 2 for n in volume.array.shape]]))[0]
        mirrored.append(around(volume, [*(2 * middle - place)[:2], place[2]], 2.5)[0].mean())
    assert np.min(bright) > -780
    assert np.median(bright) > -250 > np.median(mirrored)


def test_positives_lie_inside_a_nodule_and_negatives_in_none(tables):
    nodules, marks = tables["annotations"], tables["candidates_V2"]
    for uid, group in marks.groupby("seriesuid"):
        own = nodules[nodules.seriesuid == uid]
        away = np.linalg.norm(group[PLACE].to_numpy()[:, None] - own[PLACE].to_numpy()[None], axis=-1)
        inside = (away < own.diameter_mm.to_numpy() / 2).any(axis=1)
        assert np.array_equal(inside, group["class"] == 1)


def test_a_grade_belongs_to_a_nodule_and_some_nodules_have_none(tables):
    nodules, grades = tables["annotations"], tables["malignancy"]
    met = grades.merge(nodules, on=["seriesuid", *PLACE])
    assert len(met) == len(grades) < len(nodules)
    assert set(grades.malignant) <= {0, 1}


def test_neither_brightness_nor_place_in_the_scan_solves_the_task(tables, volumes):
    marks = tables["candidates_V2"]
    centre, mean, height = [], [], []
    for row in marks.itertuples():
        volume, place = volumes[row.seriesuid], (row.coordX, row.coordY, row.coordZ)
        hu, away = around(volume, place, 12)
        centre.append(hu[away < 2].mean())
        mean.append(hu.mean())
        height.append(np.abs(volume.world_to_voxel(np.atleast_2d(place))[0] / volume.array.shape - 0.5).max())
    assert 0.55 < auc(marks["class"], centre) < 0.85
    for shortcut in (mean, height):
        assert 0.32 < auc(marks["class"], shortcut) < 0.68


def test_one_spec_gives_the_same_bytes_however_many_processes_and_another_seed_others(tmp_path, monkeypatch):
    spec = twins.spec("luna16", SMALL)
    monkeypatch.setattr("fewscans.twins.luna16.WORTH_A_PROCESS", 5)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    alone = contents(twins.write("luna16", tmp_path / "alone", spec))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert contents(twins.write("luna16", tmp_path / "shared", spec)) == alone
    other = contents(twins.write("luna16", tmp_path / "other", twins.spec("luna16", SMALL | {"seed": 1})))
    assert set(other).isdisjoint(name for name in alone if "subset" in name)
    assert other["candidates_V2.csv"] != alone["candidates_V2.csv"]


def test_a_scan_depends_on_its_own_number_only():
    one, other = (draw_case(twins.spec("luna16", SMALL | {"scans": n}), 7) for n in (10, 500))
    assert one.uid == other.uid and np.array_equal(one.scene.hu, other.scene.hu)
    assert np.array_equal(one.marks.points, other.marks.points)


def test_its_statistics_stand_beside_what_is_published(folder, tables):
    table = statistics(folder, scans=3).set_index("quantity")
    assert table.twin["scans"] == 20 and table.luna16["scans"] == 888
    assert table.twin["nodules"] == len(tables["annotations"])
    assert 0.8 < table.twin["sensitivity, at most"] <= 1
    assert table.twin["lung, median (HU)"] == pytest.approx(-850, abs=40)
    assert table.twin["soft tissue, median (HU)"] == pytest.approx(50, abs=30)
    assert set(table.grade[table.luna16.isna()]) == {""} and "" not in set(table.grade[table.luna16.notna()])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scans": 9}, "scans is 9; it must be a whole number from 10"),
        ({"nodules_per_scan": 0}, "nodules_per_scan is 0"),
        ({"negatives_per_scan": "many"}, "negatives_per_scan is 'many'"),
        ({"field_of_view_mm": 40}, "field_of_view_mm is 40"),
        ({"spacing": "fine"}, "spacing is 'fine'; it must be one of coarse, published"),
        ({"seed": -1}, "seed is -1"),
        ({"noise": 1}, "unknown setting noise; its settings are scans"),
    ],
)
def test_an_impossible_setting_is_named(change, words):
    with pytest.raises(DataError, match=words):
        twins.spec("luna16", SETTINGS | change)
