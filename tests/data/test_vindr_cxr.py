"""Labels and boxes of several readers become one reading an image; patients stay together; what is wrong is named."""

import json

import numpy as np
import pandas as pd
import pytest

from fewscans.data import radiographs, vindr_cxr
from fewscans.data.base import Cut
from fewscans.data.radiographs import FINDINGS, Box
from fewscans.data.vindr_cxr import merged
from fewscans.errors import DataError

from .test_xray_dicom import write

CUT = Cut(size=(8, 8))
NODULE = ("Nodule/Mass", 10, 5, 30, 15)  # 100 x 50 pixels
WHOLE = np.arange(5000).reshape(50, 100) % 4096
NONE = ("No finding", None, None, None, None)


def save(folder, part, readings, patient="", table=None, columns=(), **elements):
    """A folder of images and its table, of (image, reader, (class, corners))."""
    names = ["image_id", "rad_id", "class_name", "x_min", "y_min", "x_max", "y_max"]
    frame = pd.DataFrame([(image, reader, *seen) for image, reader, seen in readings], columns=names)
    (folder / part).mkdir(parents=True, exist_ok=True)
    for image in frame["image_id"].unique():
        write(folder / part / f"{image}.dicom", WHOLE, PatientID=patient.format(image), **elements)
    frame.drop(columns=list(columns)).to_csv(folder / (table or f"{part}.csv"), index=False)
    return folder


def by_three(image, *seen):
    """Readings of three readers; what one sees is a list, an empty one for no finding."""
    return [(image, f"R{i}", row) for i, rows in enumerate(seen, 1) for row in (rows or [NONE])]


def boxes(copy, row):
    return [Box(*box) for box in json.loads(copy.about["boxes"][row])]


def shifted(box, by):
    return (box[0], box[1] + by, box[2], box[3] + by, box[4])


def one(tmp_path, *seen, **options):
    return vindr_cxr.read(save(tmp_path, "train", by_three("a", *seen), **options))


@pytest.mark.parametrize("readers", [0, 1, 2, 3])
def test_a_label_needs_two_of_three_readers(tmp_path, readers):
    copy = one(tmp_path, *[[NODULE] if i < readers else [] for i in range(3)])
    assert copy.about["label nodule"][0] == (readers >= 2)
    assert len(boxes(copy, 0)) == (readers >= 2)


def test_one_reader_with_two_boxes_is_one_reader(tmp_path):
    copy = one(tmp_path, [NODULE, shifted(NODULE, 2)], [], [])
    assert copy.about["label nodule"][0] == 0


@pytest.mark.parametrize("columns", [(), ("rad_id",)])
def test_a_consensus_needs_one_and_keeps_every_box(tmp_path, columns):
    readings = [("t", "R0", NODULE), ("t", "R0", shifted(NODULE, 2)), ("u", "R0", ("ILD", 0, 0, 100, 50))]
    copy = vindr_cxr.read(save(tmp_path, "train", readings, columns=columns))
    assert copy.about["label nodule"].tolist() == [1, 0] and copy.about["label interstitial"].tolist() == [0, 1]
    assert [len(boxes(copy, row)) for row in (0, 1)] == [2, 1]
    assert boxes(copy, 1) == [("interstitial", 0, 0, 1, 1)]


def test_boxes_of_readers_who_agree_on_the_place_become_their_mean(tmp_path):
    copy = one(tmp_path, [NODULE], [shifted(NODULE, 4)], [("Nodule/Mass", 70, 20, 90, 40)])
    (box,) = boxes(copy, 0)  # that of the third reader has nobody's support
    assert box.finding == "nodule" and box[1:] == pytest.approx((0.12, 0.1, 0.2, 0.2))


def test_a_positive_image_has_a_box_even_if_no_place_is_agreed_on(tmp_path):
    copy = one(tmp_path, [NODULE], [("Nodule/Mass", 70, 20, 90, 40)], [])
    assert copy.about["label nodule"][0] == 1 and len(boxes(copy, 0)) == 2


