"""The cubes are read with whose they are, and cut to any patch about the mark without moving or inventing anything."""

import numpy as np
import pytest

from fewscans import paths
from fewscans.data import lidc_nodules, registry
from fewscans.data.lidc_nodules import LidcNodules
from fewscans.errors import DataError, FewscansError

from .conftest import load_builders

BUILD = load_builders("lidc_nodules")


@pytest.fixture(scope="module")
def real():
    """The cubes themselves, or a skip that says what is missing."""
    try:
        return registry.dataset("lidc-nodules").read(registry.find("lidc-nodules", paths.data_root()))
    except FewscansError:
        pytest.skip("no copy of lidc-nodules under FEWSCANS_DATA_ROOT or params.yaml's data_root")


def holding(*hu) -> LidcNodules:
    """Cubes of given HU and nothing else."""
    text = np.full(len(hu), "x")
    nan = np.full(len(hu), np.nan)
    cubes = np.stack(hu).astype(np.int16)
    return LidcNodules(cubes, nan > 0, nan, nan, text, text, text, "", "")


def ramp(axis: int, slope: float = 10) -> np.ndarray:
    """HU that rise linearly along one axis, -350 at the cube's centre."""
    line = -350 + slope * (np.arange(48) - 23.5)
    return np.broadcast_to(line.reshape([-1 if a == axis else 1 for a in range(3)]), (48, 48, 48))


def code(hu):
    return np.rint((np.clip(hu, -1000, 300) + 1000) / 1300 * 255)


def test_every_cube_is_read_with_whose_and_what_it_is(tmp_path):
    nodules = lidc_nodules.read(BUILD.write(tmp_path))
    arrays = BUILD.arrays()
    assert np.array_equal(nodules.hu, arrays["cubes"]) and nodules.hu.dtype == np.int16
    assert nodules.is_nodule.tolist() == [kind == "nodule" for kind in BUILD.KIND]
    assert np.array_equal(nodules.malignancy_mean, arrays["malignancy_mean"], equal_nan=True)
    assert np.array_equal(nodules.diameter_mm, BUILD.table()["diameter_mm"], equal_nan=True)
    assert nodules.case.tolist()[:3] == [f"999000111222:{name}" for name in ("nodule00", "nodule01", "negative00")]
    assert nodules.patient.tolist() == arrays["patient"].tolist()


def test_its_fingerprint_covers_the_table_too(tmp_path):
    first = lidc_nodules.read(BUILD.write(tmp_path)).fingerprint
    assert lidc_nodules.read(tmp_path).fingerprint == first
    rows = BUILD.table()
    rows.loc[0, "diameter_mm"] = 30
    assert lidc_nodules.read(BUILD.write(tmp_path, rows=rows)).fingerprint != first


def test_there_is_no_split_to_train_on(tmp_path):
    assert not hasattr(lidc_nodules.read(BUILD.write(tmp_path)), "indices")


@pytest.mark.parametrize("name", BUILD.CASES)
def test_what_is_wrong_is_named_with_file_and_value(name, tmp_path):
    changes, file, words = BUILD.CASES[name]
    path = BUILD.write(tmp_path, **changes)
    with pytest.raises(DataError) as error:
        lidc_nodules.read(path)
    message = str(error.value)
    assert message.startswith(f"{tmp_path / file}: ") and "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00\x01", b'a,b\n1,2,3\n4,"5'])
