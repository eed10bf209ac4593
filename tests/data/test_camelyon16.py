"""Both layouts of CAMELYON16 are read as they lie, known bad slides stay out, and what is wrong is named."""

import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from fewscans import paths
from fewscans.data import camelyon16, registry
from fewscans.data.base import Cut
from fewscans.data.formats import asap, lesions
from fewscans.data.formats.slides import Level, open_slide
from fewscans.errors import DataError, FewscansError

from .conftest import load_builders

BUILD = load_builders("camelyon16")
SIDE = 56
LABELS = [0, 0, 0, 1, 1, 1, 1, 0, 1]  # of BUILD.KNOWN


@pytest.fixture(scope="session")
def pristine(tmp_path_factory):
    return BUILD.write(tmp_path_factory.mktemp("camelyon16") / "copy")


@pytest.fixture
def good(pristine, tmp_path):
    return shutil.copytree(pristine, tmp_path / "camelyon16")


@pytest.fixture(scope="module")
def slides(pristine):
    return camelyon16.cases(pristine, Cut((SIDE, SIDE)))


def lesion_mask(copy, name, downsample=4):
    with open_slide(copy.slide(name)["slide"]) as slide:
        return camelyon16.lesion_mask(copy, name, slide, downsample)


def test_every_slide_is_found_with_its_split_its_label_and_its_files(pristine):
    copy = camelyon16.find_slides(pristine)
    table = copy.slides.set_index("name")
    assert copy.slides["name"].tolist() == list(BUILD.KNOWN)
    assert copy.slides["split"].tolist() == ["test" if name[:4] == "test" else "train" for name in BUILD.KNOWN]
    assert table["label"][list(BUILD.KNOWN)].tolist() == LABELS
    assert all(file.stem == name and file.is_file() for name, file in table["slide"].items())
    for name, row in table.iterrows():
        assert (row["annotation"] is not None) == bool(row["label"])
        assert (row["mask"] is not None) == (name in ("test_001", "test_114"))
    assert copy.path == pristine


def test_known_bad_slides_are_left_out_or_marked(pristine, slides):
    copy = camelyon16.find_slides(pristine)
    assert copy.left_out == slides.left_out == ("normal_086", "test_049")
    table = copy.slides.set_index("name")
    for column in ("exhaustive", "scored"):
        assert table.index[~table[column]].tolist() == ["tumor_010", "test_114"]
    assert len(set(camelyon16.NOT_EXHAUSTIVE)) == 21


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("header", [False, True])
@pytest.mark.parametrize("layout", [BUILD.GIGADB, BUILD.AWS])
def test_the_layout_does_not_matter(tmp_path, slides, layout, packed, header):
    copy = camelyon16.find_slides(BUILD.write(tmp_path / "x", layout, packed, header))
    assert copy.slides["name"].tolist() == slides.case.tolist()
    for name, label, exhaustive in copy.slides[["name", "label", "exhaustive"]].itertuples(index=False):
        row = slides.case.tolist().index(name)
        assert (label, exhaustive) == (slides.target[row], slides.about["exhaustive"][row])
        width, height = BUILD.TRAINING.get(name) or BUILD.TESTING.get(name) or (0, 0)
        assert asap.mask(copy.annotation(name), BUILD.WIDTH, BUILD.HEIGHT, 1).sum() == width * height
    assert camelyon16.cases(copy.path, Cut((SIDE, SIDE))).fingerprint == slides.fingerprint


def test_names_are_known_in_any_case(good):
    for old, new in (
        ("training/tumor/tumor_001.tif", "training/tumor/Tumor_001.TIF"),
        ("training/lesion_annotations/tumor_001.xml", "training/lesion_annotations/Tumor_001.XML"),
        ("testing/evaluation/evaluation_masks/test_001_mask.tif", "testing/evaluation/Test_001_Mask.tif"),
        ("testing/reference.csv", "testing/Reference.csv"),
    ):
        (good / old).rename(good / new)
    (good / "testing/Reference.csv").write_text("Test_001.tif,TUMOR\nTEST_002, normal \ntest_114,micro,ILC\n\n")
    copy = camelyon16.find_slides(good)
    assert copy.slides["name"].tolist() == camelyon16.find_slides(good).slides["name"].tolist()
    assert copy.slide("tumor_001")["slide"].name == "Tumor_001.TIF" and len(copy.annotation("tumor_001").tumour) == 1
    assert copy.slide("test_001")["mask"].name == "Test_001_Mask.tif" and copy.slide("test_114")["label"] == 1


