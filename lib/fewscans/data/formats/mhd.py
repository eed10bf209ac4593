"""MetaImage: a text header of keys (.mhd, .mha) and the voxels behind it, as LUNA16 keeps its scans.

Geometry follows ITK, the format's own library: the world is the patient's, in mm, x to the left, y to the back, z up;
voxel (i, j, k), counted along x, y, z from 0, has its centre at offset + direction @ (spacing * (i, j, k)); the three
triplets of TransformMatrix are the directions of the axes i, j, k, that is the columns of `direction`. Arrays are
(z, y, x), the order of the bytes. Format: https://itk.org/Wiki/ITK/MetaIO/Documentation.
"""

from __future__ import annotations

import dataclasses
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from fewscans.errors import DataError

# Bytes an element takes in MetaIO, on every machine: LONG has four.
ELEMENT_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
LOCAL = "LOCAL"
LONGEST_HEADER = 1 << 16
# A compressed scan is unpacked in memory, and its header says how large it gets: 4 GiB is eight times a long chest CT.
LARGEST_UNPACKED = 1 << 32
ORTHONORMAL = 1e-4  # headers carry six digits
SAME = 1e-5  # relative, and in mm: keys that say the same differ by their rounding alone


@dataclass(frozen=True, eq=False)
class Header:
    """What the header says, checked."""

    path: Path
    dim_size_xyz: tuple[int, int, int]  # voxels
    spacing_mm: np.ndarray  # (3,) x y z, > 0
    offset_mm: np.ndarray  # (3,) x y z: the centre of voxel (0, 0, 0)
    direction: np.ndarray  # (3, 3): column i is the world direction of voxel axis i, orthonormal
    element_type: str  # "MET_SHORT" ...
    big_endian: bool
    compressed: bool  # zlib or gzip
    data_file: Path  # the header's own file if LOCAL
    header_size: int  # bytes before the voxels in data_file

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the array, (z, y, x)."""
        return self.dim_size_xyz[::-1]

    @property
    def dtype(self) -> np.dtype:
        return np.dtype((">" if self.big_endian else "<") + ELEMENT_TYPES[self.element_type])

    @property
    def bytes(self) -> int:
        """What the voxels take, unpacked."""
        x, y, z = self.dim_size_xyz
        return x * y * z * self.dtype.itemsize

    def voxel_to_world(self, zyx: np.ndarray) -> np.ndarray:
        """World coordinates (n, 3) x y z in mm of voxel coordinates (n, 3) z y x; whole numbers are voxels' centres."""
        return self.offset_mm + (_triplets(zyx)[:, ::-1] * self.spacing_mm) @ self.direction.T

    def world_to_voxel(self, xyz_mm: np.ndarray) -> np.ndarray:
        """Voxel coordinates (n, 3) z y x, float, of world coordinates (n, 3) x y z in mm."""
        away = np.linalg.solve(self.direction, (_triplets(xyz_mm) - self.offset_mm).T).T
        return (away / self.spacing_mm)[:, ::-1]


@dataclass(frozen=True, eq=False)
class Volume:
    """A scan: its voxels and where they are."""

    array: np.ndarray  # (z, y, x) int16, a read-only memory map where the file allows; float32 if int16 cannot hold it
    header: Header

    def voxel_to_world(self, zyx: np.ndarray) -> np.ndarray:
        return self.header.voxel_to_world(zyx)

    def world_to_voxel(self, xyz_mm: np.ndarray) -> np.ndarray:
        return self.header.world_to_voxel(xyz_mm)


