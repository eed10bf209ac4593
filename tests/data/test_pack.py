"""Packing takes each patch once, with its own label, and stops at anything that is not what the source publishes."""

import hashlib
import zipfile
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from fewscans import cli
from fewscans.data import luna16_patches, pack_luna16_patches, registry
from fewscans.data.pack_luna16_patches import CANDIDATES, COLUMNS, CUT_BY_BORDER, npz_bytes, pack
from fewscans.errors import DataError

CLASSES = [0, 1, 0, 1, 1, 0, 0, 1]
GREYS = {"train": {5: 200, 1: 0, 10: 99}, "val": {3: 255}, "test": {2: 17, 7: 128}}  # the left half is lossless
ROWS = 12


def csv_text(classes, columns=COLUMNS):
    lines = [",".join(columns)]
    lines += [",".join({"seriesuid": "1.3.6", "class": str(c)}.get(name, "-1.5") for name in columns) for c in classes]
    return "\n".join(lines) + "\n"


def write_jpeg(path, pixels, mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).convert(mode).save(path, "JPEG", quality=95)
    return path


def grey(value, shape=(50, 50)):
    """One value, and on the right another, from a block of JPEG's on: both are lossless."""
    pixels = np.full(shape, value, np.uint8)
    pixels[:, 24:] = 255 - value
    return pixels


@pytest.fixture
def source(tmp_path):
    """A clone's src/data of six patches, with a rotated copy or two, and its list of twelve candidates."""
    images, candidates = tmp_path / "src" / "data", tmp_path / "candidates.csv"
    for split, patches in GREYS.items():
        for row, value in patches.items():
            write_jpeg(images / split / f"image_{row}.jpg", grey(value))
    for number in (1_000_001, 2_000_001):
        write_jpeg(images / "train" / f"image_{number}.jpg", grey(77))
    (images / "train" / ".DS_Store").write_bytes(b"\0")
    (images / "train" / "._image_4.jpg").write_bytes(b"\0")
    (images / "trainlabels.p").write_bytes(b"never opened")
    candidates.write_text(csv_text([*CLASSES, 0, 0, 1, 0]))
    return images, candidates


@pytest.fixture
def refused(source, tmp_path):
    """Packing fails, leaves nothing, and says all these words."""

    def check(*words, rows=ROWS):
        with pytest.raises(DataError) as error:
            pack(*source, tmp_path / "out", rows=rows)
        for word in words:
            assert word in str(error.value)
        assert not (tmp_path / "out").exists()

    return check


def test_each_patch_is_packed_once_in_the_order_of_rows_with_its_class(source, tmp_path):
    path = pack(*source, tmp_path / "out", rows=ROWS)
    assert path == tmp_path / "out" / luna16_patches.FILE
    classes = [*CLASSES, 0, 0, 1, 0]
    with np.load(path) as packed:
        assert tuple(packed.files) == luna16_patches.KEYS
        for split, patches in GREYS.items():
            images, labels, rows = (packed[f"{split}_{part}"] for part in ("images", "labels", "candidate_row"))
            assert (images.dtype, labels.dtype, rows.dtype) == (np.uint8, np.uint8, np.int64)
            assert rows.tolist() == sorted(patches)
            assert labels.tolist() == [[classes[row]] for row in sorted(patches)]
            assert np.array_equal(images, np.stack([grey(patches[row]) for row in sorted(patches)]))


def test_the_packed_file_is_what_the_reader_reads_pixel_for_pixel_up_to_jpeg(tmp_path, builders):
    expected, classes = builders.arrays(), np.zeros(60_100, int)
    ramp = np.add.outer(np.arange(50), 2 * np.arange(50))  # y and x differ, so a transposed patch is caught
    for split in builders.SPLITS:
        rows = expected[f"{split}_candidate_row"]
        classes[rows] = expected[f"{split}_labels"][:, 0]
        for row in rows.tolist():
            write_jpeg(tmp_path / split / f"image_{row}.jpg", ramp + row % 100)
    (tmp_path / "candidates.csv").write_text(csv_text(classes))
    patches = luna16_patches.read(pack(tmp_path, tmp_path / "candidates.csv", tmp_path / "out", rows=60_100))
    every = patches.about["candidate_row"].to_numpy()
    assert np.array_equal(patches.target, classes[every])
    for split in builders.SPLITS:
        rows = every[patches.indices(split, repository=True)]
        assert rows.tolist() == sorted(expected[f"{split}_candidate_row"].tolist())
    wanted = ramp + every[:, None, None] % 100
    assert np.abs(patches.images.astype(int) - wanted).max() <= 4
    assert np.abs(patches.images.astype(int) - wanted.transpose(0, 2, 1)).max() > 4


