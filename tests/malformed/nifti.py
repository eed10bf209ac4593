"""Small NIfTI files in any of the 48 orders of storage, and files that are wrong in one way each."""

import gzip
import struct
from itertools import permutations, product

import nibabel
import numpy as np
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform

SHAPE = (5, 6, 7)  # z y x
SPACING = (3.0, 1.1, 0.9)  # z y x
ORIGIN = (-20.0, -31.5, 12.25)  # x y z of the first voxel in RAS order
ORDERS = [
    "".join(pair[way] for pair, way in zip(axes, ways, strict=True))
    for axes in permutations(("RL", "AP", "SI"))
    for ways in product((0, 1), repeat=3)
]


def ras_affine(spacing=SPACING, origin=ORIGIN) -> np.ndarray:
    affine = np.diag([*spacing[::-1], 1.0])
    affine[:3, 3] = origin
    return affine


def image(array, spacing=SPACING, order="RAS", origin=ORIGIN) -> nibabel.Nifti1Image:
    """An image of an array (z, y, x) in RAS axes, its voxels stored in another order."""
    voxels, affine = np.asarray(array).T, ras_affine(spacing, origin)
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(order))
    stored = nibabel.orientations.apply_orientation(voxels, turn)
    return nibabel.Nifti1Image(stored, affine @ inv_ornt_aff(turn, voxels.shape))


def write(path, array, spacing=SPACING, order="RAS", origin=ORIGIN):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image(array, spacing, order, origin), path)
    return path


def scan(seed=0, shape=SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1000, shape).astype(np.float32)


def _bytes(array=None, affine=None) -> bytes:
    array = scan().T if array is None else array
    return nibabel.Nifti1Image(array, ras_affine() if affine is None else affine).to_bytes()


def _patched(at: int, kind: str, *values) -> bytes:
    """A good file with some fields of its header overwritten."""
    content = bytearray(_bytes())
    struct.pack_into("<" + kind, content, at, *values)
    return bytes(content)


def _with(value) -> bytes:
    array = scan().T.copy()
    array[3, 2, 1] = value
    return _bytes(array)


def _affine(row: int, column: int, value: float) -> bytes:
    return _patched(280 + 16 * row + 4 * column, "f", value)


RGB = np.zeros(SHAPE[::-1], np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
# name: (the bytes of the file before they are packed, words the message must hold)
CASES = {
    "nothing": (b"", ["not a NIfTI"]),
    "text": (b"image,label\n1,2\n" * 100, ["not a NIfTI"]),
    "half a header": (_bytes()[:200], ["cut short, within its header"]),
    "header alone": (_bytes()[:352], ["cut short at 352 of 1,192 bytes"]),
    "cut short": (_bytes()[:-1], ["cut short at 1,191 of 1,192 bytes"]),
    "too long": (_bytes() + b"\0", ["longer than the 1,192 bytes"]),
    "a series": (_bytes(np.zeros((7, 6, 5, 2), np.float32)), ["shape is (7, 6, 5, 2)", "three axes"]),
    "one slice": (_bytes(np.zeros((7, 6), np.float32)), ["shape is (7, 6)"]),
    "no voxels": (_patched(42, "h", 0), ["shape is (0, 6, 5)"]),
    "axes below 0": (_patched(40, "hhh", 3, -7, 6), ["shape is (-7, 6, 5)"]),
    "more than memory": (_patched(40, "hhhh", 3, 32767, 32767, 32767), ["at most 2,147,483,648"]),
    "unknown voxels": (_patched(70, "h", 77), ["header makes no sense"]),
    "complex voxels": (_bytes(scan().T.astype(np.complex64)), ["voxels are complex64"]),
    "coloured voxels": (_bytes(RGB), ["one real number"]),
    "voxels elsewhere": (_patched(344, "4s", b"ni1\0"), ["another file", "one .nii.gz"]),
    "voxels in the header": (_patched(108, "f", 16.0), ["begin at byte 16"]),
    "voxels nowhere": (_patched(108, "f", np.nan), ["begin at byte nan"]),
    "a voxel NaN": (_with(np.nan), ["1 of 210 voxels are NaN"]),
    "a voxel infinite": (_with(-np.inf), ["1 of 210 voxels"]),
    "scale that overflows": (_patched(112, "f", 3e38), ["voxels are NaN or infinite"]),
    "affine singular": (_affine(0, 0, 0.0), ["affine is singular", "0 0 0 -20"]),
    "no affine": (_patched(252, "hh", 0, 0), ["does not say how it lies", "guessed"]),
    "measured in metres": (_patched(123, "b", 1), ["measured in meter", "in mm"]),
    "affine NaN": (_affine(1, 3, np.nan), ["not finite", "nan"]),
}
# name: (what to make of a good file's bytes, packed, words the message must hold)
PACKED = {
    "gzip cut short": (lambda b: b[:-20], ["cut short"]),
    "gzip cut in its trailer": (lambda b: b[:-3], ["cut short"]),
    "gzip with another checksum": (lambda b: b[:-8] + bytes(4) + b[-4:], ["damaged"]),
    "gzip damaged": (lambda b: b[:400] + bytes(v ^ 0x55 for v in b[400:440]) + b[440:], ["copy it again"]),
    "gzip of terabytes": (lambda b: gzip.compress(_bytes() + bytes(1 << 24)), ["longer than"]),
}