def read_header(path: Path | str) -> Header:
    """Read and check the header alone; the data file is looked for, not opened.

    Raises:  DataError naming the file and the key or value at fault.
    """
    path = Path(path)
    keys, end = _keys(path)

    def agreed(names: str, values_of: Callable[[str, str], Any]) -> Any:
        """The value of a key that has several names; None if no name is there. Names that say otherwise are refused."""
        said = {name: values_of(name, keys[name]) for name in names.split() if name in keys}
        for first, name in pairwise(said):
            if not np.allclose(said[first], said[name], rtol=SAME, atol=SAME, equal_nan=True):
                both = f"{first} = {keys[first]} and {name} = {keys[name]}"
                raise DataError(f"{path}: {both} contradict each other; remove the wrong one")
        return next(iter(said.values()), None)

    def numbers(names: str, count: int, kind: type = float, absent: list | None = None) -> list:
        def values_of(name: str, text: str) -> list:
            try:
                values = [kind(part) for part in text.split()]
                np.array(values, np.int64 if kind is int else float)
            except (ValueError, OverflowError):
                values = []
            if len(values) != count:
                raise DataError(f"{path}: {name} = {text!r}; it must be {count} numbers")
            return values

        values = agreed(names, values_of)
        if values is None and absent is None:
            raise DataError(f"{path}: the key {names.split()[0]} is missing; a LUNA16 header has it")
        return absent if values is None else values

    def flag(names: str) -> bool:
        def value_of(name: str, text: str) -> bool:
            if text.lower() not in ("true", "false", "1", "0"):
                raise DataError(f"{path}: {name} = {text!r}; it must be True or False")
            return text.lower() in ("true", "1")

        return bool(agreed(names, value_of))

    dimensions = numbers("NDims", 1, int)[0]
    if dimensions != 3:
        raise DataError(f"{path}: NDims = {dimensions}; a scan has 3")
    size = numbers("DimSize", 3, int)
    if min(size) < 1:
        raise DataError(f"{path}: DimSize = {keys['DimSize']!r}; each must be at least 1")
    spacing, offset = numbers("ElementSpacing ElementSize", 3), numbers("Offset Position Origin", 3)
    axes = numbers("TransformMatrix Orientation Rotation", 9, absent=[1, 0, 0, 0, 1, 0, 0, 0, 1])  # axis after axis
    spacing, offset, direction = _geometry(path, spacing, offset, np.reshape(axes, (3, 3)).T)
    if not flag("BinaryData"):  # the format's own library takes a header without the key for one of text
        said = f"BinaryData = {keys['BinaryData']}" if "BinaryData" in keys else "the key BinaryData is missing"
        raise DataError(f"{path}: {said}; voxels written as text are not read, and it must say True")
    channels = numbers("ElementNumberOfChannels", 1, int, absent=[1])[0]
    if channels != 1:
        raise DataError(f"{path}: ElementNumberOfChannels = {channels}; a CT has 1")
    kind = keys.get("ElementType", "")
    if kind not in ELEMENT_TYPES:
        said = f"ElementType = {kind}" if kind else "the key ElementType is missing"
        raise DataError(f"{path}: {said}; one of {', '.join(ELEMENT_TYPES)} can be read")
    skipped = numbers("HeaderSize", 1, int, absent=[0])[0]
    if skipped < -1:
        raise DataError(f"{path}: HeaderSize = {skipped}; it is a number of bytes, or -1 for all before the voxels")
    rescaled = [*numbers("ElementToIntensityFunctionSlope", 1, absent=[1]),
                *numbers("ElementToIntensityFunctionOffset", 1, absent=[0])]  # fmt: skip
    if rescaled != [1, 0]:
        fault = "stored values are to be taken x {:g} + {:g} (ElementToIntensityFunction)".format(*rescaled)
        raise DataError(f"{path}: {fault}, which is not done here; write the scan in Hounsfield units")
    packed = numbers("CompressedDataSize", 1, int, absent=[-1])[0]
    local = keys["ElementDataFile"].upper() == LOCAL
    header = Header(
        path=path,
        dim_size_xyz=tuple(size),
        spacing_mm=spacing,
        offset_mm=offset,
        direction=direction,
        element_type=kind,
        big_endian=flag("BinaryDataByteOrderMSB ElementByteOrderMSB"),
        compressed=flag("CompressedData"),
        data_file=path if local else _data_file(path, keys["ElementDataFile"]),
        header_size=end if local else skipped,
    )
    if local and skipped not in (0, -1):
        raise DataError(f"{path}: HeaderSize = {skipped}, but its voxels follow the header (ElementDataFile = {LOCAL})")
    if header.compressed and packed == -1 and header.header_size > 0:  # the format's own library looks from byte 0 on
        where = f"{header.header_size:,} bytes of {header.data_file.name} come before its packed voxels"
        raise DataError(f"{path}: {where}, and CompressedDataSize is missing; it must say how many bytes they are")
    if header.compressed and packed != -1:
        found = header.data_file.stat().st_size - header.header_size
        if found != packed:
            fault = f"CompressedDataSize = {packed:,}, but {header.data_file.name} has {found:,} packed bytes"
            raise DataError(f"{path}: {fault}; copy both again")
    if skipped == -1 and not local:
        if header.compressed:
            raise DataError(f"{path}: HeaderSize = -1 with CompressedData; where packed voxels begin must be a number")
        return dataclasses.replace(header, header_size=max(0, header.data_file.stat().st_size - header.bytes))
    return header


