"""A small good copy of every data set, and the ways in which one of its images shows nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from fewscans.data import registry
from fewscans.data.base import Cut

from .conftest import load_builders
from .test_xray_dicom import write as dicom


def _png(file, side, shape=()):
    file.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(list(file.name.encode()))
    Image.fromarray(rng.integers(0, 256, (side, side, *shape), dtype=np.uint8)).save(file)


def nih_chestxray14(folder):
    names = [f"0000000{n}_000.png" for n in (1, 2, 3)]
    for name in names:
        _png(folder / "images" / name, 32)
    head = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position"
    rows = [f"{name},Mass,0,{n},50,F,PA" for n, name in enumerate(names)]
    (folder / "Data_Entry_2017_v2020.csv").write_text("\n".join([head, *rows]) + "\n")
    box = f"{names[2]},Mass,1,1,9,9,,,"
    (folder / "BBox_List_2017.csv").write_text(f"Image Index,Finding Label,Bbox [x,y,w,h],,,\n{box}\n")
    (folder / "train_val_list.txt").write_text("\n".join(names[:2]))
    (folder / "test_list.txt").write_text(names[2])
    return folder


def nih_subset(folder):
    folder.mkdir(parents=True)
    names, n = [f"0000000{n}_000.png" for n in (1, 2, 3)], 3
    images = np.random.default_rng(0).integers(0, 256, (n, 224, 224), dtype=np.uint8)
    arrays = {"images": images, "labels": np.ones((n, 1), np.uint8), "classes": np.array(["Mass"])}
    np.savez(folder / "nih_cxr14_1000_224.npz", **arrays, names=names, patient=np.arange(n), split=["train"] * n)
    rows = [f"{name},{k},train,Mass,50,F,PA,0,0" for k, name in enumerate(names)]
    (folder / "labels.csv").write_text(
        "\n".join(["image,patient,split,finding_labels,age,sex,view,followup,n_boxes", *rows]) + "\n"
    )
    (folder / "rsna_read.csv").write_text(f"image,rsna_lung_opacity\n{names[0]},1\n")
    for name, finding in (("boxes.csv", "Mass"), ("rsna_boxes.csv", "Lung opacity (RSNA)")):
        (folder / name).write_text(f"image,finding,x_1024,y_1024,w_1024,h_1024\n{names[0]},{finding},1,1,9,9\n")
    return folder


def camelyon16_patches(folder):
    names = ["normal/tumor_001_10_20.png", "tumor/tumor_001_30_40.png", "tumor/tumor_002_1_2.png"]
    for name in names:
        _png(folder / name, 256, (3,))
    rows = [f"{name},{int(name[0] == 't')},{Path(name).name[:9]}" for name in names]
    (folder / "patches.csv").write_text("\n".join(["file,label_tumor,slide", *rows]) + "\n")
    (folder / "SHA256SUMS").write_text("")
    return folder


def vindr_cxr(folder):
    (folder / "train").mkdir(parents=True)
    names = [f"image{n}" for n in range(3)]
    for n, name in enumerate(names):
        dicom(folder / "train" / f"{name}.dicom", np.random.default_rng(n).integers(0, 4096, (24, 24)))
    rows = [f"{name},R1,Nodule/Mass,2,2,9,9" for name in names]
    (folder / "train.csv").write_text("\n".join(["image_id,rad_id,class_name,x_min,y_min,x_max,y_max", *rows]) + "\n")
    return folder


def _in_file(name, module):
    """A copy that is one npz."""

    def write(folder):
        folder.mkdir(parents=True)
        load_builders(module).write(folder / name)
        return folder

    return write


def _in_folder(module):
    def write(folder):
        folder.mkdir(parents=True, exist_ok=True)
        load_builders(module).write(folder)
        return folder

    return write


def npz(folder, name, key, index, value=0):
    """One image of an npz gets one value."""
    with np.load(folder / name) as stored:
        arrays = dict(stored)
    arrays[key][index] = value
    np.savez(folder / name, **arrays)


def nifti(folder, file, change):
    """The voxels of a NIfTI file, changed."""
    import nibabel

    image = nibabel.load(folder / file)
    array = change(np.asarray(image.dataobj, np.float32))
    nibabel.save(nibabel.Nifti1Image(array, image.affine), folder / file)


def raw(folder, change):
    """The voxels of a scan of LUNA16, changed; its element type stays."""
    file = sorted((folder / "subset3").glob("*.raw"))[0]
    file.write_bytes(change(np.fromfile(file, "<i2")).astype("<i2").tobytes())


def png(folder, file, value=0):
    with Image.open(folder / file) as image:
        empty = np.full_like(np.asarray(image), value)
    Image.fromarray(empty).save(folder / file)


def zipped(folder, array, archive="images.zip"):
    build = load_builders("lidc_voi")
    content = build.members()
    name = build.table()["file"][4]
    content[archive][name] = build.packed(array, 4)
    return build.write(folder, content=content)


def slide(folder, file, value=255):
    build = load_builders("camelyon16")
    build.save(folder / file, build.halves(np.full((build.HEIGHT, build.WIDTH, 3), value, np.uint8)))


@dataclass(frozen=True)
class Copy:
    """write: makes it in a folder.   blank: makes one image show nothing.   named: what an error must then name."""

    write: Callable
    cut: Cut
    blank: Callable
    named: str

    def cases(self, name, folder):
        entry = registry.dataset(name)
        return entry.cases(folder / entry.file if entry.file else folder, self.cut, None)

    def lacks(self, name, folder):
        """What `fewscans data verify` lists, or the error that the reader of a file ends it with."""
        entry = registry.dataset(name)
        if entry.check is None:
            entry.read(folder / entry.file)
            return []
        return entry.check(folder / entry.file if entry.file else folder)["lacks"]


HIPPOCAMPUS = "imagesTr/hippocampus_003.nii.gz"
COPIES = {
    "luna16": Copy(
        _in_folder("luna16"), Cut((4, 6, 6), spacing_mm=(1.5, 1, 1)), lambda f: raw(f, np.zeros_like), "subset3"
    ),
    "luna16-patches": Copy(
        _in_file("luna16_patches_50x50.npz", "luna16_patches"), Cut((48, 48)),
        lambda f: npz(f, "luna16_patches_50x50.npz", "val_images", 4), "val_images[4]",
    ),
    "adrenalmnist3d": Copy(
        _in_file("adrenalmnist3d.npz", "medmnist3d"), Cut((28, 28, 28)),
        lambda f: npz(f, "adrenalmnist3d.npz", "test_images", 2, 255), "test_images[2]",
    ),
    "nodulemnist3d": Copy(
        _in_file("nodulemnist3d.npz", "medmnist3d"), Cut((28, 28, 28)),
        lambda f: npz(f, "nodulemnist3d.npz", "train_images", 6), "train_images[6]",
    ),
    "pneumoniamnist": Copy(
        _in_file("pneumoniamnist.npz", "pneumoniamnist"), Cut((28, 28)),
        lambda f: npz(f, "pneumoniamnist.npz", "val_images", 3), "val_images[3]",
    ),
    "lidc-nodules": Copy(
        _in_folder("lidc_nodules"), Cut((6, 12, 12), spacing_mm=(2.5, 1.25, 1.25)),
        lambda f: npz(f, "lidc_cubes_48mm.npz", "cubes", 3, -1024), "cubes[3]",
    ),
    "lidc-voi": Copy(
        _in_folder("lidc_voi"), Cut((4, 24, 24)),
        lambda f: zipped(f, np.zeros_like(load_builders("lidc_voi").image(4))), "LIDC-IDRI-0005_R_1.nii.gz",
    ),
    "msd-hippocampus": Copy(
        _in_folder("msd_hippocampus"), Cut((24, 40, 30)),
        lambda f: nifti(f, HIPPOCAMPUS, lambda a: a * 0 + 7), HIPPOCAMPUS,
    ),
    "hippocampus-patches": Copy(
        _in_folder("msd_hippocampus"), Cut((4, 4, 4)), lambda f: nifti(f, HIPPOCAMPUS, lambda a: a * 0), HIPPOCAMPUS
    ),
    "wmh2017": Copy(
        _in_folder("wmh2017"), Cut((8, 20, 20)),
        lambda f: nifti(f, "training/Utrecht/1/pre/FLAIR.nii.gz", lambda a: a * 0 + 50), "training/Utrecht/1/pre/FLAIR",
    ),
    "pvs": Copy(
        _in_folder("pvs"), Cut((8, 16, 16)), lambda f: nifti(f, "sub-03/T2.nii.gz", lambda a: a * 0 + 50), "sub-03/T2"
    ),
    "camelyon16": Copy(
        _in_folder("camelyon16"), Cut((56, 56)), lambda f: slide(f, "training/normal/normal_002.tif"), "normal_002.tif"
    ),
    "camelyon16-patches": Copy(
        camelyon16_patches, Cut((256, 256)), lambda f: png(f, "tumor/tumor_001_30_40.png"), "tumor_001_30_40.png"
    ),
    "nih-chestxray14": Copy(
        nih_chestxray14, Cut((16, 16)), lambda f: png(f, "images/00000002_000.png"), "00000002_000.png"
    ),
    "nih-subset": Copy(
        nih_subset, Cut((224, 224)), lambda f: npz(f, "nih_cxr14_1000_224.npz", "images", 1), "images[1]"
    ),
    "vindr-cxr": Copy(
        vindr_cxr, Cut((8, 8)), lambda f: dicom(f / "train/image1.dicom", np.full((24, 24), 9)), "image1.dicom"
    ),
}  # fmt: skip
