"""Which candidates become samples, that each has its own image, and that kept patches survive whatever befalls them."""

import dataclasses
import errno
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from fewscans.data import luna16_candidates, patch_cache
from fewscans.data.base import Cut
from fewscans.data.formats import luna16, mhd
from fewscans.data.formats.cut import axial, cut, to_code, to_unit
from fewscans.data.luna16_candidates import choose, inside, prepare, reference
from fewscans.errors import DataError, ParamsError

from .conftest import load_builders

BUILD = load_builders("luna16")
SIZE, STEP = (4, 8, 10), (2.0, 1.2, 1.2)
CUT = Cut(SIZE, spacing_mm=STEP, margin=(1, 1, 1))
XYZ = luna16.XYZ


@pytest.fixture(scope="session")
def pristine(tmp_path_factory):
    return BUILD.write(tmp_path_factory.mktemp("luna16") / "good")


@pytest.fixture
def good(pristine, tmp_path):
    return shutil.copytree(pristine, tmp_path / "LUNA16")


@pytest.fixture(scope="session")
def all_of_them(pristine, tmp_path_factory):
    return prepare(pristine, CUT, cache=tmp_path_factory.mktemp("patches"))


def test_every_case_has_the_patch_label_scan_and_split_of_its_row(pristine, all_of_them):
    samples, data = all_of_them, luna16.read(pristine)
    assert samples.images.shape == (len(samples), 6, 10, 12) and samples.images.dtype == np.uint8
    assert len(set(samples.case)) == len(samples)
    subset = dict(zip(data.scans["series"], data.scans["subset"], strict=True))
    for i, case in enumerate(samples.case):
        row = data.candidates.iloc[int(case.split(":")[1])]
        volume = mhd.read(data.headers[row["seriesuid"]].path)
        patch = cut(volume, [row[XYZ].tolist()], (6, 10, 12), STEP)[0]
        assert np.array_equal(samples.images[i], to_code(to_unit(patch)))
        assert samples.target[i] == row["class"] and samples.group[i] == row["seriesuid"]
        assert case.startswith(row["seriesuid"][-12:] + ":")
        assert samples.split[i] == luna16.SPLITS[subset[row["seriesuid"]]]


def test_a_margin_adds_samples_around_and_moves_none(pristine, tmp_path):
    wide, none = (prepare(pristine, dataclasses.replace(CUT, margin=m), cache=tmp_path) for m in ((1, 2, 3), ()))
    assert np.array_equal(wide.images[:, 1:-1, 2:-2, 3:-3], none.images) and none.images.shape[1:] == SIZE


def test_a_flat_size_gives_axial_cuts(pristine, tmp_path):
    samples, data = prepare(pristine, Cut((8, 10), 1, (1.2, 1.2), (1, 1)), cache=tmp_path), luna16.read(pristine)
    assert samples.images.shape == (len(samples), 10, 12)
    row = data.candidates.iloc[int(samples.case[7].split(":")[1])]
    volume = mhd.read(data.headers[row["seriesuid"]].path)
    assert np.array_equal(
        samples.images[7], to_code(to_unit(axial(volume, [row[XYZ].tolist()], (10, 12), (1.2, 1.2))))[0]
    )


def test_positives_shine_in_the_middle_and_negatives_do_not(all_of_them):
    middle = all_of_them.images[:, 2:4, 4:6, 5:7].reshape(len(all_of_them), -1).mean(axis=1)
    assert middle[all_of_them.target == 1].min() > middle[all_of_them.target == 0].max()


def test_no_scan_is_in_two_splits_and_all_positives_are_in_one(pristine, all_of_them):
    groups = [set(all_of_them.group[all_of_them.indices(s)]) for s in ("train", "val", "test")]
    assert sum(map(len, groups)) == len(set.union(*groups)) == BUILD.SCANS
    assert all_of_them.target.sum() == luna16.read(pristine).candidates["class"].sum()


