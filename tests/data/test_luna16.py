"""The reader of LUNA16 takes what was published wherever it was unpacked, and says plainly what is wrong or lacking."""

import os
import shutil

import numpy as np
import pandas as pd
import pytest

from fewscans.data.formats import luna16
from fewscans.errors import DataError

from .conftest import load_builders

BUILD = load_builders("luna16")


@pytest.fixture(scope="session")
def pristine(tmp_path_factory):
    return BUILD.write(tmp_path_factory.mktemp("luna16") / "good")


@pytest.fixture
def good(pristine, tmp_path):
    return shutil.copytree(pristine, tmp_path / "LUNA16")


def test_every_row_and_scan_is_read_as_it_stands_in_its_file(pristine):
    data = luna16.read(pristine)
    for name, frame in (("annotations", data.annotations), ("candidates_V2", data.candidates)):
        expected = pd.read_csv(pristine / f"{name}.csv")
        assert frame[expected.columns].values.tolist() == expected.values.tolist()
    assert data.candidates["class"].dtype == np.int64 and data.candidates_file == "candidates_V2.csv"
    assert (data.excluded["diameter_mm"] == -1).all()
    assert data.scans["series"].tolist() == sorted(BUILD.uid(scan) for scan in range(BUILD.SCANS))
    assert {BUILD.uid(scan): BUILD.subset(scan) for scan in range(BUILD.SCANS)} == dict(
        zip(data.scans["series"], data.scans["subset"], strict=True)
    )
    assert all(header.path.name == f"{uid}.mhd" for uid, header in data.headers.items())


def test_grades_are_matched_by_place_and_may_be_absent(good):
    graded = luna16.read(good).annotations
    expected = pd.read_csv(good / "malignancy.csv")
    first = graded.drop_duplicates("seriesuid")
    assert first["malignant"].tolist() == expected["malignant"].tolist()
    assert graded["malignant"].isna().sum() == len(graded) - len(expected)
    (good / "malignancy.csv").unlink()
    assert luna16.read(good).annotations["malignant"].isna().all()


@pytest.mark.parametrize("case", BUILD.CASES)
def test_what_is_wrong_is_named_with_file_and_value(good, case):
    change, words, file = BUILD.CASES[case]
    change(good)
    with pytest.raises(DataError) as error:
        luna16.read(good)
    message = str(error.value)
    assert str(good) in message and file in message and "\n" not in message
    for word in words:
        assert word in message


def test_an_absent_folder_is_named(tmp_path):
    with pytest.raises(DataError, match="nowhere: no such folder"):
        luna16.read(tmp_path / "nowhere")


def test_the_second_candidate_list_is_preferred_and_the_first_will_do(good):
    shutil.copy(good / "candidates_V2.csv", good / "candidates.csv")
    assert luna16.read(good).candidates_file == "candidates_V2.csv"
    (good / "candidates_V2.csv").unlink()
    assert luna16.read(good).candidates_file == "candidates.csv"


def test_lists_and_scans_are_found_where_unpacking_leaves_them(good):
    before = luna16.read(good)
    script, inner = good / "evaluationScript" / "annotations", good / "subset3" / "subset3"
    for folder in (script, inner, good / "CSVFILES"):
        folder.mkdir(parents=True)
    for name in ("annotations_excluded.csv", "seriesuids.csv"):
        shutil.move(good / name, script)
    shutil.move(good / "candidates_V2.csv", good / "CSVFILES")
    for path in [p for p in (good / "subset3").iterdir() if p.is_file()]:
        shutil.move(path, inner)
    after = luna16.read(good)
    assert after.fingerprint == before.fingerprint
    assert after.scans[["series", "subset"]].equals(before.scans[["series", "subset"]])


def test_hidden_files_of_an_unpacker_are_no_scans(good):
    (good / "subset3" / f"._{BUILD.uid(3)}.mhd").write_bytes(b"\0\5\x16\7")
    assert len(luna16.read(good).scans) == BUILD.SCANS


def test_a_list_that_a_spreadsheet_saved_is_read(good):
    for name in ("annotations.csv", "seriesuids.csv"):
        text = (good / name).read_text()
        header = "" if name == "annotations.csv" else "seriesuid\n"
        (good / name).write_bytes(b"\xef\xbb\xbf" + (header + text).replace("\n", "\r\n").encode())
    assert len(luna16.read(good).annotations) == 22


