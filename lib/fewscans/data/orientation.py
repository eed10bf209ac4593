"""The orientation control: patches whose label is how one shape is turned, in the layout of the LUNA16 patches.

There is no public copy; fewscans.twins.orientation writes it and says what it controls for.
"""

from fewscans.data import luna16_patches
from fewscans.data.base import Dataset

DATASET = Dataset(
    name="orientation", title="orientation control", case="patch", group="scan",
    shows="an asymmetric shape in the plane", target="label", read=luna16_patches.read, cases=luna16_patches.cases,
    twin="orientation", control=True, file=luna16_patches.FILE,
)  # fmt: skip
