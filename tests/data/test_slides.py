"""A block of a slide is what OpenSlide reads there, whatever the file; a damaged tile is one clear error."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import imagecodecs
import numpy as np
import openslide
import pytest
import tifffile
from PIL import Image

from fewscans import paths
from fewscans.data.formats.slides import open_slide
from fewscans.errors import DataError

APERIO = "Aperio Image Library v12\r\n700x500 |MPP = 0.5"
TILE = 128


def picture(height=500, width=700, seed=0):
    """Coloured squares with some noise: an error of one pixel or of colour shows."""
    rng = np.random.default_rng(seed)
    squares = rng.integers(40, 250, (height // 16 + 1, width // 16 + 1, 3)).astype(float)
    large = squares.repeat(16, axis=0).repeat(16, axis=1)[:height, :width]
    return np.clip(large + rng.normal(0, 3, large.shape), 0, 255).astype(np.uint8)


def halves(image, count=3):
    """A pyramid by floor halving; odd sides make downsamples that are no whole numbers."""
    levels = [image]
    for _ in range(count - 1):
        height, width = (side // 2 for side in levels[-1].shape[:2])
        levels.append(levels[-1][: 2 * height : 2, : 2 * width : 2])
    return levels


def write(path, levels, **options):
    options = {"photometric": "rgb", "compression": "jpeg", "tile": (TILE, TILE), "metadata": None} | options
    with tifffile.TiffWriter(path) as tiff:
        for number, level in enumerate(levels):
            tiff.write(level, subfiletype=int(number > 0), **options)
    return path


def write_with_another_picture(path):
    """A second tiled picture that is no level of the first: it is not marked as reduced."""
    options = {"photometric": "rgb", "compression": "jpeg", "tile": (TILE, TILE), "metadata": None}
    with tifffile.TiffWriter(path) as tiff:
        for reduced, level in zip((0, 0, 1), (picture(), *halves(picture(600, 800, seed=1), 2)), strict=True):
            tiff.write(level, subfiletype=reduced, **options)
    return path


def tiles_of(image):
    padded = np.pad(image, ((0, -image.shape[0] % TILE), (0, -image.shape[1] % TILE), (0, 0)), "edge")
    for y in range(0, padded.shape[0], TILE):
        for x in range(0, padded.shape[1], TILE):
            yield np.ascontiguousarray(padded[y : y + TILE, x : x + TILE])


def write_encoded(path, levels, encode, missing=(), **options):
    """Tiles encoded here; those numbered in `missing` get no bytes."""
    options = {"photometric": "rgb", "tile": (TILE, TILE), "metadata": None, "dtype": "uint8"} | options
    with tifffile.TiffWriter(path) as tiff:
        for number, level in enumerate(levels):
            encoded = [b"" if n in missing else encode(tile) for n, tile in enumerate(tiles_of(level))]
            tiff.write(iter(encoded), shape=level.shape, subfiletype=int(number > 0), **options)
    return path


def jpeg(tile):
    return imagecodecs.jpeg8_encode(tile, level=90)


def segments(stream):
    """The marker segments of a JPEG before its scan, and the scan with all that follows."""
    place, head = 2, []
    while stream[place + 1] != 0xDA:
        length = 2 + int.from_bytes(stream[place + 2 : place + 4], "big")
        head.append(stream[place : place + length])
        place += length
    return head, stream[place:]


def abbreviated(tile, colour):
    """A JPEG stream without its tables and without a word about its colours, as old scanners write them."""
    head, scan = segments(imagecodecs.jpeg8_encode(tile, level=90, outcolorspace=colour, subsampling="444"))
    return b"\xff\xd8" + b"".join(part for part in head if part[1] not in (0xDB, 0xC4, 0xE0, 0xEE)) + scan


def tables(colour):
    head, _ = segments(jpeg_of(colour))
    return b"\xff\xd8" + b"".join(part for part in head if part[1] in (0xDB, 0xC4)) + b"\xff\xd9"


def jpeg_of(colour):
    return imagecodecs.jpeg8_encode(
        np.zeros((TILE, TILE, 3), np.uint8), level=90, outcolorspace=colour, subsampling="444"
    )


def jpeg2000(tile):
    return imagecodecs.jpeg2k_encode(tile, codecformat="j2k", level=0, reversible=True, mct=False)


def in_ycbcr(tile):
    red, green, blue = np.moveaxis(tile.astype(float), -1, 0)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    both = [luma, 128 + (blue - luma) / 1.772, 128 + (red - luma) / 1.402]
    return np.stack(both, axis=-1).round().clip(0, 255).astype(np.uint8)


def write_philips(path, missing=(2,)):
    """Levels padded to whole tiles; their true size is only in the XML, by way of the pixels' sizes."""

    def attribute(name, value):
        return f'<Attribute Name="{name}">{value}</Attribute>'

    def array(name, objects):
        return attribute(name, f"<Array>{objects}</Array>")

    spacings = [attribute("DICOM_PIXEL_SPACING", f"&quot;{s}&quot; &quot;{s}&quot;") for s in (0.00025, 0.0005)]
    levels = "".join(f'<DataObject ObjectType="PixelDataRepresentation">{s}</DataObject>' for s in spacings)
    image = attribute("PIM_DP_IMAGE_TYPE", "WSI") + attribute(
        "DICOM_PIXEL_SPACING", "&quot;0.00025&quot; &quot;0.00025&quot;"
    )
    image += array("PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE", levels)
    scanned = array("PIM_DP_SCANNED_IMAGES", f'<DataObject ObjectType="DPScannedImage">{image}</DataObject>')
    description = f'<?xml version="1.0" encoding="UTF-8" ?><DataObject ObjectType="DPUfsImport">{scanned}</DataObject>'
    pyramid = [picture(4 * TILE, 5 * TILE), picture(2 * TILE, 3 * TILE, seed=1)]  # 2.5 tiles wide, padded to 3
    return write_encoded(
        path, pyramid, jpeg, missing, compression=7, description=description, software="Philips DP v1.0"
    )


