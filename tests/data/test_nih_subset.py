"""Both readings and their boxes are kept apart, an unread image is NaN, and the copy is the published one."""

import hashlib
import shutil

import numpy as np
import pytest

from fewscans import paths
from fewscans.data import nih_subset, radiographs, registry
from fewscans.data.base import Cut
from fewscans.errors import FewscansError

NPZ, TABLE, READING, SUMS = "nih_cxr14_1000_224.npz", "labels.csv", "rsna_read.csv", "SHA256SUMS"
HEADER = "image,patient,split,finding_labels,age,sex,view,followup,n_boxes"
ROWS = (
    "00000061_012.png,61,train,Effusion|Pneumonia,77,M,AP,12,0",
    "00000061_015.png,61,train,No Finding,77,M,PA,15,0",
    "00000150_002.png,150,test,Pneumonia,55,F,AP,2,1",
    "00000165_001.png,165,train,Mass,76,M,PA,1,0",
)
NAMES = [row.partition(",")[0] for row in ROWS]
A_FILE = NAMES[0]
BOX_HEADER = "image,finding,x_1024,y_1024,w_1024,h_1024"
READ = {NAMES[0]: "0", NAMES[1]: "1"}
ALL = ("opacity", "pneumonia", *radiographs.FINDINGS)


def images():
    return np.random.default_rng(0).integers(0, 256, (len(ROWS), 224, 224), dtype=np.uint8)


def packed(folder, **arrays):
    n = len(ROWS)
    found, classes = [row.split(",")[3].split("|") for row in ROWS], ["Mass", "Pneumonia"]
    plain = {"images": images(), "labels": np.array([[name in of for name in classes] for of in found], np.uint8)}
    plain |= {"names": np.array(NAMES), "patient": np.array([int(row.split(",")[1]) for row in ROWS])}
    plain |= {"classes": np.array(classes), "split": np.array(["train"] * n)}
    np.savez(folder / NPZ, **plain | arrays)


def table(folder, name, header, *rows):
    (folder / name).write_text("\n".join([header, *rows]) + "\n")


def summed(folder):
    files = sorted(file for file in folder.iterdir() if file.name != SUMS)
    (folder / SUMS).write_text("".join(f"{hashlib.sha256(f.read_bytes()).hexdigest()}  {f.name}\n" for f in files))


@pytest.fixture(scope="session")
def pristine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nih") / "nih-chestxray14-subset"
    folder.mkdir()
    packed(folder)
    table(folder, TABLE, HEADER, *ROWS)
    table(folder, READING, "image,rsna_lung_opacity", *(f"{image},{read}" for image, read in READ.items()))
    table(folder, "boxes.csv", BOX_HEADER, f"{NAMES[2]},Pneumonia,512,256,128,64", f"{NAMES[2]},Infiltration,1,1,9,9")
    table(folder, "rsna_boxes.csv", BOX_HEADER, f"{NAMES[1]},Lung opacity (RSNA),0,512,256,256")
    summed(folder)
    return folder


@pytest.fixture
def good(pristine, tmp_path):
    return shutil.copytree(pristine, tmp_path / "data" / "nih-chestxray14-subset")


def test_the_two_readings_are_kept_apart_and_an_image_that_rsna_did_not_read_is_nan(pristine):
    found = nih_subset.read(pristine)
    assert np.array_equal(
        radiographs.labels(found, ALL),
        [[0, 1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, 0, 0], [np.nan, 1, 0, 0, 0, 0, 0], [np.nan, 0, 1, 0, 0, 0, 0]],
        equal_nan=True,
    )
    assert found.target.tolist() == [1, 1, 1, 0] and found.target.dtype == np.int64  # a mass is neither


def test_boxes_of_both_readings_are_shares_of_the_image(pristine):
    found = radiographs.boxes(nih_subset.read(pristine), ALL)
    assert found.values.tolist() == [[1, "opacity", 0, 0.5, 0.25, 0.25], [2, "pneumonia", 0.5, 0.25, 0.125, 0.0625]]


def test_all_cases_are_test_and_grouped_by_patient_so_that_folds_can_be_made(pristine):
    found = nih_subset.read(pristine)
    assert set(found.split) == {"test"} and found.group.tolist() == ["61", "61", "150", "165"]
    assert found.case.tolist() == NAMES
    assert found.about[["view", "followup", "age", "sex"]].iloc[0].tolist() == ["AP", 12, 77, "M"]
    assert found.about["followup"].dtype.kind == "i" and found.about["age"].dtype.kind == "f"


def test_pixels_are_the_published_ones_at_their_size_and_resized_from_them_at_another(pristine):
    published, small = (nih_subset.cases(pristine, Cut((side, side))) for side in (224, 56))
    assert np.array_equal(published.images, images())
    assert published.fingerprint == nih_subset.read(pristine).fingerprint != small.fingerprint
    assert np.array_equal(small.images[1], radiographs.square(images()[1] / 255, 56))
    assert small.about.equals(published.about)
    with pytest.raises(ValueError, match="square"):
        nih_subset.cases(pristine, Cut((224, 56)))


def test_the_fingerprint_is_of_pixels_and_readings_and_not_of_the_place(pristine, good):
    before = nih_subset.read(pristine).fingerprint
    assert nih_subset.read(good).fingerprint == before
    table(good, READING, "image,rsna_lung_opacity", f"{A_FILE},1")
    assert nih_subset.read(good).fingerprint != before


def blank():
    array = images()
    array[2] = 3
    return array


