"""What looks like a case is read or named: behind links, in capitals, without its mask, in a folder of its name."""

import os
import shutil

import numpy as np
import pytest

from fewscans.data import listing, msd_hippocampus, pvs, registry, wmh2017
from fewscans.errors import DataError, FewscansError

from .conftest import load_builders
from .copies import COPIES

WMH, MSD, PVS = "training/Utrecht/1", "imagesTr", "sub-03"


def case_names(name, folder):
    return COPIES[name].cases(name, folder).case.tolist()


def complaint(name, folder):
    with pytest.raises(DataError) as error:
        COPIES[name].cases(name, folder)
    assert "\n" not in str(error.value)
    return str(error.value)


def everywhere(name):
    """All folders of a copy in which files lie, the deepest first, and the copy itself."""
    return {
        "luna16": "subset3", "msd-hippocampus": "labelsTr", "hippocampus-patches": "imagesTr",
        "wmh2017": "training/Utrecht", "pvs": "sub-03", "camelyon16": "training/tumor", "camelyon16-patches": "tumor",
        "nih-chestxray14": "images", "vindr-cxr": "train",
    }[name]  # fmt: skip


FOLDERS = [name for name in COPIES if not registry.dataset(name).file]
FEW_FILES = ("lidc-voi", "nih-subset", "pneumoniamnist")  # in one folder
FOLDERS = [name for name in FOLDERS if name not in FEW_FILES]


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_behind_a_link_is_read_like_any_other(tmp_path, name):
    folder = COPIES[name].write(tmp_path / "copy")
    before = case_names(name, folder)
    inside = folder / everywhere(name)
    shutil.move(inside, tmp_path / "disk2")
    inside.symlink_to(tmp_path / "disk2")
    assert case_names(name, folder) == before


@pytest.mark.parametrize("name", FOLDERS)
def test_a_link_that_leads_nowhere_is_named(tmp_path, name):
    folder = COPIES[name].write(tmp_path / "copy")
    inside = folder / everywhere(name)
    file = sorted(f for f in inside.rglob("*") if f.is_file())[0]
    file.unlink()
    file.symlink_to(tmp_path / "unplugged")
    assert file.name in complaint(name, folder)


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_that_cannot_be_looked_into_is_named(tmp_path, name, monkeypatch):
    """Root may look everywhere, so the refusal is made."""
    folder = COPIES[name].write(tmp_path / "copy")
    inside, real = folder / everywhere(name), os.listdir

    def refused(path="."):
        if os.fspath(path) == str(inside):
            raise PermissionError(13, "Permission denied", str(inside))
        return real(path)

    monkeypatch.setattr(os, "listdir", refused)
    monkeypatch.setattr(os, "scandir", lambda path=".", scan=os.scandir: refused(path) and None or scan(path))
    assert f"{inside}: cannot be looked into (Permission denied)" in complaint(name, folder)


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_named_like_a_file_is_named(tmp_path, name):
    folder = COPIES[name].write(tmp_path / "copy")
    inside = folder / everywhere(name)
    file = sorted(f for f in inside.rglob("*") if f.is_file())[0]
    content = file.read_bytes()
    file.unlink()
    file.mkdir()
    (file / file.name).write_bytes(content)
    assert file.name in complaint(name, folder)


CAPITALS = {
    "luna16": ("subset3", ".mhd", ".MHD"), "msd-hippocampus": ("imagesTr", ".nii.gz", ".NII.GZ"),
    "wmh2017": (WMH, "wmh.nii.gz", "WMH.NII.GZ"), "pvs": (PVS, "T2.nii.gz", "t2.nii.GZ"),
    "nih-chestxray14": ("images", ".png", ".PNG"), "vindr-cxr": ("train", ".dicom", ".DICOM"),
}  # fmt: skip


@pytest.mark.parametrize("name", CAPITALS)
def test_a_name_in_capitals_is_the_same_file(tmp_path, name):
    folder = COPIES[name].write(tmp_path / "copy")
    before = COPIES[name].cases(name, folder)
    inside, small, large = CAPITALS[name]
    file = next(f for f in sorted((folder / inside).iterdir()) if f.name.endswith(small))
    file.rename(file.with_name(file.name.removesuffix(small) + large))
    after = COPIES[name].cases(name, folder)
    assert after.case.tolist() == before.case.tolist() and np.array_equal(after.images, before.images)


TWINS = {"msd-hippocampus": f"{MSD}/hippocampus_003", "wmh2017": f"{WMH}/wmh", "pvs": f"{PVS}/T2"}


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("ending", [".nii", ".NII.GZ"])
def test_two_files_of_one_image_are_an_error_that_names_one(tmp_path, name, ending):
    folder = COPIES[name].write(tmp_path / "copy")
    shutil.copy(folder / f"{TWINS[name]}.nii.gz", folder / f"{TWINS[name]}{ending}")
    said = complaint(name, folder)
    assert f"{TWINS[name]}." in said and "also" in said


