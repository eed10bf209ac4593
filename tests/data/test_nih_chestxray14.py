"""Labels, boxes and patients are those of NIH's tables, no patient is in two splits, and what is wrong is named."""

import shutil

import numpy as np
import pytest
from PIL import Image

from fewscans.data import nih_chestxray14, radiographs, registry
from fewscans.data.base import Cut
from fewscans.errors import FewscansError

TABLE, BOXES, TRAIN_VAL, TEST = "Data_Entry_2017_v2020.csv", "BBox_List_2017.csv", "train_val_list.txt", "test_list.txt"
HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
)
BOX_HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,"  # as published
IMAGES = {  # image → (labels, follow-up, patient, age, sex, view)
    "00000001_000.png": ("Cardiomegaly|Mass", 0, 1, "57", "M", "PA"),
    "00000001_001.png": ("Fibrosis|Infiltration", 1, 1, "58", "M", "AP"),
    "00000002_000.png": ("No Finding", 0, 2, "414", "F", "PA"),
    "00000003_000.png": ("Effusion|Nodule|Pneumothorax", 0, 3, "006M", "F", "PA"),
    "00000003_001.png": ("Consolidation", 1, 3, "070Y", "F", "AP"),
}
ROWS = [(image, *cells) for image, cells in IMAGES.items()]
A_FILE, OF_TEST = "00000001_000.png", ["00000003_000.png", "00000003_001.png"]
BOX_ROWS = [
    ("00000003_000.png", "Effusion", 512, 256, 256.0, 128.5),
    ("00000003_000.png", "Nodule", -0.5, 0, 64, 64),  # half a pixel over the edge
    ("00000003_001.png", "Infiltrate", 10, 10, 50, 50),  # the box list's word for Infiltration
]


def pixels(name):
    return np.random.default_rng(list(name.encode())).integers(0, 256, (64, 64), dtype=np.uint8)


def save(file, array):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(file)


def entries(folder, rows=ROWS, table=TABLE, header=HEADER):
    (folder / table).write_text(
        "\n".join([header, *(",".join(map(str, row)) + ",2682,2749,0.143,0.143," for row in rows)])
    )


def box_list(folder, rows=BOX_ROWS):
    (folder / BOXES).write_text("\n".join([BOX_HEADER, *(",".join(map(str, row)) + ",,," for row in rows)]) + "\n")


def lists(folder, train_val, test=OF_TEST):
    (folder / TRAIN_VAL).write_text("\n".join(train_val) + "\n")
    (folder / TEST).write_text("\r\n".join(test))


@pytest.fixture(scope="session")
def pristine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nih") / "nih-chestxray14"
    for n, name in enumerate(IMAGES):
        save(folder / f"images_00{1 + n // 3}" / "images" / name, pixels(name))
    entries(folder), box_list(folder), lists(folder, sorted(set(IMAGES) - set(OF_TEST)))
    return folder


@pytest.fixture
def good(pristine, tmp_path):
    return shutil.copytree(pristine, tmp_path / "data" / "nih-chestxray14")


def cases(folder, side=64, cache=None):
    return nih_chestxray14.cases(folder, Cut((side, side)), cache)


def test_labels_are_those_of_the_table_mapped_to_the_five_findings(pristine):
    found = cases(pristine)
    assert set(nih_chestxray14.FINDING_OF) < set(nih_chestxray14.LABELS)
    assert radiographs.labels(found, radiographs.FINDINGS).tolist() == [
        [1, 0, 0, 0, 0],  # a mass is a nodule
        [0, 0, 1, 0, 0],  # fibrosis is interstitial
        [0, 0, 0, 0, 0],
        [1, 0, 0, 1, 1],
        [0, 1, 0, 0, 0],
    ]
    assert found.target.tolist() == [1, 1, 0, 1, 1] and found.target.dtype == np.int64


def test_boxes_are_shares_of_the_1024_pixel_image_whatever_the_size_of_the_copy(pristine):
    found = radiographs.boxes(cases(pristine, 16), radiographs.FINDINGS)
    assert found.values.tolist() == [
        [3, "effusion", 0.5, 0.25, 0.25, 128.5 / 1024],
        [3, "nodule", 0, 0, 63.5 / 1024, 64 / 1024],
    ]


