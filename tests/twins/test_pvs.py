"""The twin of perivascular spaces: as many tubes as counted, drawn to scale, and no short cut to their number."""

import numpy as np
import pytest

from fewscans import twins
from fewscans.data import pvs as reader
from fewscans.data.group_splits import nested_by_group
from fewscans.errors import DataError
from fewscans.experiments import baselines
from fewscans.stats.icc import icc
from fewscans.twins import pvs
from fewscans.twins.space import Grid

from .files import contents

SPEC = {"scans": 20, "grid": "coarse", "count": "volume", "seed": 0}
COARSE = pvs.PvsSpec(**SPEC)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return twins.write("pvs", tmp_path_factory.mktemp("twins") / "pvs", twins.spec("pvs", {**SPEC, "scans": 120}))


@pytest.fixture(scope="module")
def scans(folder):
    return reader.read(folder, pvs.GRIDS["coarse"].crop)


def test_the_label_is_the_number_of_tubes_drawn(folder, scans):
    for number in range(12):
        scan = pvs.draw_scan(COARSE, number)
        assert scan.tubes.radius.shape == (scans.target[number],)
        image, mask = reader.find_cases(folder).read(number)
        assert np.array_equal(image.array, scan.t2) and np.array_equal(mask.array > 0, scan.mask)


def test_counts_are_skewed_and_reach_from_none_to_dozens():
    rng = np.random.default_rng(0)
    counts = np.array([pvs.draw_count(rng) for _ in range(5000)])
    assert 5 <= np.median(counts) <= 7 and counts.mean() > np.median(counts) + 1
    assert counts.min() == 0 and counts.max() <= pvs.MOST and (counts > 25).mean() > 0.01


@pytest.mark.parametrize("grid", pvs.GRIDS)
def test_as_many_tubes_as_wanted_are_of_the_sizes_told_and_apart(grid):
    wanted = 20 if grid == "putamen" else pvs.MOST  # one nucleus has no room for as many
    for number in range(2):
        tubes = pvs.draw_scan(pvs.PvsSpec(20, grid, "volume", 1), number, wanted).tubes
        assert len(tubes) == wanted
        length = np.linalg.norm(tubes.end - tubes.start, axis=1) + tubes.radius + tubes.far_radius
        assert (length > pvs.LENGTH_MM[0] - 1e-6).all() and (length < pvs.LENGTH_MM[1] + 1e-6).all()
        for radius in (tubes.radius, tubes.far_radius):
            assert (2 * radius > pvs.DIAMETER_MM[0] - 1e-6).all() and (2 * radius < pvs.DIAMETER_MM[1] + 1e-6).all()
        line = np.linspace(0, 1, 30)[:, None]
        points = [a + line * (b - a) for a, b in zip(tubes.start, tubes.end, strict=True)]
        for i, j in zip(*np.triu_indices(len(tubes), 1), strict=True):
            gap = np.linalg.norm(points[i][:, None] - points[j][None], axis=-1).min()
            assert gap > tubes.radius[i] + tubes.radius[j] + 0.9 * pvs.APART_MM


def test_most_tubes_rise_and_none_in_one_direction_only():
    tubes = [pvs.draw_scan(COARSE, number, 20).tubes for number in range(10)]
    way = np.concatenate([t.end - t.start for t in tubes])
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    assert np.median(way[:, 0]) > 0.8 and way[:, 0].std() > 0.03
    assert np.abs(way[:, 1:].mean(axis=0)).max() < 0.15 and way[:, 1:].std(axis=0).min() > 0.15


@pytest.mark.parametrize("grid", pvs.GRIDS)
def test_a_tube_adds_its_volume_however_thin_and_wherever_it_lies(grid):
    """Partial volume: summed over voxels, what is drawn is what the tube holds, give or take a sixth."""
    spacing = np.array(pvs.GRIDS[grid].spacing_mm)
    rng = np.random.default_rng(0)
    for radius in (0.4, 0.7, 1.0, 1.25):
        drawn = []
        for _ in range(60):
            layer = np.zeros((16, 24, 24), np.float32)
            place = Grid(layer.shape, spacing, -spacing * (np.array(layer.shape) - 1) / 2)
            way = np.array([1.0, *rng.normal(0, 0.3, 2)])
            half, middle = 2.5 * way / np.linalg.norm(way), rng.uniform(-2, 2, 3)
            r = np.array([radius])
            pvs.tubes(layer, place, (middle - half)[None], (middle + half)[None], r, r, 1.0)
            drawn.append(layer.sum() * spacing.prod())
        volume = np.pi * radius**2 * 5 + 4 / 3 * np.pi * radius**3
        assert np.mean(drawn) == pytest.approx(volume, rel=1 / 6)
        assert np.std(drawn) < 0.3 * volume


