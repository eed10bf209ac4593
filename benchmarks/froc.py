"""What FROC by LUNA16's rule, and finding CAMELYON16's lesions, cost beside the organisers' ways of computing them.

    python benchmarks/froc.py [--quick] [--json FILE] [--clock wall|cpu]

LUNA16: the test set is made up, of the challenge's size: 888 scans, 1,186 nodules, 35,192 excluded findings, 754,975
candidates as in candidates_V2. The loop has the structure of the official script (for each scan, each finding, each
candidate: coordinates from text, a distance, a comparison) and is written here from the rule; its candidates come
already sorted by scan, for which that script goes through the whole list once per scan. The loop is measured on a
sample of the scans, drawn anew in each turn, and scaled by its pairs; both take turns in one process, and must give the
same curve there.

CAMELYON16: a made-up mask of level 5, of the size of slide normal_001, with 40 lesions of 0.1 to 6 mm. The official
script's steps work on the whole mask (distance transform, holes, labels, major axes); written here from the rule. Both
take turns on a new mask each, and must give the same lesions.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from scipy import ndimage
from skimage import measure

from fewscans.data.formats.lesions import label
from fewscans.stats.froc import luna16_froc, sensitivities

SCANS, NODULES, EXCLUDED, CANDIDATES = 888, 1_186, 35_192, 754_975
PLACE = ["coordX", "coordY", "coordZ"]
SLIDE, LESIONS, MICRONS = (6_912, 3_056), 40, 0.243 * 32  # of a level-5 mask: pixels, µm per pixel


@dataclass(frozen=True)
class Row:
    """One line: seconds of either way on the whole test set or mask; the loop's are scaled up from its sample."""

    title: str
    ours: float
    loop: float
    ratio: float
    quartiles: tuple[float, float]


@dataclass(frozen=True)
class TestSet:
    annotations: pd.DataFrame
    excluded: pd.DataFrame
    candidates: pd.DataFrame
    uids: list[str]

    def of(self, uids: list[str]) -> TestSet:
        kept = (frame[frame["seriesuid"].isin(uids)] for frame in (self.annotations, self.excluded, self.candidates))
        return TestSet(*kept, uids)

    def pairs(self) -> int:
        """How many comparisons of a mark with a finding the rule asks for."""
        marks = self.candidates["seriesuid"].value_counts()
        findings = pd.concat([self.annotations, self.excluded])["seriesuid"].value_counts()
        return int((marks * findings).sum())