KINDS = {
    "generic": lambda path: write(path / "a.tif", halves(picture(), 4)),
    "another picture": lambda path: write_with_another_picture(path / "a.tif"),
    "odd sizes": lambda path: write(path / "a.tif", halves(picture(493, 701), 3)),
    "full colour": lambda path: write(path / "a.tif", [picture()], compressionargs={"level": 95}, subsampling=(1, 1)),
    "abbreviated": lambda path: write_encoded(
        path / "a.tif", [picture()], lambda tile: abbreviated(tile, "ycbcr"), compression=7, photometric="ycbcr",
        jpegtables=tables("ycbcr"),
    ),
    "missing tiles": lambda path: write_encoded(path / "a.tif", halves(picture()), jpeg, (1, 4), compression=7),
    "deflate": lambda path: write(path / "a.tif", halves(picture()), compression="deflate", predictor=True),
    "lzw": lambda path: write(path / "a.tif", halves(picture()), compression="lzw"),
    "plain": lambda path: write(path / "a.tif", halves(picture()), compression=None),
    "grey": lambda path: write(path / "a.tif", halves(picture()[..., 0]), photometric="minisblack"),
    "philips": lambda path: write_philips(path / "a.tiff"),
    "aperio": lambda path: write(path / "a.svs", halves(picture()), description=APERIO),
    "aperio, RGB": lambda path: rgb_in_jpeg(path / "a.svs"),
    "aperio, missing tiles": lambda path: write_encoded(
        path / "a.svs", halves(picture()), jpeg, (1, 4), compression=7, description=APERIO
    ),
    "aperio, JPEG 2000": lambda path: write_encoded(
        path / "a.svs", halves(picture()), jpeg2000, compression=33005, description=APERIO
    ),
    "aperio, JPEG 2000 of YCbCr": lambda path: ycbcr_in_jpeg2000(path / "a.svs"),
}  # fmt: skip
BY_OPENSLIDE = {"aperio, missing tiles", "aperio, JPEG 2000 of YCbCr"}


