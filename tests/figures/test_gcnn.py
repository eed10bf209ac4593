"""Figures of the G-CNN: what is measured of a symmetry must be able to fail, and pictures show what they say."""

import numpy as np
import pytest
import torch
from PIL import Image

from fewscans import paths
from fewscans.data.base import Cases
from fewscans.data.formats import luna16
from fewscans.data.lidc_nodules import LidcNodules
from fewscans.figures import gcnn
from fewscans.groups import Group
from fewscans.nn.gconv import GroupConv, act_on_image

from ..malformed import luna16 as folders

pytestmark = pytest.mark.usefixtures("one_thread")


def bar() -> np.ndarray:
    """A patch without symmetry."""
    image = np.full((50, 50), 40, np.uint8)
    image[20:24, 12:34], image[24:32, 30:34] = 200, 160
    return image + np.random.default_rng(0).integers(0, 20, (50, 50)).astype(np.uint8)


@pytest.fixture(scope="module")
def errors():
    table = gcnn.errors(gcnn.networks(0, width=4), bar())
    return table.pivot(index=["arm", "move"], columns="layer", values="error")


@pytest.mark.parametrize(
    ("arm", "followed"),
    [("Z2", {"shift by 8"}), ("p4", {"shift by 8", "turn by 90°"}),
     ("p4m", {"shift by 8", "turn by 90°", "mirror image"})],
)  # fmt: skip
def test_each_network_follows_its_own_group_and_the_shift_by_its_stride(arm, followed, errors):
    worst = errors.loc[arm].max(axis=1)
    assert set(worst.index[worst < gcnn.EXACT]) == followed
    assert worst.drop(list(followed)).min() > 0.1


def test_a_pool_ends_what_a_shift_by_one_keeps(errors):
    assert errors.xs("shift by 1", level="move")["conv 1"].max() < gcnn.EXACT
    assert errors.xs("shift by 1", level="move")["pool 1"].min() > 0.01


@pytest.mark.parametrize(
    ("patch", "pools", "left"),
    [
        ((4, 16, 16), None, ["0", "0", "0 (8 of 24)", "0 (16 of 48)"]),
        ((8, 8, 8), None, ["0", "0", "shape", "shape"]),
        ((8, 8, 8), ((2, 2, 2),) * 3, ["0", "0", "0", "0"]),
    ],
)
def test_the_paper_s_pools_keep_d4_and_lose_o(patch, pools, left):
    assert [gcnn.symmetry(group, patch, pools) for group in gcnn.SPACE[1:]] == left


def test_an_odd_size_at_a_pool_ends_the_symmetry():
    assert gcnn.symmetry("p4m", (48, 48)) == "0" and float(gcnn.symmetry("p4m", (50, 50))) > 0.1
    assert float(gcnn.symmetry("D4", (12, 12, 12), ((2, 2, 2),) * 3)) > 0.1


