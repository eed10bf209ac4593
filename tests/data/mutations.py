"""Small valid files of every format that a reader takes, spoilt in any way, and what the reader makes of them.

An outcome is right if it is the value that the file has, or one FewscansError. What the value is:
- MetaImage and NIfTI: what SimpleITK, another reader, makes of the very same spoilt file, where it reads it too: voxels
  equal as float32, spacing, place and direction within 1e-4 (headers carry six digits).
- archives with checksums (.npz, .zip, .nii.gz), PNG: the content of the file before it was spoilt.
- YAML: what DVC's reader makes of it.
- DICOM, tables, XML, JSON, JPEG, slides: nobody can tell a spoilt pixel or digit from a true one; there it is enough
  that values are finite, of their type, and in their range.

`python -m pytest tests/data/test_fuzz.py -m slow -s` prints how many files of each format ended how.
"""

from __future__ import annotations

import gzip
import io
import re
import signal
import tempfile
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fewscans import strictyaml
from fewscans.data import (
    adrenalmnist3d,
    camelyon16,
    camelyon16_patches,
    lidc_nodules,
    lidc_voi,
    luna16_patches,
    msd_hippocampus,
    nih_chestxray14,
    nih_subset,
    own_checks,
    pack_luna16_patches,
    patchcamelyon,
    pneumoniamnist,
    pvs,
    vindr_cxr,
)  # fmt: skip
from fewscans.data.formats import asap, luna16, mhd, nifti, pictures, slides, xray_dicom
from fewscans.errors import DataError, FewscansError

from . import copies
from .conftest import load_builders

LIMIT_S = 8.0  # a reader of a file of some kB that takes longer hangs
KINDS = (
    "flip a bit",
    "set a byte",
    "cut the end",
    "cut the start",
    "cut out",
    "swap",
    "repeat",
    "zeros",
    "a number",
    "a line",
)
NUMBERS = (
    b"0",
    b"-1",
    b"1",
    b"3",
    b"255",
    b"1e9",
    b"nan",
    b"inf",
    b"-0.5",
    b"9" * 25,
    b"",
    b"x",
    b"1 2",
    b"010",
    b"2.0",
)


@dataclass(frozen=True)
class Mutation:
    """where, other: places as shares of the length.   size: of a piece, bytes.   value: what is put there."""

    kind: str
    where: float
    other: float
    size: int
    value: int


def drawn(rng: np.random.Generator) -> list[Mutation]:
    """One to four of them."""
    count = 1 + int(rng.integers(0, 4) * rng.integers(0, 2))
    return [
        Mutation(
            str(rng.choice(KINDS)), float(rng.random() ** rng.choice([1, 3])), float(rng.random()),
            int(2 ** rng.uniform(0, 9)), int(rng.integers(0, 1 << 32)),
        )
        for _ in range(count)
    ]  # fmt: skip


def spoilt(content: bytes, mutations: list[Mutation]) -> bytes:
    for m in mutations:
        at, to = int(m.where * len(content)), int(m.other * len(content))
        piece = content[at : at + m.size]
        if m.kind in ("a number", "a line"):
            content = _textual(content, m)
        elif not content:
            break
        elif m.kind in ("flip a bit", "set a byte"):
            byte = content[at] ^ (1 << m.value % 8) if m.kind == "flip a bit" else m.value % 256
            content = content[:at] + bytes([byte]) + content[at + 1 :]
        elif m.kind == "cut the end":
            content = content[: len(content) - m.size if m.value % 2 else at]
        elif m.kind == "cut the start":
            content = content[m.size :]
        elif m.kind == "cut out":
            content = content[:at] + content[at + m.size :]
        elif m.kind == "repeat":
            content = content[:at] + piece + content[at:]
        elif m.kind == "zeros":
            content = content[:at] + bytes(len(piece)) + content[at + len(piece) :]
        elif m.kind == "swap":
            content = content[:at] + content[to : to + m.size] + content[at + m.size :]
    return content


