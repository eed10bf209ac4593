"""The patches are read as listed, slides that show both labels are the test, and what is wrong is named."""

import hashlib
import shutil

import numpy as np
import pytest
from PIL import Image

from fewscans import paths
from fewscans.data import camelyon16, camelyon16_patches, registry
from fewscans.data.base import Cut
from fewscans.errors import FewscansError

PATCHES = {  # slide → (normal patches, tumour patches)
    "tumor_001": (0, 3), "tumor_004": (2, 0), "tumor_064": (2, 1), "tumor_073": (1, 1),
}  # fmt: skip
NAMES = [
    (f"{folder}/{slide}_{n}_{label}.png", label, slide)
    for slide, counts in PATCHES.items()
    for label, folder in enumerate(("normal", "tumor"))
    for n in range(counts[label])
]
A_FILE, TABLE = NAMES[0][0], "patches.csv"


def pixels(name):
    return np.random.default_rng(list(name.encode())).integers(0, 256, (256, 256, 3), dtype=np.uint8)


def save(file, array):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(file, compress_level=0)


def listed(folder, rows=NAMES, columns="file,label_tumor,slide,x_level0"):
    (folder / TABLE).write_text("\n".join([columns, *(f"{name},{label},{slide},7" for name, label, slide in rows)]))


@pytest.fixture(scope="session")
def pristine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("patches") / "camelyon16-patches"
    for name, _, _ in NAMES:
        save(folder / name, np.dstack([pixels(name), np.full((256, 256), 255, np.uint8)]))
    listed(folder)
    sums = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}" for name, _, _ in NAMES]
    (folder / "SHA256SUMS").write_text("\n".join(sums) + "\n")
    return folder


@pytest.fixture
def good(pristine, tmp_path):
    return shutil.copytree(pristine, tmp_path / "data" / "camelyon16-patches")


def test_every_patch_is_read_once_without_alpha_with_its_label_and_its_slide(pristine):
    found = camelyon16_patches.read(pristine)
    assert (found.images.dtype, found.target.dtype, len(found)) == (np.uint8, np.int64, len(NAMES))
    for i, (name, label, slide) in enumerate(NAMES):
        assert np.array_equal(found.images[i], pixels(name))
        assert (found.target[i], found.group[i]) == (label, slide)
        assert f"{found.case[i]}.png" == name.partition("/")[2]


def test_patches_of_slides_with_both_labels_are_the_test(pristine):
    found = camelyon16_patches.read(pristine)
    assert set(found.group[found.indices("test")]) == {"tumor_064", "tumor_073"}
    assert set(found.group[found.indices("train")]) == {"tumor_001", "tumor_004"}


def test_the_fingerprint_is_of_pixels_and_labels_and_not_of_the_place(pristine, good):
    before = camelyon16_patches.read(pristine).fingerprint
    assert camelyon16_patches.read(good).fingerprint == before
    save(good / A_FILE, pixels("another"))
    assert camelyon16_patches.read(good).fingerprint != before


def test_the_cut_does_not_change_the_patches(pristine):
    cut = camelyon16_patches.cases(pristine, Cut((64, 64)))
    assert np.array_equal(cut.images, camelyon16_patches.read(pristine).images)


WRONG = {
    "no table": (lambda f: (f / TABLE).unlink(), [TABLE, "no such file"]),
    "no slides": (lambda f: listed(f, columns="file,label_tumor,side,x"), [TABLE, "'slide' is missing"]),
    "patch absent": (lambda f: (f / A_FILE).unlink(), [A_FILE, "no such file"]),
    "folder absent": (lambda f: shutil.rmtree(f / "normal"), ["normal/tumor_004_0_0.png", "(and 4 more)"]),
    "patch not listed": (lambda f: listed(f, NAMES[1:]), [A_FILE, f"is not in {TABLE}"]),
    "patch twice": (lambda f: listed(f, [*NAMES, NAMES[0]]), [A_FILE, "twice"]),
    "other label": (lambda f: listed(f, [(A_FILE, 0, "tumor_001"), *NAMES[1:]]), [A_FILE, "label '0'"]),
    "odd label": (lambda f: listed(f, [(A_FILE, "", "tumor_001"), *NAMES[1:]]), [A_FILE, "label ''"]),
    "one label a slide": (lambda f: listed(f, [(name, y, f"s{y}") for name, y, _ in NAMES]), ["both labels"]),
    "cut short": (lambda f: (f / A_FILE).write_bytes((f / A_FILE).read_bytes()[:9000]), [A_FILE, "cannot be read"]),
    "no image": (lambda f: (f / A_FILE).write_bytes(b"PNG"), [A_FILE, "cannot be read"]),
    "another size": (lambda f: save(f / A_FILE, pixels(A_FILE)[:96, :96]), [A_FILE, "(96, 96, 3)", "(256, 256, 3)"]),
    "grey": (lambda f: save(f / A_FILE, pixels(A_FILE)[..., 0]), [A_FILE, "(256, 256, 3)"]),
}


@pytest.mark.parametrize("fault", WRONG)
def test_what_is_wrong_is_named_with_file_and_value(good, fault):
    change, words = WRONG[fault]
    change(good)
    with pytest.raises(FewscansError) as error:
        camelyon16_patches.read(good)
    for word in (str(good), *words):
        assert word in str(error.value)
    report = camelyon16_patches.check_copy(good)
    assert not report["complete"] and report["lacks"] == [str(error.value)]


def test_a_whole_copy_is_known_by_its_checksums_and_another_file_is_named(good):
    report = camelyon16_patches.check_copy(good)
    assert report["complete"] and report["counts"] == {"normal": 5, "tumor": 5}
    assert report["fingerprint"] == camelyon16_patches.read(good).fingerprint
    save(good / A_FILE, pixels("another"))
    (lack,) = camelyon16_patches.check_copy(good)["lacks"]
    assert str(good / A_FILE) in lack
    (good / "SHA256SUMS").unlink()
    assert "SHA256SUMS" in camelyon16_patches.check_copy(good)["lacks"][0]


def test_a_copy_is_found_and_shares_patients_with_the_slides(good):
    assert registry.find("camelyon16-patches", good.parent) == good
    assert registry.share_patients("camelyon16-patches", "camelyon16")
    assert registry.dataset("camelyon16-patches").shows == camelyon16.DATASET.shows


def test_the_real_patches_are_those_of_their_readme():
    try:
        folder = registry.find("camelyon16-patches", paths.data_root())
    except FewscansError:
        pytest.skip("no copy of camelyon16-patches under FEWSCANS_DATA_ROOT or params.yaml's data_root")
    report = camelyon16_patches.check_copy(folder)
    assert report["complete"] and report["counts"] == {"normal": 45, "tumor": 44}
    found = camelyon16_patches.read(folder)
    counts = {s: np.bincount(found.target[found.group == s], minlength=2).tolist() for s in np.unique(found.group)}
    assert counts == {"tumor_001": [0, 24], "tumor_004": [7, 0], "tumor_064": [22, 4], "tumor_073": [16, 16]}
    assert len(found.indices("test")) == 58
