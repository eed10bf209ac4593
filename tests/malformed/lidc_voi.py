"""A small folder in the layout of lidc-voi-994 with nothing wrong, and folders that are wrong in one way each."""

import gzip
import hashlib
import zipfile

import nibabel
import numpy as np
import pandas as pd

SPACING = (2.5, 0.75, 0.75)  # z y x
ARCHIVES = ("images.zip", "masks.zip")


def table() -> pd.DataFrame:
    """Fifteen nodules of ten patients: the first five have two."""
    patient = np.r_[np.arange(10), np.arange(5)]
    number = np.r_[np.ones(10, int), np.full(5, 2)]
    names = [f"LIDC-IDRI-{p + 1:04d}" for p in patient]
    return pd.DataFrame(
        {
            "file": [f"{name}_R_{k}.nii.gz" for name, k in zip(names, number, strict=True)],
            "patient_id": names, "nodule_id": number, "fold": patient % 5, "malignant": np.arange(15) % 3 - 1,
            "malignancy_value": np.arange(15) % 5 + 1, "diameter_mm": 4 + 1.23 * np.arange(15),
            "texture_value": np.tile([5, 3, 4, 1, 5], 3),
        }
    )  # fmt: skip


def image(row: int) -> np.ndarray:
    """HU, z y x in the patient's axes: noise, for no place to be like another."""
    return np.random.default_rng([5, row]).integers(-1200, 600, (4 + row % 3, 44, 46)).astype(np.int16)


def mask(row: int) -> np.ndarray:
    """A box that is largest in slice 1."""
    out = np.zeros(image(row).shape, np.int16)
    out[1:3, 15:29, 15 : 20 + row] = 1
    out[2, 15:17] = 0
    return out


def packed(array: np.ndarray, row: int, spacing=SPACING) -> bytes:
    """As the source stores it, from the left and the back; every third the other way about."""
    affine = np.diag([*spacing[::-1], 1.0])
    affine[:3, 3] = -30, 12, 100
    if row % 3 == 0:
        return gzip.compress(nibabel.Nifti1Image(array.T, affine).to_bytes())
    affine[:2] *= -1
    return gzip.compress(nibabel.Nifti1Image(array.T[::-1, ::-1], affine).to_bytes())


def members() -> dict[str, dict[str, bytes]]:
    """Archive → name → content."""
    makers = zip(ARCHIVES, (image, mask), strict=True)
    names = table()["file"]
    return {archive: {name: packed(make(i), i) for i, name in enumerate(names)} for archive, make in makers}


def write(folder, rows=None, content=None):
    """The good folder, with another table or other members."""
    folder.mkdir(parents=True, exist_ok=True)
    for archive, files in (content or members()).items():
        with zipfile.ZipFile(folder / archive, "w") as out:
            for name, data in files.items():
                out.writestr(name, data)
    (table() if rows is None else rows).to_csv(folder / "nodules.csv", index=False)
    sums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (*ARCHIVES, "nodules.csv")}
    (folder / "SHA256SUMS").write_text("".join(f"{sha256}  {name}\n" for name, sha256 in sums.items()))
    return folder


def join(patches) -> pd.DataFrame:
    """A table that matches the first 30 positives of some patches: each nodule is shown twice, in one series."""
    rows = np.sort(patches.about["candidate_row"].to_numpy()[patches.target == 1])[:30]
    nodule = np.arange(30) // 2
    known = table().iloc[nodule].reset_index(drop=True)
    series = [f"1.3.6.{100 + n}" for n in nodule]
    return known[["file", "diameter_mm", "malignant"]].assign(candidate_row=rows, seriesuid=series)


def _cell(column, value, row=4):
    rows = table().astype({column: object})
    rows.loc[row, column] = value
    return {"rows": rows}


def _member(archive, data, row=4):
    """One member replaced; None removes it."""
    content = members()
    name = table()["file"][row]
    content[archive] = {n: data if n == name else d for n, d in content[archive].items() if n != name or data}
    return {"content": content}


NOT_FINITE = np.full((4, 44, 46), np.nan, np.float32)
# name: (what to change in the good folder, the file the message must name, words it must hold)
CASES = {
    "image absent": (_member("images.zip", None), "images.zip", ["LIDC-IDRI-0005_R_1.nii.gz is not in it"]),
    "mask absent": (_member("masks.zip", None), "masks.zip", ["LIDC-IDRI-0005_R_1.nii.gz is not in it"]),
    "image of another kind": (_member("images.zip", b"text"), "images.zip", ["LIDC-IDRI-0005_R_1", "not a NIfTI file"]),
    "image cut short": (_member("images.zip", packed(image(4), 4)[:-900]), "images.zip", ["cut short"]),
    "image of zeros": (_member("images.zip", gzip.compress(bytes(900))), "images.zip", ["not a NIfTI file"]),
    "image not finite": (_member("images.zip", packed(NOT_FINITE, 4)), "images.zip", ["NaN or infinite"]),
    "image with four axes": (_member("images.zip", packed(image(4)[None], 3)), "images.zip", ["three axes"]),
    "mask of another size": (_member("masks.zip", packed(mask(4)[1:], 4)), "masks.zip", ["(4, 44, 46)", "(5, 44, 46)"]),
    "column misspelt": ({"rows": table().rename(columns={"fold": "part"})}, "nodules.csv", ["'fold' is missing"]),
    "texture 6": (_cell("texture_value", 6), "nodules.csv", ["texture_value of LIDC-IDRI-0005_R_1", "is 6"]),
    "texture 0": (_cell("texture_value", 0), "nodules.csv", ["is 0; it is from 1 to 5"]),
    "texture between": (_cell("texture_value", 3.5), "nodules.csv", ["is 3.5"]),
    "texture empty": (_cell("texture_value", None), "nodules.csv", ["texture_value", "from 1 to 5"]),
    "malignant in words": (_cell("malignant", "yes"), "nodules.csv", ["malignant", "is yes; it is from -1 to 1"]),
    "fold 5": (_cell("fold", 5), "nodules.csv", ["fold", "is 5"]),
    "diameter below 0": (_cell("diameter_mm", -3.0), "nodules.csv", ["diameter_mm", "-3"]),
    "patient in two folds": (_cell("fold", 3), "nodules.csv", ["LIDC-IDRI-0005 is in two folds"]),
    "nodule twice": ({"rows": pd.concat([table(), table()[4:5]])}, "nodules.csv", ["LIDC-IDRI-0005_R_1", "twice"]),
    "number twice": (_cell("nodule_id", 1, row=14), "nodules.csv", ["LIDC-IDRI-0005_R_2", "twice"]),
}  # fmt: skip
