"""AdrenalMNIST3D: shapes of adrenal glands, and whether each is a mass or hyperplastic.

Voxels are a binary shape, 0 outside and 255 inside, cut from a CT's segmentation: there are no intensities. A person's
left and right glands may both be in one split (see fewscans.data.formats.medmnist3d), and nothing found in the file
pairs them: neighbours' labels agree as often as by chance, mirror images are no more alike in neighbours than in
strangers, and neighbours' log volumes correlate by -0.06, -0.16 and 0.15 in train, val and test (standard errors 0.03,
0.10, 0.06): in test nominally more than by chance, but too weakly to pair anyone.
"""

from pathlib import Path

from fewscans.data import sources
from fewscans.data.base import Cases, Cut, Dataset
from fewscans.data.formats import medmnist3d


def read(path: Path | str, size: int | None = None) -> Cases:
    """The published volumes; see `medmnist3d.read`."""
    return medmnist3d.read(path, "adrenalmnist3d", size, binary=True)


def cases(path: Path | str, cut: Cut, cache: Path | None = None) -> Cases:
    """The volumes padded and averaged to the size of the cut."""
    return medmnist3d.fitted(read(path), cut)


DATASET = Dataset(
    name="adrenalmnist3d", title="adrenal glands", case="shape", group="gland", shows="adrenal glands", target="label",
    read=read, cases=cases, licence="CC BY 4.0", cite=sources.MEDMNIST,
    source="https://zenodo.org/records/10519652/files/adrenalmnist3d.npz",
    downloads={f"{sources.ZENODO_MEDMNIST}/adrenalmnist3d.npz": "md5:bbd3c5a5576322bc4cdfea780653b1ce"},
    attribution=f"""\
Shapes of adrenal glands (masks only: the set holds no grey values) from AdrenalMNIST3D of MedMNIST v2 (CC BY 4.0). No
image is kept here, only each case's number, its label and the networks' predictions. Cite:

{sources.MEDMNIST_IN_FULL}""",
    file=medmnist3d.file_name("adrenalmnist3d"), size_bytes=276_833,
    sha256="8ffd78c0f000265deb7cf4ee0b454136fb3170f9839ecaa7bb01adf9f88aa7d1", md5="bbd3c5a5576322bc4cdfea780653b1ce",
    counts={"train": (1188, 259), "val": (98, 22), "test": (298, 69)},
)  # fmt: skip