def _textual(content: bytes, m: Mutation) -> bytes:
    """A number or a line of a text (or of the text in a binary file): changed, removed, given twice, exchanged."""
    if m.kind == "a number":
        found = list(re.finditer(rb"-?\d+\.?\d*", content[: 1 << 14]))
        if not found:
            return content
        here = found[int(m.where * len(found))]
        return content[: here.start()] + NUMBERS[m.value % len(NUMBERS)] + content[here.end() :]
    lines = content.split(b"\n")
    i, j = int(m.where * len(lines)), int(m.other * len(lines))
    if m.value % 4 == 0:
        lines.pop(i)
    elif m.value % 4 == 1:
        lines.insert(j, lines[i])
    elif m.value % 4 == 2:
        lines[i], lines[j] = lines[j], lines[i]
    else:
        lines[i] = lines[i][: m.size % (len(lines[i]) + 1)]
    return b"\n".join(lines)


@dataclass(frozen=True)
class Format:
    """write: makes a good copy in a folder and returns the file to be spoilt.   read: what the reader makes of it.
    check: raises AssertionError if a value is not that of the file: (file, value, value of the good file).
    spoil: how the file's bytes are changed; a packed file is also spoilt inside.
    """

    write: Callable[[Path], Path]
    read: Callable[[Path], Any]
    check: Callable[[Path, Any, Any], None]
    spoil: Callable[[bytes, list[Mutation]], bytes] = spoilt


class Hang(BaseException):
    """A reader takes too long."""