def negatives(chosen, split):
    part = chosen[(chosen["label"] == 0) & (chosen["split"] == split)]
    return set(part["case"])


def aside(data):
    """Rows of the candidates inside an excluded finding and in no nodule, by a loop."""
    found = []
    for row, mark in data.candidates.iterrows():

        def within(frame, mark=mark):
            for other in frame[frame["seriesuid"] == mark["seriesuid"]].to_dict("records"):
                diameter = 10 if other["diameter_mm"] < 0 else other["diameter_mm"]
                yield sum((mark[c] - other[c]) ** 2 for c in XYZ) < (diameter / 2) ** 2

        if any(within(data.excluded)) and not any(within(data.annotations)):
            found.append(row)
    return found


def test_candidates_in_excluded_findings_are_neither_learned_from_nor_tested_on(pristine):
    data = luna16.read(pristine)
    off = aside(data)
    assert len(off) == BUILD.SCANS
    for settings in ({}, {"negatives_per_scan": 2}, {"negatives_per_scan": 1, "train_negatives": 5}):
        assert not choose(data, **settings)["row"].isin(off).any()
    assert len(choose(data)) == len(data.candidates) - len(off)


def test_a_candidate_s_chance_is_its_own(pristine):
    """Dropping a negative that was not drawn changes nothing of what is."""
    data = luna16.read(pristine)
    before = choose(data, negatives_per_scan=2)
    spare = set(range(len(data.candidates))) - set(before["row"]) - set(aside(data))
    gone = [min(row for row in spare if data.candidates["seriesuid"][row] == series) for series in
            {data.candidates["seriesuid"][row] for row in spare}]  # fmt: skip
    fewer = dataclasses.replace(data, candidates=data.candidates.drop(gone).reset_index(drop=True))
    after = choose(fewer, negatives_per_scan=2)
    assert len(gone) > 3 and np.array_equal(after[XYZ].to_numpy(), before[XYZ].to_numpy())


def test_each_scan_gives_at_most_so_many_negatives(pristine):
    data = luna16.read(pristine)
    chosen, off = choose(data, negatives_per_scan=3), aside(data)
    counts = chosen[(chosen["label"] == 0) & ~chosen["row"].isin(off)].groupby("series").size()
    assert len(counts) == BUILD.SCANS and (counts == 3).all()


def test_a_pool_of_training_negatives_is_drawn_from_all_scans_together(pristine):
    data = luna16.read(pristine)
    chosen = choose(data, negatives_per_scan=2, train_negatives=11)
    assert len(negatives(chosen, "train")) == 11
    assert chosen[(chosen["label"] == 0) & (chosen["split"] == "train")].groupby("series").size().nunique() > 1
    for split in ("val", "test"):
        assert negatives(chosen, split) == negatives(choose(data, negatives_per_scan=2), split)


def test_a_larger_draw_holds_the_smaller_ones_and_another_seed_draws_others(pristine):
    data = luna16.read(pristine)
    few, more = (negatives(choose(data, train_negatives=n), "train") for n in (8, 20))
    assert few < more
    few, more = (negatives(choose(data, negatives_per_scan=n), "test") for n in (1, 3))
    assert few < more
    draws = [frozenset(negatives(choose(data, train_negatives=8, seed=seed), "train")) for seed in range(6)]
    assert len(set(draws)) == 6


def test_the_draw_depends_on_scan_and_place_alone(good):
    """Neither the order of the file nor the other scans move a candidate's chance."""
    before = choose(luna16.read(good), negatives_per_scan=2)
    places = before[before["label"] == 0][["series", *XYZ]].values.tolist()
    BUILD.edit("candidates_V2.csv", lambda table: table.sample(frac=1, random_state=1))(good)
    after = choose(luna16.read(good), negatives_per_scan=2)
    assert sorted(after[after["label"] == 0][["series", *XYZ]].values.tolist()) == sorted(places)
    gone = BUILD.uid(5)
    BUILD.edit("candidates_V2.csv", lambda table: table[table["seriesuid"] != gone])(good)
    rest = choose(luna16.read(good), negatives_per_scan=2)
    expected = sorted(place for place in places if place[0] != gone)
    assert sorted(rest[rest["label"] == 0][["series", *XYZ]].values.tolist()) == expected