def read(path: Path | str) -> Volume:
    """Read a scan: int16 as a memory map if it is stored so, else as an array.

    Other integers become int16 if all values fit, else float32, as do floats.
    Raises:  DataError also if the data file is shorter or longer than the header says, damaged, or holds NaN.
    """
    header = read_header(path)
    check_size(header)
    try:
        if header.compressed:
            stored = np.frombuffer(_unpacked(header), header.dtype).reshape(header.shape)
        else:
            stored = np.memmap(header.data_file, header.dtype, "r", header.header_size, header.shape)
    except OSError as error:
        raise DataError(f"{header.data_file}: cannot be read ({error.strerror}); copy it again") from error
    return Volume(_as_hounsfield(header, stored), header)


def check_size(header: Header) -> int:
    """The data file's size in bytes, which must be what the header says (packed voxels: what they can be).

    Raises:  DataError naming both sizes.
    """
    found = header.data_file.stat().st_size
    said = f"{header.path}: DimSize {' '.join(map(str, header.dim_size_xyz))} of {header.element_type}"
    if header.compressed:
        packed = found - header.header_size
        # zlib packs at most 1,032 to 1: a header that asks for more is wrong, and is not believed with memory.
        if header.bytes > min(LARGEST_UNPACKED, 1032 * max(packed, 0) + 1024):
            fault = f"{packed:,} packed bytes in {header.data_file.name} cannot hold (limit: {LARGEST_UNPACKED:,})"
            raise DataError(f"{said} takes {header.bytes:,} bytes, which {fault}; the two are not of one scan")
        return found
    expected = header.header_size + header.bytes
    if found != expected:
        fault = f"{'cut short' if found < expected else 'too long'}, or the header is of another scan; copy both again"
        raise DataError(f"{said} takes {expected:,} bytes, but {header.data_file.name} has {found:,}: it is {fault}")
    return found


def write(
    path: Path | str, array_zyx: np.ndarray, spacing_mm_xyz: np.ndarray, offset_mm: np.ndarray,
    direction: np.ndarray | None = None,
) -> None:  # fmt: skip
    """Write PATH (.mhd) and the .raw beside it, as LUNA16's scans are; the same values give the same bytes.

    Args:    array_zyx: (z, y, x) int16.   spacing_mm_xyz, offset_mm: (3,) x y z.
             direction: (3, 3) orthonormal, column i is the world direction of voxel axis i (x, y, z); None: identity.
    Raises:  DataError for another type, or a geometry that no scan has.
    """
    path = Path(path)
    array = np.asarray(array_zyx)
    if path.suffix != ".mhd" or array.dtype != np.int16 or array.ndim != 3 or not array.size:
        raise DataError(f"{path}: {array.dtype} {array.shape} to be written; a .mhd is written from int16 (z, y, x)")
    axes = np.eye(3) if direction is None else direction
    spacing, offset, direction = _geometry(path, spacing_mm_xyz, offset_mm, axes)
    raw = path.with_name(path.name.removesuffix(".mhd") + ".raw")  # a series' name has dots
    array.astype("<i2", order="C", copy=False).tofile(raw)
    lines = {
        "ObjectType": "Image", "NDims": 3, "BinaryData": True, "BinaryDataByteOrderMSB": False, "CompressedData": False,
        "TransformMatrix": _written(direction.T), "Offset": _written(offset), "CenterOfRotation": "0 0 0",
        "AnatomicalOrientation": _anatomical(direction), "ElementSpacing": _written(spacing),
        "DimSize": " ".join(str(n) for n in array.shape[::-1]), "ElementType": "MET_SHORT", "ElementDataFile": raw.name,
    }  # fmt: skip
    path.write_bytes("".join(f"{key} = {value}\n" for key, value in lines.items()).encode("ascii"))


def _keys(path: Path) -> tuple[dict[str, str], int]:
    """The header's keys up to ElementDataFile, which is the last, and where the bytes after it begin."""
    try:
        with path.open("rb") as file:
            start = file.read(LONGEST_HEADER)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); a scan is kept as UID.mhd and UID.raw") from error
    keys: dict[str, str] = {}
    end = 0
    while end < len(start):
        line, _, _ = start[end:].partition(b"\n")
        end += len(line) + 1
        text = line.decode("latin-1").strip()
        if not text:
            continue
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not key:
            raise DataError(f"{path}: {text[:40]!r} is not 'Key = value'; is it a MetaImage header, and whole?")
        if key in keys:
            raise DataError(f"{path}: the key {key} stands twice; remove the wrong one")
        keys[key] = value
        if key == "ElementDataFile":
            return keys, min(end, len(start))
    raise DataError(f"{path}: the key ElementDataFile is missing, the last of a MetaImage header; is it cut short?")