def rgb_in_jpeg(path):
    """As CMU-1: tables apart, samples in RGB; tifffile would write YCbCr, so its word is put right in the file."""
    write_encoded(
        path,
        [picture()],
        lambda tile: abbreviated(tile, "rgb"),
        compression=7,
        description=APERIO,
        jpegtables=tables("rgb"),
    )
    return retagged(path, "PhotometricInterpretation", 8, 2)


def ycbcr_in_jpeg2000(path):
    return write_encoded(
        path, halves(picture()), lambda tile: jpeg2000(in_ycbcr(tile)), compression=33003, description=APERIO
    )


def retagged(path, tag, field, value):
    """Overwrite two bytes of a tag's entry: its type at 2, its value at 8."""
    with tifffile.TiffFile(path) as tiff:
        place = tiff.pages[0].tags[tag].offset + field
    return overwritten(path, place, value.to_bytes(2, "little"))


def overwritten(path, place, content):
    with open(path, "r+b") as file:
        file.seek(place)
        file.write(content)
    return path


def damaged(path, tile, page=0):
    """Zeros in place of the tile's bytes."""
    with tifffile.TiffFile(path) as tiff:
        place, size = tiff.pages[page].dataoffsets[tile], tiff.pages[page].databytecounts[tile]
    return overwritten(path, place, bytes(size))


