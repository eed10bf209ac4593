"""LIDC cubes and their table that are wrong in one way each, and what the reader's message must name."""

import numpy as np
import pandas as pd

UIDS = ("1.2.840.999000111222", "1.2.840.999000333444")
KIND = ("nodule", "nodule", "negative", "nodule", "negative", "negative")
GRADE = (4.75, 2.0, np.nan, 3.33, np.nan, np.nan)


def arrays() -> dict[str, np.ndarray]:
    """A small file with nothing wrong: six cubes of two scans, which are two patients'."""
    rng = np.random.default_rng(0)
    return {
        "cubes": rng.integers(-1024, 3072, (6, 48, 48, 48)).astype(np.int16),
        "is_nodule": np.array([kind == "nodule" for kind in KIND]).astype(np.uint8),
        "malignancy_mean": np.array(GRADE, np.float32),
        "scan": np.array([UIDS[i // 3][-12:] for i in range(6)]),
        "patient": np.array([f"LIDC-IDRI-{i // 3:04d}" for i in range(6)]),
    }


def table() -> pd.DataFrame:
    """The table that belongs to it, with a column more than is read."""
    return pd.DataFrame(
        {
            "patient": arrays()["patient"],
            "series_uid": [UIDS[i // 3] for i in range(6)],
            "kind": KIND,
            "k": [0, 1, 0, 0, 0, 1],
            "slice": 80.5,
            "malignancy_mean": GRADE,
            "diameter_mm": [32.8, np.nan, np.nan, 6.3, np.nan, np.nan],
        }
    )


def write(folder, rows=None, **changes):
    """The good files with some arrays, or the table, replaced; None removes an array, an unknown name adds one."""
    content = {key: value for key, value in (arrays() | changes).items() if value is not None}
    np.savez(folder / "lidc_cubes_48mm.npz", **content)
    (table() if rows is None else rows).to_csv(folder / "cubes.csv", index=False)
    return folder / "lidc_cubes_48mm.npz"


def _edited(key, index, value):
    array = arrays()[key]
    array[index] = value
    return {key: array}


def _row(index, column, value):
    frame = table().astype({column: object})
    frame.loc[index, column] = value
    return {"rows": frame}


# name: (what to change in the good files, which file is named, words the message must hold)
NPZ, CSV = "lidc_cubes_48mm.npz", "cubes.csv"
CASES = {
    "missing key": ({"scan": None}, NPZ, ["lacks scan"]),
    "extra key": ({"mask": np.zeros(6)}, NPZ, ["unknown mask"]),
    "float cubes": ({"cubes": np.zeros((6, 48, 48, 48))}, NPZ, ["cubes is float64", "int16"]),
    "cubes of another size": ({"cubes": np.zeros((6, 32, 32, 32), np.int16)}, NPZ, ["(6, 32, 32, 32)"]),
    "cubes too few": ({"cubes": arrays()["cubes"][:5]}, NPZ, ["different lengths", "cubes 5", "is_nodule 6"]),
    "no cubes": ({key: array[:0] for key, array in arrays().items()}, NPZ, ["cubes is empty"]),
    "is_nodule 2": (_edited("is_nodule", 3, 2), NPZ, ["is_nodule holds 2", "0 or 1"]),
    "is_nodule in a column": ({"is_nodule": arrays()["is_nodule"][:, None]}, NPZ, ["is_nodule is uint8 (6, 1)"]),
    "grade 6": (_edited("malignancy_mean", 0, 6), NPZ, ["malignancy_mean[0] of a nodule is 6.0", "1 to 5"]),
    "nodule without a grade": (_edited("malignancy_mean", 1, np.nan), NPZ, ["malignancy_mean[1]", "nan"]),
    "negative with a grade": (_edited("malignancy_mean", 2, 3), NPZ, ["malignancy_mean[2] of a negative is 3.0"]),
    "grades as text": ({"malignancy_mean": np.full(6, "3")}, NPZ, ["malignancy_mean is <U1"]),
    "scans as numbers": ({"scan": np.arange(6)}, NPZ, ["scan is int64", "text"]),
    "pickled patients": ({"patient": np.full(6, "LIDC-IDRI-0001", object)}, NPZ, ["damaged or cut short"]),
    "column missing": (
        {"rows": table().drop(columns=["kind", "diameter_mm"])},
        CSV,
        ["column 'kind' is missing", "diameter_mm"],
    ),
    "row missing": ({"rows": table().iloc[:-1]}, CSV, ["5 rows for 6 cubes"]),
    "rows in another order": ({"rows": table().iloc[::-1]}, CSV, ["row 0 has patient LIDC-IDRI-0001", "one order"]),
    "another scan": (_row(4, "series_uid", UIDS[0]), CSV, [f"row 4 has series_uid {UIDS[0]}"]),
    "another kind": (_row(2, "kind", "nodule"), CSV, ["row 2 has kind nodule"]),
    "no kind": (_row(2, "kind", np.nan), CSV, ["row 2 has kind nan"]),
    "another grade": (_row(0, "malignancy_mean", 4.0), CSV, ["row 0 has malignancy_mean 4.0"]),
    "a grade too few": (_row(0, "malignancy_mean", np.nan), CSV, ["row 0 has malignancy_mean nan"]),
    "diameter 0": (_row(0, "diameter_mm", 0), CSV, ["row 0 has diameter_mm 0.0", "above 0"]),
    "diameter in words": (_row(0, "diameter_mm", "large"), CSV, ["column diameter_mm", "numbers"]),
    "k with a fraction": (_row(0, "k", 0.5), CSV, ["column k"]),
    "k twice": (_row(1, "k", 0), CSV, ["999000111222:nodule00 occurs twice"]),
}
