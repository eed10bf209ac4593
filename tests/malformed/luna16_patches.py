"""Files in the layout of the LUNA16 patches that are wrong in one way each, and what the reader's message must name."""

import numpy as np

SPLITS = ("train", "val", "test")


def arrays() -> dict[str, np.ndarray]:
    """A small file with nothing wrong: 90 patches over 60,000 candidate rows, every split of both kinds filled."""
    rng = np.random.default_rng(0)
    rows = np.arange(90) * 667 + rng.integers(0, 600, 90)
    out = {}
    for index, split in enumerate(SPLITS):
        mine = rows[index::3]
        out[f"{split}_images"] = rng.integers(0, 256, (len(mine), 50, 50), dtype=np.uint8)
        out[f"{split}_labels"] = (np.arange(len(mine)) % 2).astype(np.uint8)[:, None]
        out[f"{split}_candidate_row"] = mine.astype(np.int64)
    return out


def write(path, **changes):
    """The good file with some arrays replaced; None removes one, an unknown name adds one."""
    content = {key: value for key, value in (arrays() | changes).items() if value is not None}
    np.savez_compressed(path, **content)
    return path


def _edited(key, index, value, dtype=None):
    array = arrays()[key]
    array = array if dtype is None else array.astype(dtype)
    array[index] = value
    return {key: array}


# name: (what to change in the good file, words the message must hold)
CASES = {
    "missing key": ({"val_labels": None}, ["lacks val_labels"]),
    "extra key": ({"val_masks": np.zeros(3)}, ["unknown val_masks"]),
    "key misspelt": ({"val_labels": None, "val_label": np.zeros(3)}, ["lacks val_labels", "unknown val_label"]),
    "images of another size": (
        {"test_images": np.zeros((30, 64, 64), np.uint8)},
        ["test_images", "(30, 64, 64)", "(n, 50, 50)"],
    ),
    "images in colour": ({"test_images": np.zeros((30, 50, 50, 3), np.uint8)}, ["test_images", "(30, 50, 50, 3)"]),
    "float images": ({"val_images": np.zeros((30, 50, 50))}, ["val_images", "float64", "uint8"]),
    "NaN in an image": (_edited("train_images", (7, 3, 3), np.nan, np.float32), ["train_images[7]", "NaN"]),
    "label 2": (_edited("val_labels", 4, 2), ["val_labels", "holds 2", "0 (no nodule) or 1"]),
    "label NaN": (_edited("val_labels", 4, np.nan, np.float32), ["val_labels", "nan"]),
    "label -1": (_edited("val_labels", 4, -1, np.int64), ["val_labels", "holds -1"]),
    "labels of another type": (_edited("val_labels", 0, 0, np.int64), ["val_labels", "int64", "uint8"]),
    "flat labels": ({"val_labels": arrays()["val_labels"][:, 0]}, ["val_labels", "(30,)", "(n, 1)"]),
    "labels too few": ({"val_labels": arrays()["val_labels"][:-1]}, ["val_images 30, val_labels 29"]),
    "rows too few": ({"val_candidate_row": arrays()["val_candidate_row"][:-2]}, ["val_candidate_row 28"]),
    "float rows": (_edited("val_candidate_row", 0, 1, float), ["val_candidate_row", "float64"]),
    "negative row": (_edited("val_candidate_row", 0, -5), ["val_candidate_row", "-5"]),
    "row twice": (
        _edited("val_candidate_row", 0, arrays()["train_candidate_row"][0]),
        [f"candidate_row {arrays()['train_candidate_row'][0]}", "twice"],
    ),
    "rows too close to split": (
        {f"{split}_candidate_row": np.arange(30, dtype=np.int64) * 3 + i for i, split in enumerate(SPLITS)},
        ["no patch is left in split", "1500 rows"],
    ),
    "an empty split": (
        {
            "test_images": np.zeros((0, 50, 50), np.uint8),
            "test_labels": np.zeros((0, 1), np.uint8),
            "test_candidate_row": np.zeros(0, np.int64),
        },
        ["test_images is empty"],
    ),
    "pickled objects": ({"val_labels": np.array([[{}]] * 30, object)}, ["damaged or cut short"]),
}  # fmt: skip