def test_a_table_that_is_none_is_one_clear_error(tmp_path, content):
    path = BUILD.write(tmp_path)
    (tmp_path / "cubes.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"cubes\.csv: (cannot be read as CSV|column)"):
        lidc_nodules.read(path)


def test_what_is_absent_is_named(tmp_path):
    with pytest.raises(DataError, match=r"lidc_cubes_48mm\.npz: no such file"):
        lidc_nodules.read(tmp_path)
    path = BUILD.write(tmp_path)
    (tmp_path / "cubes.csv").unlink()
    with pytest.raises(DataError, match=r"cubes\.csv: no such file; .* with the table cubes\.csv beside it"):
        lidc_nodules.read(path)


@pytest.mark.parametrize("kept", [0, 1, 100, 0.1, 0.9, -1])
def test_a_file_cut_short_anywhere_is_one_clear_error(tmp_path, kept):
    path = BUILD.write(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    with pytest.raises(DataError, match="cut short"):
        lidc_nodules.read(path)


def test_the_whole_cube_at_its_own_spacing_is_the_cube_in_the_window():
    hu = np.random.default_rng(0).integers(-1500, 1000, (48, 48, 48))
    assert np.array_equal(holding(hu).patches((48, 48, 48), (1, 1, 1))[0], code(hu))


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("size, spacing", [((12, 72, 72), (1.25, 0.5, 0.5)), ((7, 5, 9), (0.7, 3.0, 2.0))])
def test_what_is_linear_in_space_stays_so_on_every_axis_finer_or_coarser(axis, size, spacing):
    patch = holding(ramp(axis)).patches(size, spacing)[0]
    millimetres = (np.arange(size[axis]) - (size[axis] - 1) / 2) * spacing[axis]
    line = code(-350 + 10 * millimetres).reshape([-1 if a == axis else 1 for a in range(3)])
    assert patch.shape == size and np.abs(patch - line).max() <= 1e-9  # exactly: the mark is at the patch's centre


def test_turning_the_cube_turns_the_patch():
    hu = np.random.default_rng(1).integers(-1000, 300, (48, 48, 48))
    patch = holding(hu).patches((10, 20, 20), (2.5, 1.25, 1.25))[0]
    turned = holding(np.rot90(hu, axes=(1, 2)), hu[::-1]).patches((10, 20, 20), (2.5, 1.25, 1.25))
    assert np.array_equal(turned[0], np.rot90(patch, axes=(1, 2)))
    assert np.array_equal(turned[1], patch[::-1])


def test_a_coarser_voxel_is_the_mean_over_its_extent_and_not_a_sample_of_it():
    hu = np.full((48, 48, 48), -1000)
    hu[::2] = 300
    patch = holding(hu).patches((16, 16, 16), (3, 3, 3))[0]  # centred on voxels: samples would be 0 or 255
    assert np.abs(patch.astype(int) - 127.5).max() <= 35
    blocks = np.random.default_rng(2).integers(-1000, 300, (12, 12, 12))
    coarse = holding(np.kron(blocks, np.ones((4, 4, 4)))).patches((12, 12, 12), (4, 4, 4))[0]
    assert (
        np.corrcoef(coarse.ravel(), blocks.ravel())[0, 1] > 0.97
    )  # each mean reaches half a voxel into its neighbours


def test_beyond_the_outermost_voxel_centres_their_value_holds():
    hu = np.full((48, 48, 48), -1000)
    hu[0] = 300
    fine = holding(hu).patches((96, 1, 1), (0.5, 0.5, 0.5))[0]
    assert fine[0] == 255  # centred a quarter of a voxel outside
    coarse = holding(hu).patches((12, 1, 1), (4, 1, 1))[0]
    assert coarse[0] == code(-1000 + 1300 / 4)  # half a voxel of it outside, half of a fall to the next inside


@pytest.mark.parametrize(
    "size, spacing",
    [
        ((49, 1, 1), (1, 1, 1)),
        ((12, 72, 72), (5, 0.5, 0.5)),
        ((0, 1, 1), (1, 1, 1)),
        ((4, 4, 4), (1, 0, 1)),
        ((4, 4, 4), (1, np.nan, 1)),
        ((4, 4), (1, 1)),
        ((4, 4, 4), (1, 1)),
    ],
)
def test_a_patch_beyond_the_cube_is_refused(size, spacing):
    with pytest.raises(ValueError, match="within the cube's 48 mm|three axes"):
        holding(ramp(0)).patches(size, spacing)


def test_the_real_cubes_are_of_three_patients_and_four_scans(real):
    assert len(real) == 160 and real.is_nodule.sum() == 16
    assert (len(set(real.patient)), len(set(real.scan))) == (3, 4)


def test_the_marks_of_the_real_negatives_lie_between_the_two_middle_voxels(real):
    """They are local maxima, whose mean peaks at the mark: what `patches` takes as the centre, and not a voxel off."""
    mean = np.clip(real.hu[~real.is_nodule], -1000, 300).mean(axis=0)
    for axis in range(3):
        line = mean[20:28, 20:28, 20:28].mean(axis=tuple(a for a in range(3) if a != axis))  # voxels 20 to 27
        middle, outer = line[3:5], line[[2, 5]]
        fall = middle.mean() - outer.mean()
        assert fall > 0 and abs(middle[0] - middle[1]) < 0.2 * fall and abs(outer[0] - outer[1]) < 0.2 * fall