def test_elements_are_named_by_what_they_do_to_a_picture():
    image = torch.zeros(1, 1, 3, 3)
    image[0, 0, 1, 2] = 1  # to the right of the centre
    for g, matrix in enumerate(gcnn.P4M.elements):
        degrees, mirrored = gcnn.describe(matrix)
        before = np.fliplr(image[0, 0].numpy()) if mirrored else image[0, 0].numpy()
        assert np.array_equal(act_on_image(gcnn.P4M, g, image)[0, 0].numpy(), np.rot90(before, degrees // 90))


def test_turns_of_the_cube_are_named_and_each_is_drawn_once():
    names = [gcnn.turn(matrix) for matrix in Group.named("O").elements]
    assert names.count((120, "")) == 8 and names.count((90, "z")) == 2 and names.count((180, "xy")) == 2
    kernel = torch.arange(27.0).view(3, 3, 3)
    panels = gcnn.kernels_in_space(kernel, Group.named("O"), Group.named("D4")).figure.axes
    assert len({panel.images[0].get_array().filled(-1).tobytes() for panel in panels}) == 24
    assert panels[0].get_title(loc="center") == "as it is" and panels[8].get_ylabel() == "only O"


def test_the_demonstration_is_drawn_from_any_patch():
    nets = gcnn.networks(0, width=4)
    assert gcnn.one_look(bar(), nets["Z2"], nets["p4m"], "A bar").png
    assert gcnn.kernels(torch.randn(3, 3), Group.named("p4m"), torch.rand(8, 9, 9)).png
    framed = [
        [spine.get_visible() for spine in panel.spines.values()]
        for panel in gcnn.second_layer(GroupConv("p4", 1, 1, 3, bias=False)).figure.axes
    ]
    assert sum(map(all, framed)) == 4, "one slice in each row is the same weights, turned"


def test_where_no_copy_is_a_small_twin_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "data_root", lambda: tmp_path)
    monkeypatch.setattr(paths, "build", lambda: tmp_path)
    assert gcnn.copies("luna16") == {} and gcnn.copies("adrenalmnist3d") == {}
    [(name, cases)] = gcnn.patches().items()
    assert name == "synthetic" and gcnn.example(cases).shape == (50, 50)
    assert (cases.target[cases.indices("train")] == 1).sum() > 100, "enough to watch a network learn"


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures") / "luna16"
    folders.write(folder)
    return luna16.read(folder)


def test_a_scan_is_drawn_with_a_nodule_in_each_plane(copy):
    picture = gcnn.scan(copy, "A scan")
    assert picture.png and all(axes.patches for axes in picture.figure.axes)


def test_cubes_are_of_both_classes_and_look_to_the_front_of_the_patient(copy):
    names = [f"{what},\n{plane}" for what in ("nodule", "other") for plane in ("axial", "coronal", "sagittal")]
    assert list(gcnn.cubes(copy, each=3)) == names
    hu = np.zeros((20, 48, 48, 48), np.int16)
    hu[:, :, 6] = 300  # rows run to the back, so this one is the front
    text, known = np.array(["a"] * 20), np.arange(20) < 4
    rows = gcnn.cubes(LidcNodules(hu, known, np.ones(20), np.ones(20), text, text, text, "f" * 64, None))
    assert [len(rows[name]) for name in names] == [4] * 3 + [8] * 3
    axial = rows["nodule,\naxial"][0]
    assert axial.shape == (36, 36) and (axial[0] == 300).all() and not axial[1:].any(), "the front is above"


def test_glands_of_both_classes_are_drawn_along_two_axes():
    images = np.zeros((60, 28, 28, 28), np.uint8)
    images[::2, 12:16, 12:16, 4:24] = 255  # rods along x, so seen from there 4 x 4 voxels and 20 deep
    text = np.array(["train"] * 60)
    rods = Cases(images, np.arange(60) % 2, text, text, text, "f" * 64, None)
    shown = [panel.images[0].get_array().max() for panel in gcnn.glands(rods).figure.axes[::8]]
    assert shown == [4, 20, 0, 0]


def test_what_git_keeps_is_what_its_tables_give(tmp_path):
    folder, pictures = paths.reports() / "figures", gcnn.kept()
    if not pictures or not folder.is_dir():
        pytest.skip("nothing is published")
    drawn = {name: picture.save(tmp_path / f"{name}.png") for name, picture in pictures.items()}
    assert set(drawn) == {path.stem for path in folder.glob("gcnn_*.png")}
    for name, path in drawn.items():
        old, new = Image.open(folder / path.name), Image.open(path)
        assert old.text == new.text and old.size == new.size, f"{name}: python -m fewscans.figures.kept"
        differ = (np.asarray(old, int) != np.asarray(new, int)).any(axis=-1).mean()
        assert differ < 1e-3, f"{name}: {differ:.1%} of its pixels differ; python -m fewscans.figures.kept"
