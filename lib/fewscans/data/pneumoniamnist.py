"""PneumoniaMNIST: children's chest X-rays of 28 x 28 pixels, and whether each shows pneumonia.

One npz of MedMNIST v2, in the publisher's splits. The file names no patients, and a child may have several images in
one split, so each image stands for its own group, and intervals that resample groups may be somewhat too narrow.

A copy that was put together again from two partial ones (`pneumoniamnist_rebuilt.npz`) is read too. It holds the same
images, but its training images come in another order; by its name it is known.
"""

from pathlib import Path

from fewscans.data import sources
from fewscans.data.base import Cases, Cut, Dataset, report
from fewscans.data.formats import medmnist3d, npz
from fewscans.errors import DataError

SIDE = 28
SPLITS = ("train", "val", "test")
KEYS = tuple(f"{split}_{part}" for split in SPLITS for part in ("images", "labels"))
FILES = ("pneumoniamnist.npz", "pneumoniamnist_rebuilt.npz")
COUNTS = {"train": (4708, 3494), "val": (524, 389), "test": (624, 390)}


def read(path: Path | str) -> Cases:
    """Read and check the set.

    Args:    path: the npz, or the folder that holds it.
    Returns: images (n, 28, 28) uint8 in the file's order, train then val then test; label 1 is pneumonia.
    Raises:  DataError naming the file, the key or value at fault, and the remedy.
    """
    path = _file(Path(path))
    arrays = npz.load(path, KEYS, FILES[0], f"download {FILES[0]} again")
    for split in SPLITS:
        images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
        npz.check_images(path, f"{split}_images", images, (SIDE, SIDE))
        npz.check_labels(path, f"{split}_labels", labels)
        npz.check_lengths(path, {f"{split}_images": images, f"{split}_labels": labels})
    return medmnist3d.joined(arrays, path)


def cases(path: Path | str, cut: Cut, cache: Path | None = None) -> Cases:
    """The images with dark borders where the cut is larger. Raises DataError for a cut in space."""
    return medmnist3d.fitted(read(path), cut)


def check(path: Path) -> dict:
    """What a copy holds, and how its counts differ from the published ones; see `Dataset.check`."""
    copy = read(path)
    have = {split: (len(i := copy.indices(split)), int(copy.target[i].sum())) for split in SPLITS}
    lacks = [f"{s} has {have[s][0]} images, {have[s][1]} with pneumonia, not {COUNTS[s][0]} and {COUNTS[s][1]}"
             for s in SPLITS if have[s] != COUNTS[s]]  # fmt: skip
    return report(lacks, {split: n for split, (n, _) in have.items()}, copy.fingerprint)


def _file(path: Path) -> Path:
    if path.is_dir():
        path = next((path / name for name in FILES if (path / name).is_file()), path / FILES[0])
    if path.name not in FILES:
        raise DataError(f"{path}: not the name of a file asked for, {' or '.join(FILES)}; MedMNIST's names are kept")
    return path


DATASET = Dataset(
    name="pneumoniamnist", title="children's chest X-rays", case="image", group="image",
    shows="children's chest X-rays", target="label", read=read, cases=cases, licence="CC BY 4.0",
    cite=f"{sources.MEDMNIST}; Kermany et al., Cell 172:1122 (2018)",
    source="pneumoniamnist.npz from https://zenodo.org/records/10519652",
    downloads={f"{sources.ZENODO_MEDMNIST}/{FILES[0]}": "md5:28209eda62fecd6e6a2d98b1501bb15f"},
    attribution=f"""\
Chest X-rays from PneumoniaMNIST of MedMNIST v2 (CC BY 4.0), a file put together again from two copies that each lacked
images of one class. No image is kept here, only each case's number, its label and the networks' predictions. Cite:

{sources.MEDMNIST_IN_FULL}- Kermany D. S. et al., Cell 172:1122 (2018).
""",
    marks=(FILES,), check=check,
)  # fmt: skip