def test_tubes_are_bright_and_lie_in_the_mask():
    brighter, inside = [], []
    for number in range(10):
        scan = pvs.draw_scan(COARSE, number, 12)
        middle = (scan.tubes.start + scan.tubes.end) / 2
        voxel = tuple(np.rint(scan.grid.index(middle)).astype(int).T)
        inside.append(scan.mask[voxel].mean())
        brighter.append(np.median(scan.t2[voxel]) / np.median(scan.t2[scan.mask]))
    assert np.mean(inside) > 0.9 and min(brighter) > 1.1 and np.mean(brighter) > 1.25


@pytest.mark.parametrize("grid", pvs.GRIDS)
def test_the_crop_shows_the_region_and_is_as_small_as_told(grid, tmp_path):
    resolution = pvs.GRIDS[grid]
    assert np.prod(resolution.crop) <= {"putamen": 3_000, "coarse": 8_000, "medium": 30_000}[grid]
    pvs.write(tmp_path, pvs.PvsSpec(10, grid, "volume", 0))
    scans = reader.read(tmp_path, resolution.crop)
    assert scans.about["inside"].mean() > 0.98 and scans.images.shape == (10, *resolution.crop)
    assert scans.spacing_mm == pytest.approx(np.tile(resolution.spacing_mm, (10, 1)))


def test_the_expert_may_have_counted_in_one_slice(tmp_path):
    counts = {}
    for count in pvs.COUNT:
        (tmp_path / count).mkdir()
        pvs.write(tmp_path / count, pvs.PvsSpec(25, "coarse", count, 0))
        counts[count] = reader.find_cases(tmp_path / count).cases["count"].to_numpy()
    files = sorted(path.relative_to(tmp_path / "slice") for path in (tmp_path / "slice").rglob("*.nii.gz"))
    assert all((tmp_path / "slice" / f).read_bytes() == (tmp_path / "volume" / f).read_bytes() for f in files)
    assert (counts["slice"] <= counts["volume"]).all() and 0.1 < counts["slice"].sum() / counts["volume"].sum() < 0.5


def test_a_tube_crosses_a_plane_or_does_not():
    tubes = pvs.Tubes(np.array([[0.0, 0, 0], [5, 1, 1]]), np.array([[4.0, 0, 0], [1, 1, 1]]), np.ones(2), np.ones(2))
    assert [tubes.crossing(z) for z in (-1, 0.5, 2, 4.5, 6)] == [0, 1, 2, 1, 0]


def test_neither_brightness_nor_a_histogram_gives_the_count(scans):
    """With 25 scans to learn from, and with all there are; the bound was named before the twin was drawn."""
    test, train = scans.indices("test"), scans.indices("train")
    brightness = scans.intensities(np.arange(len(scans))).reshape(len(scans), -1).mean(axis=1, keepdims=True)
    histogram, found = baselines.histogram(scans.images), []
    for subset in [*(nested_by_group(scans.group, 25, seed, train) for seed in range(5)), train]:
        ridge = [baselines.ridge(x[subset], scans.target[subset], x[test]) for x in (brightness, histogram)]
        found.append([icc(np.c_[scans.target[test], p]).value for p in ridge])
    assert np.mean(found[:5], axis=0).max() < 0.6 and max(found[-1]) < 0.6


def test_small_bright_spots_do_give_it(scans):
    """What a network could find: brightness above that of the surroundings in the slice goes with the count."""
    from scipy.ndimage import uniform_filter

    images = scans.intensities(np.arange(len(scans)))
    spots = np.array([np.maximum(x - uniform_filter(x, (1, 3, 3)) - 0.1, 0).sum() for x in images])
    assert np.corrcoef(spots, scans.target)[0, 1] > 0.55
    assert abs(np.corrcoef(images.mean(axis=(1, 2, 3)), scans.target)[0, 1]) < 0.4


def test_equal_settings_give_equal_bytes_and_another_seed_others(tmp_path):
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        (tmp_path / name).mkdir()
        pvs.write(tmp_path / name, pvs.PvsSpec(10, "coarse", "volume", seed))
    one, same, other = (contents(tmp_path / name) for name in ("one", "same", "other"))
    assert one == same and one.keys() == other.keys() and not any(one[path] == other[path] for path in one)


def test_a_scan_does_not_depend_on_how_many_others_there_are():
    few, many = (pvs.draw_scan(pvs.PvsSpec(n, "coarse", "volume", 0), 3) for n in (10, 2000))
    assert np.array_equal(few.t2, many.t2) and np.array_equal(few.mask, many.mask)


@pytest.mark.parametrize(
    ("name", "value"), [("scans", 5), ("scans", 10_000), ("grid", "fine"), ("count", "both"), ("seed", -1)]
)
def test_impossible_settings_are_refused(name, value):
    with pytest.raises(DataError, match=f"twin: {name} is"):
        twins.spec("pvs", {**SPEC, name: value})