def made_up(share: float, rng: np.random.Generator) -> TestSet:
    """Findings and candidates in a chest of 300 mm; one candidate in 500 near a nodule, one in 20 near a finding."""
    scans, nodules, excluded, candidates = (round(share * n) for n in (SCANS, NODULES, EXCLUDED, CANDIDATES))
    uids = np.array([f"1.3.6.1.4.1.14519.5.2.1.6279.6001.{rng.integers(10**17, 10**18)}{i}" for i in range(scans)])

    def frame(n, **columns):
        place = dict(zip(PLACE, rng.uniform(-150, 150, (3, n)), strict=True))
        return pd.DataFrame({"seriesuid": rng.choice(uids, n)} | place | columns)

    annotations = frame(nodules, diameter_mm=rng.uniform(3, 30, nodules))
    unknown = rng.random(excluded) < 0.8
    others = frame(excluded, diameter_mm=np.where(unknown, -1.0, rng.uniform(3, 30, excluded)))
    marks = frame(candidates, probability=rng.random(candidates) ** 8)
    for near, part in ((annotations, candidates // 500), (others, candidates // 20)):
        row, finding = rng.choice(candidates, part, replace=False), rng.integers(len(near), size=part)
        marks.loc[row, "seriesuid"] = near["seriesuid"].to_numpy()[finding]
        marks.loc[row, PLACE] = near[PLACE].to_numpy()[finding] + rng.normal(scale=2, size=(part, 3))
        marks.loc[row, "probability"] = rng.random(part)
    return TestSet(annotations, others, marks, uids.tolist())


def as_text(some: TestSet) -> dict[str, tuple[list, list]]:
    """By scan: findings and candidates as rows of strings, as read from CSV; a finding's last entry says whether it
    is excluded."""
    found = {uid: ([], []) for uid in some.uids}
    for frame, excluded in ((some.annotations, False), (some.excluded, True)):
        for uid, x, y, z, diameter in frame.itertuples(index=False, name=None):
            found[uid][0].append((repr(x), repr(y), repr(z), repr(diameter), excluded))
    for uid, *values in some.candidates.itertuples(index=False, name=None):
        found[uid][1].append(tuple(map(repr, values)))
    return found


def loop(scans: dict[str, tuple[list, list]]) -> tuple[np.ndarray, np.ndarray]:
    """False positives per scan and sensitivity at each threshold, pair by pair."""
    false, found, n_nodules = [], [], 0
    for findings, candidates in scans.values():
        left = dict(enumerate(candidates))
        for x, y, z, diameter, excluded in findings:
            across = float(diameter)
            limit = pow((10.0 if across < 0 else across) / 2, 2)
            cx, cy, cz = float(x), float(y), float(z)
            inside = []
            for key, candidate in enumerate(candidates):
                away = pow(cx - float(candidate[0]), 2) + pow(cy - float(candidate[1]), 2)
                away += pow(cz - float(candidate[2]), 2)
                if away < limit:
                    left.pop(key, None)
                    inside.append(float(candidate[3]))
            if not excluded:
                n_nodules += 1
                found += [max(inside)] if inside else []
        false += [float(candidate[3]) for candidate in left.values()]
    thresholds = np.unique(false + found)[::-1]
    counts = (len(p) - np.searchsorted(np.sort(p), thresholds) for p in (false, found))
    n_false, n_found = (np.append(0, n) for n in counts)
    return n_false / len(scans), n_found / n_nodules


def made_up_mask(rng: np.random.Generator) -> np.ndarray:
    """Ellipses of 255 on a mask of 0, of log-normal size, median 0.4 mm, a third of them rings."""
    mask = np.zeros(SLIDE, np.uint8)
    for extent_um in np.exp(rng.normal(np.log(400), 1.0, LESIONS)).clip(100, 6000):
        half = int(extent_um / MICRONS / 2) + 1
        row, column = (int(rng.integers(half, n - half)) for n in SLIDE)
        y, x = np.ogrid[-half : half + 1, -half : half + 1]
        away = y**2 + (x / rng.uniform(0.4, 1)) ** 2
        inside = (away < half**2) & (away >= rng.choice([0, 0, 0.5]) * half**2)
        mask[row - half : row + half + 1, column - half : column + half + 1][inside] = 255
    return mask


def whole_mask(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and which lesions are isolated cells, by steps on the whole mask."""
    near = ndimage.distance_transform_edt(255 - mask) < 75 / (MICRONS * 2)
    labels = measure.label(ndimage.binary_fill_holes(near), connectivity=2)
    axes = [region.axis_major_length for region in measure.regionprops(labels)]
    return labels, np.array(axes) < 275 / MICRONS


def lesions_row(repeats: int, clock: Callable[[], float]) -> Row:
    rng = np.random.default_rng(0)
    label(made_up_mask(rng), MICRONS)  # a warm-up
    ours, slow = [], []
    for _ in range(repeats):
        mask = made_up_mask(rng)
        seconds, lesions = timed(lambda mask=mask: label(mask, MICRONS), clock)
        ours.append(seconds)
        seconds, (labels, itc) = timed(lambda mask=mask: whole_mask(mask), clock)
        slow.append(seconds)
        np.testing.assert_array_equal(lesions.labels, labels)
        np.testing.assert_array_equal(lesions.itc, itc)
        print(".", end="", flush=True)
    return row(f"lesions of a mask of {SLIDE[1]:,} x {SLIDE[0]:,} pixels", ours, slow)


def row(title: str, ours: list[float], slow: list[float]) -> Row:
    low, middle, high = statistics.quantiles([b / a for a, b in zip(ours, slow, strict=True)], n=4)
    return Row(title, statistics.median(ours), statistics.median(slow), middle, (low, high))


def timed(work: Callable[[], object], clock: Callable[[], float]) -> tuple[float, object]:
    start = clock()
    made = work()
    return clock() - start, made


def table(rows: list[Row]) -> str:
    lines = ["| | ours, s | loop, s | loop / ours |", "| --- | ---: | ---: | ---: |"]
    for r in rows:
        ratio = f"**{r.ratio:.0f}** [{r.quartiles[0]:.0f}, {r.quartiles[1]:.0f}]"
        lines.append(f"| {r.title} | {r.ours:.2f} | {r.loop:.3g} | {ratio} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", help="write the numbers here too")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--sample", type=int, default=100, help="scans that the loop is measured on in each turn")
    parser.add_argument("--quick", action="store_true", help="an eighth of LUNA16's test set, 10 scans, 3 turns")
    options = parser.parse_args()
    clock = time.process_time if options.clock == "cpu" else time.perf_counter
    share, repeats, sample = (1 / 8, 3, 10) if options.quick else (1.0, options.repeats, options.sample)
    rng = np.random.default_rng(0)
    whole = made_up(share, rng)
    fields = (whole.annotations, whole.excluded, whole.candidates, whole.uids)
    pairs = whole.pairs()
    luna16_froc(*fields)  # a warm-up
    ours, slow = [], []
    for _ in range(repeats):
        seconds, curve = timed(lambda: luna16_froc(*fields), clock)
        ours.append(seconds)
        some = whole.of(rng.choice(whole.uids, sample, replace=False).tolist())
        rows = as_text(some)
        seconds, (false_positives, sensitivity) = timed(lambda rows=rows: loop(rows), clock)
        slow.append(seconds * pairs / some.pairs())
        same = luna16_froc(some.annotations, some.excluded, some.candidates, some.uids)
        np.testing.assert_array_equal(same.false_positives, false_positives)
        np.testing.assert_array_equal(same.sensitivity, sensitivity)
        print(".", end="", flush=True)
    title = f"{len(whole.uids)} scans, {len(whole.candidates):,} candidates, {pairs / 1e6:.1f} million pairs"
    made = row(title, ours, slow)
    lesions = lesions_row(repeats, clock)
    resamples = rng.multinomial(len(whole.uids), np.full(len(whole.uids), 1 / len(whole.uids)), size=1000)
    bootstrap, _ = timed(lambda: sensitivities(curve.marks, resamples.astype(float)), clock)
    print(f"\n\none thread, {options.clock} time, {repeats} turns, the loop on {sample} scans in each, scaled by pairs")
    print(f"1,000 resamples of the scans: {bootstrap:.2f} s\n")
    print(table([made, lesions]))
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            numbers = {"clock": options.clock, "repeats": repeats, "bootstrap": bootstrap, "lesions": asdict(lesions)}
            json.dump(numbers | asdict(made), file, indent=1)


if __name__ == "__main__":
    main()
