"""Candidates: what a detector with many false alarms would mark in a scene.

It marks all nodules but a few, some of them twice, and what resembles them: forks, crossings, bends and ends of
vessels, rods and plates, pleura, walls of airways, and now and then nothing at all. Marks miss what they mean by about
as much for either class: the error is drawn from the same law.
"""

from typing import NamedTuple

import numpy as np

from fewscans.twins import vessels
from fewscans.twins.findings import draw_diameters_mm
from fewscans.twins.scene import Scene
from fewscans.twins.space import directions

MISSED = 0.025  # of the nodules: LUNA16's second list finds 1,166 of 1,186, the paper's own generator 96.4 %
TWICE = 0.30  # of those found: 1,557 positive candidates of LUNA16's second list mark 1,166 nodules
UNKNOWN_MM = 10.0  # the diameter LUNA16's scoring takes for a finding of unknown size
CLEAR_MM = 2.0  # no false alarm lies nearer to a finding's surface
THIN_MM = 0.8  # radius of vessels too thin to be mistaken, but for their ends
SHARES = {  # of the false alarms that are on nothing drawn for them
    "fork": 0.34, "bend": 0.16, "crossing": 0.15, "tip": 0.07, "vessel": 0.10, "airway": 0.08, "pleura": 0.07,
    "lung": 0.03,
}  # fmt: skip


class Marks(NamedTuple):
    """points: (n, 3) mm, z y x.   labels: (n,) 1 inside a nodule, else 0.   what: (n,) str, what each is on."""

    points: np.ndarray
    labels: np.ndarray
    what: np.ndarray


def draw_marks(scene: Scene, negatives: int, excluded_mm: np.ndarray, rng: np.random.Generator) -> Marks:
    """Marks on a scene, in random order.

    Args:    negatives: how many false alarms; fewer where there is no room.
             excluded_mm: (k,) diameters of the excluded findings as published, -1 for unknown.
    """
    points, labels, what = [], [], []

    def add(point, label, name):
        points.append(point)
        labels.append(label)
        what.append(name)

    for number, nodule in enumerate(scene.nodules):
        if number and rng.random() < MISSED:  # never the first: a scan with nodules has a positive
            continue
        for _ in range(1 + (rng.random() < TWICE)):
            add(nodule.centre + _error(nodule.diameter, rng), 1, "nodule")
    for finding in scene.excluded:
        if rng.random() < 0.6:
            add(finding.centre + _error(finding.diameter, rng), 0, "excluded")

    radius = [n.diameter / 2 for n in scene.nodules] + [
        max(d if d > 0 else UNKNOWN_MM, f.diameter) / 2 for d, f in zip(excluded_mm, scene.excluded, strict=True)
    ]
    centre = np.array([f.centre for f in (*scene.nodules, *scene.excluded)]).reshape(-1, 3)
    chosen: list[np.ndarray] = []
    for name, point in _tempting(scene, negatives, rng):
        if len(chosen) == negatives:
            break
        point = point + _error(draw_diameters_mm(1, rng)[0], rng)
        away = np.linalg.norm(centre - point, axis=1) - radius
        crowd = np.linalg.norm(np.array(chosen).reshape(-1, 3) - point, axis=1)
        if scene.within(point[None])[0] and (away > CLEAR_MM).all() and (crowd > 4).all():
            chosen.append(point)
            add(point, 0, name)
    order = rng.permutation(len(points))
    return Marks(np.array(points).reshape(-1, 3)[order], np.array(labels, int)[order], np.array(what)[order])


def _error(diameter: float, rng) -> np.ndarray:
    """By how much a mark misses the middle of what it is on, (3,) mm; never by as much as four fifths of the radius."""
    radius = diameter / 2
    error = rng.normal(0, min(0.8, 0.25 * radius), 3)
    return error * min(1.0, 0.8 * radius / (np.linalg.norm(error) + 1e-9))


def _tempting(scene: Scene, wanted: int, rng):
    """What may be marked falsely, name and point, most of them vessels; first what was drawn for it."""
    for finding in scene.look_alikes:
        if rng.random() < 0.9:
            yield "look-alike", finding.centre
    tree = scene.tree
    middle = (tree.start + tree.end) / 2
    air = (scene.airway.start + scene.airway.end) / 2
    shell = np.argwhere(np.abs(scene.depth) < 1.5)
    deep = np.argwhere(scene.depth > 6)
    places = {
        "fork": (tree.forks, tree.fork_radius),
        "bend": (tree.bends, tree.bend_radius),
        "crossing": vessels.crossings(tree, rng, 400),
        "tip": (tree.tips, tree.tip_radius),
        "vessel": (middle, tree.radius),
        "airway": (air + directions(len(air), rng) * scene.airway.radius[:, None], np.ones(len(air))),
        "pleura": (scene.coarse.origin + scene.coarse.spacing * shell, np.ones(len(shell))),
        "lung": (scene.coarse.origin + scene.coarse.spacing * deep, np.ones(len(deep))),
    }
    pools = {}
    for name, (points, radius) in places.items():
        seen = scene.within(points) & ((scene.depth_at(points) > 1) | (name == "pleura"))
        seen &= (radius > THIN_MM) | (name == "tip")
        points, radius = points[seen], radius[seen]
        if len(points):  # a thicker vessel tempts more often
            # Exponential races: a weighted order without replacement.
            pools[name] = iter(points[np.argsort(rng.exponential(1, len(points)) / radius.clip(0.3, 3) ** 2)])
    names = [name for name in SHARES if name in pools]
    shares = np.array([SHARES[name] for name in names])
    for name in rng.choice(names, 12 * wanted, p=shares / shares.sum()) if names else ():
        point = next(pools[name], None)
        if point is not None:
            yield str(name), point
