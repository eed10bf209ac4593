"""The twin of Task04 is written in its layout, goes through both readers, and is like the published set in size."""

import json

import numpy as np
import pytest

from fewscans import twins
from fewscans.data import msd_hippocampus, msd_segmentation
from fewscans.data.formats import nifti
from fewscans.errors import DataError
from fewscans.twins import msd_hippocampus as twin

from .files import contents

SPEC = {"cases": 10, "seed": 0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return twins.write("msd-hippocampus", tmp_path_factory.mktemp("twin") / "msd", twins.spec("msd-hippocampus", SPEC))


def test_readers_cannot_tell_it_from_the_published_layout(folder):
    cases = msd_segmentation.read(folder)
    assert len(cases) == 10 and cases.about["labels"].iloc[0] == "anterior posterior"
    assert len(set(cases.group)) == 5 and set(cases.about["fold"]) == set(range(5))
    task = msd_hippocampus.find_cases(folder)
    assert dict(task.label_names) == {0: "background", 1: "Anterior", 2: "Posterior"}
    listed = json.loads((folder / "dataset.json").read_text())["training"]
    assert listed[0] == {"image": "./imagesTr/hippocampus_001.nii.gz", "label": "./labelsTr/hippocampus_001.nii.gz"}


def test_sizes_and_volumes_are_near_the_published_ones(folder):
    """Published: 24-47, 40-59 and 31-43 voxels (z y x); 1.7 and 1.6 ml on average, 2.4 to 4.4 in all."""
    cases = msd_segmentation.read(folder)
    shape = cases.about[msd_segmentation.BOX].to_numpy()
    assert (shape <= msd_segmentation.WINDOW).all() and (shape >= 22).all()
    assert 2.0 < cases.target.min() and cases.target.max() < 5.0


def test_the_sides_of_a_person_are_alike_and_the_label_is_one_part_that_the_crop_holds(folder):
    from scipy import ndimage

    cases = msd_segmentation.read(folder)
    apart = np.abs(cases.target[::2] - cases.target[1::2]).mean()
    assert apart < np.abs(np.subtract.outer(cases.target[::2], cases.target[::2])).mean() + 0.2
    assert (cases.about["stored"].to_numpy()[::2] == cases.about["stored"].to_numpy()[1::2]).all()
    for name in cases.case:
        mask = nifti.read_mask(folder / "labelsTr" / f"{name}.nii.gz").array > 0
        assert ndimage.label(mask)[1] == 1
        for axis in range(3):
            held = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
            assert held[0] >= 1 and held[-1] <= mask.shape[axis] - 2


def test_equal_settings_give_equal_bytes_and_another_seed_others(tmp_path):
    made = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / name).mkdir()
        made.append(contents(twin.write(tmp_path / name, twins.spec("msd-hippocampus", {"cases": 10, "seed": seed}))))
    assert made[0] == made[1] != made[2]


@pytest.mark.parametrize(("name", "value"), [("cases", 4), ("seed", -1)])
def test_impossible_settings_are_refused(name, value):
    with pytest.raises(DataError, match=f"twin: {name} is"):
        twins.spec("msd-hippocampus", {**SPEC, name: value})
