"""Where a copy says something twice, both must say the same, or an error names them; nothing is taken silently."""

import gzip
import json
import shutil
import struct
import zipfile

import nibabel
import numpy as np
import pandas as pd
import pytest

from fewscans.data import base, camelyon16
from fewscans.data.formats import mhd, nifti, slides
from fewscans.data.luna16_patches import JOIN, joined
from fewscans.errors import DataError

from .conftest import load_builders
from .copies import COPIES

SIZES = (0.9, 1.1, 3.0)  # x y z mm
SCAN = np.random.default_rng(0).uniform(0, 100, (5, 6, 7)).astype(np.float32)


def image(sform=None, qform=None, codes=(1, 1), **fields):
    """A file with affines of its own."""
    made = nibabel.Nifti1Image(SCAN, np.diag([*SIZES, 1]))
    made.set_sform(np.diag([*SIZES, 1]) if sform is None else sform, codes[0])
    made.set_qform(np.diag([*SIZES, 1]) if qform is None else qform, codes[1])
    made.header.set_xyzt_units("mm")
    for name, value in fields.items():
        made.header[name] = value
    return made


def written(tmp_path, made, edits=()):
    content = bytearray(made.to_bytes())
    for at, kind, *values in edits:
        struct.pack_into("<" + kind, content, at, *values)
    file = tmp_path / "a.nii.gz"
    file.write_bytes(gzip.compress(bytes(content)))
    return file


def turned(degrees, sizes=SIZES, mirrored=False):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    affine = np.eye(4)
    affine[:2, :2] = [[c, -s], [s, c]]
    affine[:3, :3] = affine[:3, :3] * sizes
    affine[:3, 0] *= -1 if mirrored else 1
    return affine


MOVED = np.diag([*SIZES, 1.0])
MOVED[:3, 3] = 7, 0, 0
NIFTI = {
    "an sform without voxel sizes": (image(np.eye(4)), [], ["1 x 1 x 1 mm", "0.9 x 1.1 x 3 mm", "pixdim"]),
    "pixdim of another voxel": (image(), [(80, "f", 1.3)], ["pixdim", "1.3 x 1.1 x 3 mm"]),
    "pixdim of another voxel, without a qform": (image(codes=(2, 0)), [(88, "f", 5.0)], ["0.9 x 1.1 x 5 mm"]),
    "left and right exchanged": (image(turned(0), turned(0, mirrored=True)), [], ["sform (RAS)", "qform (LAS)"]),
    "turned by a quarter": (image(turned(0), turned(90), (2, 1)), [], ["qform"]),
    "moved in the same world": (image(MOVED), [], ["sform", "qform", "7 mm apart"]),
    "bits of another type": (image(), [(72, "h", 16)], ["float32", "16 bits"]),
    "a unit that is none": (image(), [(123, "B", 99)], ["xyzt_units", "99"]),
    "a unit of time that is none": (image(), [(123, "B", 2 | 56)], ["xyzt_units", "58"]),
    "microns": (image(), [(123, "B", 3)], ["micron"]),
}


@pytest.mark.parametrize("case", NIFTI)
@pytest.mark.parametrize("read", [nifti.read, nifti.read_mask])
def test_statements_of_a_nifti_header_that_contradict_each_other_are_named(tmp_path, case, read):
    made, edits, words = NIFTI[case]
    file = written(tmp_path, made, edits)
    with pytest.raises(DataError) as error:
        read(file)
    assert [word for word in [str(file), *words] if word not in str(error.value)] == [], str(error.value)


@pytest.mark.parametrize("codes", [(1, 1), (2, 1), (1, 0), (0, 1), (4, 1)])
def test_statements_that_agree_but_for_their_rounding_or_are_of_other_worlds_are_read(tmp_path, codes):
    rounded = np.diag([*SIZES, 1.0]) * 1.0004
    rounded[3, 3] = 1
    moved = MOVED if codes == (4, 1) else rounded  # in a template's world
    volume = nifti.read(written(tmp_path, image(moved if codes[0] else None, codes=codes)))
    assert volume.spacing_mm == pytest.approx(SIZES[::-1], rel=1e-3)


@pytest.mark.parametrize("value", [1 - 1e-7, 1.0009])
def test_a_label_within_a_thousandth_of_a_whole_number_is_that_number(tmp_path, value):
    made = nibabel.Nifti1Image((SCAN > 50) * np.float32(value), np.diag([*SIZES, 1]))
    assert set(np.unique(nifti.read_mask(written(tmp_path, made)).array)) == {0, 1}


