"""The twin of CAMELYON16: slides that OpenSlide opens whole, outlines that are where the tumour is drawn."""

import numpy as np
import openslide
import pytest
import tifffile

from fewscans import twins
from fewscans.data import camelyon16 as reader
from fewscans.data.formats import asap, lesions
from fewscans.errors import DataError
from fewscans.twins import camelyon16, histology

from .files import contents

SPEC = {
    "train": 5,
    "test": 4,
    "independent": 2,
    "tumour_share": 0.5,
    "side": 512,
    "microns_per_pixel": 1.944,
    "seed": 0,
}
QUICK = camelyon16.CamelyonSpec(30, 26, 16, 0.5, 2048, 1.944, 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    spec = twins.spec("camelyon16", SPEC)
    return twins.write("camelyon16", tmp_path_factory.mktemp("twins") / "camelyon16", spec)


@pytest.fixture
def unpainted(monkeypatch):
    """Slides are white, but what outlines their tumour is placed all the same."""
    monkeypatch.setattr(histology, "fill", lambda *fields: None)
    monkeypatch.setattr(histology, "paint", lambda _, width, height, *__: np.full((height, width, 3), 255, np.uint8))


def drawn(part, number, spec=None):
    return camelyon16.draw_slide(spec or camelyon16.CamelyonSpec(**SPEC), part, number)


def official(slide):
    """The official evaluation's lesions of a slide, from a mask of about 8 µm a pixel."""
    height, width = (side // 4 for side in slide.rgb.shape[:2])
    mask = asap.mask(slide.annotation, width, height, 4).astype(np.uint8) * 255
    return lesions.label(mask, 4 * slide.microns_per_pixel)


def test_the_layout_is_gigadbs(folder):
    tumour = [
        f"test_{i:03d}" for i in np.flatnonzero(camelyon16.has_tumour(camelyon16.CamelyonSpec(**SPEC), "test")) + 1
    ]
    other = np.argmax(camelyon16.has_tumour(camelyon16.CamelyonSpec(**SPEC), "independent")) + 1
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == {
        *(f"training/normal/normal_{i:03d}.tif" for i in (1, 2, 3)),
        *(f"training/tumor/tumor_{i:03d}.tif" for i in (1, 2)),
        *(f"training/lesion_annotations/tumor_{i:03d}.xml" for i in (1, 2)),
        *(f"testing/images/test_{i:03d}.tif" for i in (1, 2, 3, 4)),
        *(f"testing/lesion_annotations/{name}.xml" for name in tumour),
        *(f"testing/evaluation/evaluation_masks/{name}_mask.tif" for name in tumour),
        "testing/reference.csv", "independent/reference.csv", "twin.json",
        *(f"independent/images/independent_{i:03d}.tif" for i in (1, 2)),
        f"independent/lesion_annotations/independent_{other:03d}.xml",
    }  # fmt: skip
    assert len(tumour) == 2


def test_our_reader_finds_every_slide_and_its_label(folder):
    table = reader.find_slides(folder).slides
    assert table.groupby(["split", "label"]).size().to_dict() == {
        ("train", 0): 3, ("train", 1): 2, ("test", 0): 2, ("test", 1): 2, ("independent", 0): 1, ("independent", 1): 1,
    }  # fmt: skip
    assert (table["annotation"].notna() == (table["label"] == 1)).all()
    assert table["mask"].notna().sum() == 2


def test_openslide_opens_every_level_with_the_size_of_a_pixel_and_the_colours(folder):
    sides = set()
    for part, number, file in (
        ("train", 0, "training/normal/normal_001.tif"), ("train", 4, "training/tumor/tumor_002.tif"),
        ("test", 1, "testing/images/test_002.tif"), ("independent", 1, "independent/images/independent_002.tif"),
    ):  # fmt: skip
        slide = drawn(part, number)
        height, width = slide.rgb.shape[:2]
        with openslide.OpenSlide(folder / file) as opened:
            levels = [(width >> k, height >> k) for k in range(opened.level_count)]
            assert list(opened.level_dimensions) == levels and max(levels[-1]) <= 256 < max(levels[-2])
            for axis in "xy":
                assert float(opened.properties[f"openslide.mpp-{axis}"]) == pytest.approx(slide.microns_per_pixel)
            sides |= {width % 2, height % 2}
            expected = slide.rgb.astype(float)
            for level, size in enumerate(levels):
                seen = np.asarray(opened.read_region((0, 0), level, size).convert("RGB"), float)
                assert np.abs(seen.mean(axis=(0, 1)) - expected.mean(axis=(0, 1))).max() < 1
                assert np.abs(seen - expected).mean() < 6
                down = expected[: expected.shape[0] // 2 * 2, : expected.shape[1] // 2 * 2]
                expected = down.reshape(len(down) // 2, 2, -1, 2, 3).mean(axis=(1, 3))
    assert sides == {0, 1}, "odd sides occur"


def test_centres_and_the_other_laboratory_have_pixels_of_their_own_size(unpainted):
    sizes = {
        part: {round(drawn(part, n, QUICK).microns_per_pixel / 1.944, 3) for n in range(8)} for part in camelyon16.SETS
    }
    assert sizes == {"train": {1, 0.93}, "test": {1, 0.93}, "independent": {1.07}}


def test_a_mask_holds_the_outlined_pixels_at_every_level_and_nothing_else(folder):
    from skimage.draw import polygon2mask

    for file in folder.glob("testing/evaluation/evaluation_masks/*_mask.tif"):
        name = file.name.removesuffix("_mask.tif")
        outlined = asap.read(folder / f"testing/lesion_annotations/{name}.xml")
        with tifffile.TiffFile(file) as mask, openslide.OpenSlide(folder / f"testing/images/{name}.tif") as slide:
            assert [page.shape[::-1] for page in mask.pages] == list(slide.level_dimensions)
            for level, page in enumerate(mask.pages):
                tumour, excluded = (
                    np.any([polygon2mask(page.shape, p[:, ::-1] / 2**level - 0.5) for p in polygons], axis=0)
                    for polygons in (outlined.tumour, outlined.excluded or [np.zeros((3, 2)) - 9])
                )
                pixels = page.asarray()
                assert set(np.unique(pixels)) == {0, 255}
                assert np.count_nonzero((pixels == 255) != (tumour & ~excluded)) <= 2, "but for rounding"


def test_tumour_cells_stand_inside_the_outlines_and_in_all_of_them(monkeypatch):
    tissues, fill = [], histology.fill
    monkeypatch.setattr(histology, "fill", lambda *fields: tissues.append(fill(*fields)) or tissues[-1])
    monkeypatch.setattr(histology, "paint", lambda _, width, height, *__: np.empty((height, width, 3), np.uint8))
    for number in np.flatnonzero(camelyon16.has_tumour(QUICK, "train"))[:6]:
        slide = drawn("train", int(number), QUICK)
        mask = np.pad(asap.mask(slide.annotation, *slide.rgb.shape[1::-1], 1), (0, 99))
        lymphocytes, _, _, cells, _ = tissues[-1].stamps[0]
        inside, small = (
            mask[tuple((at / slide.microns_per_pixel).clip(0).astype(int) for at in (c.y, c.x))]
            for c in (cells, lymphocytes)
        )
        tissue = np.count_nonzero(tissues[-1].layers["depth"] > 0) * (histology.GRID_UM / slide.microns_per_pixel) ** 2
        assert inside.mean() > 0.99 and small.mean() < 0.8 * np.count_nonzero(mask) / tissue
        for polygon in slide.annotation.tumour:
            (x0, y0), (x1, y1) = (f(polygon, axis=0) * slide.microns_per_pixel for f in (np.min, np.max))
            assert ((cells.x > x0) & (cells.x < x1) & (cells.y > y0) & (cells.y < y1)).any()


def test_lesions_reach_from_single_cells_to_macrometastases_and_suffice_for_a_curve(unpainted):
    sizes = {
        part: [official(drawn(part, int(n), QUICK)).size for n in np.flatnonzero(camelyon16.has_tumour(QUICK, part))]
        for part in ("train", "test")
    }
    counted = {part: [np.count_nonzero(np.array(s) != "itc") for s in of] for part, of in sizes.items()}
    assert sum(counted["test"]) >= 60 and min(counted["test"] + counted["train"]) >= 1
    assert np.median(counted["train"]) == 2
    assert set(np.concatenate(sizes["test"])) == {"itc", "micro", "macro"}
    assert not official(drawn("test", int(np.argmin(camelyon16.has_tumour(QUICK, "test"))), QUICK)).size.size


def test_the_number_of_lesions_has_the_tail_of_the_published_ones():
    rng = np.random.default_rng(0)
    ranks = (np.arange(110) + 0.5) / 110
    number = [np.count_nonzero(camelyon16.lesion_sizes(2.0, np.array([r, 0.5]), rng) > 200) for r in ranks]
    assert np.median(number) == 2 and sum(sorted(number)[-10:]) / sum(number) == pytest.approx(0.35, abs=0.05)


def test_every_slide_with_tumour_has_an_outline_however_small(unpainted):
    for seed in range(12):
        spec = camelyon16.CamelyonSpec(**(SPEC | {"seed": seed, "tumour_share": 0.99}))
        for number in range(1, 5):
            slide = drawn("train", number, spec)
            assert slide.annotation.tumour and all(
                len(line) <= 250 and (line > 0).all() and (line < slide.rgb.shape[1::-1]).all()
                for line in slide.annotation.tumour
            )


def test_strips_are_painted_without_a_seam(monkeypatch):
    one = drawn("independent", 0).rgb.astype(float)
    monkeypatch.setattr(histology, "STRIP", 100)
    rows = np.abs(one - drawn("independent", 0).rgb).mean(axis=(1, 2))
    assert rows.max() < 4 and rows[[99, 100, 199, 200, 255, 256]].max() <= np.quantile(rows, 0.99) + 0.5


def test_equal_settings_give_equal_bytes_in_any_number_of_processes_and_another_seed_others(
    folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(camelyon16, "WORTH_A_PROCESS", 0)
    for name, seed in (("same", 0), ("other", 1)):
        (tmp_path / name).mkdir()
        spec = camelyon16.CamelyonSpec(**(SPEC | {"seed": seed}))
        camelyon16.write(tmp_path / name, spec, processes=2 if name == "same" else 1)
    one, same, other = (contents(at) for at in (folder, tmp_path / "same", tmp_path / "other"))
    one.pop("twin.json")
    assert one == same and not any(one[path] == other.get(path) for path in one if path.endswith(".tif"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train": 3}, "train is 3; it must be a whole number from 4"),
        ({"tumour_share": 1}, "tumour_share is 1; it must be a number between 0 and 1"),
        ({"side": 100}, "side is 100"),
        ({"side": 600, "microns_per_pixel": 0.243}, "side 600 x microns_per_pixel 0.243 is less than 900 µm"),
        ({"seed": -1}, "seed is -1"),
        ({"noise": 1}, "unknown setting noise; its settings are train, test, independent"),
    ],
)
def test_impossible_settings_are_refused(change, words):
    with pytest.raises(DataError, match=words):
        twins.spec("camelyon16", SPEC | change)