def test_equal_sources_give_equal_bytes_whenever_they_are_packed(source, tmp_path):
    first = pack(*source, tmp_path / "a", rows=ROWS)
    for file in source[0].rglob("*.jpg"):
        content = file.read_bytes()
        file.unlink()
        file.write_bytes(content)  # another date, another order in the folder
    assert pack(*source, tmp_path / "b", rows=ROWS).read_bytes() == first.read_bytes()
    with zipfile.ZipFile(first) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_packing_again_changes_nothing_and_another_copy_is_not_overwritten(source, tmp_path):
    path = pack(*source, tmp_path / "out", rows=ROWS)
    assert pack(*source, tmp_path / "out", rows=ROWS) == path
    path.write_bytes(b"mine")
    with pytest.raises(DataError, match="another copy is there already.*--out"):
        pack(*source, tmp_path / "out", rows=ROWS)
    assert path.read_bytes() == b"mine" and [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_folder_that_cannot_be_written_is_named(source, tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(DataError, match="cannot be written.*--out"):
        pack(*source, tmp_path / "out", rows=ROWS)


def test_the_patch_cut_by_the_border_is_left_out_and_no_other_of_that_size(source, refused, tmp_path, monkeypatch):
    monkeypatch.setattr(pack_luna16_patches, "CUT_BY_BORDER", frozenset({8}))  # as 393,762 is in the whole list
    cut = write_jpeg(source[0] / "train" / "image_8.jpg", grey(9, (50, 38)))
    with np.load(pack(*source, tmp_path / "with", rows=ROWS)) as packed:
        assert packed["train_candidate_row"].tolist() == [1, 5, 10]
    cut.rename(cut.with_name("image_9.jpg"))
    refused("image_9.jpg: 38x50 pixels", "50x50")


@pytest.mark.parametrize("missing", ["val", ""])
def test_a_missing_folder_is_named_with_where_to_get_it(source, refused, missing):
    folder = source[0] / missing
    folder.rename(folder.with_name("elsewhere"))
    first = source[0] / (missing or "train")
    refused(f"{first}: no such folder", "swethasubramanian/LungCancerDetection", "src/data")


def test_a_folder_of_rotated_copies_alone_has_no_images(source, refused):
    for row in GREYS["train"]:
        (source[0] / "train" / f"image_{row}.jpg").unlink()
    refused(str(source[0] / "train"), "no images")


def test_a_missing_list_is_named_with_where_to_get_it(source, refused):
    source[1].unlink()
    refused("candidates.csv: no such file", "luna16.grand-challenge.org")


@pytest.mark.parametrize("column", COLUMNS)
def test_a_missing_column_is_named(source, refused, column):
    source[1].write_text(csv_text(CLASSES, [name for name in COLUMNS if name != column]))
    refused("candidates.csv", f"column '{column}' is missing", "seriesuid, coordX, coordY, coordZ, class")


def test_an_empty_list_has_no_columns(source, refused):
    source[1].write_text("")
    refused("candidates.csv: cannot be read as CSV", "seriesuid, coordX, coordY, coordZ, class")


@pytest.mark.parametrize("change", [-1, 1])
def test_a_list_with_another_number_of_rows_is_another_list(source, refused, change):
    refused("candidates.csv: 12 candidates", f"must be {ROWS + change}", "not candidates_V2.csv", rows=ROWS + change)


@pytest.mark.parametrize("value", ["2", "", "1.0", "nodule", "-1"])
def test_a_class_other_than_0_and_1_is_named_with_its_line(source, refused, value):
    source[1].write_text(csv_text([*CLASSES, value, 0, 1, 0]))
    refused(f"candidates.csv: class '{value}' in line 10", "0 (no nodule) or 1 (nodule)")


def test_a_line_cut_short_has_no_class(source, refused):
    source[1].write_text(csv_text(CLASSES) + "1.3.6,-1.5")
    refused("class '' in line 10")


@pytest.mark.parametrize("content", [b"\xff\xfe\x00\xd8", b'seriesuid,coordX,coordY,coordZ,class\n"1.3'])
def test_a_list_that_is_no_table_is_named(source, refused, content):
    source[1].write_bytes(content)
    refused("candidates.csv: cannot be read as CSV")


@pytest.mark.parametrize("number", [12, 999_999, 1_000_012, 3_000_001])
def test_a_patch_whose_row_the_list_lacks_is_named(source, refused, number):
    write_jpeg(source[0] / "test" / f"image_{number}.jpg", grey(1))
    refused(f"image_{number}.jpg", f"no row {number:,}", "only 12 from 0")


def test_a_list_in_another_order_is_noticed_by_the_copies_of_nodules(source, refused):
    write_jpeg(source[0] / "train" / "image_1000005.jpg", grey(1))
    refused("image_1000005.jpg", "row 5 of", "class 0", "another order")


@pytest.mark.parametrize("name", ["image_4 (1).jpg", "image_04.jpg", "image_4.JPG", "image_-4.jpg", "patch.jpeg"])
def test_an_image_that_names_no_row_is_not_passed_over(source, refused, name):
    write_jpeg(source[0] / "val" / name, grey(1))
    refused(name, "image_<row>.jpg")


def test_a_row_in_two_splits_is_named_with_both_files(source, refused):
    write_jpeg(source[0] / "test" / "image_3.jpg", grey(255))
    refused(str(source[0] / "test" / "image_3.jpg"), str(source[0] / "val" / "image_3.jpg"), "one split only")


def test_a_colour_image_is_named(source, refused):
    write_jpeg(source[0] / "val" / "image_3.jpg", grey(1), mode="RGB")
    refused("image_3.jpg: colours (RGB)", "8-bit grey")


@pytest.mark.parametrize("shape", [(50, 49), (100, 50), (1, 1)])
def test_a_patch_of_another_size_is_named_with_its_size(source, refused, shape):
    write_jpeg(source[0] / "val" / "image_3.jpg", grey(1, shape))
    refused(f"image_3.jpg: {shape[1]}x{shape[0]} pixels", "50x50")


@pytest.mark.parametrize("kind", ["empty", "text", "header", "half", "png"])
def test_a_file_that_is_no_whole_jpeg_is_named(source, refused, kind):
    file = write_jpeg(source[0] / "val" / "image_3.jpg", np.random.default_rng(0).integers(0, 256, (50, 50)))
    whole, png = file.read_bytes(), BytesIO()
    Image.fromarray(grey(1)).save(png, "PNG")
    content = {"empty": b"", "text": b"version 1", "header": whole[:40], "half": whole[: len(whole) // 2]}
    file.write_bytes((content | {"png": png.getvalue()})[kind])
    refused("image_3.jpg: not a JPEG, or cut short", "git checkout")


def test_the_command_packs_into_the_data_root_where_the_set_is_then_found(source, tmp_path, monkeypatch):
    images, candidates = source
    candidates.write_text(csv_text([*CLASSES, 0, 0, 1, 0]) + "1.3.6,0,0,0,0\n" * (CANDIDATES - ROWS))
    monkeypatch.setenv("FEWSCANS_DATA_ROOT", str(tmp_path / "sets"))
    command = ["data", "pack", "luna16-patches", "--images", str(images), "--candidates", str(candidates)]
    result = CliRunner().invoke(cli.app, command, catch_exceptions=False)
    assert result.exit_code == 0 and "fewscans data verify luna16-patches" in result.output
    found = registry.find("luna16-patches", tmp_path / "sets")
    assert found == tmp_path / "sets" / "luna16-patches" / luna16_patches.FILE
    CliRunner().invoke(cli.app, [*command, "--out", str(tmp_path / "here")], catch_exceptions=False)
    assert (tmp_path / "here" / luna16_patches.FILE).read_bytes() == found.read_bytes()


def test_the_command_knows_what_it_can_pack(tmp_path):
    command = ["data", "pack", "luna17", "--images", str(tmp_path), "--candidates", str(tmp_path / "candidates.csv")]
    with pytest.raises(DataError, match="no packing of 'luna17'; there is one of luna16-patches"):
        CliRunner().invoke(cli.app, command, catch_exceptions=False)


def test_the_published_copy_is_as_packing_makes_it(real_patches):
    """Rows, splits and order are what packing relies on; and, where zlib compresses alike, the very bytes."""
    with np.load(real_patches.path) as npz:
        arrays = {key: npz[key] for key in npz.files}
    assert tuple(arrays) == luna16_patches.KEYS
    rows = [arrays[f"{split}_candidate_row"] for split in luna16_patches.REPOSITORY_SPLITS]
    assert [len(part) for part in rows] == [5186, 1297, 1622]
    assert all((np.diff(part) > 0).all() for part in rows)
    assert max(part.max() for part in rows) < CANDIDATES
    assert not CUT_BY_BORDER & set(np.concatenate(rows).tolist())
    assert [int(arrays[f"{split}_labels"].sum()) for split in luna16_patches.REPOSITORY_SPLITS] == [845, 224, 282]
    plain = BytesIO()
    np.lib.format.write_array(plain, arrays["train_candidate_row"])
    deflate = zlib.compressobj(-1, zlib.DEFLATED, -15)
    if deflate.compress(plain.getvalue()) + deflate.flush() not in real_patches.path.read_bytes():
        pytest.skip("this build of zlib compresses otherwise than the one that packed the published copy")
    assert hashlib.sha256(npz_bytes(arrays)).hexdigest() == registry.dataset("luna16-patches").sha256
