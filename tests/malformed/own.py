"""Folders of one's own with a fault each, and one without; pictures are made on the fly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image


def pictures(
    folder: Path, n: int = 60, patients: int = 30, side: int = 24, seed: int = 0, signal: int = 70
) -> pd.DataFrame:
    """PNG patches of few patients: a blob where the label is 1. Writes pictures and cases.csv; returns the table."""
    rng, rows = np.random.default_rng(seed), []
    (folder / "images").mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    for i in range(n):
        label = i // patients % 2 if n >= 2 * patients else i % 2
        cy, cx = rng.uniform(-3, 3, 2)
        values = rng.normal(90, 20, (side, side)) + label * signal * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 18)
        Image.fromarray(values.clip(0, 255).astype(np.uint8)).save(folder / f"images/{i:03d}.png")
        rows.append({"image": f"images/{i:03d}.png", "label": label, "patient": f"p{i % patients:02d}"})
    return saved(folder, pd.DataFrame(rows))


def boxed(folder: Path, n: int = 64, side: int = 72) -> pd.DataFrame:
    """PNG pictures, each of another patient: where the label is 1 a bright spot, and a box around it in pixels."""
    rng, rows = np.random.default_rng(0), []
    folder.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[:side, : side + 8]
    for i in range(n):
        cy, cx = rng.uniform(16, side - 16, 2)
        values = rng.normal(90, 20, y.shape) + i % 2 * 90 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 40)
        Image.fromarray(values.clip(0, 255).astype(np.uint8)).save(folder / f"{i:02d}.png")
        box = {"x": round(cx - 10, 1), "y": round(cy - 10, 1), "w": 20, "h": 20} if i % 2 else {}
        rows.append({"image": f"{i:02d}.png", "patient": f"p{i:02d}", "label": i % 2, "view": "lateral", **box})
    return saved(folder, pd.DataFrame(rows))


def volumes(folder: Path, n: int = 40, side: int = 12, seed: int = 0) -> pd.DataFrame:
    """NIfTI volumes of different spacing, a ball in each, whose volume in ml is the number."""
    import nibabel

    rng, rows = np.random.default_rng(seed), []
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        mm = rng.choice([1.0, 1.5, 2.0], 3)
        size = [max(6, int(round(side * 1.5 / m))) for m in mm]
        axes = np.meshgrid(*[(np.arange(s) - (s - 1) / 2) * m for s, m in zip(size, mm, strict=True)], indexing="ij")
        radius = rng.uniform(2.5, 7)
        values = 100 * (sum(a**2 for a in axes) < radius**2) + rng.normal(0, 8, size)
        nibabel.save(nibabel.Nifti1Image(values.astype(np.float32), np.diag([*mm, 1.0])), folder / f"v{i:02d}.nii.gz")
        number = round(4 / 3 * np.pi * radius**3 / 1000, 4)
        rows.append({"image": f"v{i:02d}.nii.gz", "number": number, "patient": f"p{i:02d}"})
    return saved(folder, pd.DataFrame(rows))


def saved(folder: Path, table: pd.DataFrame) -> pd.DataFrame:
    table.to_csv(folder / "cases.csv", index=False)
    return table


def _column(name: str, value: object, row: int = 3) -> Callable[[Path], None]:
    def fault(folder: Path) -> None:
        table = pictures(folder).astype(object)
        table.loc[row, name] = value
        saved(folder, table)

    return fault


def _dropped(name: str) -> Callable[[Path], None]:
    return lambda folder: saved(folder, pictures(folder).drop(columns=name))


def _file(write: Callable[[Path], None]) -> Callable[[Path], None]:
    """One of the pictures is another file."""

    def fault(folder: Path) -> None:
        pictures(folder)
        write(folder / "images" / "003.png")

    return fault


def _array(array: np.ndarray) -> Callable[[Path], None]:
    def fault(folder: Path) -> None:
        table = pictures(folder)
        np.save(folder / "odd.npy", array)
        table.loc[3, "image"] = "odd.npy"
        saved(folder, table)

    return fault


def _numbers(values: dict) -> Callable[[Path], None]:
    def fault(folder: Path) -> None:
        table = pictures(folder).rename(columns={"label": "number"}).astype(object)
        for row, value in values.items():
            table.loc[row, "number"] = value
        saved(folder, table)

    return fault


def _few(positives: int) -> Callable[[Path], None]:
    def fault(folder: Path) -> None:
        table = pictures(folder)
        table["patient"] = [f"q{i}" for i in range(len(table))]
        table["label"] = (np.arange(len(table)) < positives).astype(int)
        saved(folder, table)

    return fault


def _settings(text: str) -> Callable[[Path], None]:
    def fault(folder: Path) -> None:
        pictures(folder)
        (folder / "dataset.yaml").write_text(text)

    return fault


def _colour(path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 24, 3), dtype=np.uint8)).save(path)


def _two_splits(folder: Path) -> None:
    saved(folder, pictures(folder).assign(split=["train"] * 30 + ["test"] * 30))


def _twice(folder: Path) -> None:
    pictures(folder)
    (folder / "images" / "004.png").write_bytes((folder / "images" / "003.png").read_bytes())


def _one_patient(folder: Path) -> None:
    saved(folder, pictures(folder).assign(patient="p1"))


VOLUME = np.random.default_rng(0).random((8, 8, 8)).astype(np.float32)
HOLE = np.full((24, 24), 5.0, np.float32) + np.eye(24, dtype=np.float32)
HOLE[3, 4] = np.nan

# what is wrong → what makes it, and the error's words
CASES: dict[str, tuple[Callable[[Path], None], str]] = {
    "no table": (lambda folder: folder.mkdir(exist_ok=True), "cases.csv: no such file"),
    "missing column image": (_dropped("image"), "column 'image' is missing; the table has columns image, label"),
    "missing column patient": (_dropped("patient"), "column 'patient' is missing"),
    "neither label nor number": (_dropped("label"), "has neither label nor number"),
    "missing file": (_column("image", "images/none.png"), "none.png: no such file, but cases.csv names it"),
    "label 2": (_column("label", 2), "row 5: label is '2'; a label is 0 or 1"),
    "label missing": (_column("label", ""), "row 5: label is empty; a label is 0 or 1"),
    "number as text": (_numbers({3: "12 ml"}), "row 5: number is '12 ml'; a number is written as 12.5"),
    "number below 0": (_numbers({3: -1.5}), "row 5: number is '-1.5'; numbers are 0 or more"),
    "patient empty": (_column("patient", ""), "row 5: patient is empty"),
    "patient of blanks": (_column("patient", "  "), "row 5: patient is empty"),
    "one patient only": (_one_patient, "all cases are of patient p1"),
    "3 positives": (_few(3), "3 patients with label 1, of whom . would be in .*, are too few; . are .* and 10 in all"),
    "a row twice": (_column("image", "images/002.png"), "row 5: image is 'images/002.png'; that row is there twice"),
    "a split of another name": (lambda f: saved(f, pictures(f).assign(split="tets")), "row 2: split is 'tets'"),
    "a patient in two splits": (_two_splits, "patient p.. is in 2 splits"),
    "mixed 2D and 3D": (_array(VOLUME), "is on the plane, odd.npy is in space"),
    "colour and grey mixed": (_file(_colour), "is grey, images/003.png is in colour"),
    "NaN voxels": (_array(HOLE), "1 of 576 voxels are NaN or infinite"),
    "blank": (_array(np.zeros((24, 24))), "every voxel has the same value"),
    "too small": (_array(np.eye(4)), "8 x 8 pixels or more"),
    "one axis": (_array(np.arange(9.0)), "its shape is .9,."),
    "objects": (_array(np.array([[{}] * 8] * 8)), "cannot be read"),
    "no picture": (_file(lambda path: path.write_text("hello")), "003.png: cannot be read"),
    "the same picture for two patients": (_twice, "003.png .patient p03. and images/004.png .* are the same picture"),
    "an unknown kind of file": (_column("image", "cases.csv"), "unknown kind of file"),
    "an unknown key": (_settings("titel: x\n"), "titel: Extra inputs are not permitted; its keys are title"),
    "a window upside down": (_settings("window: [3.0, 1.0]\n"), "the first is what becomes black"),
    "a patch of another dimension": (_settings("patch: [16, 16, 16]\n"), "has 3 sides, pictures 2 axes"),
    "an odd patch": (_settings("patch: [20, 20]\n"), "sides are multiples of 8, 8"),
    "a spacing that nothing says": (_settings("spacing_mm: [1.0, 1.0]\n"), "the files do not say the size"),
    "no YAML": (_settings("a: [\n"), "cannot be read as YAML"),
}  # fmt: skip
