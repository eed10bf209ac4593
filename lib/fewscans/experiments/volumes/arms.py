"""The arms of slices against volumes: what a run trains, and the ways to make a segmentation of its networks.

Networks on slices are orange and red, networks on volumes blue, both together green, each with its relatives.
"""

from __future__ import annotations

from dataclasses import dataclass

from fewscans.experiments import base

AXES = {"z": "axial", "y": "coronal", "x": "sagittal"}  # what slices are across, and how radiologists call them
VOLUME = "volume"
READERS = {  # what reads images with masks, by data set
    "msd-hippocampus": "fewscans.data.msd_segmentation",
    "lidc-voi": "fewscans.data.lidc_masks",
}


@dataclass(frozen=True, kw_only=True)
class Arm(base.Arm):
    """networks: what one run trains: "volume", and slices across "z", "y", "x".   of: whose probabilities are averaged
    for this arm's segmentation.   made: how the network sees the test volume: "whole"; "patches" that overlap by half,
    or "seams" between patches that do not; "filtered": whole, then morphology.   small: trained on such patches, as
    many as hold the voxels of the grid's.   pool: training cases are drawn by "person", by "scan" (so that the other
    side of a tested person may be among them), or only those that are stored as "float32" or "uint8".   thick: the
    share of training samples that are shown with thick slices; where it is 1, their labels are thick as well.
    updates: times the grid's.
    """

    networks: tuple[str, ...] = (VOLUME, "z")
    of: tuple[str, ...] = (VOLUME,)
    made: str = "whole"
    small: bool = False
    pool: str = "person"
    thick: float = 0.0
    updates: int = 1


ALL = (VOLUME, *AXES)
MAIN_ARMS = {
    "3D": Arm(networks=ALL, label="3D U-Net", colour="#0072B2", marker="o"),
    "2D": Arm(of=("z",), label="2D U-Net (axial)", colour="#D55E00", marker="s", computed_with="3D"),
    "atlas": Arm(trivial="atlas", label="atlas in crop coordinates", colour="#999999", marker="x", line=":"),
}


def _made(label: str, colour: str, marker: str, *of: str, origin: str = "3D", **setting) -> Arm:
    """Another segmentation of the networks of "3D"."""
    drawn = {"label": label, "colour": colour, "marker": marker, "line": "--"}
    return Arm(of=of, computed_with="3D", derived_from=origin, **drawn, **setting)


DERIVED_ARMS = {
    "2D-coronal": _made("2D U-Net (coronal)", "#E69F00", "^", "y", origin="2D"),
    "2D-sagittal": _made("2D U-Net (sagittal)", "#F0E442", "v", "x", origin="2D"),
    "2D-vote": _made("2D U-Nets along three axes", "#A6441C", "D", "z", "y", "x", origin="2D"),
    "2D-filtered": _made("2D U-Net, morphological filter", "#CC79A7", "P", "z", origin="2D", made="filtered"),
    "3D-filtered": _made("3D U-Net, morphological filter", "#7B68C8", "P", VOLUME, made="filtered"),
    "ensemble": _made("2D and 3D averaged", "#009E73", "*", VOLUME, "z"),
}


def _pair(name: str, what: str, line: str, markers: tuple[str, str] = ("o", "s"), **setting) -> dict[str, Arm]:
    """3D and 2D of one more training."""
    trained, marks = f"3D-{name}", {"3D": ("#0072B2", markers[0], VOLUME), "2D": ("#D55E00", markers[1], "z")}
    return {
        f"{kind}-{name}": Arm(
            of=(of,), computed_with=None if kind == "3D" else trained, derived_from=kind, label=f"{kind} U-Net, {what}",
            colour=colour, marker=marker, line=line, **setting,
        )
        for kind, (colour, marker, of) in marks.items()
    }  # fmt: skip


TRAINED_ARMS = {
    **_pair("thickness", "half of the training thick", "--", thick=0.5),
    **_pair("thick", "trained on thick slices", ":", thick=1.0),
    **_pair("by-scan", "split by scan", "-.", pool="scan"),
    **_pair("double", "twice the updates", "--", ("<", ">"), updates=2),
}
STORED_ARMS = {
    f"3D-{kind}": Arm(networks=(VOLUME,), pool=kind, label=f"3D U-Net, trained on {kind} files", colour=colour,
                      marker="o", line="--", derived_from="3D")
    for kind, colour in (("float32", "#4477AA"), ("uint8", "#8C510A"))
}  # fmt: skip
PATCHED = {"small": True, "networks": (VOLUME,)}
PATCH_ARMS = {
    "3D-patches": Arm(**PATCHED, made="patches", label="3D U-Net, overlapping patches", colour="#56B4E9", marker="h",
                      line="--", derived_from="3D"),
    "3D-seams": Arm(**PATCHED, made="seams", label="3D U-Net, patches side by side", colour="#1F3B73", marker="X",
                    line="--", derived_from="3D-patches", computed_with="3D-patches"),
}  # fmt: skip
ARMS = MAIN_ARMS | DERIVED_ARMS | TRAINED_ARMS | STORED_ARMS | PATCH_ARMS
