"""How fast a slide is read, beside OpenSlide, and fastslide where it is installed.

    python benchmarks/slides.py [--quick] [--json FILE] [--clock wall|cpu] [--turns N]

The slides: a made-up one of 8,192 x 8,192 pixels in JPEG tiles of 512, and the real ones of wsi-samples where
FEWSCANS_DATA_ROOT or params.yaml's data_root has them. Level 0 is read in blocks of 2,048 pixels, each once, to an
array of RGB. Contenders take turns in one process, one thread each, after a turn that does not count; in every turn
the slide is opened anew, so no decoded tile is left over, while the file stays in the system's memory. Opening is not
counted. The run stops if a block is not OpenSlide's to the grey value.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import openslide
import tifffile

from fewscans import paths
from fewscans.data.formats.slides import open_slide

BLOCK, TILE = 2048, 512
REAL = ("CMU-1-Small-Region.svs", "TCGA-CR-7395-01A-01-TS1.svs")
Read = Callable[[int, int, int, int], np.ndarray]  # x, y, width, height → (height, width, 3)


@dataclass(frozen=True)
class Row:
    """One line: million pixels a second of one contender on one slide, and over OpenSlide's in the same turn."""

    slide: str
    reader: str
    megapixels_per_second: float
    ratio: float
    quartiles: tuple[float, float]


def made_up(path: Path, side: int) -> Path:
    """Patches of stain with noise, in JPEG of quality 80 with halved colour, as scanners write it."""
    rng = np.random.default_rng(0)
    image = rng.integers(90, 250, (side // 32, side // 32, 3), dtype=np.uint8).repeat(32, axis=0).repeat(32, axis=1)
    image = np.clip(image + 8 * rng.standard_normal(image.shape, np.float32), 0, 255).astype(np.uint8)
    tifffile.imwrite(
        path,
        image,
        tile=(TILE, TILE),
        photometric="rgb",
        compression="jpeg",
        compressionargs={"level": 80},
        metadata=None,
    )
    return path


@contextmanager
def ours(path: Path) -> Iterator[Read]:
    with open_slide(path) as slide:
        yield lambda x, y, width, height: slide.read(0, x, y, width, height)


@contextmanager
def by_openslide(path: Path) -> Iterator[Read]:
    with openslide.OpenSlide(path) as slide:
        yield lambda x, y, width, height: np.asarray(slide.read_region((x, y), 0, (width, height)).convert("RGB"))


@contextmanager
def by_fastslide(path: Path) -> Iterator[Read]:
    import fastslide

    with fastslide.FastSlide.from_file_path(str(path)) as slide:
        yield lambda x, y, width, height: slide.read_region(location=(x, y), level=0, size=(width, height)).numpy()


def blocks(path: Path) -> list[tuple[int, int, int, int]]:
    with openslide.OpenSlide(path) as slide:
        wide, high = slide.dimensions
    corners = [(x, y) for y in range(0, high, BLOCK) for x in range(0, wide, BLOCK)]
    return [(x, y, min(BLOCK, wide - x), min(BLOCK, high - y)) for x, y in corners]


def measure(title: str, path: Path, turns: int, clock: Callable[[], float]) -> list[Row]:
    readers = {"ours": ours, "OpenSlide": by_openslide}
    if importlib.util.find_spec("fastslide"):
        readers["fastslide"] = by_fastslide
    places = blocks(path)
    pixels = sum(width * height for _, _, width, height in places)
    with ours(path) as read, by_openslide(path) as expected:
        for place in places:
            np.testing.assert_array_equal(read(*place), expected(*place))
    speed: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(turns + 1):
        for name, reader in readers.items():
            with reader(path) as read:
                start = clock()
                for place in places:
                    read(*place)
                speed[name].append(pixels / 1e6 / (clock() - start))
    rows = []
    for name, values in speed.items():
        ratios = [a / b for a, b in zip(values[1:], speed["OpenSlide"][1:], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        rows.append(Row(title, name, statistics.median(values[1:]), middle, (low, high)))
    return rows


def table(rows: list[Row]) -> str:
    lines = ["| | | Mpx/s | over OpenSlide |", "| --- | --- | ---: | ---: |"]
    for r in rows:
        ratio = "" if r.reader == "OpenSlide" else f"**{r.ratio:.2f}** [{r.quartiles[0]:.2f}, {r.quartiles[1]:.2f}]"
        lines.append(f"| {r.slide} | {r.reader} | {r.megapixels_per_second:.0f} | {ratio} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", help="write the numbers here too")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="a made-up slide of half the side, 3 turns")
    options = parser.parse_args()
    clock = time.process_time if options.clock == "cpu" else time.perf_counter
    side, turns = (4096, 3) if options.quick else (8192, options.turns)
    with tempfile.TemporaryDirectory() as folder:
        slides = {f"JPEG, {side:,} pixels a side, tiles of {TILE}": made_up(Path(folder) / "slide.tif", side)}
        slides |= {name: paths.data_root() / "wsi-samples" / name for name in REAL}
        rows = []
        for title, path in slides.items():
            if path.is_file():
                rows += measure(title, path, turns, clock)
                print(".", end="", flush=True)
    print(f"\n\n{options.clock} time, one thread, {turns} turns, blocks of {BLOCK:,}; every pixel equals OpenSlide's\n")
    print(table(rows))
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"clock": options.clock, "turns": turns, "rows": [asdict(r) for r in rows]}, file, indent=1)


if __name__ == "__main__":
    main()
