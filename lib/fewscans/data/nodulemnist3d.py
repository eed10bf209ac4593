"""NoduleMNIST3D: lung nodules cut from CT, and whether each is malignant."""

from pathlib import Path

from fewscans.data import sources
from fewscans.data.base import Cases, Cut, Dataset
from fewscans.data.formats import medmnist3d


def read(path: Path | str, size: int | None = None) -> Cases:
    """The published volumes; see `medmnist3d.read`."""
    return medmnist3d.read(path, "nodulemnist3d", size)


def cases(path: Path | str, cut: Cut, cache: Path | None = None) -> Cases:
    """The volumes padded and averaged to the size of the cut."""
    return medmnist3d.fitted(read(path), cut)


DATASET = Dataset(
    name="nodulemnist3d", title="lung nodules", case="nodule", group="nodule", shows="lung nodules", target="label",
    read=read, cases=cases, licence="CC BY 4.0, cut from LIDC-IDRI: CC BY 3.0",
    cite=f"{sources.MEDMNIST}; {sources.LIDC}",
    source="https://zenodo.org/records/10519652/files/nodulemnist3d.npz",
    downloads={f"{sources.ZENODO_MEDMNIST}/nodulemnist3d.npz": "md5:8755a7e9e05a4d9ce80a24c3e7a256f3"},
    attribution=f"""\
Nodules from NoduleMNIST3D of MedMNIST v2 (CC BY 4.0), cut from LIDC-IDRI (CC BY 3.0). No image is kept here, only each
case's number, its label and the networks' predictions. Cite:

{sources.MEDMNIST_IN_FULL}{sources.LIDC_IN_FULL}""",
    people="LIDC-IDRI", file=medmnist3d.file_name("nodulemnist3d"), md5="8755a7e9e05a4d9ce80a24c3e7a256f3",
    counts={"train": (1158, None), "val": (165, None), "test": (310, None)},
)  # fmt: skip