WRONG = {
    "no images": (lambda f: (f / NPZ).unlink(), [NPZ, "no such file"]),
    "pickled": (lambda f: packed(f, names=np.array(NAMES, object)), [NPZ, "damaged"]),
    "another key": (lambda f: packed(f, mask=np.zeros(1)), [NPZ, "unknown mask"]),
    "another size": (lambda f: packed(f, images=images()[:, :99]), [NPZ, "(4, 99, 224)"]),
    "an image less": (lambda f: packed(f, images=images()[1:]), [NPZ, "not the images of labels.csv"]),
    "another order": (lambda f: packed(f, names=np.array(NAMES[::-1])), [NPZ, "not the images of labels.csv"]),
    "blank": (lambda f: packed(f, images=blank()), [NPZ, NAMES[2], "every pixel has the same value"]),
    "no text": (  # its characters have no number in Unicode, and no terminal can show them
        lambda f: packed(f, classes=np.full((1, 3), 0x20202020, np.uint32).view("<U3").repeat(2)),
        [NPZ, "classes holds '\\U20202020", "Atelectasis"],
    ),
    "a class less": (lambda f: packed(f, classes=np.array(["Mass"])), [NPZ, "labels (n, k)"]),
    "a patient less": (lambda f: packed(f, patient=np.arange(3)), [NPZ, "patient must be (n,)"]),
    "one number": (lambda f: packed(f, images=np.uint8(3)), [NPZ, "not the images of labels.csv"]),
    "no table": (lambda f: (f / TABLE).unlink(), [TABLE, "no such file"]),
    "no rows": (lambda f: table(f, TABLE, HEADER), [TABLE, "has no rows", "copy the folder again"]),
    "odd label": (
        lambda f: table(f, TABLE, HEADER, ROWS[0].replace("Eff", "Ef")),
        [TABLE, "Efusion", A_FILE, "copy the folder again"],
    ),
    "odd reading": (lambda f: table(f, READING, "image,rsna_lung_opacity", f"{A_FILE},2"), [READING, A_FILE, "'2'"]),
    "read twice": (lambda f: table(f, READING, "image,rsna_lung_opacity", *[f"{A_FILE},1"] * 2), [READING, "twice"]),
    "no such read": (lambda f: table(f, READING, "image,rsna_lung_opacity", "9.png,1"), [READING, "9.png", TABLE]),
    "no such box": (lambda f: table(f, "boxes.csv", BOX_HEADER, "9.png,Mass,1,1,9,9"), ["boxes.csv", "9.png", TABLE]),
    "odd box": (
        lambda f: table(f, "rsna_boxes.csv", BOX_HEADER, f"{A_FILE},Opacity,1,1,9,9"),
        ["rsna_boxes.csv", "'Opac"],
    ),
    "box outside": (lambda f: table(f, "boxes.csv", BOX_HEADER, f"{A_FILE},Mass,1,1,1224,9"), ["boxes.csv", "line 2"]),
}


@pytest.mark.parametrize("fault", WRONG)
def test_what_is_wrong_is_named_with_file_and_value(good, fault):
    change, words = WRONG[fault]
    change(good)
    with pytest.raises(FewscansError) as error:
        nih_subset.read(good)
    for word in (str(good), *words):
        assert word in str(error.value)
    report = nih_subset.check_copy(good)
    assert not report["complete"] and report["lacks"] == [str(error.value)]


def test_a_whole_copy_is_known_by_its_checksums_and_another_file_is_named(good):
    report = nih_subset.check_copy(good)
    assert report["complete"]
    assert report["counts"] == {"images": 4, "patients": 3, "read by RSNA": 2, "opacity": 1}
    assert report["fingerprint"] == nih_subset.read(good).fingerprint
    packed(good, images=255 - images())
    (lack,) = nih_subset.check_copy(good)["lacks"]
    assert str(good / NPZ) in lack
    (good / SUMS).unlink()
    assert SUMS in nih_subset.check_copy(good)["lacks"][0]


def test_a_copy_is_found_and_shares_patients_with_the_whole(good):
    assert registry.find("nih-subset", good.parent) == good
    assert registry.share_patients("nih-subset", "nih-chestxray14")


def test_the_real_images_are_those_of_their_readme():
    try:
        folder = registry.find("nih-subset", paths.data_root())
    except FewscansError:
        pytest.skip("no copy of nih-chestxray14-subset under FEWSCANS_DATA_ROOT or params.yaml's data_root")
    report = nih_subset.check_copy(folder)
    assert report["complete"] and report["fingerprint"] == nih_subset.DATASET.sha256
    assert report["counts"] == {"images": 1000, "patients": 682, "read by RSNA": 339, "opacity": 129}
    found = nih_subset.read(folder)
    opacity, pneumonia = radiographs.labels(found, ("opacity", "pneumonia")).T
    assert pneumonia.sum() == 500 and np.isnan(opacity).sum() == 661
    boxes = radiographs.boxes(found, ALL)
    assert boxes["finding"].value_counts().to_dict() == {
        "opacity": 205, "pneumonia": 43, "nodule": 1, "effusion": 1, "pneumothorax": 1,
    }  # fmt: skip
    assert set(boxes["image"][boxes["finding"] == "opacity"]) == set(np.flatnonzero(opacity == 1))
    # Label noise: images where the two readings disagree. "No Finding" and "Pneumonia" part the images.
    assert ((opacity == 1) & (pneumonia == 0)).sum() == 5 and ((opacity == 0) & (pneumonia == 1)).sum() == 162