def test_every_negative_has_the_same_chance(pristine):
    data, counts = luna16.read(pristine), np.zeros(5)
    off = aside(data)
    for seed in range(40):
        chosen = choose(data, negatives_per_scan=1, seed=seed)
        chosen = chosen[(chosen["label"] == 0) & ~chosen["row"].isin(off)]
        last = data.candidates.groupby("seriesuid").tail(1).index  # a scan's negatives are its last five rows
        counts += np.bincount(last - chosen["row"].to_numpy(), minlength=5)
    assert counts.sum() == 40 * BUILD.SCANS
    assert ((counts - 96) ** 2 / 96).sum() < 18.5  # chi-squared with 4 degrees of freedom: p = 0.001


def test_inside_is_strictly_within_the_radius_and_unknown_is_ten_millimetres_wide():
    points = np.array([[0.0, 0, 0], [2.999, 0, 0], [3.0, 0, 0], [0, 4.999, 0], [0, 0, 5.0]])
    lies = inside(points, np.zeros((2, 3)), np.array([6.0, -1.0]))
    assert lies.tolist() == [[True, True], [True, True], [False, True], [False, True], [False, False]]


def test_the_reference_is_what_the_rule_says_mark_by_mark(pristine, all_of_them):
    data, table = luna16.read(pristine), all_of_them.reference()
    assert table.columns.tolist() == ["kind", "scan", "nodule", "case", "malignant"]
    assert [str(t) for t in table.dtypes] == ["str"] * 4 + ["float64"]
    by = {kind: table[table["kind"] == kind] for kind in ("scan", "nodule", "hit", "excluded")}
    assert sum(map(len, by.values())) == len(table)
    test = [BUILD.uid(scan) for scan in range(BUILD.SCANS) if BUILD.subset(scan) >= 7]
    assert by["scan"]["scan"].tolist() == test
    nodules = data.annotations[data.annotations["seriesuid"].isin(test)]
    assert by["nodule"]["nodule"].is_unique and by["nodule"]["scan"].tolist() == nodules["seriesuid"].tolist()
    assert np.array_equal(by["nodule"]["malignant"], nodules["malignant"], equal_nan=True)
    hits = set()
    for case in all_of_them.case[all_of_them.indices("test")]:
        mark = data.candidates.iloc[int(case.split(":")[1])]
        for row, nodule in data.annotations[data.annotations["seriesuid"] == mark["seriesuid"]].iterrows():
            if np.linalg.norm((mark[XYZ] - nodule[XYZ]).astype(float)) < nodule["diameter_mm"] / 2:
                hits.add((case, f"{nodule['seriesuid'][-12:]}:nodule{row}"))
    assert set(zip(by["hit"]["case"], by["hit"]["nodule"], strict=True)) == hits and len(by["hit"]) == len(hits)
    assert by["hit"]["case"].duplicated().any()  # a mark in two nodules finds both
    assert by["excluded"].empty  # left out of the list already


def test_of_a_list_that_holds_them_the_reference_names_marks_in_excluded_findings(pristine):
    data = luna16.read(pristine)
    rows = [row for row in aside(data) if luna16.SPLITS[BUILD.subset(row_scan(data, row))] == "test"]
    chosen = data.candidates.rename(columns={"seriesuid": "series"}).assign(split="test")
    chosen["case"] = [f"case{i}" for i in range(len(chosen))]
    found = reference(data, chosen[chosen.index.isin(rows)])
    assert found.loc[found["kind"] == "excluded", "case"].tolist() == [f"case{row}" for row in rows] and rows


