"""Pictures of scans with a number each: what is marked is what counts, and a reader without a copy is told so."""

import numpy as np
import pandas as pd
import pytest

from fewscans import paths, twins
from fewscans.data import wmh2017
from fewscans.data.numbered import NumberedScans
from fewscans.errors import RunError
from fewscans.figures import scans

from .numbered_tables import world


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Both twins, as small as they come."""
    root = tmp_path_factory.mktemp("twins")
    settings = {
        "pvs": {"scans": 14, "grid": "coarse", "count": "volume", "seed": 0},
        "wmh2017": {"scans_per_site": 4, "grid": "coarse", "seed": 1},
    }
    return {name: twins.write(name, root / name, twins.spec(name, given)) for name, given in settings.items()}


def hippocampi(n: int = 24) -> NumberedScans:
    rng = np.random.default_rng(0)
    number = rng.normal(3.3, 0.4, n)
    side = np.round(30 + 3 * number + 0.1 * rng.normal(size=n))
    about = pd.DataFrame({"shape_z": side, "shape_y": side + 10, "shape_x": np.full(n, 40.0)})
    text = np.array([f"hippocampus_{i:03d}" for i in range(n)])
    people = np.array([f"person{i // 2:03d}" for i in range(n)])
    split = np.array((["train"] * 8 + ["val"] * 2 + ["test"] * 2) * (n // 12))
    images = rng.integers(0, 255, (n, 12, 20, 15)).astype(np.uint8)
    return NumberedScans(images, number, "ml", np.full((n, 3), 2.0), text, people, split, about, "f" * 64, paths.root())


def test_brains_of_every_site_are_drawn_with_their_volume(folders):
    picture = scans.brains(folders["wmh2017"])
    sites = " ".join(axes.get_ylabel() for axes in picture.figure.axes)
    assert (
        picture.png and all(site in sites for site in ("Utrecht", "Singapore", "Amsterdam")) and sites.count("ml") == 3
    )
    assert "Synthetic" in picture.title and picture.provenance["spec"]["scans_per_site"] == 4


def test_the_last_brain_is_what_networks_are_given(folders):
    found = wmh2017.find_cases(folders["wmh2017"])
    for row in (0, 5):
        scan, size = found.read(row), (20, 24, 20)
        image, lesion = scans.given_to_networks(scan, size, 2)
        read = wmh2017.numbered(folders["wmh2017"], size)
        cut = read.images[list(read.case).index(found.cases["case"].iloc[row])] / 255
        assert image.shape == lesion.shape == (10, 12, 10)
        assert np.abs(image - cut.reshape(10, 2, 12, 2, 10, 2).mean(axis=(1, 3, 5))).max() < 1 / 255
    picture = scans.brains(folders["wmh2017"], window=(20, 22, 18), factor=2)
    assert picture.provenance["given"] == [(20, 22, 18), 2]
    note = picture.figure._supxlabel.get_text().replace("\n", " ")
    assert "10 × 11 × 9 voxels of 12 × 15 × 15 mm" in note.replace("  ", " ") and "Another grid draws another" in note


def test_slices_are_apart_and_those_with_lesion():
    mask = np.zeros((9, 4, 4))
    mask[2, :2] = mask[3, :3] = mask[6, 0] = 1
    assert scans._busiest(mask, 2) == [3, 6]
    mask[6] = 0
    assert scans._busiest(mask, 2) == [2, 3], "where one place holds all, its neighbours"


def test_the_volumes_of_the_twin_stand_beside_the_challenge_s(folders):
    table = scans.brains_table(folders["wmh2017"])
    assert table.count("challenge") == 4 and "75.0" in table


def test_tubes_that_count_are_ringed_where_they_cross_the_slice(folders):
    picture = scans.ganglia(folders["pvs"])
    rings = [len(axes.lines) for axes in picture.figure.axes]
    counts = [int(axes.get_title(loc="center").split()[0]) for axes in picture.figure.axes[:4]]
    assert picture.png and counts == sorted(counts) and sum(rings[:8]) > 0 and sum(rings[8:]) == 0
    assert all(above <= count for above, count in zip(rings[:4], counts, strict=True))


def test_a_crop_that_gives_the_number_away_is_found_out():
    made = hippocampi(96)
    told = [line.split("|")[2] for line in scans.crop_table(made).splitlines()[2:]]
    leak, padding, _ = (float(cell.split()[0].replace("−", "-")) for cell in told)
    assert leak > 0.8 > 0.3 > padding
    assert scans.hippocampus_gallery(made).png and "| test |" in scans.split_table(made)


def test_two_sides_of_one_person_are_paired_and_single_ones_left_out():
    labels = pd.DataFrame({"case": ["c", "a", "b"], "group": ["p", "p", "q"], "target": [2.0, 1.0, 5.0]})
    assert scans.sides_of_one(labels).tolist() == [[1.0, 2.0]]
    real, twin = world(of={"base": (12,)}), world(real=False, dataset="pvs", of={"base": (12,)})
    assert "two sides of one person correlate" in scans.labels([real, twin]).title
    assert "two sides" not in scans.labels([twin]).title


def test_without_a_copy_there_are_no_pictures_and_no_error(tmp_path, monkeypatch):
    monkeypatch.setenv("FEWSCANS_DATA_ROOT", str(tmp_path))
    assert scans.hippocampi() is None
    with pytest.raises(RunError, match="fewscans train"):
        scans.labels_at_hand([])
    found = scans.labels_at_hand([world(of={"base": (12,)})])
    assert list(found) == ["real hippocampi"] and found["real hippocampi"][1] == "ml"
    assert len(scans.labels_at_hand([world(of={"base": (12,)})], hippocampi())["real hippocampi"][0]) == 24