def test_boxes_join_from_an_overlap_of_four_tenths_on():
    box = Box("nodule", 0, 0, 0.1, 0.1)
    just, not_quite = (box._replace(x=0.1 * (1 - s)) for s in (0.58, 0.56))  # shares s: s / (2 - s) is 0.408, 0.389
    assert len(merged([("R1", box), ("R2", just)], 2)) == 1
    assert len(merged([("R1", box), ("R2", not_quite)], 2)) == 2


def test_boxes_of_one_reader_stay_apart_and_order_does_not_matter():
    box = Box("nodule", 0.1, 0.1, 0.2, 0.2)
    drawn = [(reader, box._replace(x=x)) for reader, x in [("R1", 0.1), ("R1", 0.16), ("R2", 0.11), ("R2", 0.17)]]
    findings = merged(drawn, 2)
    assert [found.x for found in findings] == pytest.approx([0.105, 0.165])
    assert merged(drawn[::-1], 2) == findings


def test_classes_are_the_papers_five_in_any_letters_and_others_leave_a_healthy_label(tmp_path):
    names = ["nodule/mass", "CONSOLIDATION", "ILD", "Pleural effusion", "Pneumothorax", "Cardiomegaly", "Lung Opacity"]
    readings = [(f"i{k}", "R1", (name, 0, 0, 10, 10)) for k, name in enumerate(names)]
    copy = vindr_cxr.read(save(tmp_path, "train", readings))
    labels = copy.about[[f"label {finding}" for finding in FINDINGS]].to_numpy()
    assert np.array_equal(labels, np.eye(7, 5))
    assert vindr_cxr.cases(tmp_path, CUT).target.tolist() == [1] * 5 + [0] * 2


@pytest.fixture
def whole(tmp_path):
    train = [row for k in range(40) for row in by_three(f"a{k}", [NODULE] * (k % 2), [NODULE] * (k % 2), [])]
    save(tmp_path, "train", train, "P{}", Manufacturer="Acme")
    save(tmp_path, "test", [("t1", "R0", NODULE), ("t2", "R0", NONE)], "P{}", Manufacturer="Acme")
    return save(tmp_path, "test_style", [("s1", "R0", NODULE)], "P{}", Manufacturer="Other")


def test_folders_decide_the_test_splits_and_one_patient_in_eight_validates(whole):
    found = vindr_cxr.cases(whole, CUT)
    split = pd.Series(found.split, found.case)
    assert split["t1"] == split["t2"] == "test" and split["s1"] == "test-style"
    assert split.filter(like="a").isin(["train", "val"]).all() and 1 <= (split == "val").sum() <= 10
    assert found.about["manufacturer"][found.split == "test-style"].tolist() == ["Other"]
    assert found.group[found.case == "s1"].tolist() == ["Ps1"]


def test_without_test_images_patients_are_split_three_ways_and_whole(tmp_path):
    readings = [(f"{k}x{view}", "R1", NONE) for k in range(60) for view in "ab"]
    save(tmp_path, "train", readings)
    for file in (tmp_path / "train").iterdir():
        write(file, WHOLE, PatientID="P" + file.stem.partition("x")[0])
    save(tmp_path, "test", [("kaggle", "R1", NONE)], table="unused.csv")  # Kaggle's have no table, and are passed over
    copy = vindr_cxr.read(tmp_path)
    table = pd.DataFrame({"patient": copy.group, "split": copy.split})
    assert (table.groupby("patient")["split"].nunique() == 1).all()
    shares = table["split"].value_counts(normalize=True)
    assert set(shares.index) == {"train", "val", "test"} and 0.55 < shares["train"] < 0.85 and shares["test"] > 0.1
    assert "kaggle" not in copy.case


def test_the_image_is_its_own_patient_where_the_dicom_names_none(tmp_path):
    copy = vindr_cxr.read(save(tmp_path, "train", [("a", "R1", NONE), ("b", "R1", NONE)], patient=""))
    assert copy.group.tolist() == ["a", "b"]


def test_names_of_physionet_are_read_alike(tmp_path, whole):
    plain = vindr_cxr.cases(whole, CUT)
    for part in ("train", "test"):
        (whole / f"{part}.csv").rename(whole / f"annotations_{part}.csv")
        for file in (whole / part).iterdir():
            file.rename(file.with_suffix(".dcm"))
    other = vindr_cxr.cases(whole, CUT)
    assert other.fingerprint == plain.fingerprint and np.array_equal(other.images, plain.images)


