"""A heatmap says of each cell what the network says of the patch around it, however the slide is read."""

import numpy as np
import pytest
import torch
from torch import nn

from fewscans.data.formats.slides import Level
from fewscans.errors import DataError
from fewscans.nn.dense import DenseDetector
from fewscans.slides.detections import suppress
from fewscans.slides.heatmap import Geometry, heatmap, tissue_cells

from .fake import Darkness, FakeSlide, FirstPixel, noise, white

pytestmark = pytest.mark.usefixtures("one_thread")
TOLERANCE = 1e-5


def everywhere(slide, geometry):
    return np.ones(geometry.shape(slide.levels[0].width, slide.levels[0].height), bool)


def scattered(slide, geometry, share=0.4):
    return np.random.default_rng(1).random(everywhere(slide, geometry).shape) < share


def detector(geometry):
    network = DenseDetector(geometry.patch, geometry.stride, geometry.levels, width=4)
    network.reset_parameters(torch.Generator().manual_seed(0))
    return network


@pytest.mark.parametrize("levels", [(0,), (1,), (0, 2)])
@pytest.mark.parametrize("dense", [True, False])
def test_the_size_of_a_block_does_not_matter(levels, dense):
    geometry = Geometry(39, 16, levels)
    slide = FakeSlide(noise(351, 223))
    cells = scattered(slide, geometry)
    network = detector(geometry)
    maps = [heatmap(slide, network, geometry, cells, block=block, dense=dense) for block in (1, 3, 5, 100)]
    for other in maps[1:]:
        np.testing.assert_allclose(other, maps[0], atol=TOLERANCE)
    assert np.nanstd(maps[0]) > 100 * TOLERANCE, "a constant map would agree as well"


@pytest.mark.parametrize("orientations", [1, 8])
def test_a_sweep_answers_as_patch_by_patch(orientations):
    geometry = Geometry(39, 16, (0, 1))
    slide = FakeSlide(noise(320, 192))
    cells, network = scattered(slide, geometry), detector(geometry)
    swept, single = (
        heatmap(slide, network, geometry, cells, block=7, dense=dense, orientations=orientations)
        for dense in (True, False)
    )
    np.testing.assert_allclose(swept, single, atol=TOLERANCE)


def test_eight_orientations_are_averaged_so_a_turned_slide_gives_a_turned_map():
    geometry = Geometry(36, 16)  # an even patch lies evenly around the centre of its cell
    image, network = noise(160, 96), detector(geometry)

    def map_of(image, orientations):
        slide = FakeSlide(image, n_levels=1)
        return heatmap(slide, network, geometry, everywhere(slide, geometry), orientations=orientations)

    for turn in (np.rot90, np.fliplr, np.flipud):
        turned = np.ascontiguousarray(turn(image))
        np.testing.assert_allclose(map_of(turned, 8), turn(map_of(image, 8)), atol=TOLERANCE)
        assert np.abs(map_of(turned, 1) - turn(map_of(image, 1))).max() > 10 * TOLERANCE


def test_only_the_cells_asked_for_are_predicted_and_only_their_blocks_read():
    geometry = Geometry(24, 16)
    slide = FakeSlide(noise(640, 640), n_levels=1)
    cells = np.zeros((40, 40), bool)
    cells[[2, 3, 30], [5, 6, 33]] = True
    result = heatmap(slide, Darkness(geometry, 16), geometry, cells, block=10)
    np.testing.assert_array_equal(np.isnan(result), ~cells)
    assert sorted(slide.reads) == [(0, 76, 28, 40, 40), (0, 524, 476, 24, 24)], "(0, x, y, width, height) of two blocks"


@pytest.mark.parametrize("patch", [7, 8])
@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_patch_begins_half_its_side_before_the_centre_of_the_cell_rounded_down(patch, level):
    geometry = Geometry(patch, 12, (level,))
    slide = FakeSlide(noise(96, 48), n_levels=3)
    logit = torch.from_numpy(heatmap(slide, FirstPixel(), geometry, everywhere(slide, geometry), dense=False)).logit()
    for i, j in np.ndindex(*logit.shape):
        x, y = (int(np.floor((k + 0.5) * 12 / 2**level - patch / 2)) for k in (j, i))
        red, green, _ = (slide.read(level, x, y, 1, 1)[0, 0] / 127.5 - 1).tolist()
        assert logit[i, j] == pytest.approx(red + 3 * green, abs=1e-3)


