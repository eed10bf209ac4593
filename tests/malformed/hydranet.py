"""Grids of regression from sums that cannot be, and scans that cannot carry a good one; each is wrong in one way."""

from dataclasses import replace

import numpy as np

from fewscans.errors import DataError, ParamsError

# what to change in a good grid, and the words the error must hold
GRIDS = {
    "no arms": ({"arms": {}}, ["arms is empty"]),
    "unknown arm": ({"arms": {"hydra-3": (12,)}}, ["unknown arm 'hydra-3'", "known arms: base, "]),
    "no size": ({"arms": {"base": ()}}, ["arms.base", "at least 1", "[]"]),
    "size 0": ({"arms": {"base": (12, 0)}}, ["arms.base", "at least 1", "[12, 0]"]),
    "size twice": ({"arms": {"base": (12, 12)}}, ["arms.base", "twice", "[12, 12]"]),
    "fewer scans than a set": ({"arms": {"hydra-4": (3,)}}, ["arms.hydra-4", "a set of 4", "from 3", "replacement"]),
    "sets that do not fill an update": ({"images": 10}, ["arms.base", "images must be a multiple of 4", "got 10"]),
    "no seeds": ({"seeds": 0}, ["seeds must be at least 1", "got 0"]),
    "no steps": ({"steps": 0}, ["steps must be at least 1", "got 0"]),
    "never validated": ({"eval_every": -1}, ["eval_every must be at least 1", "got -1"]),
    "blocks of 0": ({"downsample": 0}, ["downsample must be at least 1", "got 0"]),
    "no images": ({"images": 0, "arms": {"base": (12,)}}, ["images must be at least 1", "got 0"]),
    "no learning rate": ({"learning_rates": (0.0,)}, ["learning_rates must be above 0", "got [0.0]"]),
    "a rise as long as the training": ({"warm_up": 6}, ["warm_up", "below steps", "got 6"]),
    "a rise below 0": ({"warm_up": -1}, ["warm_up", "from 0", "got -1"]),
    "two folds": ({"folds": 2}, ["folds must be 3 or more", "got 2"]),
    "unknown beyond": ({"beyond": "white"}, ["beyond must be one of mean, black", "'white'"]),
    "shift below 0": ({"max_shift_voxels": -2.0}, ["max_shift_voxels", "0 or more", "-2.0"]),
    "window of the plane": ({"window": (6, 5)}, ["window must be three sizes", "[6, 5]"]),
    "window of one voxel": ({"window": (4, 1, 5)}, ["window", "at least two", "[4, 1, 5]"]),
    "window of one block deep": ({"window": (2, 6, 4), "downsample": 2}, ["window", "or a depth of 1", "[2, 6, 4]"]),
    "window of parts of blocks": ({"window": (4, 6, 5), "downsample": 2}, ["window", "downsample (2)", "[4, 6, 5]"]),
    "window of one block": ({"window": (4, 6, 2), "downsample": 2}, ["window", "downsample (2)", "[4, 6, 2]"]),
    "unknown unit": ({"unit": "mm3"}, ["unit must be one of ml, voxels", "'mm3'"]),
}  # fmt: skip


def _number(value):
    def change(scans):
        target = scans.target.copy()
        target[7] = value
        return replace(scans, target=target)

    return change


def _without(split):
    return lambda scans: replace(scans, split=np.where(scans.split == split, "spare", scans.split))


def _about(*names):
    return lambda scans: replace(scans, about=scans.about.drop(columns=list(names)))


def _pairs(scans):
    """Two scans of each person; one that is left over stands in no split."""
    rank = np.array([(scans.split[:i] == scans.split[i]).sum() for i in range(len(scans))])
    group = np.array([f"{split}{k // 2}" for split, k in zip(scans.split, rank, strict=True)])
    alone = np.array([(group == name).sum() == 1 for name in group])
    return replace(scans, group=group, split=np.where(alone, "spare", scans.split))


def _voxels(size):
    def change(scans):
        spacing = scans.spacing_mm.copy()
        spacing[7, 1] = size
        return replace(scans, spacing_mm=spacing)

    return change


def _all(value):
    return lambda scans: replace(scans, target=np.full(len(scans), value))


def _as_they_are(scans):
    return scans


CASE = "case007"
# what to do to good scans, what to change in a good grid, the error, and the words it must hold
SCANS = {
    "number below 0": (_number(-0.5), {}, DataError, ["dots", CASE, "-0.5", "0 or more"]),
    "number that is none": (_number(np.nan), {}, DataError, ["dots", CASE, "nan", "0 or more"]),
    "number without end": (_number(np.inf), {}, DataError, ["dots", CASE, "inf"]),
    "nothing to train on": (_without("train"), {}, DataError, ["dots", "no scans in its train split"]),
    "nothing to validate on": (_without("val"), {}, DataError, ["dots", "no scans in its val split"]),
    "nothing to test on": (_without("test"), {}, DataError, ["dots", "no scans in its test split"]),
    "more scans than there are": (_as_they_are, {"arms": {"base": (12, 500)}}, DataError, ["500 cases is impossible"]),
    "more even ones than there are": (
        _as_they_are, {"arms": {"base-uniform": (500,)}}, DataError, ["500 cases is impossible"]
    ),
    "sizes that persons do not add up to": (
        _pairs, {"arms": {"base": (11,)}}, DataError, ["11 cases", "whole groups", "do not add up"]
    ),
    "sizes that lie too close": (
        _pairs, {"arms": {"base": (10,), "hydra-4": (11,)}}, DataError, ["10, 11 cases", "do not add up"]
    ),
    "crop without sides": (
        _about("shape_y"), {"arms": {"crop": (12,)}}, ParamsError, ["arms.crop", "dots", "no published crop"]
    ),
    "folds that are not known": (_about("fold"), {"folds": 5}, ParamsError, ["folds", "dots", "leave the key out"]),
    "other folds": (_as_they_are, {"folds": 4}, ParamsError, ["folds", "not divided into 4 folds"]),
    "scans of another size": (_as_they_are, {"window": (8, 8, 8)}, DataError, ["dots", "(8, 8, 8)"]),
    "voxels of no size": (_voxels(np.nan), {}, DataError, ["dots", CASE, "nan"]),
    "voxels of size 0": (_voxels(0.0), {}, DataError, ["dots", CASE, "0.0"]),
    "nothing to tell apart": (_all(2.0), {}, DataError, ["dots", "12 scans", "seed 0", "base", "same number"]),
}  # fmt: skip