def by_openslide(path, level=0):
    """A whole level, on white."""
    with openslide.OpenSlide(path) as slide:
        image = slide.read_region((0, 0), level, slide.level_dimensions[level])
    return np.asarray(Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB"))


def whole(slide, level=0):
    return slide.read(level, 0, 0, slide.levels[level].width, slide.levels[level].height)


def tifffile_reads(slide):
    return ["_tiff" in grid.decode.__qualname__ for grid in slide._grids]


@pytest.mark.parametrize("kind", KINDS)
def test_every_level_has_openslides_size_and_pixels(tmp_path, kind):
    path = KINDS[kind](tmp_path)
    with open_slide(path) as slide, openslide.OpenSlide(path) as oracle:
        assert [(level.width, level.height) for level in slide.levels] == list(oracle.level_dimensions)
        assert [level.downsample for level in slide.levels] == list(oracle.level_downsamples)
        for level, (width, height) in enumerate(oracle.level_dimensions):
            block, expected = whole(slide, level), by_openslide(path, level)
            assert block.shape == (height, width, 3) and block.dtype == np.uint8
            assert np.array_equal(block, expected)
            assert expected.std() > 20  # something is to be seen
        assert set(tifffile_reads(slide)) == {kind not in BY_OPENSLIDE}


@pytest.mark.parametrize("kind", ["generic", "philips", "aperio, JPEG 2000 of YCbCr"])
def test_a_block_is_cut_from_the_level_and_white_beyond_it(tmp_path, kind):
    path = KINDS[kind](tmp_path)
    rng = np.random.default_rng(3)
    with open_slide(path) as slide:
        for level, size in enumerate(slide.levels):
            far = 400
            canvas = np.full((size.height + 2 * far, size.width + 2 * far, 3), 255, np.uint8)
            canvas[far:-far, far:-far] = whole(slide, level)
            for _ in range(20):
                width, height = rng.integers(1, 300, 2)
                x, y = rng.integers(-310, size.width + 80), rng.integers(-310, size.height + 80)
                expected = canvas[y + far : y + far + height, x + far : x + far + width]
                assert np.array_equal(slide.read(level, x, y, width, height), expected)


def test_a_tile_that_is_not_stored_is_white_and_nothing_else_is(tmp_path):
    with open_slide(KINDS["missing tiles"](tmp_path)) as slide:
        white = (whole(slide) == 255).all(axis=-1)
        assert white[:TILE, TILE : 2 * TILE].all() and white[:TILE, 4 * TILE : 5 * TILE].all()
        assert not white[:TILE, :TILE].any() and not white[TILE:].any()


def test_a_mask_keeps_its_two_values_where_sides_are_odd(tmp_path):
    """OpenSlide shifts and so blurs a block there, and a mask would no longer be 0 or 255."""
    mask = np.where(picture(493, 701)[..., 0] > 140, 255, 0).astype(np.uint8)
    levels = halves(mask)
    path = write(tmp_path / "mask.tif", levels, photometric="minisblack", compression="lzw")
    with open_slide(path) as slide, openslide.OpenSlide(path) as oracle:
        assert np.array_equal(slide.read(1, 150, 100, 64, 64), levels[1][100:164, 150:214, None].repeat(3, axis=2))
        place = tuple(round(n * oracle.level_downsamples[1]) for n in (150, 100))
        assert len(np.unique(np.asarray(oracle.read_region(place, 1, (64, 64)))[..., 0])) > 2


@pytest.mark.parametrize("kind", ["generic", "aperio, JPEG 2000 of YCbCr"])
def test_a_damaged_tile_is_named_and_all_others_can_still_be_read(tmp_path, kind):
    path = damaged(KINDS[kind](tmp_path), tile=8)  # 6 tiles across: column 2, row 1
    with open_slide(path) as slide:
        for _ in range(2):
            with pytest.raises(
                DataError, match="level 0, the tile in column 2, row 1 is damaged .*leave this"
            ) as error:
                slide.read(0, 0, 0, 700, 500)
            assert str(path) in str(error.value) and "\n" not in str(error.value)
            left = slide.read(0, 0, 0, 2 * TILE, 500)
            assert np.abs(left.astype(int) - picture()[:, : 2 * TILE]).mean() < 12
            assert whole(slide, 1).std() > 20


def test_a_tile_that_is_too_small_is_damaged(tmp_path):
    path = write_encoded(
        tmp_path / "a.tif", [picture()], lambda tile: jpeg(np.ascontiguousarray(tile[:64])), compression=7
    )
    with open_slide(path) as slide, pytest.raises(DataError, match="column 0, row 0 is damaged"):
        slide.read(0, 0, 0, 10, 10)


@pytest.mark.parametrize("kind", ["generic", "aperio, JPEG 2000 of YCbCr"])
def test_threads_that_share_a_slide_read_what_one_does(tmp_path, kind):
    path = KINDS[kind](tmp_path)
    with open_slide(path) as slide:
        expected = whole(slide)
    damaged(path, tile=8)
    with open_slide(path, cache_bytes=4 * 3 * TILE**2) as slide:  # 4 tiles: they are dropped all the time
        failures, start = [], threading.Barrier(4)

        def read(seed):
            start.wait()
            rng = np.random.default_rng(seed)
            for _ in range(12):
                x, y = (int(n) for n in rng.integers(0, (500, 300)))
                try:
                    block = slide.read(0, x, y, 150, 150)
                except DataError as error:
                    failures.append("column 2, row 1" in str(error))
                else:
                    assert np.array_equal(block, expected[y : y + 150, x : x + 150])

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(read, range(4)))
        assert failures and all(failures)


def test_a_tile_is_decoded_once_while_the_cache_holds_it_and_the_cache_stays_small(tmp_path, monkeypatch):
    path, decoded, plain = KINDS["generic"](tmp_path), [], imagecodecs.jpeg_decode
    monkeypatch.setattr(imagecodecs, "jpeg_decode", lambda *a, **k: decoded.append(1) or plain(*a, **k))
    with open_slide(path) as slide:
        for x in range(0, 200, 20):
            slide.read(0, x, 0, 50, 50)
        assert len(decoded) == 2
    most = 3 * 3 * TILE**2
    with open_slide(path, cache_bytes=most) as slide:
        decoded.clear()
        for _ in range(2):
            assert np.array_equal(whole(slide), by_openslide(path))
            assert slide._tile.cache_info().currsize * 3 * TILE**2 <= most
        assert len(decoded) == 2 * 24  # 6 x 4 tiles, each dropped before its next use


