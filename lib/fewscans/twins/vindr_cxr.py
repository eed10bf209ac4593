"""A synthetic stand-in for VinDr-CXR: chest X-rays with five findings and readers' boxes, in the layout of the release.

Images are drawn in thorax.py. Three readers who err read each training image, as at VinDr; test images have one
exact consensus. test_style, which the release has not, is of a manufacturer whose style no training image has.

Labels have a stream of random numbers of their own, so patient, style, exposure and noise say nothing about them. Here
a finding is far more frequent than in the release, where 96 of 15,000 training images have a pneumothorax.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fewscans.twins import thorax
from fewscans.twins.base import Spec, Twin, between, in_processes, seed, whole
from fewscans.twins.thorax import FINDINGS, STYLES, Finding, Person

SETS = {"train": "train", "test": "test", "style": "test_style"}  # setting → folder
CLASSES = {
    "nodule": ("Nodule/Mass", 8), "consolidation": ("Consolidation", 4), "interstitial": ("ILD", 5),
    "effusion": ("Pleural effusion", 10), "pneumothorax": ("Pneumothorax", 12),
}  # fmt: skip
HEADER = "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max\n"
EACH = 0.3  # chance of each finding in an abnormal image, before those without any are drawn again
TWO_IMAGES = 0.15  # share of patients
MANUFACTURERS, MONOCHROME1 = {"A": 0.5, "B": 0.25, "C": 0.25}, 0.15  # shares of images
READERS = ("R1", "R2", "R3")
MISSED, FALSE, JITTER = 0.12, 0.03, 0.03  # chance a finding, chance an image, sd in shares of the box
PIXELS_A_PROCESS = 5_000_000  # below which starting another costs more than it saves


@dataclass(frozen=True)
class VindrSpec(Spec):
    """How many images of each set, and what they show.

    side: pixels of an image's height; widths are 88 to 100 % of it.   abnormal_share: of images with any finding; 0.6
    gives each of the five to about 22 %.   lesions: False (0) draws the same images, labels and boxes, but leaves the
    findings out of the pixels: what a network then learns is a leak.
    """

    train: int = whole(8, 99_999)
    test: int = whole(4, 99_999)
    style: int = whole(4, 99_999)
    side: int = whole(64, 3072)
    abnormal_share: float = between(0, 1)
    lesions: int = whole(0, 1)
    seed: int = seed()

    def __post_init__(self) -> None:
        if isinstance(self.lesions, bool):
            object.__setattr__(self, "lesions", int(self.lesions))
        super().__post_init__()


class XRay(NamedTuple):
    """One image before it is written: (H, W) grey values 0 to 1, and what is known of it."""

    grey: np.ndarray
    findings: list[Finding]
    person: Person
    patient: str
    manufacturer: str


def _stream(spec: VindrSpec, part: str, *which: int) -> np.random.Generator:
    return np.random.default_rng([spec.seed, list(SETS).index(part), *which])


def _name(spec: VindrSpec, part: str, kind: str, number: int) -> str:
    """32 hexadecimal digits, as the release names images; they sort in no order."""
    return hashlib.sha256(f"{spec.seed} {part} {kind} {number}".encode()).hexdigest()[:32]


@lru_cache(maxsize=8)
def labels(spec: VindrSpec, part: str) -> np.ndarray:
    """(n, 5) bool: which of FINDINGS each image of a set has. Images are independent of each other."""
    n = getattr(spec, part)
    abnormal = _stream(spec, part, 0, 0).random(n) < spec.abnormal_share
    each = _stream(spec, part, 0, 1).random((n, 40, len(FINDINGS))) < EACH
    first = np.argmax(each.any(axis=2), axis=1)
    return abnormal[:, None] & each[np.arange(n), first]


@lru_cache(maxsize=8)
def patients(spec: VindrSpec, part: str) -> np.ndarray:
    """(n,) int: the patient of each image of a set."""
    n = getattr(spec, part)
    return np.repeat(np.arange(n), 1 + (_stream(spec, part, 1).random(n) < TWO_IMAGES))[:n]


def draw_image(spec: VindrSpec, part: str, number: int) -> XRay:
    """Image `number` of a set: of "train", "test" or "style"."""
    who, image, ill = int(patients(spec, part)[number]), _stream(spec, part, 3, number), _stream(spec, part, 4, number)
    person = thorax.draw_person(_stream(spec, part, 2, who))
    manufacturer = str(image.choice(list(MANUFACTURERS), p=list(MANUFACTURERS.values())))
    manufacturer = "D" if part == "style" else manufacturer
    shape = (spec.side, round(spec.side * image.uniform(0.88, 1)))
    has = [name for name, present in zip(FINDINGS, labels(spec, part)[number], strict=True) if present]
    grey, findings = thorax.draw(person, has, STYLES[manufacturer], shape, bool(spec.lesions), image, ill)
    return XRay(grey, findings, person, _name(spec, part, "patient", who)[:12], manufacturer)


def reading(xray: XRay, rng: np.random.Generator) -> list[tuple[str, np.ndarray]]:
    """What one reader marks: (finding, box of 4 pixels), with findings missed, boxes moved, and now and then one that
    is not there."""
    height, width = xray.grey.shape
    size = np.array([width, height] * 2)
    seen = {name: rng.random() >= MISSED for name in FINDINGS}
    boxes = [(f.name, np.array(f.box, float)) for f in xray.findings if seen[f.name]]
    marks = []
    for name, box in boxes:
        moved = box + JITTER * rng.standard_normal(4).clip(-3, 3) * np.tile(box[2:] - box[:2], 2)
        marks.append((name, moved.clip(0, size)))
    if rng.random() < FALSE:
        name = FINDINGS[rng.integers(len(FINDINGS))]
        middle = np.array([rng.choice([0.3, 0.7]), rng.uniform(0.3, 0.7)])  # in either lung, about
        half = np.array(thorax.SIZES[name][:2]) / 2
        marks.append((name, np.concatenate([middle - half, middle + half]) * size))
    return marks


def write(folder: Path, spec: VindrSpec, processes: int | None = None) -> Path:
    """Write the twin into `folder`, which exists. Returns the folder.

    Args:    processes: how many images are drawn at a time; None: one a core. The files do not depend on it.
    """
    for part, name in SETS.items():
        (folder / name).mkdir()
        jobs = [(Path(folder), spec, part, number) for number in range(getattr(spec, part))]
        rows = in_processes(_write_image, jobs, PIXELS_A_PROCESS // spec.side**2 + 1, processes)
        (folder / f"{name}.csv").write_text(HEADER + "".join(sorted(rows)), encoding="utf-8")
    return Path(folder)


def _write_image(job: tuple[Path, VindrSpec, str, int]) -> str:
    """Write one image. Returns its rows of the table."""
    folder, spec, part, number = job
    xray, image_id, rows = draw_image(spec, part, number), _name(spec, part, "image", number), []
    _save(folder / SETS[part] / f"{image_id}.dicom", xray, _stream(spec, part, 5, number))
    readers = _stream(spec, part, 6, number)
    consensus = [(finding.name, np.array(finding.box, float)) for finding in xray.findings]
    for rad in READERS if part == "train" else ("R0",):
        marks = reading(xray, readers) if part == "train" else consensus
        for name, box in marks:
            label, number_of_class = CLASSES[name]
            rows.append(f"{image_id},{label},{number_of_class},{rad},{','.join(f'{edge:.1f}' for edge in box)}\n")
        if not marks:
            rows.append(f"{image_id},No finding,14,{rad},,,,\n")
    return "".join(rows)


def _save(file: Path, xray: XRay, rng: np.random.Generator) -> None:
    """A DICOM file of 12 bits without a clock in it. Its window is the range of grey values that can occur."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

    low, width, inverse = int(rng.integers(0, 300)), int(rng.integers(2400, 3700)), rng.random() < MONOCHROME1
    stored = np.rint(low + width * (1 - xray.grey if inverse else xray.grey)).astype("<u2")
    meta, image = FileMetaDataset(), Dataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = (
        ExplicitVRLittleEndian,
        DigitalXRayImageStorageForPresentation,
    )
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[file.stem])
    image.file_meta = meta
    image.SOPClassUID, image.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    image.StudyInstanceUID, image.SeriesInstanceUID = (generate_uid(entropy_srcs=[file.stem, k]) for k in ("1", "2"))
    image.Modality, image.ViewPosition, image.Manufacturer = "DX", "PA", f"Maker {xray.manufacturer}"
    image.PatientID, image.PatientSex = xray.patient, "F" if xray.person.female else "M"
    image.Rows, image.Columns = stored.shape
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME1" if inverse else "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    image.WindowCenter, image.WindowWidth = low + width / 2 + 0.5, width + 1
    image.PixelData = stored.tobytes()
    image.save_as(file, enforce_file_format=True)


TWIN = Twin(write, VindrSpec, "vindr-cxr")