def row_scan(data, row: int) -> int:
    return next(i for i in range(BUILD.SCANS) if BUILD.uid(i) == data.candidates["seriesuid"][row])


def test_scans_without_a_candidate_are_in_the_reference_too(good, tmp_path):
    BUILD.edit("candidates_V2.csv", lambda table: table[table["seriesuid"] != BUILD.uid(8)])(good)
    reference = prepare(good, CUT, cache=tmp_path / "patches").reference()
    assert BUILD.uid(8) in set(reference.loc[reference["kind"] == "scan", "scan"])
    assert (reference.loc[reference["kind"] == "nodule", "scan"] == BUILD.uid(8)).sum() == 2


def test_the_fingerprint_is_of_the_folder_and_all_that_is_asked_for(good, tmp_path):
    variants = [{}, {"size": (4, 8, 8)}, {"spacing_mm": (2.0, 1.2, 1.3)}, {"margin": (2, 2, 2)},
                {"negatives_per_scan": 2}, {"train_negatives": 9}]  # fmt: skip
    seen = {prepare(good, dataclasses.replace(CUT, **variant), cache=tmp_path).fingerprint for variant in variants}
    seen.add(prepare(good, CUT, seed=1, cache=tmp_path).fingerprint)
    assert len(seen) == len(variants) + 1
    assert prepare(good, Cut(SIZE, 1, list(STEP), [1, 1, 1]), cache=tmp_path).fingerprint in seen
    BUILD.put("annotations.csv", 1, "diameter_mm", 6.5)(good)
    assert prepare(good, CUT, cache=tmp_path).fingerprint not in seen


