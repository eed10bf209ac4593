"""The reader takes what was published, splits it by scan, and says plainly what is wrong with anything else."""

import hashlib
import zipfile

import numpy as np
import pytest

from fewscans.data import luna16_patches
from fewscans.errors import DataError

from .conftest import load_builders

VOI = load_builders("lidc_voi")


@pytest.fixture
def good(tmp_path, builders):
    return builders.write(tmp_path / luna16_patches.FILE)


def test_every_patch_is_read_once_with_its_own_label_and_row(good, builders):
    patches = luna16_patches.read(good)
    candidate_row, origin = (patches.about[name].to_numpy() for name in ("candidate_row", "repository_split"))
    expected = {}
    for split in builders.SPLITS:
        part = [builders.arrays()[f"{split}_{what}"] for what in ("candidate_row", "images", "labels")]
        expected |= {int(row): (image, int(label[0]), split) for row, image, label in zip(*part, strict=True)}
    assert candidate_row.tolist() == sorted(expected)
    for i, row in enumerate(candidate_row.tolist()):
        image, label, split = expected[row]
        assert np.array_equal(patches.images[i], image)
        assert (patches.target[i], origin[i], patches.case[i]) == (label, split, f"row{row:06d}")
    assert (patches.images.dtype, patches.target.dtype, candidate_row.dtype) == (np.uint8, np.int64, np.int64)


def test_file_and_folder_are_the_same_to_it(good):
    by_file, by_folder = luna16_patches.read(good), luna16_patches.read(good.parent)
    assert by_file.path == by_folder.path == good
    assert by_file.fingerprint == by_folder.fingerprint == hashlib.sha256(good.read_bytes()).hexdigest()


def test_no_scan_is_in_two_splits(good):
    patches = luna16_patches.read(good)
    row = patches.about["candidate_row"].to_numpy()
    rows = {split: row[patches.indices(split)] for split in ("train", "val", "test")}
    assert rows["val"].min() - rows["train"].max() > 2 * luna16_patches.MARGIN_ROWS
    assert rows["test"].min() - rows["val"].max() > 2 * luna16_patches.MARGIN_ROWS
    groups = [set(patches.group[patches.indices(split)]) for split in ("train", "val", "test")]
    assert sum(map(len, groups)) == len(set.union(*groups))


def test_the_repositorys_split_does_share_scans(good):
    patches = luna16_patches.read(good)
    row = patches.about["candidate_row"].to_numpy()
    rows = [row[patches.indices(split, repository=True)] for split in ("train", "test")]
    assert rows[1].min() < rows[0].max()


def test_split_does_not_depend_on_the_order_of_rows():
    rows = np.random.default_rng(0).permutation(50_000)[:500]
    order = np.argsort(rows)
    assert np.array_equal(luna16_patches.scan_disjoint(rows)[order], luna16_patches.scan_disjoint(rows[order]))


@pytest.mark.parametrize("place", [luna16_patches.JOIN, f"../lidc-voi-994/{luna16_patches.JOIN}"])
def test_of_positives_that_a_table_beside_knows_the_nodule_is_told(tmp_path, builders, place):
    folder = tmp_path / "data" / "luna16-patches"
    folder.mkdir(parents=True)
    alone = luna16_patches.read(builders.write(folder / luna16_patches.FILE))
    assert (alone.about[["nodule", "series"]] == "").all(axis=None) and alone.about["diameter_mm"].isna().all()
    assert (alone.about["malignant"] == -1).all()
    (folder / place).parent.mkdir(exist_ok=True)
    table = VOI.join(alone)
    table.iloc[::-1].to_csv(folder / place, index=False)
    patches = luna16_patches.read(folder)
    assert patches.fingerprint != alone.fingerprint and np.array_equal(patches.images, alone.images)
    known = patches.about.set_index("candidate_row").loc[table["candidate_row"]]
    assert (known["nodule"] + ".nii.gz").tolist() == table["file"].tolist()
    for mine, theirs in (("series", "seriesuid"), ("diameter_mm", "diameter_mm"), ("malignant", "malignant")):
        assert known[mine].tolist() == table[theirs].tolist()
    others = patches.about[~patches.about["candidate_row"].isin(table["candidate_row"])]
    assert (others["nodule"] == "").all() and (others["malignant"] == -1).all() and len(others) == len(patches) - 30


def test_a_match_whose_series_is_out_of_the_lists_order_is_not_believed(good):
    table = VOI.join(luna16_patches.read(good))
    table.loc[20, "seriesuid"] = table["seriesuid"][2]
    table.to_csv(good.with_name(luna16_patches.JOIN), index=False)
    about = luna16_patches.read(good).about.set_index("candidate_row")
    assert about.loc[table["candidate_row"], "nodule"].eq("").tolist() == [row == 20 for row in range(30)]