@pytest.mark.parametrize("level", [0, 1, 2, 3])
@pytest.mark.parametrize("width, height", [(1001, 777), (799, 1023), (645, 643)])
def test_the_highest_cell_the_mask_and_the_detection_are_one_place_at_every_level_of_an_odd_slide(width, height, level):
    geometry = Geometry(41, 16, (level,))
    side = max(2, 16 >> level)
    for i, j in ((3, 5), (20, 11), (height // 16 - 1, width // 16 - 1)):
        image, mask = white(width, height), np.zeros((height, width), bool)
        image[16 * i : 16 * i + 16, 16 * j : 16 * j + 16] = 0
        mask[16 * i : 16 * i + 16, 16 * j : 16 * j + 16] = True
        slide = FakeSlide(image)
        result = heatmap(slide, Darkness(geometry, side + 1), geometry, everywhere(slide, geometry), block=9)
        assert np.unravel_index(np.nanargmax(result), result.shape) == (i, j)
        first = suppress(result, geometry, threshold=np.nanmax(result)).iloc[0]
        assert abs(first["x"] - (16 * j + 8)) <= 8 and abs(first["y"] - (16 * i + 8)) <= 8
        coarse = mask[4::8, 4::8]  # the mask as the evaluation reads it, level 3: pixel centres
        assert mask[int(first["y"]), int(first["x"])] and coarse[int(first["y"]) // 8, int(first["x"]) // 8]


def test_a_slide_without_the_level_is_averaged_down_to_it():
    geometry, image = Geometry(39, 16, (2,)), noise(640, 448)
    pyramid, single = FakeSlide(image), FakeSlide(image, n_levels=1)
    cells, network = scattered(pyramid, geometry), Darkness(geometry, 5)
    maps = [heatmap(slide, network, geometry, cells) for slide in (pyramid, single)]
    np.testing.assert_allclose(*maps, atol=0.005)  # the pyramid rounds at each level
    assert np.nanstd(maps[0]) > 0.01
    assert {read[0] for read in single.reads} == {0} and {read[0] for read in pyramid.reads} == {2}


class Endless(FakeSlide):
    """White, of any size, without an array."""

    def __init__(self, side):
        super().__init__(white(8, 8), n_levels=1)
        self.levels = (Level(side, side, 1.0),)


@pytest.mark.parametrize("levels", [(0,), (0, 3)])
def test_no_read_grows_with_the_slide(levels, monkeypatch):
    monkeypatch.setattr("fewscans.slides.heatmap.STRIP_PIXELS", 1 << 12)
    largest = []
    for side in (4096, 32768):
        geometry, slide = Geometry(32, 64, levels), Endless(side)
        cells = everywhere(slide, geometry)
        cells[:] = False
        cells[::60, ::60] = True
        heatmap(slide, Darkness(geometry, 8), geometry, cells, block=8)
        largest.append(max(width * height for *_, width, height in slide.reads))
    assert largest[0] == largest[1] <= 4096


def test_a_damaged_tile_is_an_error_that_names_it():
    class Damaged(FakeSlide):
        def read(self, level, x, y, width, height):
            if x > 100:
                raise DataError("fake.tif: level 0, the tile in column 3, row 0 is damaged")
            return super().read(level, x, y, width, height)

    geometry, slide = Geometry(24, 16), Damaged(noise(320, 320))
    with pytest.raises(DataError, match="column 3"):
        heatmap(slide, Darkness(geometry, 16), geometry, everywhere(slide, geometry), block=4)


def test_progress_counts_cells_to_the_last():
    geometry, slide, calls = Geometry(24, 16), FakeSlide(noise(160, 160)), []
    cells = scattered(slide, geometry)
    heatmap(slide, Darkness(geometry, 16), geometry, cells, block=3, on_progress=lambda *call: calls.append(call))
    done, total = zip(*calls, strict=True)
    assert list(done) == sorted(set(done)) and done[-1] == total[0] == cells.sum() and set(total) == {cells.sum()}


def test_a_network_in_training_mode_is_asked_in_evaluation_mode():
    geometry, slide = Geometry(39, 16), FakeSlide(noise(160, 160))
    maps = [
        heatmap(slide, mode(detector(geometry)), geometry, everywhere(slide, geometry))
        for mode in (nn.Module.train, nn.Module.eval)
    ]
    np.testing.assert_array_equal(*maps)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="stride must be a multiple of 8"):
        Geometry(24, 12, (0, 3))
    with pytest.raises(ValueError, match="at least 1"):
        Geometry(24, 16, ())


PINK = (200, 120, 180)


@pytest.mark.parametrize("n_levels", [1, 5])
@pytest.mark.parametrize("strip", [1 << 22, 20_000])
def test_cells_with_tissue_are_those_that_show_it_whatever_is_read(n_levels, strip, monkeypatch):
    monkeypatch.setattr("fewscans.slides.heatmap.STRIP_PIXELS", strip)
    image = white(2003, 3001)
    image[640:1600, 320:960] = PINK  # 480 x 320 µm: cells (10..24, 5..14)
    found = tissue_cells(FakeSlide(image, n_levels, mpp=0.5), Geometry(64, 64))
    assert found.shape == (47, 32)
    assert found[11:24, 6:14].all()
    found[9:26, 4:16] = False  # a cell more on each side, as the picture is smoothed
    assert not found.any()


def test_cells_finer_than_the_picture_still_find_their_tissue():
    image = white(1000, 1000)
    image[200:800, 200:800] = PINK
    found = tissue_cells(FakeSlide(image, mpp=0.5), Geometry(16, 4))
    assert found.shape == (250, 250) and abs(found.mean() - 0.36) < 0.05