def test_who_was_examined_and_how_is_kept_as_numbers_where_it_is_one(pristine):
    found = cases(pristine)
    assert found.case.tolist() == list(IMAGES) and found.group.tolist() == ["1", "1", "2", "3", "3"]
    assert found.about["view"].tolist() == ["PA", "AP", "PA", "PA", "AP"]
    assert found.about["followup"].tolist() == [0, 1, 0, 0, 1] and found.about["followup"].dtype.kind == "i"
    assert found.about["age"].fillna(-1).tolist() == [57, 58, -1, 0.5, 70]  # nobody is 414 years old


def test_an_image_of_its_own_size_is_read_as_it_is_and_a_colour_image_as_grey(good):
    before = cases(good).images
    for i, name in enumerate(IMAGES):
        assert np.array_equal(before[i], pixels(name))
    grey = pixels(A_FILE)
    save(good / "images_001/images" / A_FILE, np.dstack([grey, grey, grey, np.full_like(grey, 9)]))
    assert np.array_equal(cases(good).images, before)
    assert cases(good, 16).images.shape == (5, 16, 16)


def test_one_folder_of_images_and_the_older_table_make_the_same_cases(good):
    before = cases(good)
    (good / "images").mkdir()
    for file in good.glob("images_*/images/*.png"):
        file.rename(good / "images" / file.name)
    (good / TABLE).rename(good / "Data_Entry_2017.csv")
    after = cases(good)
    assert np.array_equal(after.images, before.images) and after.about.equals(before.about)


def test_the_test_list_is_the_test_and_one_patient_in_eight_of_the_others_is_val(good):
    rows = [
        (f"{patient:08d}_{n:03d}.png", "Mass", n, patient, "50", "M", "PA") for patient in range(800) for n in (0, 1)
    ]
    names = [row[0] for row in rows]
    entries(good, rows), lists(good, names[400:], names[:400])
    images = nih_chestxray14.read(good).images
    assert set(images["split"][:400]) == {"test"} and (images.groupby("patient")["split"].nunique() == 1).all()
    counts = images.groupby("patient")["split"].first().value_counts()
    assert 50 < counts["val"] < 100 and counts["train"] + counts["val"] == 600
    half = rows[400::4] + rows[401::4]  # a patient's split depends on no other patient
    entries(good, half)
    alone = nih_chestxray14.read(good).images.set_index("image")["split"]
    assert alone.equals(images.set_index("image")["split"][alone.index])


def test_kept_images_are_the_same_and_other_pixels_are_not_taken_for_them(good, tmp_path):
    fresh, first, again = (cases(good, 32, cache) for cache in (None, tmp_path / "kept", tmp_path / "kept"))
    for kept in (first, again):
        assert np.array_equal(kept.images, fresh.images) and kept.fingerprint == fresh.fingerprint
        assert kept.about.equals(fresh.about)
    assert isinstance(again.images, np.memmap)
    save(good / "images_001/images" / A_FILE, pixels("another"))
    changed = cases(good, 32, tmp_path / "kept")
    assert changed.fingerprint != fresh.fingerprint and not np.array_equal(changed.images, fresh.images)
    assert cases(good, 16).fingerprint != changed.fingerprint


def changed_row(**cells):
    """The rows with some cells of the first one changed."""
    names = ("image", "labels", "followup", "patient", "age", "sex", "view")
    return [tuple((dict(zip(names, ROWS[0], strict=True)) | cells).values()), *ROWS[1:]]