def test_the_pixel_size_is_that_of_the_file_or_the_one_given(tmp_path):
    def size(mpp=None, **options):
        with open_slide(write(tmp_path / "a.tif", [picture()], **options), mpp) as slide:
            return slide.mpp

    known = {"resolution": (1e4 / 0.243, 1e4 / 0.253), "resolutionunit": "CENTIMETER"}
    assert size(**known) == pytest.approx(0.248, rel=1e-6)
    assert size(0.5, **known) == 0.5 and size(0.5) == 0.5
    assert size() is None
    for wrong in (0, -1, np.nan, np.inf):
        with pytest.raises(ValueError, match="size of a pixel"):
            size(wrong)


def test_the_level_for_a_downsample_is_never_coarser_than_asked(tmp_path):
    with open_slide(KINDS["odd sizes"](tmp_path)) as slide:
        assert [round(level.downsample, 3) for level in slide.levels] == [1, 2.003, 4.007]
        asked = {1: 0, 1.9: 0, 2: 1, 2.5: 1, 3.9: 1, 4: 2, 32: 2}
        assert {downsample: slide.at(downsample) for downsample in asked} == asked


def cut_short(path):
    write(path, [picture()])
    path.write_bytes(path.read_bytes()[:-20000])


def beyond_the_end(path):
    """OpenSlide opens this one: it looks at the coarsest level alone."""
    write(path, halves(picture()))
    with tifffile.TiffFile(path) as tiff:
        place = tiff.pages[0].tags["TileOffsets"].valueoffset
    overwritten(path, place + 4 * 9, (10**6).to_bytes(4, "little"))


NO_SLIDES = {
    "absent.tif": (lambda path: None, "no such file"),
    "folder.tif": (lambda path: path.mkdir(), "is a folder"),
    "text.svs": (lambda path: path.write_text("no slide"), "cannot read it as a slide"),
    "empty.tif": (lambda path: path.write_bytes(b""), "cannot read it as a slide"),
    "picture.png": (lambda path: Image.fromarray(picture()).save(path), "cannot read it as a slide"),
    "strips.tif": (lambda path: tifffile.imwrite(path, picture(), photometric="rgb"), "convert it to a tiled TIFF"),
    "short.tif": (cut_short, "copy it again"),
    "shorter.tif": (beyond_the_end, "is cut short"),
}


@pytest.mark.parametrize("name", NO_SLIDES)
def test_what_is_no_slide_is_refused_in_a_sentence(tmp_path, name):
    make, words = NO_SLIDES[name]
    make(tmp_path / name)
    with pytest.raises(DataError) as error:
        open_slide(str(tmp_path / name))
    assert words in str(error.value) and str(tmp_path / name) in str(error.value) and "\n" not in str(error.value)


def test_a_closed_slide_cannot_be_read(tmp_path):
    with open_slide(KINDS["generic"](tmp_path)) as slide:
        slide.read(0, 0, 0, 9, 9)
    with pytest.raises(ValueError, match="closed"):  # its descriptor may be another file's by now
        slide.read(0, 0, 0, 9, 9)


def test_what_tifffile_says_of_a_tag_is_not_repeated(tmp_path, caplog):
    path = retagged(KINDS["generic"](tmp_path), "ResolutionUnit", 8, 77)
    with caplog.at_level(logging.DEBUG, "tifffile"):
        with open_slide(path) as slide:
            whole(slide)
        assert not caplog.records
        tifffile.TiffFile(path).close()
        assert caplog.records


@pytest.mark.parametrize("name", ["CMU-1-Small-Region.svs", "TCGA-CR-7395-01A-01-TS1.svs"])
def test_real_slides_have_openslides_pixels(name):
    path = paths.data_root() / "wsi-samples" / name
    if not path.is_file():
        pytest.skip("no copy of wsi-samples under FEWSCANS_DATA_ROOT or params.yaml's data_root")
    with open_slide(path) as slide:
        assert all(tifffile_reads(slide))
        assert slide.mpp == (pytest.approx(0.499) if name.startswith("CMU") else None)
        level = len(slide.levels) - 1
        assert np.abs(whole(slide, level).astype(int) - by_openslide(path, level)).max() <= (level and 2)
