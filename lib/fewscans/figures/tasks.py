"""What is asked of each data set, and in which words: figures and sentences ask here, so that one function draws all.

On the plane p4m was named in advance as the group that is told of. In space the paper names none of its four groups, so
titles count all of them, and D4 stands where one is needed: it is the group for which rivals and a sham were trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Task:
    """One data set's.

    title: what it is called.   real, twin: first words of a title over real data, over the twin.   cases, groups: what
    is classified, and what is resampled whole.   licence: of the images.   baseline: the plain network.   methods: the
    group networks.   named: the one of them that rivals were trained for.   rivals: arms of the plain network that is
    given more, in words that follow "with".   trivial: arms without a network.   score: what networks are compared by,
    where the tables allow it.   unit: of the label, where it is a number; a count has none.
    """

    title: str
    real: str
    cases: str
    groups: str
    licence: str
    baseline: str = "Z3"
    methods: tuple[str, ...] = ("D4", "D4h", "O", "Oh")
    named: str = "D4"
    rivals: Mapping[str, str] = field(
        default_factory=lambda: {"Z3-long": "4 times the updates", "Z3-tta-D4": "8 turned copies"}
    )
    trivial: tuple[str, ...] = ("volume", "centre", "histogram", "nearest")
    score: str = "auc"
    twin: str = "Synthetic twin"
    unit: str = ""

    @property
    def arms(self) -> tuple[str, ...]:
        """The plain network and the groups: the paper's lines."""
        return (self.baseline, *self.methods)

    @property
    def case(self) -> str:
        return self.cases.removesuffix("es" if self.cases.endswith("ches") else "s")


_LUNA = "LUNA16, CC BY 4.0, a part of LIDC-IDRI, CC BY 3.0"
_PLANE = {
    "baseline": "Z2",
    "methods": ("p4", "p4m"),
    "named": "p4m",
    "rivals": {"Z2-long": "4 times the updates", "Z2-tta-p4m": "8 turned copies"},
    "trivial": ("centre", "histogram", "nearest"),
}
# One number a scan: the base network, the same with as many forward passes, sums over sets of four.
_SUMS = {
    "cases": "scans",
    "groups": "people",
    "baseline": "base",
    "methods": ("base-compute", "hydra-4"),
    "named": "hydra-4",
    "rivals": {"base-compute": "as many forward passes"},
    "trivial": ("mean", "histogram", "crop"),
    "score": "icc",
}
_DECATHLON = "Medical Segmentation Decathlon, CC BY-SA 4.0"
TASKS: Mapping[str, Task] = {
    "msd-hippocampus": Task("hippocampal volumes", "Real hippocampi", licence=f"MR, {_DECATHLON}", unit="ml", **_SUMS),
    "msd-hippocampus-fraction": Task(
        "anterior shares of the hippocampus", "Real hippocampi, anterior share", licence=f"MR, {_DECATHLON}", **_SUMS
    ),
    "wmh2017-40-20": Task(
        "white-matter lesion volumes, 40 scans to train and validate",
        "Real brains, larger training set",
        licence="WMH Challenge 2017, CC BY-NC 4.0",
        unit="ml",
        **_SUMS,
    ),
    "wmh2017": Task(
        "white-matter lesion volumes",
        "Real brains",
        licence="WMH Challenge 2017, CC BY-NC 4.0",
        twin="Synthetic brains",
        unit="ml",
        **_SUMS,
    ),
    "pvs": Task("perivascular-space counts", "Real basal ganglia", licence="", twin="Synthetic basal ganglia", **_SUMS),
    "luna16-patches": Task("LUNA16 candidate patches", "Real CT", "patches", "scans", _LUNA, **_PLANE),
    "orientation": Task("orientation control", "Real CT", "patches", "scans", "", **_PLANE),
    "adrenalmnist3d": Task(
        "adrenal glands", "Real glands", "shapes", "glands", "AdrenalMNIST3D, MedMNIST v2, CC BY 4.0: shapes, no HU"
    ),
    "nodulemnist3d": Task(
        "lung nodules", "Real nodules", "nodules", "nodules", "NoduleMNIST3D, MedMNIST v2, CC BY 4.0, from LIDC-IDRI"
    ),
    "luna16": Task(
        "LUNA16 candidates in space", "Real scans", "candidates", "scans", _LUNA, score="froc", twin="Synthetic scans"
    ),
    "handedness": Task("handedness control", "Real data", "shapes", "shapes", ""),
    "lidc-nodules": Task("LIDC-IDRI cubes", "Real cubes", "cubes", "patients", "LIDC-IDRI, CC BY 3.0"),
}
SCORES = {"auc": "AUC", "froc": "overall FROC score", "icc": "ICC(A,1)", "icc:C": "ICC(C,1)"}
LOSSES = {"mse": ("mean squared error", "²"), "mae": ("mean absolute error", "")}


def task_of(run: str) -> Task:
    """The task of a run, <experiment>-<dataset>[-twin], or of its answers, <run>-on-<dataset>.

    A data set without an entry gets its own name.
    """
    dataset = run.partition("-")[2].rpartition("-on-")[2].removesuffix("-twin")
    return TASKS.get(dataset) or Task(dataset, "Real data", "cases", "groups", "")


def score_label(score: str, unit: str = "") -> str:
    """A score's name on an axis.   unit: of the label, which errors are measured in."""
    kind, _, rate = score.partition("@")
    if score in LOSSES:
        name, power = LOSSES[score]
        return f"{name} ({unit}{power})" if unit else name
    if kind == "sensitivity":
        return f"sensitivity at {100 * float(rate):g} % false positives"
    if kind == "froc" and rate:
        return f"sensitivity at {float(rate):g} false positives a scan"
    return f"malignant among the top {rate}" if kind == "malignant_in_top" else SCORES.get(score, score)
