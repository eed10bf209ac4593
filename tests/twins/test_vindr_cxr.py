"""The twin of VinDr-CXR: images without a finding say nothing about labels, and findings are where their boxes are."""

from functools import cache

import numpy as np
import pandas as pd
import pydicom
import pytest

from fewscans import twins
from fewscans.data import vindr_cxr as reader
from fewscans.data.formats import xray_dicom
from fewscans.errors import DataError
from fewscans.twins import thorax
from fewscans.twins import vindr_cxr as twin

from .files import contents

SETTINGS = {"train": 24, "test": 8, "style": 4, "side": 64, "abnormal_share": 0.6, "lesions": 1, "seed": 0}
MANY = twins.spec("vindr-cxr", SETTINGS | {"train": 300, "test": 3000})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return twins.write("vindr-cxr", tmp_path_factory.mktemp("twins") / "vindr-cxr", twins.spec("vindr-cxr", SETTINGS))


@pytest.fixture(scope="module")
def pairs():
    """160 training images with the findings drawn, and the same ones without them."""
    healthy = twins.spec("vindr-cxr", SETTINGS | {"train": 300, "lesions": False})
    return [(twin.draw_image(MANY, "train", i), twin.draw_image(healthy, "train", i)) for i in range(160)]


@cache
def one(name, number, lesions=True):
    """An image with that finding alone, and what was placed in it."""
    person, image, ill = (np.random.default_rng([number, k]) for k in range(3))
    person = thorax.draw_person(person)
    return thorax.draw(person, [name], thorax.STYLES["A"], (128, 128), lesions, image, ill)


def auc(score, label):
    """Chance that a positive image scores higher than a negative one."""
    gap = score[label][:, None] - score[~label]
    return (gap > 0).mean() + (gap == 0).mean() / 2


def test_the_layout_is_that_of_the_release(folder):
    images = {set_: sorted(p.name for p in (folder / set_).iterdir()) for set_ in twin.SETS.values()}
    assert {set_: len(files) for set_, files in images.items()} == {"train": 24, "test": 8, "test_style": 4}
    for set_, files in images.items():
        table = pd.read_csv(folder / f"{set_}.csv")
        assert list(table) == "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max".split(",")
        assert {f"{image}.dicom" for image in table["image_id"]} == set(files)
        readers = {"R1", "R2", "R3"} if set_ == "train" else {"R0"}
        assert (table.groupby("image_id")["rad_id"].unique().map(set) == readers).all()
        nothing = table["class_id"] == 14
        assert (table.loc[nothing, "class_name"] == "No finding").all()
        assert (table["x_min"].isna() == nothing).all() and nothing.any() and not nothing.all()
    assert set(images["train"]).isdisjoint(images["test"])


def test_our_reader_finds_the_labels_that_were_drawn(folder):
    copy, spec = reader.read(folder), twins.spec("vindr-cxr", SETTINGS)
    assert pd.Series(copy.split).isin(["train", "val"]).sum() == 24
    for part in ("test", "style"):
        drawn = {twin._name(spec, part, "image", i): row for i, row in enumerate(twin.labels(spec, part))}
        for image, row in drawn.items():
            read = copy.about.loc[copy.case == image, [f"label {name}" for name in thorax.FINDINGS]].to_numpy()
            assert np.array_equal(read[0], row)


def test_files_are_read_as_they_were_drawn_whatever_their_window_and_polarity(folder):
    spec, polarity = twins.spec("vindr-cxr", SETTINGS), set()
    for number in range(24):
        drawn, file = twin.draw_image(spec, "train", number), twin._name(spec, "train", "image", number) + ".dicom"
        read, said = xray_dicom.read(folder / "train" / file), pydicom.dcmread(folder / "train" / file)
        assert np.abs(read.pixels - drawn.grey).max() < 1e-3
        assert (read.patient, read.manufacturer) == (drawn.patient, f"Maker {drawn.manufacturer}")
        assert (said.BitsAllocated, said.BitsStored) == (16, 12) and said.pixel_array.max() < 4096
        assert not [element for element in said if "Date" in element.keyword or "Time" in element.keyword]
        polarity.add(said.PhotometricInterpretation)
    assert polarity == {"MONOCHROME1", "MONOCHROME2"}