@contextmanager
def limited(seconds: float = LIMIT_S):
    """Raises Hang in the main thread."""

    def stop(*_):
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def outcome(form: Format, file: Path, good: Any) -> tuple[str, str]:
    """("value" | "error" | "traceback" | "hang" | "other value", what was said)."""
    started = time.monotonic()
    try:
        with limited(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = form.read(file)
    except FewscansError as error:
        said = str(error)
        try:
            sentence = "\n" not in said and said.encode().decode()  # a damaged array may hold text that is none
        except UnicodeError:
            sentence = ""
        return ("error", said) if sentence else ("traceback", f"not one sentence: {said!a}")
    except Hang:
        return "hang", f"{time.monotonic() - started:.0f} s"
    except Exception as error:
        import traceback

        return "traceback", "".join(traceback.format_exception(error)[-3:])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            form.check(file, value, good)
    except AssertionError as error:
        return "other value", str(error)
    return "value", ""


# What each format is compared with


def same(file: Path, value: Any, good: Any) -> None:
    """The content is that of the good file."""
    for ours, theirs in zip(_flat(value), _flat(good), strict=True):
        assert np.array_equal(ours, theirs), f"{file.name}: another content, without an error"


def sound(file: Path, value: Any, good: Any) -> None:
    """Arrays of the good file's types and dimensions, numbers finite unless they are missing (NaN) in a table."""
    for ours, theirs in zip(_flat(value), _flat(good), strict=False):
        assert ours.ndim == theirs.ndim and ours.dtype.kind == theirs.dtype.kind, f"{ours.dtype} for {theirs.dtype}"
        assert ours.dtype.kind != "f" or not np.isinf(ours).any(), "an infinite number"


def finite(file: Path, value: Any, good: Any) -> None:
    """A spoilt palette or header may well be that of another picture, in colour too: numbers are finite."""
    assert value.ndim in (2, 3) and np.isfinite(value).all(), f"{value.dtype} {value.shape}"


def _flat(value: Any) -> list[np.ndarray]:
    if isinstance(value, pd.DataFrame):
        return [column.to_numpy() for _, column in value.items() if column.dtype.kind in "iufb"]
    if isinstance(value, dict):
        return [np.array(sorted(value))]
    if isinstance(value, list | tuple):
        return [array for one in value for array in _flat(one)]
    return [np.asarray(value)]


def as_simpleitk(file: Path, value: Any, good: Any) -> None:
    """What SimpleITK reads of the same file, if it reads it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import SimpleITK as sitk
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        image = sitk.ReadImage(str(file))
    except RuntimeError:
        return
    if isinstance(value, nifti.Volume):
        image = sitk.DICOMOrient(image, "RAS")
    array = sitk.GetArrayFromImage(image)
    assert array.shape == value.array.shape, f"shape {value.array.shape}, SimpleITK's is {array.shape}"
    with np.errstate(all="ignore"):
        theirs = array.astype(np.float32)
    wrong = np.flatnonzero(np.asarray(value.array, np.float32) != theirs)
    if value.array.dtype == np.int16 and isinstance(value, nifti.Volume):
        wrong = np.flatnonzero(np.abs(value.array - theirs) > 2 * nifti.WHOLE)
    scale = np.maximum(np.abs(theirs), 1e-30)
    off = np.abs(np.asarray(value.array, np.float64) - theirs) / scale
    assert not len(wrong) or off.max() < 1e-6, f"{len(wrong)} voxels differ from SimpleITK's"
    axes = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    corner = np.array(image.GetOrigin())
    if isinstance(value, nifti.Volume):
        flip = np.diag([-1.0, -1.0, 1.0])
        ours, place = flip @ value.affine[:3, :3], flip @ value.affine[:3, 3]
    else:
        ours, place = value.header.direction * value.header.spacing_mm, value.header.offset_mm
    assert np.allclose(ours, axes, rtol=1e-3, atol=1e-4 * np.abs(axes).max()), f"axes {ours}, SimpleITK's are {axes}"
    assert np.allclose(place, corner, rtol=1e-3, atol=1e-3 * max(1, np.abs(axes).max())), (
        f"{place}, SimpleITK: {corner}"
    )


def as_dvc(file: Path, value: Any, good: Any) -> None:
    import ruamel.yaml

    theirs = ruamel.yaml.YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8"))
    assert repr(value) == repr(theirs), f"{value!r} here, {theirs!r} for DVC"


# Files


def _scan(folder: Path, kind: str = "i2", **keys: str) -> Path:
    """A MetaImage of any element type, its voxels apart or behind the header."""
    rng = np.random.default_rng(0)
    hu = rng.normal(-700, 200, (4, 5, 6)).round().clip(-1024, 3000)
    hu[1, 2, 2:5] = 40
    file = folder / "1.2.840.1.mhd"
    mhd.write(file, hu.astype(np.int16), (0.75, 0.8, 2.5), (-20.5, 13.25, 100))
    return file


def _packed_scan(folder: Path) -> Path:
    """One file, packed, its geometry turned, of floats."""
    source = _scan(folder)
    text = (
        source.read_text().replace("MET_SHORT", "MET_FLOAT").replace("CompressedData = False", "CompressedData = True")
    )
    text = text.replace("1 0 0 0 1 0 0 0 1", "0 1 0 -1 0 0 0 0 1").replace("RAI", "PRI")
    packed = zlib.compress(np.asarray(mhd.read(source).array, "<f4").tobytes())
    text = text.replace("TransformMatrix", f"CompressedDataSize = {len(packed)}\nTransformMatrix")
    file = folder / "1.2.840.2.mha"
    file.write_bytes(text.replace("1.2.840.1.raw", "LOCAL").encode() + packed)
    return file


def _raw(folder: Path) -> Path:
    return _scan(folder).with_suffix(".raw")


def _nifti(name: str, dtype: str, slope: float | None = None, order: str = "LPS"):
    def write(folder: Path) -> Path:
        build = load_builders("nifti")
        array = np.random.default_rng(1).integers(0, 3 if "mask" in name else 200, build.SHAPE).astype(dtype)
        image = build.image(array, order=order)
        image.header.set_data_dtype(dtype)
        image.header.set_xyzt_units("mm")
        if slope:
            image.header.set_slope_inter(slope, 1)
        content = image.to_bytes()
        file = folder / name
        file.write_bytes(gzip.compress(content, mtime=0) if name.endswith("gz") else content)
        return file

    return write


def inside_gzip(content: bytes, mutations: list[Mutation]) -> bytes:
    """Spoilt before it was packed, mostly in the header: gzip's checksum would find it otherwise."""
    return gzip.compress(spoilt(gzip.decompress(content), mutations), 1, mtime=0)


def inside_zip(content: bytes, mutations: list[Mutation]) -> bytes:
    """One member is spoilt and packed again, its checksum right."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w") as new:
        names = old.namelist()
        chosen = names[mutations[0].value % len(names)]
        for name in names:
            data = old.read(name)
            new.writestr(name, spoilt(data, mutations) if name == chosen else data)
    return out.getvalue()


def _in(name: str, file: str):
    """A file of the copy of a data set."""

    def write(folder: Path) -> Path:
        return copies.COPIES[name].write(folder / name) / file

    return write


def _npz(folder: Path) -> Path:
    small = {key: array[:2] for key, array in load_builders("medmnist3d").arrays().items()}
    np.savez(folder / "adrenalmnist3d.npz", **small)
    return folder / "adrenalmnist3d.npz"


def _dicom(folder: Path) -> Path:
    extra = {"RescaleSlope": 2, "RescaleIntercept": -5, "WindowCenter": 2000, "WindowWidth": 3000, "PatientID": "p1"}
    return copies.dicom(folder / "a.dicom", np.random.default_rng(0).integers(0, 4096, (12, 10)), **extra)


def _slide(folder: Path) -> Path:
    """A pyramid of few tiles."""
    import tifffile

    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    options = {"tile": (32, 32), "photometric": "rgb", "compression": "jpeg"}
    with tifffile.TiffWriter(folder / "tumor_001.tif") as tiff:
        tiff.write(pixels, subfiletype=0, resolution=(40000, 40000), resolutionunit="CENTIMETER", **options)
        tiff.write(pixels[::2, ::2], subfiletype=1, **options)
    return folder / "tumor_001.tif"


def _mask(folder: Path) -> Path:
    import tifffile

    mask = np.zeros((64, 96), np.uint8)
    mask[8:40, 8:50] = 255
    tifffile.imwrite(folder / "tumor_001_mask.tif", mask, tile=(32, 32), compression="zlib")
    return folder / "tumor_001_mask.tif"


def _jpeg(folder: Path) -> Path:
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (50, 50), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "image_7.jpg", quality=90)
    return folder / "image_7.jpg"


def _xml(folder: Path) -> Path:
    build = load_builders("camelyon16")
    (folder / "tumor_001.xml").write_text(build.outline("tumor_001"))
    return folder / "tumor_001.xml"


def _yaml(folder: Path) -> Path:
    lines = [
        "profile: quick", "data_root: data", "grids:", "  run:",
        "    smoke: {seeds: 2, rates: [1.0e-3, 0.01], arms: [Z2, p4]}", "    quick:", "      seeds: 10",
        "      flip: true",
    ]  # fmt: skip
    (folder / "params.yaml").write_text("\n".join(lines) + "\n")
    return folder / "params.yaml"


def _join(folder: Path) -> Path:
    rows = {"candidate_row": range(9), "file": [f"n{i}.nii.gz" for i in range(9)], "seriesuid": list("aabbccdde")}
    pd.DataFrame(rows | {"diameter_mm": 7.5, "malignant": [1, 0, -1] * 3}).to_csv(
        folder / luna16_patches.JOIN, index=False
    )
    return folder / luna16_patches.JOIN


def _hdf5(name: str, packed: bool = False):
    """PatchCamelyon's file of test patches or labels."""

    def write(folder: Path) -> Path:
        build = load_builders("patchcamelyon")
        small = {"x": build.patches("test")[:2], "y": build.labels("test")}[name]
        return build.save(folder, "test", name, build.hdf5(**{name: small}), packed)

    return write


def _read_hdf5(file: Path) -> np.ndarray:
    with tempfile.TemporaryDirectory() as room:  # none that holds what was unpacked before
        name = "x" if "_x." in file.name else "y"
        if name == "y":
            return patchcamelyon._labels(file, Path(room))
        return patchcamelyon._read(file, Path(room), name, np.arange(patchcamelyon._shape(file, Path(room))[0]))


def _picture(name: str):
    """A picture of a folder of one's own, of any kind."""

    def write(folder: Path) -> Path:
        import tifffile
        from PIL import Image

        file, pixels = folder / name, np.random.default_rng(0).integers(0, 256, (20, 24), dtype=np.uint8)
        if name.endswith(".npy"):
            np.save(file, pixels.astype(np.float32))
        elif name.endswith(".tiff"):
            tifffile.imwrite(file, pixels.astype(np.uint16), compression="zlib")
        else:
            Image.fromarray(pixels).save(file)
        return file

    return write


def _own_table(folder: Path) -> Path:
    rows = {"image": [f"{i}.png" for i in range(8)], "label": [0, 1] * 4, "patient": list("aabbccdd")}
    split = ["train"] * 4 + ["val", "val", "test", "test"]
    pd.DataFrame(rows | {"split": split, "age": 40.5}).to_csv(folder / "cases.csv", index=False)
    return folder / "cases.csv"


def _own_settings(folder: Path) -> Path:
    lines = ["title: Ours", "case: lesion", "licence: CC0", "window: [-1000, 400]", "patch: [16, 24]", "unit: ml"]
    (folder / "dataset.yaml").write_text("\n".join(lines) + "\n")
    return folder / "dataset.yaml"


def _settings(file: Path, value: Any, good: Any) -> None:
    """Settings are those that DVC's reader sees."""
    import ruamel.yaml

    theirs = ruamel.yaml.YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8")) or {}
    said = {
        key: tuple(float(x) if key == "window" else x for x in v) if isinstance(v, list) else v
        for key, v in theirs.items()
    }
    assert said == {key: value[key] for key in said}, f"{value!r} here, {theirs!r} for DVC"


def _read_slide(file: Path) -> list[np.ndarray]:
    with slides.open_slide(file) as slide:
        slides.not_blank(slide)
        sizes = [(min(level.width, 512), min(level.height, 512)) for level in slide.levels]
        return [slide.read(i, 0, 0, *size) for i, size in enumerate(sizes)]


def _read_luna(file: Path) -> list[Any]:
    data = luna16.read(file.parent)
    return [data.annotations, data.excluded, data.candidates, np.array(sorted(data.headers))]


def _read_yaml(file: Path) -> Any:
    return strictyaml.read(file, DataError)


def _read_lidc(file: Path) -> list[Any]:
    found = lidc_nodules.read(file.parent)
    return [found.hu, found.is_nodule, found.malignancy_mean, found.diameter_mm]


def _read_set(read: Callable[[Path], Any], *names: str):
    """A set's reader, given the folder: what is known of its cases."""
    return lambda file: [getattr(read(file.parent), name) for name in names or ("target", "about")]


def _read_xrays(file: Path) -> list[Any]:
    return _read_set(nih_chestxray14.read, "images", "boxes")(file)


def _read_cases(file: Path) -> list[np.ndarray]:
    cases = adrenalmnist3d.read(file)
    return [cases.images, cases.target]


def _lidc_member(file: Path) -> list[np.ndarray]:
    with lidc_voi.Archive(file) as archive:
        volume = archive.read("LIDC-IDRI-0005_R_1.nii.gz")
    return [volume.array, np.array(volume.spacing_mm)]


def _read_boxes(file: Path) -> list[Any]:
    return nih_chestxray14.boxes(file, {"Mass": "nodule"})["box"].dropna().map(lambda box: box[1:]).tolist()


def _read_list(file: Path) -> list[str]:
    return msd_hippocampus.find_cases(file.parent).cases["case"].tolist()


LABEL = {"image": "image", "finding_labels": "finding_labels", "followup": "followup", "patient": "patient",
         "age": "age", "sex": "sex", "view": "view"}  # fmt: skip
FORMATS = {
    "MetaImage, header": Format(_scan, mhd.read, as_simpleitk),
    "MetaImage, voxels": Format(
        _raw, lambda f: mhd.read(f.with_suffix(".mhd")), lambda f, v, g: as_simpleitk(f.with_suffix(".mhd"), v, g)
    ),
    "MetaImage, packed": Format(_packed_scan, mhd.read, as_simpleitk),
    "NIfTI": Format(_nifti("a.nii", "int16"), nifti.read, as_simpleitk),
    "NIfTI, slope": Format(_nifti("a.nii", "uint8", 0.5, "PIR"), nifti.read, as_simpleitk),
    "NIfTI, float mask": Format(_nifti("mask.nii", "float32"), nifti.read_mask, as_simpleitk),
    "NIfTI, gzip": Format(_nifti("a.nii.gz", "float32"), nifti.read, as_simpleitk),
    "NIfTI, in the gzip": Format(_nifti("a.nii.gz", "float64"), nifti.read, as_simpleitk, inside_gzip),
    "npz": Format(_npz, _read_cases, same),
    "npz, in the zip": Format(_npz, _read_cases, sound, inside_zip),
    "npz, pneumonia": Format(
        _in("pneumoniamnist", "pneumoniamnist.npz"), _read_set(pneumoniamnist.read), sound, inside_zip
    ),
    "npz, patches": Format(
        _in("luna16-patches", "luna16_patches_50x50.npz"), _read_set(luna16_patches.read), sound, inside_zip
    ),
    "npz, LIDC": Format(_in("lidc-nodules", "lidc_cubes_48mm.npz"), _read_lidc, sound, inside_zip),
    "npz, X-rays": Format(
        _in("nih-subset", "nih_cxr14_1000_224.npz"), _read_set(nih_subset.read), sound, inside_zip
    ),
    "HDF5, patches": Format(_hdf5("x"), _read_hdf5, sound),
    "HDF5, labels": Format(_hdf5("y"), _read_hdf5, sound),
    "HDF5, gzip": Format(_hdf5("x", packed=True), _read_hdf5, same),
    "HDF5, in the gzip": Format(_hdf5("y", packed=True), _read_hdf5, sound, inside_gzip),
    "zip of NIfTI": Format(_in("lidc-voi", "images.zip"), _lidc_member, same),
    "DICOM": Format(_dicom, lambda f: xray_dicom.read(f).pixels, sound),
    "PNG, 8 bits": Format(_in("nih-chestxray14", "images/00000001_000.png"), nih_chestxray14._grey, sound),
    "PNG, colour": Format(_in("camelyon16-patches", "tumor/tumor_001_30_40.png"), camelyon16_patches._pixels, sound),
    "JPEG": Format(_jpeg, pack_luna16_patches._pixels, sound),
    "TIFF slide": Format(_slide, _read_slide, sound),
    "TIFF mask": Format(_mask, lambda f: camelyon16._stored(f, slides.Level(96, 64, 1.0)), sound),
    "own, npy": Format(_picture("a.npy"), lambda f: pictures.read(f).values, sound),
    "own, PNG": Format(_picture("a.png"), lambda f: pictures.read(f).values, sound),
    "own, BMP": Format(_picture("a.bmp"), lambda f: pictures.read(f).values, finite),
    "own, JPEG": Format(_picture("a.jpg"), lambda f: pictures.read(f).values, sound),
    "own, TIFF": Format(_picture("a.tiff"), lambda f: pictures.read(f).values, sound),
    "own, table": Format(_own_table, own_checks.cases_table, sound),
    "own, settings": Format(_own_settings, own_checks.settings_of, _settings),
    "XML outlines": Format(_xml, lambda f: list(asap.read(f).tumour), sound),
    "CSV, nodules": Format(_in("luna16", "annotations.csv"), _read_luna, sound),
    "CSV, candidates": Format(_in("luna16", "candidates_V2.csv"), _read_luna, sound),
    "CSV, cubes": Format(_in("lidc-nodules", "cubes.csv"), _read_lidc, sound),
    "CSV, X-rays": Format(
        _in("nih-chestxray14", "Data_Entry_2017_v2020.csv"), _read_xrays, sound
    ),
    "CSV, split list": Format(_in("nih-chestxray14", "test_list.txt"), _read_xrays, sound),
    "CSV, second reading": Format(_in("nih-subset", "rsna_read.csv"), _read_set(nih_subset.read), sound),
    "CSV, patches": Format(_in("camelyon16-patches", "patches.csv"), _read_set(camelyon16_patches.read), sound),
    "CSV, counts": Format(_in("pvs", "counts.csv"), pvs._counts, sound),
    "CSV, labels": Format(_in("nih-subset", "labels.csv"), lambda f: nih_chestxray14.described(f, LABEL), sound),
    "CSV, boxes": Format(
        _in("nih-subset", "boxes.csv"), _read_boxes, sound
    ),
    "CSV, readers' boxes": Format(_in("vindr-cxr", "train.csv"), lambda f: vindr_cxr.read(f.parent).about, sound),
    "CSV, ratings": Format(_in("lidc-voi", "nodules.csv"), lambda f: lidc_voi.nodules(f.parent), sound),
    "CSV, matches": Format(_join, lambda f: luna16_patches.joined(f, np.arange(9)), sound),
    "CSV, references": Format(_in("camelyon16", "testing/reference.csv"), lambda f: camelyon16._labels([f]), sound),
    "JSON list": Format(_in("msd-hippocampus", "dataset.json"), _read_list, sound),
    "YAML": Format(_yaml, _read_yaml, as_dvc),
}  # fmt: skip
