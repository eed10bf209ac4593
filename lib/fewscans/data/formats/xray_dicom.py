"""One chest X-ray in a DICOM file, as grey values from 0 (black) to 1 (white), or one clear error.

The steps of the standard's grey-scale pipeline (PS3.3 C.7.6.3, C.11.1, C.11.2): modality look-up table or rescaling,
then the first VOI look-up table or else the first window, then the reverse for MONOCHROME1, whose lowest value is
white. Photometric Interpretation alone decides the reverse: Presentation LUT Shape INVERSE says the same again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fewscans.data.base import first_line
from fewscans.data.content import not_blank
from fewscans.errors import DataError

AGAIN = "copy it again, or leave it out"
WINDOWED = (1 << 16) - 1  # the highest value of a window's output


class Header(NamedTuple):
    """What a file says without its pixels; "" for a name that it does not say."""

    size: tuple[int, int]  # (width, height), pixels
    patient: str
    manufacturer: str


class XRay(NamedTuple):
    pixels: np.ndarray  # (H, W) float32 from 0 to 1
    patient: str
    manufacturer: str


def read(path: Path | str) -> XRay:
    """Read an X-ray, compressed or not.

    0 and 1 are the ends of the window, the lowest and highest entry of the VOI look-up table, or where there is neither
    the lowest and highest value of the image.
    Raises:  DataError naming the file: as `header`, and for one without pixels, or whose pixels cannot be decoded or
             are all the same.
    """
    from pydicom.uid import UID

    dataset = _open(path)
    who = _header(path, dataset)
    if "PixelData" not in dataset:
        raise DataError(f"{path}: holds no pixels; {AGAIN}")
    try:
        values, low, high = _values(dataset)
    except Exception as error:  # each codec has its own
        syntax = dataset.file_meta.get("TransferSyntaxUID")  # absent or no transfer syntax in a damaged file
        packed = isinstance(syntax, UID) and syntax.is_transfer_syntax and syntax.is_compressed
        codec = f"; {syntax.name} may need `pip install 'pylibjpeg[all]'`" if packed else ""
        raise DataError(f"{path}: its pixels cannot be decoded ({first_line(error)}){codec}; {AGAIN}") from error
    unit = (not_blank(str(path), values).astype(np.float32) - np.float32(low)) / np.float32(high - low)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        unit = 1 - unit
    return XRay(unit, who.patient, who.manufacturer)


def header(path: Path | str) -> Header:
    """Size, patient and manufacturer, without the pixels.

    Raises:  DataError naming the file: absent, no DICOM, without a size, coloured, of several frames.
    """
    return _header(path, _open(path, stop_before_pixels=True))


def size(path: Path | str) -> tuple[int, int]:
    """(width, height) in pixels, without reading them. Raises DataError as `header`."""
    return header(path).size


def _open(path: Path | str, **options) -> Any:
    import pydicom

    try:
        return pydicom.dcmread(path, **options)
    except Exception as error:  # each kind of damage has its own
        raise DataError(f"{path}: cannot be read as DICOM ({first_line(error)}); copy it again") from error


def _header(path: Path | str, dataset: Any) -> Header:
    try:
        width, height, frames, samples = (
            int(dataset.get(name) or default)
            for name, default in (("Columns", 0), ("Rows", 0), ("NumberOfFrames", 1), ("SamplesPerPixel", 1))
        )
        colour = str(dataset.get("PhotometricInterpretation", "no colour space"))
        names = [str(dataset.get(name) or "").strip() for name in ("PatientID", "Manufacturer")]
    except Exception as error:  # values are parsed here
        raise DataError(f"{path}: cannot be read as DICOM ({first_line(error)}); copy it again") from error
    if not (width and height):
        raise DataError(f"{path}: says no width and height, so it holds no pixels; {AGAIN}")
    if frames != 1:
        raise DataError(f"{path}: holds {frames} frames; an X-ray has one, save each as a file of its own")
    if samples != 1 or colour not in ("MONOCHROME1", "MONOCHROME2"):
        raise DataError(f"{path}: is {colour} with {samples} values a pixel; an X-ray is MONOCHROME1 or MONOCHROME2")
    return Header((width, height), *names)


def _values(dataset: Any) -> tuple[np.ndarray, float, float]:
    """(H, W) values after modality and VOI, and which of them are the lowest and the highest output."""
    from pydicom import pixels

    def table(name: str) -> range | None:
        """The inputs of a look-up table. pydicom's own types overflow for 8-bit entries, and it knows no uint12."""
        item = (dataset.get(name) or [{}])[0]
        if item.get("LUTDescriptor") is None or item.get("LUTData") is None:
            return None
        entries, first, _ = item.LUTDescriptor
        item.LUTDescriptor = [entries, first, 16]
        return range(first, first + (entries or 1 << 16))

    table("ModalityLUTSequence")
    values = pixels.apply_modality_lut(dataset.pixel_array.astype(np.int32), dataset)
    inputs = table("VOILUTSequence")
    if inputs is not None:
        outputs = pixels.apply_voi(np.array(inputs, np.int32), dataset)
        values = pixels.apply_voi(np.rint(values).astype(np.int32), dataset)
        return values, float(outputs.min()), float(outputs.max())
    if dataset.get("WindowCenter") is None or dataset.get("WindowWidth") is None:
        return values, float(values.min()), float(values.max())
    # The output of a window is as wide as the input can be. Its share of that is all we need, so any input range does.
    dataset.BitsStored, dataset.PixelRepresentation = 16, 0
    for name in ("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"):
        dataset.pop(name, None)
    return pixels.apply_windowing(values, dataset), 0.0, float(WINDOWED)