def test_images_are_squares_of_what_the_dicom_shows(whole, tmp_path):
    found = vindr_cxr.cases(whole, CUT, tmp_path / "cache")
    assert found.images.shape == (43, 8, 8) and found.images.dtype == np.uint8 and found.target.dtype == np.int64
    assert np.array_equal(found.images[0], radiographs.square(WHOLE / WHOLE.max(), 8))
    again = vindr_cxr.cases(whole, CUT, tmp_path / "cache")
    assert np.array_equal(again.images, found.images) and again.about.equals(found.about)
    assert again.unit is None and again.spacing_mm is None and len(list((tmp_path / "cache").glob("*/images.npy"))) == 1
    assert radiographs.boxes(again, FINDINGS)["image"].tolist() == np.flatnonzero(again.target).tolist()
    assert vindr_cxr.cases(whole, Cut(size=(6, 6))).fingerprint != found.fingerprint
    with pytest.raises(ValueError, match="square"):
        vindr_cxr.cases(whole, Cut(size=(8, 6)))


def test_other_pixels_are_another_data_set(whole):
    before = vindr_cxr.cases(whole, CUT).fingerprint
    write(whole / "train" / "a3.dicom", WHOLE[::-1], PatientID="Pa3", Manufacturer="Acme")
    assert vindr_cxr.cases(whole, CUT).fingerprint != before


def test_a_copy_says_what_it_lacks(whole, tmp_path):
    report = vindr_cxr.check_copy(whole)
    assert report["counts"] == {"train images": 40, "test images": 2, "test_style images": 1}
    assert report["lacks"][0] == "train has 40 images with annotations, published are 15000" and report["fingerprint"]
    assert "has no train.csv" in vindr_cxr.check_copy(tmp_path / "nowhere")["lacks"][0]


def bad_rows(*rows, **options):
    return lambda folder: save(folder, "train", [("a", "R1", row) for row in rows], **options)


def in_both(patient, image="t"):
    def spoil(folder):
        save(folder, "train", [("a", "R1", NONE)], patient)
        save(folder, "test", [(image, "R1", NONE)], patient)

    return spoil


def one_file(action):
    def spoil(folder):
        save(folder, "train", [("a", "R1", NONE)])
        action(folder / "train" / "a.dicom")

    return spoil


BAD = {
    r"train.csv: row 3 has the unknown class 'Mass'; known are .*nodule/mass": bad_rows(NODULE, ("Mass", 0, 0, 1, 1)),
    r"row 2 \(a\): the box .* reaches over the image of 100 x 50": bad_rows(("ILD", 0, 0, 103, 10)),
    r"row 2 \(a\): a box of 0 x 10 pixels": bad_rows(("ILD", 5, 0, 5, 10)),
    r"row 2 \(a\): a box of nan x nan": bad_rows(("ILD", None, None, None, None)),
    r"train.csv: cannot be read as CSV": bad_rows(("ILD", "left", 0, 5, 10)),
    r"row 3 has no image_id, class_name or rad_id": bad_rows(NODULE, (None, 0, 0, 1, 1)),
    r"train.csv: has no rows": bad_rows(),
    r"column 'x_max' is missing": bad_rows(NODULE, columns=["x_max"]),
    r"the patient P is in train and in test; leave it out": in_both("P"),
    r"the image a is in train and in test": in_both("", "a"),
    r"a.dicom: no such file, but .*train.csv lists it": one_file(lambda file: file.unlink()),
    r"b.dcm: has no row in .*train.csv": one_file(lambda file: write(file.with_name("b.dcm"))),
    r"the image is also .*a.dcm": one_file(lambda file: write(file.with_name("a.dcm"))),
    r"a.dicom: cannot be read as DICOM": one_file(lambda file: file.write_bytes(b"PNG")),
    r"has no train.csv or annotations_train.csv": lambda folder: None,
}  # fmt: skip


@pytest.mark.parametrize("says", BAD)
def test_what_cannot_be_right_is_refused_by_name(tmp_path, says):
    BAD[says](tmp_path)
    with pytest.raises(DataError, match=says):
        vindr_cxr.read(tmp_path)