@pytest.mark.parametrize("value", [0.99, 1.002, 0.5])
def test_a_label_that_is_none_is_shown_with_all_its_digits(tmp_path, value):
    made = nibabel.Nifti1Image((SCAN > 50) * np.float64(value), np.diag([*SIZES, 1]))
    with pytest.raises(DataError, match=f"holds the label {value};.*round"):
        nifti.read_mask(written(tmp_path, made))


def header(tmp_path, *lines, drop=()):
    file = tmp_path / "1.2.3.mhd"
    mhd.write(file, np.arange(60, dtype=np.int16).reshape(3, 4, 5), (1, 2, 3), (7, 8, 9))
    kept = [line for line in file.read_text().splitlines() if line.partition(" = ")[0] not in drop]
    file.write_text("\n".join([*kept[:-1], *lines, kept[-1]]) + "\n")
    return file


TWICE = {
    "ElementSize = 1 2 4": ["ElementSpacing = 1 2 3", "ElementSize = 1 2 4"],
    "Origin = 0 0 0": ["Offset = 7 8 9", "Origin = 0 0 0"],
    "Position = 7 8 -9": ["Offset = 7 8 9", "Position = 7 8 -9"],
    "Orientation = 0 1 0 1 0 0 0 0 1": ["TransformMatrix = 1 0 0 0 1 0 0 0 1", "Orientation = 0 1 0"],
    "Rotation = -1 0 0 0 1 0 0 0 1": ["TransformMatrix", "Rotation = -1 0 0"],
    "ElementByteOrderMSB = True": ["BinaryDataByteOrderMSB = False", "ElementByteOrderMSB = True"],
    "ElementToIntensityFunctionSlope = 2": ["x 2 + 0"],
    "ElementToIntensityFunctionOffset = -1024": ["x 1 + -1024"],
    "Offset = 7 8 9": ["Offset stands twice"],
}


@pytest.mark.parametrize("line", TWICE)
def test_keys_of_a_metaimage_that_contradict_each_other_are_named(tmp_path, line):
    file = header(tmp_path, line)
    with pytest.raises(DataError) as error:
        mhd.read(file)
    assert [word for word in [str(file), *TWICE[line]] if word not in str(error.value)] == [], str(error.value)


@pytest.mark.parametrize(
    "lines",
    [("Position = 7 8 9.0000001", "Origin = 7 8 9"), ("ElementSize = 1 2 3",), ("ElementByteOrderMSB = False",),
     ("Orientation = 1 0 0 0 1 0 0 0 1",), ("ElementToIntensityFunctionSlope = 1",)],
)  # fmt: skip
def test_keys_of_a_metaimage_that_agree_are_read(tmp_path, lines):
    assert mhd.read(header(tmp_path, *lines)).header.offset_mm.tolist() == [7, 8, 9]


def test_the_size_of_packed_voxels_is_compared(tmp_path):
    import zlib

    file = header(tmp_path, "CompressedData = True", "CompressedDataSize = 12", drop=["CompressedData"])
    raw = file.with_suffix(".raw")
    raw.write_bytes(zlib.compress(raw.read_bytes()))
    with pytest.raises(DataError, match=r"CompressedDataSize = 12, but .* packed bytes"):
        mhd.read(file)
    file.write_text(file.read_text().replace("= 12", f"= {raw.stat().st_size}"))
    assert mhd.read(file).array.ravel().tolist() == list(range(60))


TABLES = [
    ("luna16", "annotations.csv", "diameter_mm"), ("luna16", "candidates_V2.csv", "class"),
    ("luna16", "malignancy.csv", "coordX"), ("lidc-nodules", "cubes.csv", "diameter_mm"),
    ("lidc-voi", "nodules.csv", "texture_value"), ("pvs", "counts.csv", "count"),
    ("nih-chestxray14", "Data_Entry_2017_v2020.csv", "Finding Labels"), ("nih-subset", "labels.csv", "patient"),
    ("nih-subset", "rsna_read.csv", "rsna_lung_opacity"), ("vindr-cxr", "train.csv", "class_name"),
    ("camelyon16-patches", "patches.csv", "slide"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "table", "column"), TABLES)
@pytest.mark.parametrize("again", ["{}", " {} "])
def test_a_column_that_a_table_has_twice_is_named(tmp_path, name, table, column, again):
    folder = COPIES[name].write(tmp_path / "copy")
    rows = pd.read_csv(folder / table, dtype=str, keep_default_na=False)
    rows.insert(0, again.format(column), "0", allow_duplicates=True)
    rows.to_csv(folder / table, index=False)
    with pytest.raises(DataError, match=f"{table}: the column '{column}' is there twice"):
        COPIES[name].cases(name, folder)