def test_folders_behind_links_are_read_and_hidden_ones_are_not(good, tmp_path, slides):
    shutil.move(good / "training/tumor", tmp_path / "another-disk")
    (good / "training/tumor").symlink_to(tmp_path / "another-disk")
    (good / ".trash").mkdir()
    shutil.copy(good / "training/normal/normal_001.tif", good / ".trash/normal_001.tif")
    (good / "training/normal/._normal_001.tif").write_bytes(b"of an unpacker")
    assert camelyon16.find_slides(good).slides["name"].tolist() == slides.case.tolist()


def test_unpacked_annotations_come_before_those_in_a_zip_file(good):
    packed = BUILD.write(good.parent / "packed", packed=True)
    shutil.copy(packed / "training/lesion_annotations.zip", good / "training/lesion_annotations.zip")
    copy = camelyon16.find_slides(good)
    assert copy.slide("tumor_001")["annotation"] == good / "training/lesion_annotations/tumor_001.xml"


def test_another_test_set_in_its_folder_is_a_split_of_its_own(good):
    another = good / "independent"
    (another / "lesion_annotations").mkdir(parents=True)
    for name, of in (("a-17", "test_001"), ("tumor_5", "test_002")):  # whatever its name says, the list decides
        (another / "images").mkdir(exist_ok=True)
        shutil.copy(good / f"testing/images/{of}.tif", another / "images" / f"{name}.tif")
    (another / "lesion_annotations/a-17.xml").write_text(BUILD.outline("test_001"))
    (another / "reference.csv").write_text("image,type\na-17.tif,micro\ntumor_5,Normal\n")
    cases = camelyon16.cases(good, Cut((SIDE, SIDE)))
    there = cases.indices("independent")
    assert cases.case[there].tolist() == ["a-17", "tumor_5"] and cases.target[there].tolist() == [1, 0]
    assert cases.about["scored"][there].all() and len(cases.indices("test")) == 3
    copy = camelyon16.find_slides(good)
    assert np.array_equal(lesion_mask(copy, "a-17"), lesion_mask(copy, "test_001"))
    (another / "reference.csv").unlink()
    with pytest.raises(DataError, match=r"a-17\.tif: no reference\.csv says"):
        camelyon16.find_slides(good)


def test_half_a_copy_can_be_used_and_the_check_says_what_it_lacks(good, monkeypatch):
    whole = camelyon16.check_copy(good)
    assert whole["counts"] == {"normal": 3, "tumor": 3, "test": 3, "independent": 0} and not whole["complete"]
    assert whole["lacks"] == [
        "normal has 3 slides, published are 159", "tumor has 3 slides, published are 111",
        "test has 3 slides, published are 129",
    ]  # fmt: skip
    monkeypatch.setattr(camelyon16, "PUBLISHED", {"normal": 3, "tumor": 3, "test": 3})
    assert camelyon16.check_copy(good)["complete"]
    for name in ("testing/images/test_001.tif", "testing/images/test_002.tif"):
        (good / name).unlink()
    (good / "testing/lesion_annotations/test_114.xml").write_text("cut sho")
    slide = good / "training/tumor/tumor_002.tif"
    slide.write_bytes(slide.read_bytes()[:1000])
    assert len(camelyon16.find_slides(good).slides) == 7
    lacks = camelyon16.check_copy(good)["lacks"]
    assert lacks[0] == "test has 1 slides, published are 3"
    assert lacks[1] == "2 slides that the reference.csv of test lists are absent: test_001 ..."
    assert len(lacks) == 4 and "tumor_002.tif" in lacks[2] and "test_114.xml: cannot be read as plain XML" in lacks[3]


def test_a_copy_without_slides_is_not_complete(tmp_path):
    assert "no slide such as" in camelyon16.check_copy(tmp_path)["lacks"][0]


