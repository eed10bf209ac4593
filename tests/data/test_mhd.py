"""MetaImage: what ITK reads from our files, what we read from ITK's, and what is refused in a sentence."""

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewscans.data.formats import mhd
from fewscans.errors import DataError

from .conftest import load_builders

BUILD = load_builders("luna16")
SPACING, OFFSET = (0.703125, 0.66, 1.25), (-171.3, 12.625, -310.10001)
EVERY_DIRECTION = pytest.mark.parametrize("direction", BUILD.DIRECTIONS.values(), ids=list(BUILD.DIRECTIONS))


@pytest.fixture
def array():
    return np.random.default_rng(0).integers(-1024, 3071, (5, 7, 6)).astype(np.int16)


@pytest.fixture
def good(tmp_path, array):
    mhd.write(tmp_path / "1.2.840.1.mhd", array, SPACING, OFFSET)
    return tmp_path / "1.2.840.1.mhd"


def replaced(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return path


@EVERY_DIRECTION
def test_what_is_written_reads_back_with_the_same_voxels_and_geometry(tmp_path, array, direction):
    mhd.write(tmp_path / "a.mhd", array, SPACING, OFFSET, direction)
    volume = mhd.read(tmp_path / "a.mhd")
    assert np.array_equal(volume.array, array) and volume.array.dtype == np.int16
    assert isinstance(volume.array, np.memmap) and not volume.array.flags.writeable
    assert np.array_equal(volume.header.spacing_mm, SPACING) and np.array_equal(volume.header.offset_mm, OFFSET)
    assert np.array_equal(volume.header.direction, direction)
    assert volume.header.dim_size_xyz == (6, 7, 5)


@EVERY_DIRECTION
def test_simpleitk_sees_our_files_where_we_do(sitk, tmp_path, array, direction):
    mhd.write(tmp_path / "1.2.840.1.mhd", array, SPACING, OFFSET, direction)
    image = sitk.ReadImage(str(tmp_path / "1.2.840.1.mhd"))
    assert np.array_equal(sitk.GetArrayFromImage(image), array)
    volume = mhd.read(tmp_path / "1.2.840.1.mhd")
    voxels = np.argwhere(np.ones(array.shape))  # z y x
    places = np.array([image.TransformIndexToPhysicalPoint([int(n) for n in v[::-1]]) for v in voxels])
    assert np.allclose(volume.voxel_to_world(voxels), places, rtol=0, atol=1e-9)
    assert np.allclose(volume.world_to_voxel(places), voxels, rtol=0, atol=1e-9)
    between = places.mean(axis=0) + [0.21, -0.34, 0.4]
    expected = image.TransformPhysicalPointToContinuousIndex(between)[::-1]
    assert np.allclose(volume.world_to_voxel(between[None]), [expected], rtol=0, atol=1e-9)


@EVERY_DIRECTION
@pytest.mark.parametrize("suffix", ["mhd", "mha"])
@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "packed"])
def test_we_see_simpleitks_files_where_it_does(sitk, tmp_path, array, direction, suffix, compressed):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING), image.SetOrigin(OFFSET), image.SetDirection(direction.ravel().tolist())
    sitk.WriteImage(image, str(tmp_path / f"a.{suffix}"), compressed)
    volume = mhd.read(tmp_path / f"a.{suffix}")
    assert np.array_equal(volume.array, array)
    assert np.allclose(volume.header.direction, direction, rtol=0, atol=1e-12)
    assert np.allclose(volume.header.offset_mm, OFFSET, rtol=0, atol=1e-12)