def edited(change):
    def edit(folder):
        file = folder / "dataset.json"
        content = json.loads(file.read_text())
        file.write_text(json.dumps(change(content) or content))

    return edit


def put(*path, value):
    def change(content):
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = value

    return edited(change)


LISTS = {
    "parts exchanged": (put("labels", value={"0": "background", "1": "Posterior", "2": "Anterior"}), "'Posterior'"),
    "a label unnamed": (put("labels", value={"0": "background", "1": "Anterior"}), "label 2 None"),
    "another task's labels": (put("labels", value={"0": "background", "1": "liver", "2": "tumour"}), "'liver'"),
    "another number of cases": (put("numTraining", value=260), "says 260"),
    "a case that is not listed": (edited(lambda c: c["training"].pop(3) and None), "such as hippocampus_"),
    "a case listed twice": (edited(lambda c: c["training"].append(c["training"][0])), "lists"),
    "the label map of another": (put("training", 0, "label", value="labelsTr/hippocampus_003.nii.gz"), "label map of"),
    "a key twice": (
        lambda f: (f / "dataset.json").write_text('{"labels": {"1": "Anterior", "1": "Posterior"}, "training": []}'),
        "'1' is there twice",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", LISTS)
def test_what_the_decathlon_s_list_says_otherwise_than_its_files_is_named(tmp_path, case):
    change, words = LISTS[case]
    folder = COPIES["msd-hippocampus"].write(tmp_path / "copy")
    change(folder)
    with pytest.raises(DataError) as error:
        COPIES["msd-hippocampus"].cases("msd-hippocampus", folder)
    assert "dataset.json" in str(error.value) and words in str(error.value)


def copied(source, target, change=lambda text: text):
    def edit(folder):
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        (folder / target).write_text(change((folder / source).read_text()))

    return edit


def repeated(file, change):
    """The first row once more, changed."""

    def edit(folder):
        lines = (folder / file).read_text().splitlines()
        (folder / file).write_text("\n".join([*lines, change(lines[1])]) + "\n")

    return edit


FILES = {
    "two lists of nodules": (
        "luna16", copied("annotations.csv", "CSVFILES/annotations.csv", lambda t: t.replace(",6.0", ",7.0")),
        ["CSVFILES/annotations.csv", "differ"],
    ),
    "a nodule with two diameters": (
        "luna16", repeated("annotations.csv", lambda row: row.replace(",6.0", ",9.0")), ["annotations.csv", "line 2"],
    ),
    "two tables of one folder": (
        "vindr-cxr", copied("train.csv", "annotations_train.csv", lambda t: t.replace("R1", "R2")),
        ["train.csv", "annotations_train.csv", "differ"],
    ),
    "a patch of another slide": (
        "camelyon16-patches", copied("patches.csv", "patches.csv", lambda t: t.replace("1,tumor_002", "1,tumor_001")),
        ["tumor_002_1_2.png", "'tumor_001'"],
    ),
    "another patient in the images": (
        "nih-subset", copied("labels.csv", "labels.csv", lambda t: t.replace("png,2,", "png,7,")),
        ["patient of 00000003_000.png"],
    ),
    "other findings in the images": (
        "nih-subset", copied("labels.csv", "labels.csv", lambda t: t.replace("2,train,Mass", "2,train,Nodule")),
        ["Mass of 00000003_000.png"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FILES)
def test_two_files_that_contradict_each_other_are_named(tmp_path, case):
    name, change, words = FILES[case]
    folder = COPIES[name].write(tmp_path / "copy")
    change(folder)
    with pytest.raises(DataError) as error:
        COPIES[name].cases(name, folder)
    assert [word for word in words if word not in str(error.value)] == [], str(error.value)


@pytest.mark.parametrize(
    ("name", "source", "target"),
    [("luna16", "annotations.csv", "CSVFILES/annotations.csv"), ("vindr-cxr", "train.csv", "annotations_train.csv")],
)
def test_two_files_that_say_the_same_are_read(tmp_path, name, source, target):
    folder = COPIES[name].write(tmp_path / "copy")
    copied(source, target)(folder)
    assert len(COPIES[name].cases(name, folder))


def test_outlines_of_tumour_on_a_normal_slide_are_named(tmp_path):
    folder = COPIES["camelyon16"].write(tmp_path / "copy")
    outlines = folder / "training/lesion_annotations"
    shutil.copy(outlines / "tumor_001.xml", outlines / "normal_001.xml")
    copy = camelyon16.find_slides(folder)
    with pytest.raises(DataError, match=r"normal_001.xml: outlines tumour, but normal_001 is a normal slide"):
        copy.annotation("normal_001")
    assert any("normal_001.xml" in fault for fault in camelyon16.check_copy(folder)["lacks"])


def test_a_mask_that_shows_tumour_where_its_outline_has_none_is_named(tmp_path):
    build, folder = load_builders("camelyon16"), COPIES["camelyon16"].write(tmp_path / "copy")
    copy = camelyon16.find_slides(folder)
    elsewhere = [np.roll(level, level.shape[0] // 2, axis=0) for level in build.masks("tumor_001")]
    file = folder / "training/masks/tumor_001_mask.tif"
    file.parent.mkdir(exist_ok=True)
    for levels, words in (([level * 0 for level in elsewhere], "no tumour"), (elsewhere, "no tumour where")):
        build.save(file, levels)
        copy = camelyon16.find_slides(folder)
        with slides.open_slide(copy.slide("tumor_001")["slide"]) as slide:
            with pytest.raises(DataError, match=words) as error:
                camelyon16.lesion_mask(copy, "tumor_001", slide, 2)
        assert "tumor_001_mask.tif" in str(error.value) and "tumor_001.xml" in str(error.value)
        assert any("tumor_001_mask" in fault for fault in camelyon16.check_copy(folder)["lacks"])


def test_a_reference_that_contradicts_a_slide_s_name_is_named(tmp_path):
    folder = COPIES["camelyon16"].write(tmp_path / "copy")
    with (folder / "testing/reference.csv").open("a") as file:
        file.write("\ntumor_001,Normal\n")
    with pytest.raises(DataError, match=r"tumor_001.tif: the reference.csv"):
        camelyon16.find_slides(folder)


def test_a_nodule_with_two_diameters_in_two_tables_is_named(tmp_path):
    rows = {"candidate_row": [5], "file": ["a.nii.gz"], "seriesuid": ["1"], "diameter_mm": [8.0], "malignant": [1]}
    pd.DataFrame(rows).to_csv(tmp_path / JOIN, index=False)
    for size, agrees in ((8.0, True), (9.0, False)):
        (tmp_path / "nodules.csv").write_text(f"file,diameter_mm\na.nii.gz,{size}\n")
        if agrees:
            assert joined(tmp_path / JOIN, np.array([5]))["diameter_mm"].tolist() == [8.0]
            continue
        with pytest.raises(DataError, match=r"a.nii.gz is 8 mm, and 9 mm in .*nodules.csv"):
            joined(tmp_path / JOIN, np.array([5]))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_with_two_members_of_one_name_is_refused_by_every_reader_of_zips(tmp_path):
    voi, npz = COPIES["lidc-voi"].write(tmp_path / "voi"), COPIES["adrenalmnist3d"].write(tmp_path / "adrenal")
    members = {voi / "images.zip": "LIDC-IDRI-0005_R_1.nii.gz", npz / "adrenalmnist3d.npz": "val_labels.npy"}
    for file, name in members.items():
        with zipfile.ZipFile(file, "a") as archive:
            archive.writestr(name, archive.read(name))
    for name, folder in (("lidc-voi", voi), ("adrenalmnist3d", npz)):
        with pytest.raises(DataError, match="is in it twice"):
            COPIES[name].cases(name, folder)


@pytest.mark.parametrize(
    ("said", "fault"), [(("0.25", "0.5"), "0.25 x 0.5"), (("nan", "0.2"), "nan x 0.2"), (("a", "1"), "a x 1")]
)
def test_pixels_of_two_sizes_are_an_error_unless_their_size_is_given(said, fault):
    properties = dict(zip(("openslide.mpp-x", "openslide.mpp-y"), said, strict=True))
    with pytest.raises(DataError, match=fault):
        slides._mpp("a.tif", properties)
    assert slides._mpp("a.tif", {"openslide.mpp-x": "0.25", "openslide.mpp-y": "0.251"}) == pytest.approx(0.2505)


def test_json_with_a_key_twice_is_no_json(tmp_path):
    (tmp_path / "a.json").write_text('{"a": 1, "b": {"c": 1, "c": 2}}')
    with pytest.raises(DataError, match=r"'c' is there twice\); get it again"):
        base.read_json(tmp_path / "a.json", "get it again")
