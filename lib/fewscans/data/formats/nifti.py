"""Volumes in NIfTI files, turned to the patient's axes, or one clear error.

A NIfTI file keeps its voxels in any of 48 orders and says by an affine where they lie; two images of one head may be
stored differently. Here every volume comes out with z to the head, y to the front and x to the right, so that the same
index means the same place, and flips mean the same thing everywhere. Voxels are only permuted and mirrored, never
resampled: an oblique scan stays oblique to the world.

Where a file has both of NIfTI's transforms the sform is taken, as nibabel does, if the qform and pixdim do not
contradict it; https://nifti.nimh.nih.gov/nifti-1.
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from fewscans.data.base import Cases, first_line, quantised
from fewscans.data.content import not_blank
from fewscans.data.listing import a_file
from fewscans.errors import DataError

MAX_BYTES = 1 << 31  # of one volume as stored; a whole head at 0.5 mm in float32 is half of it
HEADER_BYTES = {348: "Nifti1Image", 540: "Nifti2Image"}  # the first number of a file, and what it then is
UNITS, TIMES = {0: "unknown", 1: "meter", 2: "mm", 3: "micron"}, (0, 8, 16, 24, 32, 40, 48)  # codes of xyzt_units
WHOLE = 1e-3  # a label may be off by so much, for having been stored with a slope or resampled
SAME_SIZE = 1e-3  # relative: two statements of one voxel size are rounded differently
SAME_PLACE_VOXELS = 0.1  # two grids are one if no corner is further apart: files round their affines differently


@dataclass(frozen=True, eq=False)
class Volume:
    """One 3D image in the patient's axes."""

    array: np.ndarray  # (D, H, W): z to the head, y to the front, x to the right
    spacing_mm: tuple[float, float, float]  # of a voxel, z y x
    affine: np.ndarray  # (4, 4) float64: (x, y, z, 1) indices → (x, y, z, 1) mm, to the right, the front, the head
    path: Path | str  # the file, or the archive and its member

    @property
    def voxel_ml(self) -> float:
        """The volume of a voxel; 1 ml = 1000 mm3."""
        return abs(float(np.linalg.det(self.affine[:3, :3]))) / 1000


def read(path: Path | str) -> Volume:
    """Read an image, .nii or .nii.gz.

    Returns: its intensities, scaled as the file says, as float32.
    Raises:  DataError naming the file: absent, no NIfTI, cut short, longer than its header says or too large, not 3D,
             complex or coloured voxels, NaN or infinite ones, the same value everywhere, an affine that is singular or
             not finite, or that contradicts pixdim or the qform.
    """
    image = _open(Path(path))
    array = _voxels(path, image, np.float32)
    return _turned(Path(path), image, not_blank(str(path), array))


def read_mask(path: Path | str) -> Volume:
    """Read a label map, .nii or .nii.gz.

    Returns: int16 labels. A map stored as floats, or as 255 with the slope 1/255, is as good as any: what is within
             0.001 of a whole number is that number.
    Raises:  DataError as `read` does, and for a label that is below 0, not whole, or above 32767.
    """
    image = _open(Path(path))
    return _turned(Path(path), image, _labels(path, _voxels(path, image, np.float64)))


def read_packed(name: str, content: bytes, mask: bool = False) -> Volume:
    """As `read` and `read_mask`, from the bytes of a file, such as a member of an archive, and its name."""
    image = _parsed(name, io.BytesIO(content))
    array = _voxels(name, image, np.float64 if mask else np.float32)
    return _turned(name, image, _labels(name, array) if mask else not_blank(name, array))


def _labels(path: Path | str, values: np.ndarray) -> np.ndarray:
    labels = np.rint(values)
    wrong = values[(labels < 0) | (np.abs(values - labels) > WHOLE) | (labels > np.iinfo(np.int16).max)]
    if wrong.size:
        fault = f"holds the label {wrong[0]:.7g}; labels are whole numbers, 0 for background"
        raise DataError(f"{path}: {fault}; round them, and resample label maps to the nearest voxel")
    return labels.astype(np.int16)


def same_grid(image: Volume, mask: Volume) -> None:
    """Voxel for voxel, do the two show the same place?

    Raises:  DataError if their shapes differ, or a corner of one lies elsewhere in the other.
    """
    if image.array.shape != mask.array.shape:
        theirs = f"that of {image.path} is {image.array.shape}; a mask has its image's"
        raise DataError(f"{mask.path}: its shape (z y x) is {mask.array.shape}, {theirs}")
    corners = _corners(image.array.shape[::-1])
    apart = np.linalg.norm((corners @ (image.affine - mask.affine).T)[:, :3], axis=1).max()
    if apart > SAME_PLACE_VOXELS * min(image.spacing_mm):
        theirs = f"from where that of {image.path} does; a mask lies on its image's grid"
        raise DataError(f"{mask.path}: its affine puts a corner {apart:.3g} mm {theirs}")