@pytest.mark.parametrize(
    "column, value, words",
    [
        ("candidate_row", 7_000_000, "candidate_row 7000000 is not a positive patch's, once"),
        ("candidate_row", "first", "candidate_row .* is not a positive patch's, once"),
        ("malignant", 2, "malignant 2 is not that of a nodule"),
        ("diameter_mm", -1, "diameter_mm -1.* is not that of a nodule"),
        ("diameter_mm", "large", "diameter_mm large is not"),
        ("file", None, "file nan is not"),
        ("seriesuid", None, "seriesuid nan is not"),
    ],
)
def test_a_table_of_nodules_that_does_not_fit_is_named_with_its_value(good, column, value, words):
    table = VOI.join(luna16_patches.read(good)).astype({column: object})
    table.loc[3, column] = table["candidate_row"][0] if value == "first" else value
    table.to_csv(good.with_name(luna16_patches.JOIN), index=False)
    with pytest.raises(DataError, match=rf"{luna16_patches.JOIN}: {words}.*or remove it"):
        luna16_patches.read(good)


def test_a_table_of_nodules_without_a_column_is_named(good):
    table = VOI.join(luna16_patches.read(good)).drop(columns="malignant")
    table.to_csv(good.with_name(luna16_patches.JOIN), index=False)
    with pytest.raises(DataError, match=rf"{luna16_patches.JOIN}: column 'malignant' is missing"):
        luna16_patches.read(good)


def test_what_is_wrong_is_named_with_file_and_value(malformed_case, builders, tmp_path):
    changes, words = builders.CASES[malformed_case]
    path = builders.write(tmp_path / luna16_patches.FILE, **changes)
    with pytest.raises(DataError) as error:
        luna16_patches.read(path)
    message = str(error.value)
    assert str(path) in message and "\n" not in message
    for word in words:
        assert word in message


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.npz: no such file"):
        luna16_patches.read(tmp_path / "nowhere.npz")
    with pytest.raises(DataError, match=luna16_patches.FILE):
        luna16_patches.read(tmp_path)  # a folder without the file


@pytest.mark.parametrize("kept", [0, 1, 100, 0.1, 0.5, 0.9, 0.999, -1])
def test_a_file_cut_short_anywhere_is_one_clear_error(good, kept):
    content = good.read_bytes()
    kept = int(kept * len(content)) if isinstance(kept, float) else kept
    good.write_bytes(content[:kept])
    with pytest.raises(DataError, match="cut short"):
        luna16_patches.read(good)


def test_a_damaged_byte_in_an_image_is_found(good):
    with zipfile.ZipFile(good) as archive:
        inside = archive.getinfo("train_images.npy").header_offset + 5000
    content = bytearray(good.read_bytes())
    content[inside] ^= 0xFF
    good.write_bytes(content)
    with pytest.raises(DataError, match="damaged or cut short"):
        luna16_patches.read(good)


@pytest.mark.parametrize("content", [b"", b"row,label\n1,0\n", b"\x93NUMPY\x01\x00"])
def test_a_file_of_another_kind_is_no_npz(tmp_path, content):
    path = tmp_path / "file.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match="not an npz"):
        luna16_patches.read(path)


def test_the_real_file_splits_into_the_counts_of_its_readme(real_patches):
    assert len(real_patches) == 8105
    counts = {
        s: (len(i := real_patches.indices(s)), int(real_patches.target[i].sum())) for s in ("train", "val", "test")
    }
    assert counts == {"train": (5236, 928), "val": (1208, 167), "test": (1583, 245)}
    leaky = [int(real_patches.target[real_patches.indices(s, repository=True)].sum()) for s in ("train", "val", "test")]
    assert leaky == [845, 224, 282]


def test_the_real_nodules_are_in_one_split_each_with_their_readings(real_patches):
    known = real_patches.about.assign(split=real_patches.split)[real_patches.about["nodule"] != ""]
    if known.empty:
        pytest.skip(f"no copy of {luna16_patches.JOIN} beside the patches")
    assert len(known) == 975  # two of the table's 977 are out of its order, one of them of a series in two splits
    assert known.groupby("series")["split"].nunique().max() == 1
    test = known[known["split"] == "test"]["malignant"].value_counts()
    assert test[[1, 0, -1]].tolist() == [53, 71, 50]


def test_neighbouring_rows_of_the_real_file_are_of_one_scan(real_patches):
    """The split rests on candidates.csv being grouped by scan: noise, a trait of scans, must agree in neighbours."""
    images = real_patches.images.astype(np.float32)
    detail = images[:, 1:, 1:] - images[:, :-1, 1:] - images[:, 1:, :-1] + images[:, :-1, :-1]
    noise = np.log1p(np.median(np.abs(detail), axis=(1, 2)))
    near, far = (np.corrcoef(noise[:-lag], noise[lag:])[0, 1] for lag in (1, 200))
    assert near > 0.6
    assert abs(far) < 0.1