def test_a_cut_without_a_spacing_is_refused(pristine, tmp_path):
    with pytest.raises(ParamsError, match="spacing_mm is missing: the patches of luna16 are cut at a spacing"):
        prepare(pristine, Cut(SIZE), cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_split_without_a_class_is_refused(good, tmp_path):
    BUILD.edit("candidates_V2.csv", lambda t: t[(t["seriesuid"] != BUILD.uid(6)) | (t["class"] == 0)])(good)
    with pytest.raises(DataError, match="no candidate of class 1 is in split 'val'"):
        prepare(good, CUT, cache=tmp_path / "patches")


@pytest.fixture
def kept(pristine, tmp_path):
    """A folder of kept patches, and their images."""
    images = np.array(prepare(pristine, CUT, cache=tmp_path).images)
    (folder,) = [path for path in tmp_path.iterdir() if path.is_dir()]
    return folder, images


def again(pristine, folder):
    return prepare(pristine, CUT, cache=folder.parent).images


def test_patches_are_cut_once(pristine, kept, monkeypatch):
    monkeypatch.setattr(luna16_candidates, "_patches", lambda *a: pytest.fail("cut a second time"))
    images = again(pristine, kept[0])
    assert isinstance(images, np.memmap) and not images.flags.writeable and np.array_equal(images, kept[1])


def test_a_change_of_the_cutting_code_cuts_anew(pristine, kept, monkeypatch):
    monkeypatch.setattr(luna16_candidates, "_code", lambda: "another way")
    again(pristine, kept[0])
    assert sum(path.is_dir() for path in kept[0].parent.iterdir()) == 2


def _flip(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 0xFF
    path.write_bytes(content)


DAMAGE = {
    "images cut short": lambda folder: os.truncate(folder / "images.npy", 4000),
    "images emptied": lambda folder: os.truncate(folder / "images.npy", 0),
    "images gone": lambda folder: (folder / "images.npy").unlink(),
    "images of another shape": lambda folder: np.save(folder / "images.npy", np.zeros((3, 6, 10, 12), np.uint8)),
    "a byte of an image altered": lambda folder: _flip(folder / "images.npy", 5000),
    "rows gone": lambda folder: (folder / "meta.parquet").unlink(),
    "rows cut short": lambda folder: os.truncate(folder / "meta.parquet", 900),
    "rows of others": lambda folder: pd.DataFrame({"case": ["a"], "crc32": [0]}).to_parquet(folder / "meta.parquet"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_patches_are_told_of_and_cut_again(pristine, kept, damage):
    folder, images = kept
    DAMAGE[damage](folder)
    with pytest.warns(UserWarning, match="damaged patches .* cut again"):
        assert np.array_equal(again(pristine, folder), images)
    assert np.array_equal(again(pristine, folder), images)


def test_what_a_killed_process_left_is_no_obstacle(pristine, tmp_path):
    """Killed while writing: nothing is there under the final name, and the next one cuts them all."""
    script = (
        "import os, signal\n"
        "from fewscans.data import luna16_candidates as c\n"
        "from fewscans.data.base import Cut\n"
        "blocks = c._patches\n"
        "def until_killed(*arguments):\n"
        "    for number, block in enumerate(blocks(*arguments)):\n"
        "        if number == 5: os.kill(os.getpid(), signal.SIGKILL)\n"
        "        yield block\n"
        "c._patches = until_killed\n"
        f"c.prepare({str(pristine)!r}, Cut({SIZE}, spacing_mm={STEP}, margin=(1, 1, 1)), cache={str(tmp_path)!r})\n"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == -signal.SIGKILL
    left = [path for path in tmp_path.iterdir() if path.is_dir()]
    assert [path.suffix for path in left] == [".part"]
    samples = prepare(pristine, CUT, cache=tmp_path)
    assert len(samples.images) == len(samples) and not left[0].exists()


def test_processes_that_start_together_share_one_cut(pristine, tmp_path):
    script = (
        "import zlib\n"
        "from fewscans.data import luna16_candidates as c\n"
        "from fewscans.data.base import Cut\n"
        "blocks = c._patches\n"
        "c._patches = lambda *a: (print('cutting'), blocks(*a))[1]\n"
        f"cut = Cut({SIZE}, spacing_mm={STEP}, margin=(1, 1, 1))\n"
        f"samples = c.prepare({str(pristine)!r}, cut, cache={str(tmp_path)!r})\n"
        "print(zlib.crc32(samples.images.tobytes()))\n"
    )
    started = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = [process.communicate()[0].split() for process in started]
    assert [process.returncode for process in started] == [0, 0, 0]
    assert sum(words.count("cutting") for words in said) == 1
    assert len({words[-1] for words in said}) == 1


def test_without_a_cache_the_same_patches_lie_in_memory(pristine, all_of_them):
    held = prepare(pristine, CUT)
    assert not isinstance(held.images, np.memmap) and np.array_equal(held.images, all_of_them.images)
    assert held.fingerprint == all_of_them.fingerprint


def test_a_cache_that_cannot_be_written_is_named(pristine, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        prepare(pristine, CUT, cache=tmp_path / "file")


def test_a_cache_refuses_images_that_are_not_those_of_its_cases(tmp_path):
    meta = pd.DataFrame({"case": ["a", "b", "c"]})
    for blocks, words in (([np.zeros((2, 4), np.uint8)], "2 images for 3"), ([np.zeros((3, 4))], "float64")):
        with pytest.raises(ValueError, match=words):
            patch_cache.opened(tmp_path / "x", meta, (4,), lambda blocks=blocks: blocks)
        assert not (tmp_path / "x").exists()


def test_a_disk_that_fills_up_leaves_nothing_half(tmp_path):
    def blocks():
        yield np.zeros((2, 4), np.uint8)
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DataError, match="No space left on device.*make room"):
        patch_cache.opened(tmp_path / "kept" / "x", pd.DataFrame({"case": ["a", "b", "c"]}), (4,), blocks)
    assert not list((tmp_path / "kept").glob("x*.part")) and not (tmp_path / "kept" / "x").exists()
