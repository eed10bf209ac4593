"""How fast chest X-rays reach the network, beside loaders that decode, resize and filter image by image.

    python benchmarks/cxr.py [--quick] [--json FILE] [--threads N] [--turns N] [--clock wall|cpu]

An epoch takes PNGs of 1,024 x 1,024 pixels, as NIH publishes them, from memory to batches of 32 at 160 pixels, half of
the images sharpened or blurred. Ours decodes once and keeps 224 pixels a side in uint8; its first epoch includes that,
the later ones do not. PIL's loaders decode in each epoch, in one process or in torch's DataLoader with two workers. One
more filters kept images of 224 pixels one by one. Contenders take turns after a warm-up; processor time is of this
process, so with it the workers are left out. The run stops if ours and PIL's images, where neither sharpened nor
blurred, differ by 0.01 of the grey range on average.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from gconv import Stopwatch
from PIL import Image, ImageFilter
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from fewscans.data.radiographs import square
from fewscans.experiments.curriculum.images import amounts, prepared, sharpened

PUBLISHED, KEPT, SIDE, BATCH, EPOCHS = 1024, 224, 160, 32, 10
LATER, FIRST, TOGETHER = "ours, later epochs", "ours, first epoch", f"ours, mean of {EPOCHS} epochs"


@dataclass(frozen=True)
class Row:
    """One line: images a second of one loader, and how many times as fast ours is in the same turn, with quartiles."""

    loader: str
    images_per_second: float
    later: tuple[float, float, float]
    together: tuple[float, float, float]


class ByPil(Dataset):
    """Images one by one: opened, resized if need be, sharpened or blurred, minus their mean."""

    def __init__(self, opened: Callable[[int], Image.Image], amount: Tensor):
        self.opened, self.amount = opened, amount.tolist()

    def __len__(self) -> int:
        return len(self.amount)

    def __getitem__(self, i: int) -> Tensor:
        image, amount = self.opened(i).resize((SIDE, SIDE), Image.Resampling.BILINEAR), self.amount[i]
        if amount > 0:
            image = image.filter(ImageFilter.UnsharpMask(radius=1, percent=round(100 * amount), threshold=0))
        elif amount < 0:
            image = image.filter(ImageFilter.GaussianBlur(-amount))
        x = torch.from_numpy(np.asarray(image, np.float32) / 255)[None]
        return x - x.mean()


def made_up(n: int) -> list[bytes]:
    """Blots with noise, whose PNG is about as large as NIH's, 0.4 MB; each of 16 several times, as encoding is slow."""
    rng, files = np.random.default_rng(0), []
    for _ in range(16):
        blots = Image.fromarray(rng.integers(20, 230, (12, 12), dtype=np.uint8))
        image = np.asarray(blots.resize((PUBLISHED, PUBLISHED), Image.Resampling.BICUBIC))
        image = (image + rng.standard_normal(image.shape, np.float32)).clip(0, 255).round().astype(np.uint8)
        with io.BytesIO() as file:
            Image.fromarray(image).save(file, "PNG")
            files.append(file.getvalue())
    return [files[i % len(files)] for i in range(n)]


def kept(files: list[bytes]) -> np.ndarray:
    """(n, 224, 224) uint8, as the readers of chest X-rays give them."""
    return np.stack([square(np.asarray(Image.open(io.BytesIO(file)), np.float32) / 255, KEPT) for file in files])


def epoch(images: np.ndarray, amount: Tensor) -> list[Tensor]:
    cuts = [slice(start, start + BATCH) for start in range(0, len(images), BATCH)]
    return [sharpened(prepared(torch.from_numpy(images[cut]), SIDE), amount[cut]) for cut in cuts]


def measure(watch: Stopwatch, n: int) -> list[Row]:
    files = made_up(n)
    images, amount = kept(files), amounts(n, torch.Generator().manual_seed(0))
    decoding = ByPil(lambda i: Image.open(io.BytesIO(files[i])), amount)
    filtering = ByPil(lambda i: Image.fromarray(images[i]), amount)
    alone, again = DataLoader(decoding, BATCH), DataLoader(filtering, BATCH)
    workers = DataLoader(decoding, BATCH, num_workers=2, persistent_workers=True, multiprocessing_context="fork")
    untouched = amount == 0
    off = (torch.cat(epoch(images, amount)) - torch.cat(list(alone)))[untouched].abs().mean()
    assert off < 0.01, f"ours and PIL's images differ by {off:.3f}"
    contenders = {
        LATER: lambda: epoch(images, amount),
        FIRST: lambda: epoch(kept(files), amount),
        "PIL, one process": lambda: list(alone),
        f"PIL, from kept {KEPT} pixels": lambda: list(again),
    }
    if watch.clock is time.perf_counter:
        contenders["PIL, DataLoader with 2 workers"] = lambda: list(workers)
    times = watch.compare(contenders)
    pairs = zip(times[FIRST], times[LATER], strict=True)
    times[TOGETHER] = [(first + (EPOCHS - 1) * later) / EPOCHS for first, later in pairs]

    def quartiles(name: str, ours: str) -> tuple[float, float, float]:
        low, middle, high = statistics.quantiles([a / b for a, b in zip(times[name], times[ours], strict=True)], n=4)
        return middle, low, high

    return [
        Row(name, 1e3 * n / statistics.median(values), quartiles(name, LATER), quartiles(name, TOGETHER))
        for name, values in times.items()
    ]


def table(rows: list[Row]) -> str:
    lines = [f"| | images/s | time over {LATER} | over {TOGETHER} |", "| --- | ---: | ---: | ---: |"]
    for r in rows:
        ratios = [f"**{middle:.1f}** [{low:.1f}, {high:.1f}]" for middle, low, high in (r.later, r.together)]
        lines.append(f"| {r.loader} | {r.images_per_second:,.0f} | {' | '.join(ratios)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", help="write the numbers here too")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="64 images instead of 128, 3 turns")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    n, turns = (64, 3) if options.quick else (128, options.turns)
    clock = time.process_time if options.clock == "cpu" else time.perf_counter
    rows = measure(Stopwatch(torch.device("cpu"), clock, turns), n)
    print(f"\n{options.clock} time, threads: {options.threads}, {turns} turns, epochs of {n} images\n")
    print(table(rows))
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            about = {"clock": options.clock, "threads": options.threads, "turns": turns}
            json.dump(about | {"rows": [asdict(r) for r in rows]}, file, indent=1)


if __name__ == "__main__":
    main()