def test_equal_settings_give_equal_bytes_in_any_number_of_processes_and_another_seed_others(
    folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(twin, "PIXELS_A_PROCESS", 64 * 64 * 11)
    for name, seed in (("same", 0), ("other", 1)):
        (tmp_path / name).mkdir()
        twin.write(tmp_path / name, twins.spec("vindr-cxr", SETTINGS | {"seed": seed}), 2 if seed == 0 else 1)
    one, same, other = (contents(at) for at in (folder, tmp_path / "same", tmp_path / "other"))
    one.pop("twin.json")
    assert one == same and not set(one.values()) & set(other.values())


def test_an_image_depends_on_its_own_number_only():
    few = twins.spec("vindr-cxr", SETTINGS)
    for number in (0, 23):
        one, other = (twin.draw_image(spec, "train", number) for spec in (few, MANY))
        assert np.array_equal(one.grey, other.grey) and one.patient == other.patient


def test_without_lesions_files_differ_in_pixels_alone(folder, tmp_path):
    spec = twins.spec("vindr-cxr", SETTINGS | {"lesions": False})
    with_lesions, without = contents(folder), contents(twins.write("vindr-cxr", tmp_path / "healthy", spec))
    assert {path: len(content) for path, content in with_lesions.items()} == {p: len(c) for p, c in without.items()}
    changed = {path for path in without if with_lesions[path] != without[path]} - {"twin.json"}
    table = pd.concat(pd.read_csv(folder / f"{set_}.csv") for set_ in twin.SETS.values())
    marked = set(table.loc[table["class_id"] != 14, "image_id"])
    assert changed and all(path.endswith(".dicom") for path in changed)
    assert len(changed) <= len(marked) + 1, "one that all readers missed may be among them"
    tags = []
    for root in (folder, tmp_path / "healthy"):
        said = pydicom.dcmread(root / sorted(changed)[0])
        del said.PixelData
        tags.append(said)
    assert tags[0] == tags[1]


def test_without_lesions_nothing_tells_the_labels(pairs):
    """Neither brightness, contrast and single grey values, nor patient, style and size. With a lesion, its box does."""
    labels = twin.labels(MANY, "train")[:160]
    healthy = [without for _, without in pairs]
    scores = [
        [x.grey.mean(), x.grey.std(), *np.histogram(x.grey, 8, (0, 1))[0], x.grey.shape[1], x.person.female,
         x.person.size, x.person.bone, *(x.manufacturer == m for m in "ABC"), int(x.patient, 16) % 1000]
        for x in healthy
    ]  # fmt: skip
    n = labels.sum(axis=0)
    for score in np.array(scores, float).T:
        found = np.array([auc(score, labels[:, k]) for k in range(5)])
        assert (np.abs(found - 0.5) < 3.5 * np.sqrt(1 / 12 / n + 1 / 12 / (160 - n))).all()
    changed = np.array([np.abs(ill.grey - well.grey).max() for ill, well in pairs])
    assert np.array_equal(changed > 0, labels.any(axis=1)), "that the check can fail"


def test_labels_have_the_wanted_shares_and_a_patients_two_images_are_independent():
    labels, who = twin.labels(MANY, "test").astype(float), twin.patients(MANY, "test")
    assert labels.any(axis=1).mean() == pytest.approx(0.6, abs=0.03)
    assert ((labels.mean(axis=0) > 0.19) & (labels.mean(axis=0) < 0.25)).all()
    assert (labels.sum(axis=1) > 1).mean() > 0.1
    times = np.bincount(who)
    assert set(times) == {1, 2} and (times == 2).mean() == pytest.approx(0.15, abs=0.02)
    second = np.flatnonzero(np.diff(who) == 0) + 1
    correlation = [np.corrcoef(labels[second - 1, k], labels[second, k])[0, 1] for k in range(5)]
    assert np.abs(correlation).max() < 3.5 / np.sqrt(len(second))


def test_two_images_of_a_patient_show_the_same_person_in_another_pose():
    who = twin.patients(MANY, "train")
    first = int(np.flatnonzero(np.diff(who) == 0)[0])
    one, other, stranger = (twin.draw_image(MANY, "train", first + k) for k in (0, 1, 2))
    assert one.patient == other.patient != stranger.patient
    assert one.person.heart == other.person.heart != stranger.person.heart
    assert one.grey.shape != other.grey.shape or not np.array_equal(one.grey, other.grey)


def test_the_new_style_is_in_test_style_alone_and_differs_from_all_others(pairs):
    assert {x.manufacturer for x, _ in pairs} == {"A", "B", "C"}
    assert {twin.draw_image(MANY, "style", i).manufacturer for i in range(4)} == {"D"}
    streams = [[np.random.default_rng([9, k]) for k in range(3)] for _ in thorax.STYLES]
    grey = {
        name: thorax.draw(thorax.draw_person(person), [], style, (128, 128), True, image, ill)[0]
        for (name, style), (person, image, ill) in zip(thorax.STYLES.items(), streams, strict=True)
    }
    sharpness = {name: np.abs(np.diff(g)).mean() / g.std() for name, g in grey.items()}
    assert min(grey, key=lambda name: grey[name].mean()) == "D"
    assert sorted(sharpness, key=sharpness.get) == ["C", "A", "B", "D"]


@pytest.mark.parametrize("name", thorax.FINDINGS)
def test_what_a_finding_changes_lies_in_its_boxes(name):
    for number in range(12):
        ill, findings = one(name, number)
        well, same = one(name, number, lesions=False)
        assert [f.box for f in findings] == [f.box for f in same]
        change, inside = np.abs(ill - well), np.zeros(ill.shape, bool)
        for x0, y0, x1, y1 in (finding.box for finding in findings):
            assert 0 <= x0 < x1 <= 128 and 0 <= y0 < y1 <= 128
            inside[max(y0 - 1, 0) : y1 + 1, max(x0 - 1, 0) : x1 + 1] = True
        assert change[inside].sum() > 0.85 * change.sum() and change.max() > 0.02


def test_findings_lie_where_they_belong():
    boxes = {name: [f.box for i in range(30) for f in one(name, i)[1]] for name in thorax.FINDINGS}
    middle = {name: np.array([(y0 + y1) / 256 for _, y0, _, y1 in of]) for name, of in boxes.items()}
    assert middle["effusion"].min() > 0.55 and np.median(middle["pneumothorax"]) < 0.4
    assert np.ptp(middle["nodule"]) > 0.4, "anywhere in the lungs"
    assert min(min(x1 - x0, y1 - y0) for x0, y0, x1, y1 in boxes["nodule"]) >= thorax.LEAST_PIXELS - 1
    assert len(boxes["interstitial"]) > 40, "often on both sides"
    outer = [max(abs(x0 - 64), abs(x1 - 64)) for x0, _, x1, _ in boxes["pneumothorax"] + boxes["effusion"]]
    assert min(outer) > 25, "they reach the chest wall"


def test_boxes_have_the_published_median_sizes():
    for name, (wide, high, _) in thorax.SIZES.items():
        found = np.array([[x1 - x0, y1 - y0] for i in range(30) for x0, y0, x1, y1 in (f.box for f in one(name, i)[1])])
        assert np.median(found / 128, axis=0) == pytest.approx([wide, high], rel=0.35)


def test_readers_err_as_often_as_their_constants_say():
    findings = one("pneumothorax", 0)[1]
    xray = twin.XRay(np.zeros((128, 128)), findings, None, "", "A")
    marks = [twin.reading(xray, np.random.default_rng(i)) for i in range(3000)]
    names = [[name for name, _ in of] for of in marks]
    assert np.mean(["pneumothorax" in of for of in names]) == pytest.approx(0.88, abs=0.025)
    assert np.mean([len(set(of) - {"pneumothorax"}) for of in names]) == pytest.approx(0.03 * 4 / 5, abs=0.01)
    box = np.array(findings[0].box)
    moved = np.array([of[0][1] - box for of in marks if len(of) == 1 and of[0][0] == "pneumothorax"])
    side = np.tile(box[2:] - box[:2], 2)
    free = (box > 0.1 * side) & (box < 128 - 0.1 * side)  # else the image's edge cuts them off
    assert np.median(np.abs(moved / side), axis=0)[free] == pytest.approx(0.03 * 0.674, rel=0.35)
    assert all(((edge >= 0) & (edge <= 128)).all() and (edge[2:] > edge[:2]).all() for of in marks for _, edge in of)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train": 3}, "train is 3; it must be a whole number from 8"),
        ({"side": 32}, "side is 32"),
        ({"abnormal_share": 1}, "abnormal_share is 1; it must be a number between 0 and 1"),
        ({"lesions": 2}, "lesions is 2; it must be a whole number from 0 to 1"),
        ({"seed": True}, "seed is True"),
        ({"noise": 1}, "unknown setting noise; its settings are train, test, style"),
    ],
)
def test_impossible_settings_are_refused(change, words):
    with pytest.raises(DataError, match=words):
        twins.spec("vindr-cxr", SETTINGS | change)