@pytest.mark.parametrize("direction", ["identity", "flipped", "upside down", "axes exchanged", "oblique"])
def test_the_header_holds_what_simpleitk_writes(sitk, tmp_path, array, direction):
    """LUNA16's headers are ITK's: the same keys in the same order, but for what ITK adds of the file it read."""
    mhd.write(tmp_path / "ours.mhd", array, SPACING, OFFSET, BUILD.DIRECTIONS[direction])
    image = sitk.ReadImage(str(tmp_path / "ours.mhd"))
    sitk.WriteImage(image, str(tmp_path / "ours-again.mhd"))
    ours, theirs = (
        dict(line.split(" = ") for line in (tmp_path / name).read_text().splitlines() if not line.startswith("ITK_"))
        for name in ("ours.mhd", "ours-again.mhd")
    )
    assert list(ours) == list(theirs)
    assert ours["AnatomicalOrientation"] == theirs["AnatomicalOrientation"]


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [("int8", "int16"), ("uint8", "int16"), ("uint16", "int16"), ("int32", "int16"), ("uint32", "int16"),
     ("int64", "int16"), ("uint64", "int16"), ("float32", "float32"), ("float64", "float32")],
)  # fmt: skip
def test_every_element_type_that_simpleitk_writes_is_read(sitk, tmp_path, dtype, kind):
    array = np.arange(24, dtype=dtype).reshape(2, 3, 4)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "a.mhd"))
    read = mhd.read(tmp_path / "a.mhd").array
    assert read.dtype == kind and np.array_equal(read, array)


def test_integers_that_int16_cannot_hold_are_not_wrapped_around(sitk, tmp_path):
    array = np.array([0, 40000], np.uint16).reshape(1, 1, 2)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "a.mhd"))
    assert mhd.read(tmp_path / "a.mhd").array.tolist() == [[[0.0, 40000.0]]]


def test_big_endian_voxels_are_turned(good, array):
    replaced(good, "BinaryDataByteOrderMSB = False", "BinaryDataByteOrderMSB = True")
    good.with_suffix(".raw").write_bytes(array.astype(">i2").tobytes())
    assert np.array_equal(mhd.read(good).array, array)


@pytest.mark.parametrize("name", ["Offset", "Position", "Origin"])
def test_the_names_of_the_offset_are_synonyms(good, name):
    assert np.array_equal(mhd.read_header(replaced(good, "Offset", name)).offset_mm, OFFSET)


def test_a_header_without_directions_means_the_identity(good):
    line = next(line for line in good.read_text().splitlines() if line.startswith("TransformMatrix"))
    assert np.array_equal(mhd.read_header(replaced(good, line + "\n", "")).direction, np.eye(3))


@pytest.mark.parametrize("size", [17, -1])
def test_bytes_before_the_voxels_are_skipped(good, array, size):
    replaced(good, "ElementType", f"HeaderSize = {size}\nElementType")
    raw = good.with_suffix(".raw")
    raw.write_bytes(b"x" * 17 + raw.read_bytes())
    assert np.array_equal(mhd.read(good).array, array)


def test_the_same_values_give_the_same_bytes(tmp_path, array):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        mhd.write(tmp_path / name / "x.mhd", np.asfortranarray(array) if name == "b" else array, SPACING, OFFSET)
    for suffix in ("mhd", "raw"):
        assert (tmp_path / f"a/x.{suffix}").read_bytes() == (tmp_path / f"b/x.{suffix}").read_bytes()


numbers = st.floats(-1e4, 1e4, allow_subnormal=False)


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(*[st.floats(0.05, 10)] * 3), st.tuples(*[numbers] * 3), st.integers(0, 2**32 - 1),
    st.lists(st.tuples(*[st.floats(-400, 400)] * 3), min_size=1, max_size=4),
)  # fmt: skip
def test_a_place_goes_to_the_voxels_and_back_in_any_scan(tmp_path_factory, spacing, offset, seed, places):
    direction = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    path = tmp_path_factory.mktemp("scan") / "a.mhd"
    mhd.write(path, np.zeros((1, 1, 1), np.int16), spacing, offset, direction)
    header = mhd.read_header(path)
    assert np.array_equal(header.spacing_mm, spacing) and np.array_equal(header.offset_mm, offset)
    assert np.allclose(header.voxel_to_world(header.world_to_voxel(np.array(places))), places, rtol=0, atol=1e-8)
    assert np.allclose(header.voxel_to_world(np.zeros((1, 3))), [offset], rtol=0, atol=0)