def test_training_slides_of_either_label_give_the_same_share_to_validation(slides, tmp_path):
    assert len(slides.indices("test")) == 3
    for label in (0, 1):
        assert sorted(slides.split[(slides.target == label) & (slides.split != "test")]) == ["train", "train", "val"]
    assert np.array_equal(slides.case, slides.group) and slides.target.dtype == np.int64 and slides.truth is None


def test_a_copy_with_too_few_slides_to_validate_says_so(good):
    for n in (1, 2):
        (good / f"training/normal/normal_00{n}.tif").unlink()
    with pytest.raises(DataError, match="normal slides are too few for 1 for val"):
        camelyon16.cases(good, Cut((SIDE, SIDE)))


def test_overviews_show_the_whole_slide_averaged_with_white_beside_it(slides):
    assert slides.images.shape == (9, SIDE, SIDE, 3) and slides.images.dtype == np.uint8
    block = BUILD.WIDTH // SIDE
    for name, image in zip(slides.case, slides.images, strict=True):
        whole = BUILD.image(name).reshape(BUILD.HEIGHT // block, block, SIDE, block, 3).mean(axis=(1, 3))
        assert np.abs(image[: len(whole)] - whole).max() <= 2.5  # three levels round down
        assert (image[len(whole) :] == 255).all()
    assert slides.about[["width", "height"]].drop_duplicates().to_numpy().tolist() == [[BUILD.WIDTH, BUILD.HEIGHT]]
    assert slides.about["mpp"].to_numpy() == pytest.approx(BUILD.MPP)
    assert [os.path.basename(file)[:-4] for file in slides.about["slide"]] == slides.case.tolist()


@pytest.mark.parametrize("side", [17, 100, 448, 600])
def test_overviews_keep_the_mean_at_any_size_and_are_never_enlarged(pristine, side):
    with open_slide(pristine / "training/tumor/tumor_001.tif") as slide:
        image = camelyon16.overview(slide, side)
    shown = (image != 255).any(axis=2)
    width, height = min(side, BUILD.WIDTH), round(min(side, BUILD.WIDTH) * BUILD.HEIGHT / BUILD.WIDTH)
    assert shown[:height, :width].all() and not shown[height:].any() and not shown[:, width:].any()
    assert image[:height, :width].mean() == pytest.approx(BUILD.image("tumor_001").mean(), abs=3)
    if side >= BUILD.WIDTH:
        assert np.array_equal(image[:height, :width], BUILD.image("tumor_001"))


def test_a_slide_that_does_not_say_its_resolution_has_none(good):
    file = good / "testing/images/test_002.tif"
    BUILD.save(file, BUILD.halves(BUILD.image("test_002")), resolution=None, resolutionunit=None)
    cases = camelyon16.cases(good, Cut((SIDE, SIDE)))
    assert np.isnan(cases.about["mpp"]).tolist() == [name == "test_002" for name in cases.case]


@pytest.mark.parametrize("size", [(56, 28), (4, 56, 56)])
def test_an_overview_is_square(pristine, size):
    with pytest.raises(ValueError, match="an overview is a square"):
        camelyon16.cases(pristine, Cut(size))


@pytest.mark.parametrize("what", ["slide", "annotation", "label", "mask"])
def test_the_fingerprint_tells_contents_apart_and_nothing_else(good, slides, what):
    for path in good.rglob("*"):
        os.utime(path, (0, 0))
    (good / "README.md").write_text("of mine")
    assert camelyon16.cases(good, Cut((SIDE, SIDE))).fingerprint == slides.fingerprint
    assert camelyon16.cases(good, Cut((SIDE // 2,) * 2)).fingerprint != slides.fingerprint
    if what == "slide":
        with (good / "training/tumor/tumor_001.tif").open("ab") as stream:
            stream.write(b"\0")
    elif what == "annotation":
        (good / "testing/lesion_annotations/test_001.xml").write_text(BUILD.outline("test_114"))
    elif what == "label":
        reference = good / "testing/reference.csv"
        reference.write_text(reference.read_text().replace("test_002,normal", "test_002,micro"))
    else:
        BUILD.save(good / BUILD.MASK, BUILD.masks("test_114"))
    assert camelyon16.cases(good, Cut((SIDE, SIDE))).fingerprint != slides.fingerprint


@pytest.mark.parametrize("downsample, level", [(1, 0), (4, 2), (8, 3)])
def test_lesions_come_from_the_mask_or_else_from_the_outline(good, downsample, level):
    copy = camelyon16.find_slides(good)
    expected = BUILD.lesion("test_001", 255, level)
    from_mask = lesion_mask(copy, "test_001", downsample)
    assert from_mask.dtype == np.uint8 and np.array_equal(from_mask, expected)
    (good / BUILD.MASK).unlink()
    assert np.array_equal(lesion_mask(camelyon16.find_slides(good), "test_001", downsample), expected)
    assert np.array_equal(lesion_mask(copy, "tumor_001", downsample), BUILD.lesion("tumor_001", 255, level))


def test_a_downsample_that_the_slide_lacks_is_drawn_at_its_own_size(good):
    (good / BUILD.MASK).unlink()
    mask = lesion_mask(camelyon16.find_slides(good), "test_001", 32)  # the slide ends at 8
    assert mask.shape == (10, 14) and np.array_equal(mask, BUILD.lesion("test_001", 255, 5))


def test_outlines_are_not_stretched_by_a_pyramid_that_drops_odd_pixels(pristine):
    levels = (Level(451, 323, 1.0), Level(112, 80, 4.039))  # OpenSlide's is the mean of the ratios of the sides
    slide, copy = SimpleNamespace(levels=levels, at=lambda downsample: 1), camelyon16.find_slides(pristine)
    stretched = asap.mask(copy.annotation("tumor_001"), 112, 80, 4.039) * 255
    expected = BUILD.lesion("tumor_001", 255, 2)
    assert np.array_equal(camelyon16.lesion_mask(copy, "tumor_001", slide, 4), expected)
    assert not np.array_equal(stretched, expected)


@pytest.mark.parametrize("value, other", [(255, 0), (1, 0), (2, 0), (2, 1), (255, 1), (255, 2)])
def test_tumour_is_the_highest_of_the_official_values(good, value, other):
    masks = [np.where(mask == 0, other, mask).astype(np.uint8) for mask in BUILD.masks("test_001", value)]
    for mask in masks:
        mask[:3] = 0
    BUILD.save(good / BUILD.MASK, masks)
    assert np.array_equal(lesion_mask(camelyon16.find_slides(good), "test_001"), BUILD.lesion("test_001", 255, 2))


@pytest.mark.parametrize("change", [lambda mask: mask[:-1, :-1], lambda mask: np.pad(mask, ((0, 1), (0, 1)))])
def test_a_mask_a_pixel_smaller_or_larger_is_filled_or_cut_to_the_slides_size(good, change):
    BUILD.save(good / BUILD.MASK, [change(mask) for mask in BUILD.masks("test_001")])
    assert np.array_equal(lesion_mask(camelyon16.find_slides(good), "test_001"), BUILD.lesion("test_001", 255, 2))


def test_tiles_of_a_mask_that_are_not_stored_hold_no_tumour(good):
    import imagecodecs
    import tifffile

    mask = BUILD.lesion("test_001", 2, 2)
    tiles = [np.pad(mask, ((0, 48), (0, 16)))[y : y + 64, x : x + 64] for y in (0, 64) for x in (0, 64)]
    encoded = [imagecodecs.zlib_encode(np.ascontiguousarray(tile)) if tile.any() else b"" for tile in tiles]
    assert b"" in encoded
    options = {"photometric": "minisblack", "compression": "deflate", "tile": (64, 64), "metadata": None}
    with tifffile.TiffWriter(good / BUILD.MASK) as tif:
        tif.write(iter(encoded), shape=mask.shape, dtype=np.uint8, **options)
    assert np.array_equal(lesion_mask(camelyon16.find_slides(good), "test_001"), mask // 2 * 255)


def test_a_normal_slide_has_no_lesions(good):
    tissue = good / BUILD.MASK.replace("test_001", "test_002")
    BUILD.save(tissue, [0 * mask + 1 for mask in BUILD.masks("test_002")])  # 1 is tissue in masks of normal slides
    copy = camelyon16.find_slides(good)
    for name in ("test_002", "normal_001"):
        mask = lesion_mask(copy, name)
        assert mask.shape == (BUILD.HEIGHT // 4, BUILD.WIDTH // 4) and not mask.any()


@pytest.mark.parametrize("name", BUILD.MASKS)
def test_a_mask_that_is_wrong_is_named_with_its_fault(good, name):
    change, words = BUILD.MASKS[name]
    change(good / BUILD.MASK)
    copy = camelyon16.find_slides(good)
    with pytest.raises(DataError) as error:
        lesion_mask(copy, "test_001")
    message = str(error.value)
    assert message.startswith(str(good / BUILD.MASK)) and "\n" not in message
    for word in words:
        assert word in message


def test_a_test_slide_with_tumour_that_nothing_outlines_is_an_error_once_it_is_asked_for(good):
    (good / BUILD.MASK).unlink()
    (good / "testing/lesion_annotations/test_001.xml").unlink()
    copy = camelyon16.find_slides(good)
    with pytest.raises(DataError, match=r"test_001\.tif: has tumour, but test_001\.xml is absent"):
        lesion_mask(copy, "test_001")
    assert any("test_001.xml is absent" in sentence for sentence in camelyon16.check_copy(good)["lacks"])


def test_an_outline_without_tumour_of_a_slide_with_tumour_is_an_error(good):
    (good / "training/lesion_annotations/tumor_001.xml").write_text(BUILD.xml(BUILD.polygon(BUILD.SQUARE, "_2")))
    copy = camelyon16.find_slides(good)
    with pytest.raises(DataError, match=r"tumor_001\.xml: outlines no tumour"):
        copy.annotation("tumor_001")
    assert copy.annotation("normal_001").tumour == ()


@pytest.mark.parametrize("name", BUILD.FOLDERS)
def test_what_is_wrong_is_named_with_file_and_value(good, name):
    change, words, file = BUILD.FOLDERS[name]
    change(good)
    with pytest.raises(DataError) as error:
        camelyon16.find_slides(good)
    message = str(error.value)
    assert message.startswith(str(good)) and file in message and "\n" not in message
    for word in words:
        assert word in message


def test_an_absent_folder_is_named(tmp_path):
    with pytest.raises(DataError, match="nowhere: no such folder; name the one that holds training"):
        camelyon16.find_slides(tmp_path / "nowhere")


@pytest.mark.parametrize("layout", [BUILD.GIGADB, BUILD.AWS])
def test_both_layouts_are_found_under_any_name_and_other_folders_are_not(tmp_path, layout):
    for folder in ("another-set/images", "another-set/annotations", "wmh/training/Utrecht"):
        (tmp_path / folder).mkdir(parents=True)
    with pytest.raises(DataError, match="data set 'camelyon16' is not under .*gigadb"):
        registry.find("camelyon16", tmp_path)
    folder = BUILD.write(tmp_path / "slides-of-mine", layout)
    assert registry.find("camelyon16", tmp_path) == folder
    half = tmp_path / "root" / "camelyon16" / ("images" if layout == BUILD.AWS else "testing")
    half.mkdir(parents=True)
    assert registry.find("camelyon16", tmp_path / "root") == half.parent


def test_the_real_test_slides_have_the_published_lesions():
    """226 lesions are scored, as sensitivities in issue 54 of baidu-research/NCRF say, which are k / 226."""
    try:
        folder = registry.find("camelyon16", paths.data_root())
    except FewscansError:
        pytest.skip("no copy of camelyon16 under FEWSCANS_DATA_ROOT or params.yaml's data_root")
    copy = camelyon16.find_slides(folder)
    test = copy.slides[copy.slides["split"] == "test"]
    if len(test) < camelyon16.PUBLISHED["test"]:
        pytest.skip(f"{folder} has {len(test)} of {camelyon16.PUBLISHED['test']} test slides")
    scored = test["name"][test["scored"] & (test["label"] == 1)]
    found = [lesions.label(lesion_mask(copy, name, 32), 0.243 * 32) for name in scored]
    assert test["label"].sum() == 49 and sum((~of_slide.itc).sum() for of_slide in found) == 226
