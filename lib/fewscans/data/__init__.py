"""Public data sets: one reader a published layout, splits that no scan crosses, and the check of a user's copy."""

from fewscans.data.manifest import Manifest, verify
from fewscans.data.registry import CONTROLS, DATASETS, Dataset, dataset, find, home, read

__all__ = ["CONTROLS", "DATASETS", "Dataset", "Manifest", "dataset", "find", "home", "read", "verify"]