REFUSED = {
    "no dimensions": ("NDims = 3\n", "", "NDims is missing"),
    "four dimensions": ("NDims = 3", "NDims = 4", "NDims = 4; a scan has 3"),
    "no size": ("DimSize = 6 7 5\n", "", "DimSize is missing"),
    "size 0": ("DimSize = 6 7 5", "DimSize = 6 0 5", "DimSize = '6 0 5'; each must be at least 1"),
    "size in words": ("DimSize = 6 7 5", "DimSize = 6 seven 5", "DimSize = '6 seven 5'; it must be 3 numbers"),
    "no offset": ("Offset = -171.3 12.625 -310.10001\n", "", "Offset is missing"),
    "offset NaN": ("Offset = -171.3", "Offset = nan", "Offset is nan 12.625 -310.10001 mm"),
    "spacing NaN": ("ElementSpacing = 0.703125", "ElementSpacing = NaN", "ElementSpacing is nan 0.66 1.25 mm"),
    "spacing infinite": ("ElementSpacing = 0.703125", "ElementSpacing = inf", "three numbers above 0"),
    "spacing 0": ("ElementSpacing = 0.703125", "ElementSpacing = 0", "ElementSpacing is 0 0.66 1.25 mm"),
    "spacing below 0": ("ElementSpacing = 0.703125", "ElementSpacing = -0.7", "ElementSpacing is -0.7"),
    "skewed": ("TransformMatrix = 1 0 0 0", "TransformMatrix = 1 0 0 0.1", "not orthonormal"),
    "stretched": ("TransformMatrix = 1 0 0", "TransformMatrix = 1.1 0 0", "not orthonormal"),
    "direction NaN": ("TransformMatrix = 1 0 0", "TransformMatrix = nan 0 0", "not orthonormal"),
    "no direction at all": ("TransformMatrix = 1 0 0 0 1 0", "TransformMatrix = 0 0 0 0 0 0", "not orthonormal"),
    "eight of nine": ("TransformMatrix = 1 0 0 ", "TransformMatrix = 1 0 ", "TransformMatrix = "),
    "no element type": ("ElementType = MET_SHORT\n", "", "ElementType is missing"),
    "unknown element type": ("MET_SHORT", "MET_COMPLEX", "ElementType = MET_COMPLEX; one of MET_CHAR"),
    "in colour": ("ElementType", "ElementNumberOfChannels = 3\nElementType", "ElementNumberOfChannels = 3; a CT"),
    "as text": ("BinaryData = True", "BinaryData = False", "BinaryData = False; voxels written as text"),
    "packed or not": ("CompressedData = False", "CompressedData = perhaps", "CompressedData = 'perhaps'"),
    "no data file": ("ElementDataFile = 1.2.840.1.raw\n", "", "ElementDataFile is missing"),
    "data file absent": ("ElementDataFile = 1.2.840.1.raw", "ElementDataFile = 2.raw", "data file 2.raw is absent"),
    "data file above": ("ElementDataFile = ", "ElementDataFile = ../", "leads out of the header's folder"),
    "data file above, hidden": ("ElementDataFile = ", "ElementDataFile = a/../../", "leads out"),
    "data file anywhere": ("ElementDataFile = ", "ElementDataFile = /etc/", "leads out of the header's folder"),
    "data file on another disk": ("ElementDataFile = ", "ElementDataFile = C:\\", "leads out"),
    "a file a slice": ("1.2.840.1.raw", "slice%03d.raw", "one file a slice"),
    "a list of files": ("ElementDataFile = 1.2.840.1.raw", "ElementDataFile = LIST", "one file a slice"),
    "a key twice": ("NDims = 3", "NDims = 3\nNDims = 3", "the key NDims stands twice"),
    "not a header": ("ObjectType = Image", "these are words", "'these are words' is not 'Key = value'"),
    "bytes before, below 0": ("ElementType", "HeaderSize = -7\nElementType", "HeaderSize = -7"),
    "dims beyond the file": ("DimSize = 6 7 5", "DimSize = 600000 700000 500000", "it is cut short"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_header_that_cannot_be_right_is_refused_in_a_sentence(good, case):
    old, new, words = REFUSED[case]
    with pytest.raises(DataError) as error:
        mhd.read(replaced(good, old, new))
    assert words in str(error.value) and str(good) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("change", [-400, -1, 1, 2])
def test_header_and_data_must_agree_in_size_to_the_byte(good, change):
    raw = good.with_suffix(".raw")
    raw.write_bytes(raw.read_bytes()[:change] if change < 0 else raw.read_bytes() + b"\0" * change)
    with pytest.raises(DataError, match="cut short" if change < 0 else "too long") as error:
        mhd.read(good)
    assert "420 bytes" in str(error.value) and f"has {420 + change}" in str(error.value)


def test_a_header_that_is_absent_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.mhd: cannot be read"):
        mhd.read(tmp_path / "nowhere.mhd")


def packed(good, content):
    good.with_suffix(".raw").unlink()
    (good.parent / "1.zraw").write_bytes(content)
    replaced(good, "CompressedData = False", "CompressedData = True")
    return replaced(good, "1.2.840.1.raw", "1.zraw")


def test_packed_voxels_are_unpacked_to_their_size_and_no_further(good, array):
    content = array.astype("<i2").tobytes()
    assert np.array_equal(mhd.read(packed(good, zlib.compress(content))).array, array)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda b: zlib.compress(b[:-2]), "unpacks to 418"),
        (lambda b: zlib.compress(b + b"\0"), "unpacks to more"),
        (lambda b: zlib.compress(b)[:-9], "unpacks to 4.., cut short"),
        (lambda b: zlib.compress(b)[:-2], "unpacks to 420, cut short"),  # all voxels, but not their checksum
        (lambda b: zlib.compress(b)[:-1] + b"x", "cannot be unpacked"),
        (lambda b: b, "cannot be unpacked"),
        (lambda b: zlib.compress(bytes(10**8)), "unpacks to more"),  # 100 MB in 97 kB: only 421 bytes are ever made
    ],
)
def test_packed_voxels_of_another_size_are_refused(good, array, content, words):
    with pytest.raises(DataError, match=words):
        mhd.read(packed(good, content(array.astype("<i2").tobytes())))