def _data_file(path: Path, name: str) -> Path:
    """The data file beside the header. By its name alone: what lies there may well be a link to a larger disk."""
    inside = os.path.normpath(name.replace("\\", "/"))
    if not name or os.path.isabs(inside) or inside.split("/")[0] == ".." or inside[1:2] == ":":
        raise DataError(f"{path}: ElementDataFile = {name!r} leads out of the header's folder; it must lie beside it")
    if "%" in name or name.upper().split()[0] == "LIST":
        raise DataError(f"{path}: ElementDataFile = {name!r} is one file a slice; what is read is one file a scan")
    file = path.parent / inside
    try:
        absent = not file.is_file()
    except OSError:  # a name that no disk takes
        absent = True
    if absent:
        raise DataError(f"{path}: its data file {name} is absent; copy it beside the header")
    return file


def _geometry(path: Path, spacing_mm, offset_mm, direction) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The three as arrays, if they can place a scan in the world."""
    spacing, offset, direction = (np.asarray(values, float) for values in (spacing_mm, offset_mm, direction))
    if spacing.shape != (3,) or not (np.isfinite(spacing) & (spacing > 0)).all():
        raise DataError(f"{path}: ElementSpacing is {_written(spacing)} mm; it must be three numbers above 0")
    if offset.shape != (3,) or not np.isfinite(offset).all():
        raise DataError(f"{path}: Offset is {_written(offset)} mm; it must be three finite numbers")
    square = direction.shape == (3, 3) and np.isfinite(direction).all()
    if not square or np.abs(direction.T @ direction - np.eye(3)).max() > ORTHONORMAL:
        wanted = "is not orthonormal: its three axes must be at right angles and of length 1"
        raise DataError(f"{path}: TransformMatrix {_written(direction.T)} {wanted}")
    return spacing, offset, direction


def _unpacked(header: Header) -> bytes:
    """The voxels' bytes, never more of them than the header says."""
    inflate = zlib.decompressobj(wbits=47)  # zlib or gzip, as MetaIO
    with header.data_file.open("rb") as file:
        file.seek(header.header_size)
        packed = file.read()
    try:
        content = inflate.decompress(packed, header.bytes + 1)
    except zlib.error as error:
        raise DataError(f"{header.data_file}: cannot be unpacked ({error}); copy it again") from error
    if len(content) != header.bytes or not inflate.eof:  # without its end, nothing says that it is sound
        found = "more" if len(content) > header.bytes else f"{len(content):,}, cut short"
        fault = f"{header.data_file.name} unpacks to {found}; it is damaged, or the header is of another scan"
        raise DataError(f"{header.path}: the header says {header.bytes:,} bytes and {fault}")
    return content


def _as_hounsfield(header: Header, stored: np.ndarray) -> np.ndarray:
    if stored.dtype == np.dtype("<i2"):
        return stored
    if stored.dtype.kind == "f":
        with np.errstate(all="ignore"):  # what overflows is found below
            single = stored.astype(np.float32)
        if not np.isfinite(single).all():
            raise DataError(f"{header.data_file}: holds NaN or infinity; every voxel must be a number")
        return single
    limits = np.iinfo(np.int16)
    fits = limits.min <= int(stored.min()) and int(stored.max()) <= limits.max
    return stored.astype(np.int16 if fits else np.float32)


def _anatomical(direction: np.ndarray) -> str:
    """Where each voxel axis comes from, in ITK's letters: right, anterior and inferior for the identity."""
    letters = ("RL", "AP", "IS")
    main = np.abs(direction).argmax(axis=0)
    return "".join(letters[row][int(direction[row, axis] < 0)] for axis, row in enumerate(main))


def _written(values: np.ndarray) -> str:
    """Numbers as text that reads back as the same numbers; whole ones without a point, as in LUNA16's headers."""
    return " ".join(repr(v).removesuffix(".0") for v in (np.ravel(values) + 0.0).tolist())  # + 0.0: no "-0"


def _triplets(points: np.ndarray) -> np.ndarray:
    points = np.asarray(points, float)
    if points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(f"points have shape {points.shape}; they must be (n, 3)")
    return points
