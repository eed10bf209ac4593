"""The handedness control: shapes whose label is left or right, in the layout of AdrenalMNIST3D.

There is no public copy; fewscans.twins.handedness writes it and says what it controls for.
"""

from fewscans.data import adrenalmnist3d
from fewscans.data.base import Dataset

DATASET = Dataset(
    name="handedness", title="handedness control", case="shape", group="shape", shows="an asymmetric shape in space",
    target="label", read=adrenalmnist3d.read, cases=adrenalmnist3d.cases, twin="handedness", control=True,
    file=adrenalmnist3d.DATASET.file,
)  # fmt: skip