@pytest.mark.parametrize("size", ["small", "large"])
def test_the_fingerprint_tells_contents_apart_and_nothing_else(good, tmp_path, monkeypatch, size):
    if size == "large":
        monkeypatch.setattr(luna16, "HASHED_WHOLE", 0)
    before = luna16.read(good).fingerprint
    elsewhere = shutil.copytree(good, tmp_path / "elsewhere")
    for path in elsewhere.rglob("*"):
        os.utime(path, (0, 0))
    assert luna16.read(elsewhere).fingerprint == before

    def scrambled(content):
        return np.random.default_rng(0).permutation(np.frombuffer(content, "<i2")).tobytes()

    changes = [
        BUILD.put("annotations.csv", 1, "diameter_mm", 6.5),
        BUILD.put("malignancy.csv", 0, "malignant", 1),
        BUILD.edit("annotations_excluded.csv", lambda table: table.iloc[1:]),
        BUILD.header(2, BUILD.SPACED, "ElementSpacing = 1.1 1 1.50001"),
        BUILD.raw(2, scrambled),
        lambda folder: [shutil.move(p, folder / "subset4") for p in (folder / "subset3").iterdir()],
    ]
    seen = {before}
    for change in changes:
        folder = shutil.copytree(good, tmp_path / f"changed{len(seen)}")
        change(folder)
        seen.add(luna16.read(folder).fingerprint)
    assert len(seen) == len(changes) + 1


def test_one_voxel_of_a_small_copy_changes_its_fingerprint(good):
    before = luna16.read(good).fingerprint
    BUILD.raw(2, lambda content: content[:9] + bytes([content[9] ^ 1]) + content[10:])(good)
    assert luna16.read(good).fingerprint != before


@pytest.fixture
def published(monkeypatch):
    """As if the small folder were what LUNA16 published."""
    rows = {"seriesuids.csv": 12, "annotations.csv": 22, "annotations_excluded.csv": 12, "candidates_V2.csv": 94}
    monkeypatch.setattr(luna16, "PUBLISHED", luna16.PUBLISHED | rows)
    monkeypatch.setattr(luna16, "PUBLISHED_POSITIVE", {"candidates_V2.csv": 22, "candidates.csv": 22})
    monkeypatch.setattr(luna16, "SCANS_PER_SUBSET", 1)


def test_a_whole_copy_is_complete(good, published):
    report = luna16.check_copy(good)
    assert report["complete"] is True and report["lacks"] == []
    assert report["fingerprint"] == luna16.read(good).fingerprint
    counts = {"scans": 12, "annotations": 22, "excluded": 12, "candidates": 94, "positive": 22, "subset9": 2}
    assert counts.items() <= report["counts"].items()


def test_all_that_a_copy_lacks_is_told_at_once(good, published):
    shutil.rmtree(good / "subset7")
    shutil.rmtree(good / "subset8")
    (good / "subset8.zip").touch()
    (good / "annotations_excluded.csv").unlink()
    BUILD.edit("candidates_V2.csv", lambda table: table.iloc[:-3])(good)
    BUILD.raw(2, lambda content: content[:-2])(good)
    BUILD.header(5, BUILD.SPACED, "ElementSpacing = 1.1 0 1.5")(good)
    report = luna16.check_copy(good)
    assert report["complete"] is False and report["fingerprint"] == ""
    said = "\n".join(report["lacks"])
    for words in (
        "subset7 is missing or empty; download and unpack subset7.zip",
        "subset8 is missing or empty; unpack subset8.zip",
        "annotations_excluded.csv is missing",
        "91 rows, published are 94",
        "it is cut short",
        "ElementSpacing is 1.1 0 1.5",
        "2 of 12 listed scans are in no subset",
    ):
        assert words in said
    assert len(report["lacks"]) == 7


@pytest.mark.parametrize("case", BUILD.CASES)
def test_whatever_the_reader_refuses_makes_a_copy_incomplete(good, published, case):
    BUILD.CASES[case][0](good)
    report = luna16.check_copy(good)
    assert not report["complete"] and report["lacks"] and all("\n" not in line for line in report["lacks"])


def test_a_folder_of_nothing_lacks_everything(tmp_path):
    said = luna16.check_copy(tmp_path)["lacks"]
    assert sum("subset" in line for line in said) == 10
    assert {"seriesuids.csv", "annotations.csv", "annotations_excluded.csv", "candidates_V2.csv"} == {
        line.split()[0] for line in said if ".csv is missing" in line
    }
    assert luna16.check_copy(tmp_path / "nowhere")["lacks"] == [f"{tmp_path / 'nowhere'}: no such folder"]


def test_the_published_numbers_are_those_of_the_challenge():
    assert luna16.PUBLISHED == {
        "seriesuids.csv": 888, "annotations.csv": 1186, "annotations_excluded.csv": 35192,
        "candidates_V2.csv": 754975, "candidates.csv": 551065,
    }  # fmt: skip
    assert luna16.PUBLISHED_POSITIVE == {"candidates_V2.csv": 1557, "candidates.csv": 1351}
    folds = list(luna16.SPLITS.items())
    assert folds == [(n, "train") for n in range(6)] + [(6, "val")] + [(n, "test") for n in range(7, 10)]
