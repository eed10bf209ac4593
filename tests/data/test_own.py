"""A folder of one's own becomes a data set as any other; whatever is wrong with it is one clear error."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fewscans import files, paths
from fewscans.data import manifest, own, own_checks, patient_draws, registry
from fewscans.data.base import Cut
from fewscans.data.formats import mhd, pictures
from fewscans.data.group_splits import parts
from fewscans.errors import DataError, ParamsError

from .conftest import load_builders
from .test_xray_dicom import write

FOLDERS = load_builders("own")


@pytest.fixture
def project(tmp_path, monkeypatch):
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "params.yaml").write_text("data_root: data\n")
    monkeypatch.setenv("FEWSCANS_ROOT", str(folder))
    return folder


def read(name: str, cut: Cut | None = None):
    entry, mine = registry.dataset(name), own.load(name)
    return entry.cases(registry.find(name, paths.data_root()), cut or Cut(mine.patch), paths.build())


def test_patches_become_a_set_under_their_own_name_split_by_patient(project, tmp_path):
    folder = tmp_path / "Bilder mit Umläuten"
    table = FOLDERS.pictures(folder, n=120, patients=60)
    (folder / "dataset.yaml").write_text("title: Patches of our clinic\ncase: patch\nlicence: not to be shared\n")
    added = own_checks.add("clinic", folder)
    assert added.own.folds == 5 and added.own.patch == (24, 24) and not added.own.colour
    assert any("5 parts of the patients" in note for note in added.notes)
    entry, cases = registry.dataset("clinic"), read("clinic")
    assert (entry.title, entry.plural, entry.licence) == ("Patches of our clinic", "patches", "not to be shared")
    assert "LUNA" not in str(entry) and cases.images.shape == (120, 24, 24)
    assert np.array_equal(cases.target, table["label"]) and set(cases.group) == set(table["patient"])
    for seed in range(5):
        part = parts(cases, 5, seed)
        groups = [set(cases.group[part == name]) for name in ("train", "val", "test")]
        assert all(groups) and not groups[0] & groups[1] and not groups[1] & groups[2] and not groups[0] & groups[2]
    original = np.array(Image.open(folder / table["image"][7]))
    assert np.array_equal(cases.images[7], original)
    assert read("clinic").fingerprint == cases.fingerprint


def test_volumes_of_different_spacing_show_the_same_part_of_the_body_at_one_spacing(project, tmp_path):
    FOLDERS.volumes(tmp_path / "v")
    added = own_checks.add("balls", tmp_path / "v")
    mine = added.own
    assert mine.target == "number" and len(mine.patch) == 3 and mine.spacing_mm is not None
    cases = read("balls")
    assert cases.images.shape == (40, *mine.patch) and np.allclose(cases.spacing_mm, mine.spacing_mm)
    bright = (cases.images > 128).reshape(40, -1).sum(1) * np.prod(mine.spacing_mm) / 1000
    assert np.corrcoef(bright, cases.target)[0, 1] > 0.95  # of one size in mm, whatever the file's spacing


@pytest.mark.parametrize("fault", list(FOLDERS.CASES))
def test_a_fault_is_one_clear_error_and_adds_nothing(project, tmp_path, fault):
    make, message = FOLDERS.CASES[fault]
    folder = tmp_path / "mine"
    make(folder)
    with pytest.raises(DataError, match=message) as error:
        own_checks.add("mine", folder)
    assert "\n" not in str(error.value) and not (project / "data" / "own").exists()


def test_a_table_of_100_000_rows_is_checked_in_one_go(tmp_path):
    n = 100_000
    rows = {"image": [f"i/{i}.png" for i in range(n)], "label": np.arange(n) % 2, "patient": np.arange(n) // 3}
    pd.DataFrame(rows).to_csv(tmp_path / "cases.csv", index=False)
    table = own_checks.cases_table(tmp_path / "cases.csv")
    assert len(table) == n and table["label"].sum() == n // 2
    split, folds, notes = own_checks._split(table.rename(columns={"label": "target"}), "label")
    assert folds == 5 and split.groupby("patient")["fold"].nunique().max() == 1


def test_a_file_that_changes_later_is_noticed(project, tmp_path):
    table = FOLDERS.pictures(tmp_path / "mine")
    own_checks.add("mine", tmp_path / "mine")
    Image.fromarray(np.eye(24, dtype=np.uint8) * 255).save(tmp_path / "mine" / table["image"][0])
    with pytest.raises(DataError, match="a file changed since the set was added; `fewscans data add mine"):
        read("mine")
    (tmp_path / "mine" / table["image"][0]).unlink()
    with pytest.raises(DataError, match="000.png: cannot be found"):
        read("mine")


def test_the_tables_own_split_is_taken_and_other_columns_are_kept(project, tmp_path):
    table = FOLDERS.pictures(tmp_path / "mine", n=120, patients=60)
    parted = np.where(table["patient"] < "p36", "train", np.where(table["patient"] < "p44", "val", "test"))
    FOLDERS.saved(tmp_path / "mine", table.assign(split=parted, site=["a", "b"] * 60, age=np.arange(120)))
    added = own_checks.add("mine", tmp_path / "mine")
    cases = read("mine")
    assert added.own.folds == 0 and np.array_equal(cases.split, parted)
    assert set(cases.about["site"]) == {"a", "b"} and cases.about["age"].tolist() == list(range(120))


def test_grey_pictures_saved_in_colour_are_grey_and_coloured_ones_keep_their_colours(project, tmp_path):
    for name, tint in (("grey", 0), ("tinted", 20)):
        table = FOLDERS.pictures(tmp_path / name)
        for image in table["image"]:
            values = np.array(Image.open(tmp_path / name / image))
            Image.fromarray(np.stack([values, np.maximum(values, tint + 90), values], -1) if tint else
                            np.stack([values] * 3, -1)).save(tmp_path / name / image)  # fmt: skip
        own_checks.add(name, tmp_path / name)
    assert read("grey").images.shape == (60, 24, 24) and read("tinted").images.shape == (60, 24, 24, 3)
    assert read("tinted", Cut((1, 24, 24))).images.shape == (60, 1, 24, 24)


def test_a_window_and_a_patch_are_obeyed_and_a_picture_is_stretched_whole(project, tmp_path):
    table = FOLDERS.pictures(tmp_path / "mine")
    (tmp_path / "mine" / "dataset.yaml").write_text("window: [0.0, 128.0]\npatch: [16, 8]\n")
    own_checks.add("mine", tmp_path / "mine")
    values = np.array(Image.open(tmp_path / "mine" / table["image"][5])).clip(0, 128) / 128
    image = read("mine").images[5]
    assert image.shape == (16, 8) and abs(image.mean() / 255 - values.mean()) < 0.01


def test_pictures_of_many_kinds_hold_what_was_written(tmp_path):
    import nibabel
    import tifffile

    values = np.random.default_rng(0).integers(0, 255, (9, 10), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", values.astype(np.uint16) * 100)
    np.save(tmp_path / "a.npy", values)
    nibabel.save(
        nibabel.Nifti1Image(values.T[..., None].astype(np.int16), np.diag([2, 3, 1, 1])), tmp_path / "a.nii.gz"
    )
    assert np.array_equal(pictures.read(tmp_path / "a.png").values, values)
    assert np.array_equal(pictures.read(tmp_path / "a.tif").values, values * np.float32(100))
    assert np.array_equal(pictures.read(tmp_path / "a.npy").values, values)
    flat = pictures.read(tmp_path / "a.nii.gz")
    assert np.array_equal(flat.values, values) and flat.spacing_mm == (3.0, 2.0)
    scan = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    mhd.write(tmp_path / "a.mhd", scan, np.array([0.5, 1.0, 2.0]), np.zeros(3))
    space = pictures.read(tmp_path / "a.mhd")
    assert np.array_equal(space.values, scan) and space.spacing_mm == (2.0, 1.0, 0.5)
    write(tmp_path / "a.dcm", np.arange(100, dtype=np.uint16).reshape(10, 10), Manufacturer="Acme")
    frame = pictures.read(tmp_path / "a.dcm")
    assert frame.values.shape == (10, 10) and (np.diff(frame.values.ravel().astype(int)) >= 0).all()
    assert frame.scanner == "Acme"


@pytest.mark.parametrize("name", ["Clinic", "a_b", "x-twin", "a-on-b", "luna16-patches", "networks", "-a", ""])
def test_a_name_that_could_be_taken_for_another_is_refused(project, tmp_path, name):
    FOLDERS.pictures(tmp_path / "mine")
    with pytest.raises(DataError):
        own_checks.add(name, tmp_path / "mine")


def test_training_subsets_are_nested_balanced_and_take_patient_after_patient(project, tmp_path):
    FOLDERS.pictures(tmp_path / "mine", n=240, patients=60)
    own_checks.add("mine", tmp_path / "mine")
    cases = read("mine")
    train = np.flatnonzero(cases.split == "train")
    draws = [patient_draws.nested_patients(cases, train, n, 1) for n in (8, 20, 60)]
    assert all(np.array_equal(a, b[: len(a)]) for a, b in zip(draws, draws[1:], strict=False))
    for drawn in draws:
        assert cases.target[drawn].mean() == 0.5 and len(set(drawn)) == len(drawn)
    assert len(set(cases.group[draws[-1]])) <= 17  # four cases a patient
    with pytest.raises(DataError, match="largest balanced n"):
        patient_draws.nested_patients(cases, train, 1000, 1)


def test_an_unknown_set_and_another_dimension_are_refused(project, tmp_path):
    FOLDERS.pictures(tmp_path / "mine")
    own_checks.add("mine", tmp_path / "mine")
    with pytest.raises(DataError, match="known: .*mine.*`fewscans data add` adds one"):
        registry.dataset("mime")
    with pytest.raises(ParamsError, match="have 2 axes"):
        read("mine", Cut((8, 8, 8)))


def test_verify_says_whether_it_is_as_it_was_added(project, tmp_path):
    FOLDERS.pictures(tmp_path / "mine")
    own_checks.add("mine", tmp_path / "mine")
    told = manifest.verify("mine", paths.data_root(), tmp_path / "manifests")
    assert told.cases == {"cases": 60, "patients": 30}
    (tmp_path / "mine" / "cases.csv").touch()
    with pytest.raises(DataError, match="a file changed since the set was added"):
        manifest.verify("mine", paths.data_root(), tmp_path / "manifests")


def test_what_is_kept_beside_published_results_names_no_folder_and_is_enough_to_show_them(project, tmp_path):
    FOLDERS.pictures(tmp_path / "mine")
    (tmp_path / "mine" / "dataset.yaml").write_text("title: Mine\n")
    own_checks.add("mine", tmp_path / "mine")
    beside = own.as_published("mine")
    assert beside["folder"] == "" and str(tmp_path) not in str(beside) and own.as_published("luna16") is None
    (project / "reports/published/gcnn/mine").mkdir(parents=True)
    files.write_json(project / "reports/published/gcnn/mine" / own.RECORD, beside)
    for file in own.home().glob("mine.*"):
        file.unlink()
    assert own.names() == ("mine",) and registry.dataset("mine").title == "Mine"
    with pytest.raises(DataError, match="no such file; `fewscans data add mine FOLDER`"):
        registry.find("mine", paths.data_root())