MISSING = [
    ("wmh2017", f"{WMH}/wmh.nii.gz", WMH), ("wmh2017", f"{WMH}/pre/FLAIR.nii.gz", f"{WMH}/pre/FLAIR"),
    ("msd-hippocampus", "labelsTr/hippocampus_003.nii.gz", "hippocampus_003"),
    ("msd-hippocampus", "imagesTr/hippocampus_003.nii.gz", "hippocampus_003"),
    ("pvs", f"{PVS}/basal_ganglia.nii.gz", PVS), ("pvs", f"{PVS}/T2.nii.gz", PVS),
    ("luna16", "subset3/{}.mhd", "subset3/"), ("luna16", "subset3/{}.raw", "subset3/"),
    ("vindr-cxr", "train/image1.dicom", "image1"), ("nih-chestxray14", "images/00000002_000.png", "00000002_000.png"),
    ("camelyon16-patches", "tumor/tumor_001_30_40.png", "tumor_001_30_40.png"),
    ("camelyon16", "training/lesion_annotations/tumor_001.xml", "tumor_001"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "file", "words"), MISSING)
def test_a_case_that_lacks_a_part_is_named_and_never_left_out(tmp_path, name, file, words):
    folder = COPIES[name].write(tmp_path / "copy")
    (folder / file.format(load_builders("luna16").uid(3))).unlink()
    assert words in complaint(name, folder)


def empty_case(place):
    return lambda folder: (folder / place).mkdir(parents=True)


def moved(source, target):
    def change(folder):
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(folder / source, folder / target)

    return change


def text(file):
    return lambda folder: (folder / file).write_text("x")


STRAY = {
    "an empty case beside others": ("wmh2017", empty_case("training/Utrecht/77"), "Utrecht/77"),
    "a case with images alone": ("wmh2017", moved(f"{WMH}/wmh.nii.gz", "notes/w.nii.gz"), WMH),
    "half a download of a volume": ("msd-hippocampus", text("imagesTr/hippocampus_300.nii.gz.part"), "300.nii.gz.part"),
    "a folder of volumes": ("msd-hippocampus", empty_case("imagesTr/more"), "imagesTr/more"),
    "a case without a count": ("pvs", moved(PVS, "SUB-03"), "SUB-03"),
    "a case of another name": ("pvs", moved(PVS, "person3"), "person3"),
    "a subset in capitals": ("luna16", moved("subset3", "Subset3"), "Subset3"),
    "a subset more": ("luna16", empty_case("subset10"), "subset10"),
    "scans in a folder of a subset": ("luna16", moved("subset3", "subset4/more"), "subset4/more"),
    "a scan of another form": ("luna16", text("subset3/1.2.3.mha"), "1.2.3.mha"),
    "a patch of another form": ("camelyon16-patches", text("tumor/tumor_001_1_1.jpg"), "tumor_001_1_1.jpg"),
    "a slide of another form": ("camelyon16", text("training/tumor/tumor_009.svs"), "tumor_009.svs"),
    "half a download of a slide": ("camelyon16", text("training/tumor/tumor_009.tif.part"), "tumor_009.tif.part"),
    "an image in two folders": (
        "nih-chestxray14",
        lambda f: shutil.copytree(f / "images", f / "images_001/images"), "00000001_000.png",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", STRAY)
def test_what_looks_like_a_case_and_would_not_be_read_is_named(tmp_path, case):
    name, change, words = STRAY[case]
    folder = COPIES[name].write(tmp_path / "copy")
    change(folder)
    assert words in complaint(name, folder)


@pytest.mark.parametrize("name", FOLDERS)
def test_hidden_files_of_unpackers_are_no_cases(tmp_path, name):
    folder = COPIES[name].write(tmp_path / "copy")
    before = case_names(name, folder)
    inside = folder / everywhere(name)
    for file in [f for f in inside.iterdir() if f.is_file()]:
        (inside / f"._{file.name}").write_bytes(b"Mac OS X")
    (inside / ".DS_Store").write_bytes(b"x")
    assert case_names(name, folder) == before


def test_a_link_to_a_folder_above_ends_in_an_error_and_not_in_a_circle(tmp_path):
    folder = COPIES["wmh2017"].write(tmp_path / "copy")
    (folder / "training/Utrecht/back").symlink_to(folder)
    assert "link to a folder that holds it" in complaint("wmh2017", folder)


def test_two_links_to_one_folder_are_two_folders(tmp_path):
    """Nothing is decided by where a disk lies."""
    (tmp_path / "one").mkdir()
    (tmp_path / "one/a").write_text("")
    (tmp_path / "two").symlink_to(tmp_path / "one")
    assert [f.relative_to(tmp_path).as_posix() for f in listing.below(tmp_path)] == ["one/a", "two/a"]


@pytest.mark.parametrize("read", [wmh2017.read, msd_hippocampus.read, pvs.read])
def test_an_absent_folder_is_an_error_of_ours(tmp_path, read):
    with pytest.raises(FewscansError, match="no such folder"):
        read(tmp_path / "nowhere")