@pytest.mark.parametrize("local", [True, False])
def test_where_packed_voxels_behind_other_bytes_end_must_be_said(sitk, good, array, local):
    """Without CompressedDataSize, SimpleITK unpacks from the file's first byte on, and its voxels are noise."""
    content = zlib.compress(array.tobytes())
    packed(good, b"x" * 17 + content)
    replaced(good, *(("1.zraw", "LOCAL") if local else ("ElementType", "HeaderSize = 17\nElementType")))
    text, behind = good.read_bytes(), content if local else b""
    good.write_bytes(text + behind)
    with pytest.raises(DataError, match=r"come before its packed voxels, and CompressedDataSize is missing"):
        mhd.read(good)
    good.write_bytes(text.replace(b"ElementType", b"CompressedDataSize = %d\nElementType" % len(content)) + behind)
    assert np.array_equal(mhd.read(good).array, array)
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(good))), array)


@pytest.mark.parametrize("size", ["60 700 500", "60000 70000 50000"])
def test_a_header_that_asks_for_more_than_its_file_can_hold_gets_no_memory(good, array, size):
    packed(good, zlib.compress(array.tobytes()))
    with pytest.raises(DataError, match="cannot hold"):
        mhd.read(replaced(good, "DimSize = 6 7 5", f"DimSize = {size}"))


def test_nan_among_the_voxels_is_refused(sitk, tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(np.full((2, 2, 2), np.nan, np.float32)), str(tmp_path / "a.mhd"))
    with pytest.raises(DataError, match="NaN"):
        mhd.read(tmp_path / "a.mhd")


def test_what_no_scan_is_cannot_be_written(tmp_path, array):
    for values, words in (
        ((array.astype(float), SPACING, OFFSET), "int16"),
        ((array[0], SPACING, OFFSET), "int16"),
        ((array, (1, 0, 1), OFFSET), "ElementSpacing"),
        ((array, (1, 1), OFFSET), "ElementSpacing"),
        ((array, SPACING, (0, np.nan, 0)), "Offset"),
        ((array, SPACING, OFFSET, np.ones((3, 3))), "orthonormal"),
    ):
        with pytest.raises(DataError, match=words):
            mhd.write(tmp_path / "a.mhd", *values)
    with pytest.raises(DataError, match=r"a \.mhd is written"):
        mhd.write(tmp_path / "a.nii", array, SPACING, OFFSET)
    assert list(tmp_path.iterdir()) == []