TRAINED = sorted(set(IMAGES) - set(OF_TEST))
WRONG = {  # on reading
    "no table": (lambda f: (f / TABLE).unlink(), [TABLE, "no such file"]),
    "no patients": (lambda f: entries(f, header=HEADER.replace("Patient ID", "ID")), [TABLE, "'Patient ID'"]),
    "odd label": (lambda f: entries(f, changed_row(labels="Mass|Masses")), [TABLE, A_FILE, "'Mass|Masses'"]),
    "no label": (lambda f: entries(f, changed_row(labels="")), [TABLE, A_FILE, "''", "unknown label"]),
    "odd age": (lambda f: entries(f, changed_row(age="old")), [TABLE, A_FILE, "'old' is no age"]),
    "odd follow-up": (lambda f: entries(f, changed_row(followup="")), [TABLE, A_FILE, "followup ''"]),
    "image twice": (lambda f: entries(f, [*ROWS, ROWS[0]]), [TABLE, A_FILE, "listed twice"]),
    "no list": (lambda f: (f / TEST).unlink(), [TEST, "no such file"]),
    "in no list": (lambda f: lists(f, TRAINED[1:]), [A_FILE, f"is in none of {TRAIN_VAL} and {TEST}"]),
    "in both lists": (lambda f: lists(f, TRAINED, [*OF_TEST, A_FILE]), [A_FILE, "is in both"]),
    "patient in both": (lambda f: lists(f, TRAINED[1:], [*OF_TEST, A_FILE]), ["patient 1 is in both"]),
    "no boxes": (lambda f: (f / BOXES).unlink(), [BOXES, "no such file"]),
    "odd box": (lambda f: box_list(f, [*BOX_ROWS, (A_FILE, "Tumour", 1, 1, 9, 9)]), [BOXES, "line 5", "'Tumour'"]),
    "box of no number": (lambda f: box_list(f, [(A_FILE, "Mass", "x", 1, 9, 9)]), [BOXES, "'x'"]),
    "box of no area": (lambda f: box_list(f, [(A_FILE, "Mass", 1, 1, 9, 0)]), [BOXES, "line 2", "9 x 0"]),
    "box outside": (lambda f: box_list(f, [(A_FILE, "Edema", 1000, 1, 99, 9)]), [BOXES, "line 2", "1024 x 1024"]),
    "cut short": (
        lambda f: (file := f / "images_001/images" / A_FILE).write_bytes(file.read_bytes()[:-20]),
        [A_FILE, "cut short"],
    ),
}


@pytest.mark.parametrize("fault", WRONG)
def test_what_is_wrong_is_named_with_file_and_value(good, fault):
    change, words = WRONG[fault]
    change(good)
    with pytest.raises(FewscansError) as error:
        nih_chestxray14.read(good)
    for word in (str(good), *words):
        assert word in str(error.value)
    report = nih_chestxray14.check_copy(good)
    assert not report["complete"] and report["lacks"] == [str(error.value)]


IMAGE_FAULTS = {
    "blank": (lambda f: save(f, np.full((64, 64), 7, np.uint8)), "every pixel has the same value"),
    "16 bit": (lambda f: save(f, pixels(A_FILE).astype(np.uint16) * 256), "of mode I;16"),
    "no image": (lambda f: f.write_bytes(b"no picture IEND\xaeB`\x82"), "cannot be read"),
}


@pytest.mark.parametrize("fault", IMAGE_FAULTS)
def test_an_image_that_cannot_be_used_is_named(good, tmp_path, fault):
    change, words = IMAGE_FAULTS[fault]
    change(good / "images_001/images" / A_FILE)
    for cache in (None, tmp_path / "kept"):
        with pytest.raises(FewscansError, match=words) as error:
            cases(good, cache=cache)
        assert A_FILE in str(error.value)


def test_absent_images_are_one_error_that_counts_them_and_the_check_names_the_absent_archives(good):
    shutil.rmtree(good / "images_002")
    with pytest.raises(FewscansError, match=r"has no file for 00000003_000.png \(and 1 more\); unpack"):
        cases(good)
    lacks = " ".join(nih_chestxray14.check_copy(good)["lacks"])
    assert "2 images have no file" in lacks and "the folders images_002, images_003" in lacks


def test_a_shorter_table_leaves_images_and_their_boxes_out(good):
    entries(good, [row for row in ROWS if row[0] != "00000003_000.png"])
    found = cases(good)
    assert len(found) == 4 and radiographs.boxes(found, radiographs.FINDINGS).empty


def test_a_copy_is_complete_when_it_has_what_is_published(good, monkeypatch):
    report = nih_chestxray14.check_copy(good)
    assert not report["complete"] and "train and val: 3 are listed, published are 86524" in report["lacks"]
    monkeypatch.setattr(
        nih_chestxray14, "PUBLISHED", {"train and val": 3, "test": 2, "patients": 3, "boxes": len(BOX_ROWS)}
    )
    report = nih_chestxray14.check_copy(good)
    assert report["complete"] and report["counts"]["image files"] == 5
    assert report["fingerprint"] == nih_chestxray14.read(good).fingerprint


def test_a_cut_that_is_not_square_is_refused(pristine):
    with pytest.raises(ValueError, match="square"):
        nih_chestxray14.cases(pristine, Cut((64, 32)))


def test_a_copy_is_found_by_its_tables(good):
    (good / TABLE).rename(good / "Data_Entry_2017.csv")
    other = good.rename(good.parent / "xrays")
    assert registry.find("nih-chestxray14", good.parent) == other
