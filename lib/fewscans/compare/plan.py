"""What a comparison trains: sizes that the data carry, and as many seeds and updates as the hours allow.

A pilot times a few updates of each arm. Then the richest of some designs is taken whose cost fits, and time that is
left goes to seeds at the smallest sizes, where networks differ most. The plan is kept beside the page, so that the same
command goes on where it stopped.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fewscans import closure, experiments, files, params
from fewscans.compare.ideas import IDEAS
from fewscans.data import group_splits, own_boxes
from fewscans.data.base import Cases
from fewscans.data.own import Own, table_of
from fewscans.errors import DataError, ParamsError
from fewscans.experiments.base import Grid, Run

SMALLEST = {"label": 8, "number": 8}
WIDEST = 5.0  # at most: three sizes of a large set reach down to where labels are few
RATIO = 2.0  # between neighbouring sizes, at least: the baseline with 4 N cases is then on the curve
SHARE = 0.75  # of the hours that are planned for: other work of the machine takes the rest
TIMED = (4, 12)  # updates that the pilot times
EARLY = 3  # validations of a training
FINE = 120  # updates at most that fine-tune EfficientNet-Lite0
TUNED = {"grey": 1 / 3, "curriculum": 1 / 10}  # experiments that do, and their share of the rates, as on public X-rays


class TooFew(ParamsError):
    """Hours that no design fits into."""


@dataclass(frozen=True)
class Design:
    """sizes: at most.   seeds: of every arm.   steps: updates.   rates: tried with `tuning` seeds an arm and size."""

    sizes: int
    seeds: int
    steps: int
    rates: tuple[float, ...]
    tuning: int


_ALL, _TWO, _ONE = (1e-3, 3e-3, 9e-3), (3e-3, 9e-3), (3e-3,)
DESIGNS = (
    Design(6, 10, 800, _ALL, 3), Design(5, 10, 600, _ALL, 3), Design(5, 10, 400, _ALL, 3), Design(5, 5, 400, _ALL, 3),
    Design(4, 5, 400, _ALL, 2), Design(4, 5, 300, _TWO, 2), Design(4, 5, 200, _TWO, 2), Design(3, 5, 200, _TWO, 2),
    Design(3, 5, 120, _ONE, 1), Design(3, 5, 60, _ONE, 1), Design(2, 5, 60, _ONE, 1),
)  # fmt: skip


@dataclass(frozen=True)
class Cost:
    """Seconds of an arm: update, of one; around, of a validation with the predictions at the end, of which `val` is the
    validation's share.   most: updates.   least: of an update at the `smallest` size, whose batch may not be full.
    """

    update: float
    around: float
    most: int | None = None
    val: float = 1.0
    smallest: int = 0
    least: float = 0.0

    def of(self, steps: int, size: int) -> float:
        update = self.least if size <= self.smallest else self.update
        return update * min(steps, self.most or steps) + self.around * (1 + (EARLY - 1) * self.val)


def sizes(own: Own, cases: Cases, most: int, seeds: int) -> list[int]:
    """Training sizes, ascending and nested, from the largest that every seed's part can carry downwards.

    Raises:  DataError if there are not two.
    """
    largest = min(_largest(own, cases, seed) for seed in range(max(1, own.folds)))
    smallest = SMALLEST[own.target]
    count = min(most, 1 + int(np.log(largest / smallest) / np.log(RATIO))) if largest >= smallest else 0
    if count < 2:
        raise DataError(f"{own.name}: a training set has at most {largest} cases; a curve needs {2 * smallest} or more")
    ratio = max(RATIO, min(WIDEST, (largest / smallest) ** (1 / (count - 1))))
    step = 2 if own.target == "label" else 1
    found = sorted({max(step, int(round(largest / ratio**k / step)) * step) for k in range(count)})
    return found if own.target == "label" else _whole(own, cases, found, seeds)


def _largest(own: Own, cases: Cases, seed: int) -> int:
    part = group_splits.parts(cases, own.folds, seed)
    target = cases.target[part == "train"]
    return len(target) if own.target == "number" else 2 * int(min((target == 0).sum(), (target == 1).sum()))


def _whole(own: Own, cases: Cases, wanted: list[int], seeds: int) -> list[int]:
    """Those of the sizes, or the next smaller ones, that whole patients add up to with every seed."""

    def possible(some: Sequence[int]) -> bool:
        try:
            for seed in range(seeds):
                train = np.flatnonzero(group_splits.parts(cases, own.folds, seed) == "train")
                group_splits.nested_by_group(cases.group, some[-1], seed, train, some)
        except DataError:
            return False
        return True

    found: list[int] = []
    for n in wanted:
        least = max(SMALLEST["number"], found[-1] + 1 if found else 0)
        if fitting := next((k for k in range(n, least - 1, -1) if possible([*found, k])), None):
            found.append(fitting)
    if len(found) < 2:
        raise DataError(
            f"{own.name}: whole patients do not add up to two training sizes; they have too many cases each"
        )
    return found


def arms_of(ideas: Sequence[str], networks: Sequence[str], own: Own) -> dict[str, list[str]]:
    """Experiment → the arms that are trained there: the plain network, each idea's, own ones, trivial ones."""
    found: dict[str, list[str]] = {}
    axes = len(own.patch)
    for name in ideas:
        idea = IDEAS[name]
        mine = [idea.baseline[axes], idea.arm[axes]]
        mine += list(networks) if idea.experiment in ("gcnn", "hydranet") else []
        found[idea.experiment] = [*mine, *idea.trivial, *(["crop"] if name == "sums" and axes == 3 else [])]
    return found


