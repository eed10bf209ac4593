"""`audit` names what is planted: a label in a corner, copies across splits, a site, the size; else nothing."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fewscans import paths, shortcuts
from fewscans.data import audit, own_checks, registry
from fewscans.data.base import Cases
from fewscans.errors import DataError, FewscansError

from .malformed import own as folders


def cases(n: int = 300, seed: int = 0, **about) -> Cases:
    """Smooth pictures that say nothing of their label, one a patient."""
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(n, 12, 12)).repeat(2, 1).repeat(2, 2) + 0.3 * rng.normal(size=(n, 24, 24))
    images = (127 + 40 * images).clip(0, 255).astype(np.uint8)
    name, split = (
        np.array([f"c{i:03d}" for i in range(n)]),
        np.array(["train", "train", "val", "test"])[np.arange(n) % 4],
    )
    return Cases(
        images, rng.integers(0, 2, n), name, name, split, "f", Path("x"), about=pd.DataFrame(about, index=range(n))
    )


def named(found: list[shortcuts.Shortcut]) -> set[str]:
    return {one.what for one in found if one.strong}


def test_nothing_is_strong_where_nothing_is_planted():
    clean = cases(site=np.array(["a", "b", "c"])[np.arange(300) % 3])
    assert named(shortcuts.shortcuts(clean, {"site": ("site",)})) == set()
    assert len(audit.across_splits(clean)) == 0 and not shortcuts.pairs(clean)[0] > 0.5


def test_a_label_in_a_corner_pixel_is_named():
    marked = cases()
    marked.images[marked.target == 1, 0, 0] = 255
    found = shortcuts.shortcuts(marked, {})
    assert found[0].what == "corner pixels" and found[0].score.value > 0.9 and "corner pixels" in named(found)


@pytest.mark.parametrize(
    ("what", "values"),
    [
        ("site", lambda y: np.where(y == 1, "here", "there")),
        ("age", lambda y: 40 + 30.0 * y),
        ("shape_x", lambda y: 24 + 5 * y),
    ],
)
def test_a_column_that_answers_is_named(what, values):
    plain = cases()
    told = cases(**{what: values(plain.target)})
    assert {what} == named(shortcuts.shortcuts(told, {what: (what,)}))


def test_the_order_of_the_files_is_named():
    sorted_by_label = cases()
    sorted_by_label.target[:] = np.sort(sorted_by_label.target)
    assert "order of the files" in named(shortcuts.shortcuts(sorted_by_label, {}))


def test_a_number_s_shortcut_is_named():
    plain = cases()
    y = np.random.default_rng(3).gamma(3.0, size=300)
    told = Cases(plain.images, y, plain.case, plain.group, plain.split, "f", plain.path, unit="ml",
                 about=pd.DataFrame({"shape_x": 20 + 3 * y}))  # fmt: skip
    found = shortcuts.shortcuts(told, shortcuts.KNOWN)
    assert found[0].what == "size of the picture" and found[0].score.value > 0.8


@pytest.mark.parametrize("change", ["same", "brighter", "shifted", "noisy"])
def test_near_duplicates_across_splits_are_found_and_named(change):
    leaky = cases()
    test, train = leaky.indices("test")[:10], leaky.indices("train")[:10]
    copies = leaky.images[train].astype(float)
    if change == "brighter":
        copies = copies * 0.8 + 30
    elif change == "shifted":
        copies = np.roll(copies, (2, -3), (1, 2))
    elif change == "noisy":
        copies = copies + np.random.default_rng(1).normal(0, 4, copies.shape)
    leaky.images[test] = copies.clip(0, 255).astype(np.uint8)
    leaky.target[test] = leaky.target[train]
    found = audit.across_splits(leaky)
    assert {(leaky.case[a], leaky.case[b]) for a, b in zip(test, train, strict=True)} <= {
        (a, b) for a, b, _ in found.named(leaky)
    }
    assert len(found) <= 11


def test_two_sides_of_one_person_that_follow_each_other_are_noticed():
    n = 200
    rng = np.random.default_rng(0)
    y = rng.gamma(3.0, size=n // 2).repeat(2) + rng.normal(0, 0.1, n)
    plain = cases(n)
    images = np.clip(plain.images + (12 * y).astype(int)[:, None, None], 0, 255).astype(np.uint8)
    alone = Cases(images, y, plain.case, plain.group, plain.split, "f", plain.path, unit="ml")
    within, between, together = shortcuts.pairs(alone)
    assert within - between > shortcuts.PAIRED and not together
    person = np.array([f"p{i // 2}" for i in range(n)])
    assert shortcuts.pairs(Cases(images, y, plain.case, person, plain.split, "f", plain.path, unit="ml"))[2]


def test_the_report_of_an_own_set_speaks_of_all_its_columns(tmp_path, monkeypatch):
    (tmp_path / "params.yaml").write_text("data_root: data\n")
    monkeypatch.setenv("FEWSCANS_ROOT", str(tmp_path))
    table = folders.pictures(tmp_path / "mine", n=120, patients=60)
    folders.saved(tmp_path / "mine", table.assign(site=np.where(table["label"] == 1, "a", "b")))
    for name in table["image"][table["label"] == 1]:  # the label in a corner
        values = np.array(Image.open(tmp_path / "mine" / name))
        values[:2, :2] = 255
        Image.fromarray(values).save(tmp_path / "mine" / name)
    own_checks.add("mine", tmp_path / "mine")
    text = shortcuts.report("mine")
    strong = [line for line in text.splitlines() if "| strong" in line]
    assert any("site" in line for line in strong) and any("corner pixels" in line for line in strong)
    assert text.startswith("mine: 120 cases of 60 patients") and "near-duplicates, the split: 0 of" in text
    with pytest.raises(DataError, match="unknown data set"):
        shortcuts.report("absent")


def real(name: str) -> str:
    try:
        registry.find(name, paths.data_root())
        return shortcuts.report(name)
    except FewscansError as error:
        pytest.skip(f"no copy of {name}, or no grid: {error}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lidc-voi-malignancy", ("| diameter ", "| size of the picture ")),
        ("nih-subset", ("| view ", "| follow-up number ")),
        ("msd-hippocampus", ("| size of the picture ", "pairs: file 1 is like 2, 3 like 4")),
        ("luna16-patches", ("near-duplicates, the source's own split: ", "near-duplicates, the split: 0 of")),
    ],
)
def test_what_is_known_of_real_sets_is_named(name, words):
    text = real(name)
    for word in words:
        lines = [line for line in text.splitlines() if line.startswith(word)]
        assert lines and ("none |" not in lines[0]), word
