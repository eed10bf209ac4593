"""Files in the layout of MedMNIST 3D that are wrong in one way each, and what the reader's message must name."""

import numpy as np

SPLITS = ("train", "val", "test")
CASES_OF = {"train": 7, "val": 3, "test": 5}


def arrays(size: int = 28) -> dict[str, np.ndarray]:
    """A small file with nothing wrong: shapes of 0 and 255, every split of both kinds filled."""
    rng = np.random.default_rng(size)
    out = {}
    for split, n in CASES_OF.items():
        out[f"{split}_images"] = rng.integers(0, 2, (n, size, size, size), dtype=np.uint8) * np.uint8(255)
        out[f"{split}_labels"] = (np.arange(n) % 3 == 1).astype(np.uint8)[:, None]
    return out


def write(path, size: int = 28, **changes):
    """The good file with some arrays replaced; None removes one, an unknown name adds one."""
    content = {key: value for key, value in (arrays(size) | changes).items() if value is not None}
    np.savez_compressed(path, **content)
    return path


def _edited(key, index, value, dtype=None):
    array = arrays()[key]
    array = array if dtype is None else array.astype(dtype)
    array[index] = value
    return {key: array}


# name: (what to change in the good adrenalmnist3d.npz, words the message must hold)
CASES = {
    "missing key": ({"val_labels": None}, ["lacks val_labels", "exactly the keys train_images"]),
    "extra key": ({"val_masks": np.zeros(3)}, ["unknown val_masks"]),
    "key misspelt": ({"test_labels": None, "test_label": np.zeros(5)}, ["lacks test_labels", "unknown test_label"]),
    "images of another size": (arrays(size=64), ["train_images", "(7, 64, 64, 64)", "(n, 28, 28, 28)"]),
    "a plane only": ({"val_images": np.zeros((3, 28, 28), np.uint8)}, ["val_images", "(3, 28, 28)"]),
    "images in colour": ({"val_images": np.zeros((3, 28, 28, 28, 3), np.uint8)}, ["val_images", "(3, 28, 28, 28, 3)"]),
    "float images": ({"val_images": np.zeros((3, 28, 28, 28))}, ["val_images", "float64", "uint8"]),
    "NaN in an image": (_edited("train_images", (6, 3, 3, 3), np.nan, np.float32), ["train_images[6]", "NaN"]),
    "infinity in an image": (_edited("test_images", (2, 0, 0, 0), np.inf, np.float32), ["test_images[2]", "infinity"]),
    "a voxel that is no shape's": (_edited("val_images", (1, 2, 3, 4), 128), ["val_images[1]", "128", "0 or 255"]),
    "label 2": (_edited("val_labels", 1, 2), ["val_labels", "holds 2", "0 or 1"]),
    "label NaN": (_edited("val_labels", 1, np.nan, np.float32), ["val_labels", "nan"]),
    "label -1": (_edited("val_labels", 1, -1, np.int64), ["val_labels", "holds -1"]),
    "labels of another type": (_edited("val_labels", 0, 0, np.int64), ["val_labels", "int64", "uint8"]),
    "flat labels": ({"val_labels": arrays()["val_labels"][:, 0]}, ["val_labels", "(3,)", "(n, 1)"]),
    "labels too few": ({"val_labels": arrays()["val_labels"][:-1]}, ["val_images 3, val_labels 2"]),
    "an empty split": (
        {"test_images": np.zeros((0, 28, 28, 28), np.uint8), "test_labels": np.zeros((0, 1), np.uint8)},
        ["test_images is empty"],
    ),
    "pickled objects": ({"val_labels": np.array([[{}]] * 3, object)}, ["damaged or cut short"]),
}