def grid(
    experiment: str,
    own: Own,
    arms: Sequence[str],
    n: Sequence[int],
    design: Design,
    more: Mapping[str, int] | None = None,
) -> Grid:
    """The grid of one experiment at a design.   more: seeds at some sizes."""
    kind = experiments.get(experiment)
    common: dict[str, Any] = {
        "arms": {arm: tuple(n) for arm in arms}, "seeds": design.seeds, "steps": design.steps,
        "eval_every": max(1, design.steps // EARLY), "learning_rates": design.rates, "tuning_seeds": design.tuning,
        "seeds_at": dict(more or {}), "folds": own.folds,
    }  # fmt: skip
    if experiment in TUNED:
        steps = min(design.steps, FINE)
        common |= {"steps": steps, "eval_every": max(1, steps // EARLY)}
        common |= {"learning_rates": tuple(round(rate * TUNED[experiment], 6) for rate in design.rates)}
    if experiment == "curriculum":
        stored = own_boxes.side(table_of(own))
        size = max(64, round(stored / 96) * 64)  # the network shrinks by 32, and a patch has half the side
        return kind.Grid(
            **common, findings=(own_boxes.FINDING,), stored=stored, size=size, patch=size // 2, network="lite0",
            patch_steps=steps + steps // 2, rotate=True,
        )  # fmt: skip
    if experiment == "grey":
        return kind.Grid(**common, patch=own.patch, side=max(64, *own.patch))
    if experiment == "hydranet":
        window = own.patch if len(own.patch) == 3 else (1, *own.patch)
        return kind.Grid(**common, window=window, images=16, warm_up=design.steps // 12)
    return kind.Grid(
        **common, patch=own.patch, width=8, rate_by_order=True, cosine=True, colours=3 if own.colour else 1
    )


def timed(
    experiment: str, own: Own, arms: Sequence[str], cases: Cases, n: Sequence[int], device: str
) -> dict[str, Cost]:
    """What each arm costs on this machine now, by a few updates at the smallest and at the largest of some sizes."""
    kind, costs, threads = experiments.get(experiment), {}, torch.get_num_threads()
    part = group_splits.parts(cases, own.folds)
    val = float((part == "val").sum() / np.isin(part, ("val", "test")).sum())
    torch.set_num_threads(1)  # as in what trains: a place for each core, and not a network on all
    try:
        for arm in arms:
            if kind.ARMS[arm].trivial is not None:
                costs[arm] = Cost(0.0, 0.5)
                continue
            if not costs:
                _took(experiment, own, arm, cases, n[-1], 1, device)  # what the first training waits for
            few, many = (_took(experiment, own, arm, cases, n[-1], steps, device) for steps in TIMED)
            update = max((many - few) / (TIMED[1] - TIMED[0]), 1e-4)
            around = max(few - TIMED[0] * update, 0.0)
            least = max((_took(experiment, own, arm, cases, n[0], TIMED[1], device) - around) / TIMED[1], 1e-4)
            costs[arm] = Cost(update, around, FINE if experiment in TUNED else None, val, n[0], min(least, update))
    finally:
        torch.set_num_threads(threads)
    return costs


def _took(experiment: str, own: Own, arm: str, cases: Cases, n: int, steps: int, device: str) -> float:
    """Seconds of one training, with one validation and the predictions at its end."""
    small = dataclasses.replace(grid(experiment, own, [arm], [n], Design(1, 1, steps, _ONE, 1)), eval_every=steps)
    began = time.perf_counter()
    experiments.get(experiment).train_run(Run(0, n, arm, _ONE[0]), small, cases, torch.device(device))
    return time.perf_counter() - began


def seconds(
    design: Design, n: Sequence[int], costs: Mapping[str, Cost], more: Mapping[str, int] | None = None
) -> float:
    """Of all runs of a design, trials of rates among them, one after the other."""
    total = 0.0
    for cost in costs.values():
        tried = design.tuning * (len(design.rates) - 1) if cost.update else 0
        for size in n:
            total += cost.of(design.steps, size) * (tried + (more or {}).get(str(size), design.seeds))
    return total


def fitted(
    own: Own, cases: Mapping[str, Cases], costs: Mapping[str, Mapping[str, Cost]], hours: float, slots: int
) -> tuple[Design, list[int], dict[str, int]]:
    """The richest design that fits, its sizes, and the seeds at sizes that have more.

    Raises:  TooFew, with the hours that the leanest design takes, if none fits.
    """
    room = hours * 3600 * SHARE * slots
    every = {f"{experiment} {arm}": cost for experiment, arms in costs.items() for arm, cost in arms.items()}
    some = next(iter(cases.values()))
    for design in DESIGNS:
        n = sizes(own, some, design.sizes, 2 * design.seeds)
        took = seconds(design, n, every)
        if took <= room:
            break
    else:
        need = took / 3600 / SHARE / slots
        raise TooFew(f"--hours {hours:g} are too few: the smallest comparison takes about {need:.2g} here")
    more: dict[str, int] = {}
    for size in n[:-1]:
        if seconds(design, n, every, more | {str(size): 2 * design.seeds}) > room:
            break
        more[str(size)] = 2 * design.seeds
    return design, n, more


def lightest(
    own: Own, cases: Mapping[str, Cases], costs: Mapping[str, Mapping[str, Cost]], hours: float, slots: int
) -> tuple[tuple[Design, list[int], dict[str, int]], list[str]]:
    """As `fitted`, of as many experiments as fit, and their names: the last are left out, one after the other.

    Raises:  TooFew if none fits.
    """
    left = dict(costs)
    while True:
        try:
            return fitted(own, cases, left, hours, slots), list(left)
        except TooFew:
            if len(left) == 1:
                raise
            left.popitem()


def kept(file: Path, asked: Mapping[str, Any], make: Callable[[], Mapping[str, Grid]]) -> dict[str, Grid]:
    """The grids by experiment: of a plan that was made for the same question, or made now and kept in the file."""
    asked = json.loads(json.dumps(asked))
    known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if known.get("asked") != asked:
        known = {"asked": asked, "grids": {name: vars(one) for name, one in make().items()}}
        files.write_json(file, known)
        known = json.loads(file.read_text(encoding="utf-8"))
    return {name: params.typed(one, experiments.get(name).Grid, name) for name, one in known["grids"].items()}


def code_of(names: Sequence[str], dataset: str) -> dict[str, str]:
    """A hash of the code that decides each experiment's runs: another plan where it changed."""
    return {name: closure.fingerprint(experiments.get(name).code(dataset)) for name in names}
