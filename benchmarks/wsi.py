"""What a dense sweep of a slide saves beside patch by patch, and how much memory a scan takes as slides grow.

    python benchmarks/wsi.py [--only PART ...] [--turns N] [--threads N] [--clock wall|cpu] [--json FILE]

1. The heatmap of 24x24 cells of a 6,144-pixel JPEG slide, end to end (reading, decoding, network), with the published
   geometry: patches of 299 pixels, a step of 128. The same network and weights, by `sweep` and patch by patch, take
   turns. The bound is the pixels of all patches over those of the area they cover: what sharing could save at most.
2. The largest memory of the scan of a slide of 8,192 and of 32,768 pixels a side with the same tissue, each in a
   process of its own (VmHWM of Linux).
Slides are made up, and written into a temporary folder.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
import torch

from fewscans.data.formats.slides import open_slide
from fewscans.nn.dense import DenseDetector
from fewscans.slides.heatmap import Geometry, heatmap
from fewscans.slides.scan import scan_slides

PARTS = ("sweep", "memory")
GEOMETRY = Geometry(299, 128)
MPP = 0.25
TILE, LEVELS = 512, 6
SQUARE = 3072  # level-0 pixels a side of a piece of tissue
WIDTHS = {"sweep": 16, "memory": 4}
SIDES = (8192, 32768)
BARS = {"difference": 1e-4, "ratio": 3.0, "memory": 1.1}


def write_slide(path: Path, side: int, squares: list[tuple[int, int]]) -> Path:
    """A white JPEG pyramid with square pieces of noisy tissue. A white tile is encoded once."""
    rng = np.random.default_rng(0)
    blobs = np.kron(rng.normal(0, 20, (TILE // 16, TILE // 16, 1)), np.ones((16, 16, 3)))
    texture = np.clip((190, 110, 170) + blobs + rng.normal(0, 15, blobs.shape), 0, 255).astype(np.uint8)
    encode = {"level": 80, "subsampling": "420"}
    blank = imagecodecs.jpeg8_encode(np.full((TILE, TILE, 3), 255, np.uint8), **encode)

    def tiles(level: int) -> Iterator[bytes]:
        step = TILE << level
        for top in range(0, side, step):
            for left in range(0, side, step):
                tile = None
                for x, y in squares:
                    rows, columns = (
                        slice(max(0, start - at) >> level, max(0, min(step, start + SQUARE - at)) >> level)
                        for start, at in ((y, top), (x, left))
                    )
                    if rows.start < rows.stop and columns.start < columns.stop:
                        tile = np.full((TILE, TILE, 3), 255, np.uint8) if tile is None else tile
                        tile[rows, columns] = np.roll(texture, (top // 7, left // 5), (0, 1))[rows, columns]
                yield blank if tile is None else imagecodecs.jpeg8_encode(tile, **encode)

    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        for level in range(LEVELS):
            tiff.write(
                tiles(level), shape=(side >> level, side >> level, 3), dtype=np.uint8, tile=(TILE, TILE),
                photometric="ycbcr", subsampling=(2, 2), compression="jpeg", subfiletype=int(level > 0),
                resolution=(1e4 / MPP, 1e4 / MPP), resolutionunit="CENTIMETER",
            )  # fmt: skip
    return path


def network(part: str) -> DenseDetector:
    detector = DenseDetector(GEOMETRY.patch, GEOMETRY.stride, GEOMETRY.levels, WIDTHS[part])
    detector.reset_parameters(torch.Generator().manual_seed(0))
    return detector.folded()


def compare(folder: Path, turns: int, clock) -> dict:
    """Seconds of both ways over the same cells, and how far their probabilities differ."""
    path = write_slide(folder / "sweep.tif", 6144, [(x, y) for x in (0, SQUARE) for y in (0, SQUARE)])
    detector, n = network("sweep"), 24
    seconds, maps = {"patch by patch": [], "sweep": []}, {}
    for turn in range(-1, turns):  # the first warms up
        for name, times in seconds.items():
            with open_slide(path) as slide:
                cells = np.zeros(GEOMETRY.shape(slide.levels[0].width, slide.levels[0].height), bool)
                cells[8 : 8 + (n if turn >= 0 else 1), 8 : 8 + n] = True
                start = clock()
                maps[name] = heatmap(slide, detector, GEOMETRY, cells, dense=name == "sweep")
                times += [clock() - start] if turn >= 0 else []
    ratio = statistics.median(a / b for a, b in zip(seconds["patch by patch"], seconds["sweep"], strict=True))
    bound = n**2 * GEOMETRY.patch**2 / ((n - 1) * GEOMETRY.stride + GEOMETRY.patch) ** 2
    difference = float(np.nanmax(np.abs(maps["sweep"] - maps["patch by patch"])))
    return {
        "cells": n**2, "seconds": {name: statistics.median(times) for name, times in seconds.items()},
        "difference": difference, "spread": float(np.nanstd(maps["sweep"])), "ratio": ratio, "bound": bound,
    }  # fmt: skip


def memory(folder: Path) -> dict:
    """MiB of a scan, by the side of the slide; both have the same four pieces of tissue, in their corners."""
    mib = {}
    for side in SIDES:
        squares = [(x, y) for x in (0, side - SQUARE) for y in (0, side - SQUARE)]
        path = write_slide(folder / f"{side}.tif", side, squares)
        command = [sys.executable, __file__, "--scan", str(path), "--threads", str(torch.get_num_threads())]
        mib[side] = float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    return mib


def scan(path: Path) -> float:
    """The most memory this process held, in MiB. The system's `ru_maxrss` would count its parent's too."""
    summary = scan_slides([path], network("memory"), GEOMETRY, MPP, path.parent / "out", show=False)
    assert summary.loc[0, "tissue_cells"] >= 4 * (SQUARE // GEOMETRY.stride) ** 2
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 2**10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", help="write the numbers here too")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--threads", type=int, help="default: torch's own choice")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--scan", type=Path, metavar="SLIDE", help="one measurement of memory, in this process")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.scan:
        print(scan(options.scan))
        return
    results = {"threads": torch.get_num_threads(), "clock": options.clock, "torch": torch.__version__}
    print(f"{torch.get_num_threads()} CPU thread(s), {options.clock} time, torch {torch.__version__}\n")
    with tempfile.TemporaryDirectory() as folder:
        if "sweep" in options.only:
            clock = time.process_time if options.clock == "cpu" else time.perf_counter
            results["sweep"] = r = compare(Path(folder), options.turns, clock)
            print(
                f"### {r['cells']} cells, patches of {GEOMETRY.patch}, step {GEOMETRY.stride}\n\n| | |\n| --- | ---: |"
            )
            print("".join(f"| {name}, s | {value:.2f} |\n" for name, value in r["seconds"].items()), end="")
            print(f"| patch by patch / sweep (bar: {BARS['ratio']:g}) | **{r['ratio']:.2f}** |")
            print(f"| bound, and share of it | {r['bound']:.2f}, {r['ratio'] / r['bound']:.0%} |")
            print(f"| largest difference (bar: {BARS['difference']:g}) | {r['difference']:.1g} |")
            print(f"| standard deviation of the map | {r['spread']:.1g} |\n")
        if "memory" in options.only:
            results["memory"] = mib = memory(Path(folder))
            print("### Memory of a scan\n\n| pixels a side | MiB |\n| ---: | ---: |")
            print("".join(f"| {side:,} | {value:.0f} |\n" for side, value in mib.items()), end="")
            print(f"| ratio (bar: within {BARS['memory'] - 1:.0%}) | **{mib[SIDES[1]] / mib[SIDES[0]]:.3f}** |")
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
