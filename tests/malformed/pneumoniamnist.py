"""Files in the layout of MedMNIST 2D that are wrong in one way each, and what the reader's message must name."""

import numpy as np

CASES_OF = {"train": 60, "val": 12, "test": 12}
SIDE = 28


def arrays() -> dict[str, np.ndarray]:
    """A small file with nothing wrong: in images of label 1 the left half is bright, in the others the right half."""
    rng, out = np.random.default_rng(0), {}
    for split, n in CASES_OF.items():
        labels = (np.arange(n) % 3 != 0).astype(np.uint8)
        images = rng.normal(80, 25, (n, SIDE, SIDE))
        images[:, :, : SIDE // 2] += 60 * labels[:, None, None]
        images[:, :, SIDE // 2 :] += 60 * (1 - labels[:, None, None])
        out[f"{split}_images"], out[f"{split}_labels"] = images.clip(0, 255).astype(np.uint8), labels[:, None]
    return out


def write(path, **changes):
    """The good file with some arrays replaced; None removes one."""
    np.savez_compressed(path, **{key: value for key, value in (arrays() | changes).items() if value is not None})
    return path


# name: (what to change in the good file, words the message must hold)
CASES = {
    "missing key": ({"val_labels": None}, ["lacks val_labels", "exactly the keys train_images"]),
    "extra key": ({"val_masks": np.zeros(3)}, ["unknown val_masks"]),
    "volumes": ({"val_images": np.zeros((12, 28, 28, 28), np.uint8)}, ["val_images", "(12, 28, 28, 28)"]),
    "images in colour": ({"val_images": np.zeros((12, 28, 28, 3), np.uint8)}, ["val_images", "(12, 28, 28, 3)"]),
    "images of another size": ({"test_images": np.zeros((12, 64, 64), np.uint8)}, ["test_images", "(n, 28, 28)"]),
    "NaN in an image": ({"val_images": np.full((12, 28, 28), np.nan)}, ["val_images[0]", "NaN"]),
    "label 2": ({"val_labels": np.full((12, 1), 2, np.uint8)}, ["val_labels", "holds 2", "0 or 1"]),
    "labels too few": ({"val_labels": arrays()["val_labels"][:-1]}, ["val_images 12, val_labels 11"]),
    "pickled objects": ({"val_labels": np.array([[{}]] * 12, object)}, ["damaged or cut short"]),
}