def crop(array: np.ndarray, centre: np.ndarray, size: tuple[int, int, int], outside: float = 0) -> np.ndarray:
    """A box of voxels about a place; what of it lies outside the array is filled.

    Args:    array: (D, H, W).   centre: (3,) z y x in voxels; the box is moved by less than a voxel to fit the grid.
    Returns: (*size), a copy.
    """
    start = np.floor(np.asarray(centre, float) - (np.array(size) - 1) / 2 + 0.5).astype(int)
    low, high = np.clip(start, 0, array.shape), np.clip(start + size, 0, array.shape)
    box = np.full(size, outside, array.dtype)
    into = tuple(slice(a, b) for a, b in zip(low - start, high - start, strict=True))
    box[into] = array[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    return box


def unit(array: np.ndarray, low: float = 0.1, high: float = 99.9) -> np.ndarray:
    """Intensities of one image on a scale of its own: 0 at the `low`-th percentile, 1 at the `high`-th, clipped.

    MR intensities have no unit. Percentiles, for one bright vessel would else set everyone's scale. An image of one
    value becomes 0.
    """
    array = np.asarray(array, np.float64)
    floor, ceiling = np.percentile(array, [low, high])
    return np.clip((array - floor) / max(ceiling - floor, np.finfo(np.float32).tiny), 0, 1).astype(np.float32)


def block_mean(array: np.ndarray, factor: int) -> np.ndarray:
    """Means over blocks of factor³ voxels; (D, H, W) → (D / factor, H / factor, W / factor).

    Raises:  ValueError if a side is no multiple of the factor.
    """
    if factor < 1 or any(side % factor for side in array.shape):
        raise ValueError(f"shape {array.shape} cannot be cut into blocks of {factor} voxels a side")
    d, h, w = (side // factor for side in array.shape)
    return array.reshape(d, factor, h, factor, w, factor).mean(axis=(1, 3, 5))


def averaged(cases: Cases, factor: int) -> Cases:
    """Cases whose images are means over blocks of factor³ voxels, of images in space."""
    if factor == 1:
        return cases
    images = [quantised(block_mean(image / np.float32(255), factor)) for image in cases.images]
    mark = hashlib.sha256(f"{cases.fingerprint} / {factor}".encode()).hexdigest()
    return dataclasses.replace(cases, images=np.stack(images), spacing_mm=cases.spacing_mm * factor, fingerprint=mark)


def _open(path: Path):
    """The file's image, its voxels all in memory, and as many as its header says."""
    if not a_file(path).is_file():
        raise DataError(f"{path}: no such file")
    try:
        file = path.open("rb")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({first_line(error)}); make it readable, or copy it again") from error
    with file:
        return _parsed(str(path), file)


def _parsed(path: str, file: IO[bytes]):
    import nibabel

    try:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        kind, content = _content(path, gzip.GzipFile(fileobj=file) if packed else file)
        image = getattr(nibabel, kind).from_bytes(content)
        _one_place(path, image)
        return image
    except EOFError:
        raise DataError(f"{path}: cut short; copy it again") from None
    except (OSError, zlib.error) as error:  # gzip's checksum, a disk that fails
        raise DataError(f"{path}: damaged, or cannot be read ({first_line(error)}); copy it again") from error
    except (
        nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError,
        nibabel.wrapstruct.WrapStructError, LookupError, ValueError, ArithmeticError, np.linalg.LinAlgError,
    ) as error:  # fmt: skip
        raise DataError(f"{path}: its header makes no sense ({first_line(error)}); copy it again") from error


def _one_place(path: str, image) -> None:
    """Raises DataError where the header says twice how large voxels are or where they lie, and not the same."""
    import nibabel

    header, affine = image.header, image.affine
    placed, turned = int(header["sform_code"]), int(header["qform_code"])
    if not (placed or turned):
        fault = "does not say how it lies (sform_code and qform_code are 0), so left and right would be guessed"
        raise DataError(f"{path}: its header {fault}; write an affine into it")
    if not np.isfinite(affine).all() or not abs(np.linalg.det(affine[:3, :3])) > 1e-9:
        rows = "; ".join(" ".join(f"{v:g}" for v in row) for row in affine[:3])
        raise DataError(f"{path}: its affine is singular or not finite ({rows}), so voxels have no place")
    sizes, said = nibabel.affines.voxel_sizes(affine), np.array(header["pixdim"][1:4], float)
    if not np.allclose(sizes, said, rtol=SAME_SIZE, atol=0):
        both = (" x ".join(f"{mm:g}" for mm in three) for three in (sizes, said))
        fault = "its voxels are {} mm by its affine (sform) and {} mm by pixdim".format(*both)
        raise DataError(f"{path}: {fault}; write the file anew with the right one of them")
    if not (placed and turned):
        return
    other = header.get_qform()
    along = (affine[:3, :3] * other[:3, :3]).sum(axis=0) / sizes**2  # cosines between the same axis in both
    apart = np.linalg.norm(_corners(image.shape) @ (affine - other)[:3].T, axis=1).max()
    if not along.min() > 0.5 or (placed == turned and not apart <= sizes.max()):
        letters = ["".join(nibabel.aff2axcodes(one)) for one in (affine, other)]
        fault = f"its sform ({letters[0]}) and its qform ({letters[1]}) put it in places {apart:.3g} mm apart"
        raise DataError(f"{path}: {fault}; write the file anew with the right one of them")


def _corners(shape: tuple[int, ...]) -> np.ndarray:
    """(8, 4): x y z 1 of the outermost voxels of an image of shape (x, y, z)."""
    last = np.array(shape) - 1
    return np.array([[*(np.array(bits) * last), 1] for bits in np.ndindex(2, 2, 2)], float)


def _content(path: str, file: IO[bytes]) -> tuple[str, bytes]:
    """All bytes of an image, and not one more than its header promises: a small gzip can hold terabytes."""
    import nibabel

    start = file.read(max(HEADER_BYTES))
    sizes = {int.from_bytes(start[:4], order) for order in ("little", "big")}
    size = next((size for size in HEADER_BYTES if size in sizes), None)
    if size is None:
        raise DataError(f"{path}: not a NIfTI file; it begins with neither 348 nor 540, the lengths of their headers")
    if len(start) < size:
        raise DataError(f"{path}: cut short, within its header; copy it again")
    kind = HEADER_BYTES[size]
    header = getattr(nibabel, kind).header_class.from_fileobj(io.BytesIO(start), check=False)
    if not bytes(header["magic"].item()).startswith(b"n+"):
        raise DataError(f"{path}: its voxels are in another file; convert the pair .hdr and .img to one .nii.gz")
    shape = header.get_data_shape()
    if len(shape) != 3 or min(shape) < 1:
        raise DataError(f"{path}: its shape is {shape}; a scan has three axes, so take one volume of a series")
    dtype = header.get_data_dtype()
    if dtype.kind not in "uif":
        raise DataError(f"{path}: its voxels are {dtype}; an image or mask holds one real number a voxel")
    if int(header["bitpix"]) != dtype.itemsize * 8:
        fault = f"its header says {dtype} (datatype) and {int(header['bitpix'])} bits a voxel (bitpix)"
        raise DataError(f"{path}: {fault}; copy it again")
    code = int(header["xyzt_units"])
    if code & 7 not in UNITS or code & 0b11000000 or code & 0b111000 not in TIMES:
        raise DataError(f"{path}: its xyzt_units are {code}, a code that NIfTI does not have; write it anew in mm (2)")
    if UNITS[code & 7] not in ("mm", "unknown"):
        raise DataError(f"{path}: its voxels are measured in {UNITS[code & 7]}; write it anew in mm (xyzt_units 2)")
    offset = float(header["vox_offset"])
    if not size <= offset < MAX_BYTES:
        raise DataError(f"{path}: its header has the voxels begin at byte {offset:g}; copy it again")
    stored = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if stored > MAX_BYTES:
        raise DataError(f"{path}: {shape} voxels of {dtype} are {stored:,} bytes; at most {MAX_BYTES:,} are read")
    stored += int(offset)
    content = start + file.read(max(stored - len(start), 0))
    if len(content) < stored:
        raise DataError(f"{path}: cut short at {len(content):,} of {stored:,} bytes; copy it again")
    if len(content) > stored or file.read(1):  # reading on to the end also compares gzip's checksum
        raise DataError(f"{path}: longer than the {stored:,} bytes its header says; copy it again")
    return kind, content


def _voxels(path: Path | str, image, dtype: type) -> np.ndarray:
    """The stored numbers, scaled as the header says."""
    with np.errstate(all="ignore"):  # what overflows is found below
        array = np.asanyarray(image.dataobj).astype(dtype)
    wrong = np.count_nonzero(~np.isfinite(array))
    if wrong:
        raise DataError(f"{path}: {wrong:,} of {array.size:,} voxels are NaN or infinite; every voxel has a value")
    return array


def _turned(path: Path | str, image, array: np.ndarray) -> Volume:
    """The array in the patient's axes, and the affine that then holds."""
    import nibabel

    closest = nibabel.as_closest_canonical(nibabel.Nifti1Image(array, image.affine))
    return Volume(
        array=np.ascontiguousarray(np.asanyarray(closest.dataobj).T),  # (x, y, z) → (z, y, x)
        spacing_mm=tuple(float(mm) for mm in nibabel.affines.voxel_sizes(closest.affine)[::-1]),
        affine=closest.affine,
        path=path,
    )
