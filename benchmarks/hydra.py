"""What training on sums costs in time and memory, and what batched augmentation saves.

    python benchmarks/hydra.py [--only PART ...] [--quick] [--turns N] [--threads N] [--clock wall|cpu]
                               [--device cpu|cuda] [--json FILE]

1. One update of the branched network on sets of 4, beside the plain base regressor on as many images.
2. The streamed form beside the branched one: time of an update, and the memory it takes as sets grow. On a CPU each
   size is run in a process of its own, whose largest resident memory the system tells; on a GPU torch tells it.
3. Augmentation of a batch in one call, beside the same images one by one: with the same function; with one
   `scipy.ndimage.affine_transform` each; and with scipy's named operations one after another (three turns, a shift).

Contenders take turns in one process after a warm-up; a ratio is the median over turns of the two times in one turn.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from gconv import Stopwatch
from scipy import ndimage
from torch import nn
from torch.nn import functional as F

from fewscans.experiments import rigid
from fewscans.nn.hydra import Hydra, streamed_step
from fewscans.nn.regressor import BaseRegressor

PARTS = ("updates", "augmentation", "memory")
SIZES = [(44, 56, 40), (48, 64, 64)]  # a hippocampus' box; a brain's of 48x128x128, halved in the plane
# As the published and the quick runs train: lesions, hippocampi, one nucleus; what batching saves depends on the size.
TRAINED_SIZES = [(10, 12, 10), (12, 20, 15), (12, 24, 10)]
MEMORY_SIZE = (32, 96, 96)
MEMORY_SETS = {"streamed": (4, 8, 32), "branched": (1, 4, 8)}
SPACING_MM = (3.0, 1.0, 1.0)


def compared(watch: Stopwatch, contenders: dict[str, Callable[[], object]], reference: str) -> dict:
    """Median milliseconds of each contender, and its time over the reference's with quartiles."""
    times = watch.compare(contenders)
    rows = {}
    for name, values in times.items():
        ratios = [a / b for a, b in zip(values, times[reference], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        rows[name] = {"ms": statistics.median(values), "ratio": middle, "quartiles": (low, high)}
    return rows


def update(net: nn.Module, add_gradients: Callable[[], object]) -> Callable[[], None]:
    """One step of the paper's optimiser."""
    optimiser = torch.optim.Adadelta(net.parameters())

    def step():
        optimiser.zero_grad()
        add_gradients()
        optimiser.step()

    return step


def update_rows(watch: Stopwatch, size: tuple[int, ...], sets: int = 1) -> dict:
    """An update on `sets` sets of 4 images, by each form; all networks have the same memory layout."""
    images = torch.rand(4 * sets, 1, *size, device=watch.device)
    labels = torch.rand(4 * sets, device=watch.device)
    in_sets, sums = images.unflatten(0, (sets, 4)), labels.view(sets, 4).sum(1)
    order = torch.arange(4 * sets).view(sets, 4)
    plain, base, one, two = (BaseRegressor().to(watch.device, memory_format=torch.channels_last_3d) for _ in range(4))
    hydra = Hydra(base)

    def streamed(net: nn.Module, at_once: int) -> Callable[[], object]:
        return lambda: streamed_step(net, images.__getitem__, order, sums, F.mse_loss, size, at_once=at_once)

    contenders = {
        "plain": update(plain, lambda: F.mse_loss(plain(images), labels).backward()),
        "branched": update(hydra, lambda: F.mse_loss(hydra(in_sets), sums).backward()),
        "streamed, one image at a time": update(one, streamed(one, 1)),
        "streamed, two at a time": update(two, streamed(two, 2)),
    }
    return compared(watch, contenders, "plain")


def augmentation_rows(watch: Stopwatch, size: tuple[int, ...], batch: int) -> dict:
    """Time for a whole batch, decisions drawn beforehand."""
    images = torch.rand(batch, 1, *size, device=watch.device)
    arrays = images[:, 0].cpu().numpy()
    decisions = rigid.draw(batch, torch.Generator().manual_seed(0))

    def one_by_one():
        return [rigid.apply(images[i : i + 1], decisions[i : i + 1], SPACING_MM) for i in range(batch)]

    def scipy_once():
        middle, mm = (np.array(size) - 1) / 2, np.diag(SPACING_MM)
        done = []
        for i, array in enumerate(arrays):
            turn = rigid.rotation(decisions.angle_rad[i : i + 1].double())[0].numpy()
            inverse = np.diag(1.0 - 2 * decisions.flip[i].numpy()) @ np.linalg.inv(mm) @ turn.T @ mm
            start = middle - inverse @ (middle + decisions.shift_voxels[i].double().numpy())
            done.append(ndimage.affine_transform(array, inverse, start, order=1, mode="grid-constant"))
        return done

    def scipy_named():  # in voxels, as `rotate` has it: for cubes only, but its cost is the same
        done = []
        for i, array in enumerate(arrays):
            flipped = np.flip(array, np.flatnonzero(decisions.flip[i].numpy()))
            for axes, angle in zip(((1, 2), (0, 2), (0, 1)), decisions.angle_rad[i].tolist(), strict=True):
                flipped = ndimage.rotate(flipped, np.degrees(angle), axes, reshape=False, order=1)
            done.append(ndimage.shift(flipped, decisions.shift_voxels[i].numpy(), order=1))
        return done

    contenders = {
        "batched": lambda: rigid.apply(images, decisions, SPACING_MM),
        "the same, one by one": one_by_one,
        "scipy, one resampling": scipy_once,
        "scipy, operation after operation": scipy_named,
    }
    return compared(watch, contenders, "batched")


def memory(form: str, n: int, size: tuple[int, ...], device: torch.device) -> float:
    """MiB that one update on a set of n images takes above what was there before it; run in a fresh process.

    Images are made when asked for, as they would be read from disk.
    """
    net = BaseRegressor().to(device)
    label = torch.ones(1, device=device)

    def step(n: int, size: tuple[int, ...]) -> None:
        def image(index: int) -> torch.Tensor:
            return torch.rand(1, *size, generator=torch.Generator().manual_seed(index)).to(device)

        if form == "streamed":
            streamed_step(net, image, torch.arange(n)[None], label, F.mse_loss, size)
        else:
            F.mse_loss(Hydra(net, n)(torch.stack([image(i) for i in range(n)])[None]), label).backward()

    step(1, (4, 4, 4))  # what a first update loads is not counted
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        step(n, size)
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    before = resident_mib()
    step(n, size)
    return resident_mib() - before


def resident_mib() -> float:
    """The most memory this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def memory_rows(options: argparse.Namespace) -> dict:
    rows = {}
    for form, numbers in MEMORY_SETS.items():
        for n in numbers:
            command = [sys.executable, __file__, "--memory", form, str(n), "--device", options.device]
            command += ["--threads", str(torch.get_num_threads()), "--memory-size", *map(str, options.memory_size)]
            # glibc gives large blocks back at once, so that what is told is what was needed, not what lay about
            env = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
            found = subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout
            rows[f"{form}, {n} images a set"] = float(found)
            print(".", end="", flush=True)
    return rows


def title(size: tuple[int, ...]) -> str:
    return "×".join(map(str, size))


def table(heading: str, rows: dict, reference: str) -> str:
    lines = [f"### {heading}", "", f"| | ms | time / {reference} |", "| --- | ---: | ---: |"]
    for name, r in rows.items():
        low, high = r["quartiles"]
        ratio = "" if name == reference else f"**{r['ratio']:.2f}** [{low:.2f}, {high:.2f}]"
        lines.append(f"| {name} | {r['ms']:.1f} | {ratio} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", help="write the numbers here too")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="default: torch's own choice")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--quick", action="store_true", help="the smaller image, without memory")
    parser.add_argument("--memory-size", nargs=3, type=int, default=MEMORY_SIZE, metavar=("D", "H", "W"))
    parser.add_argument("--memory", nargs=2, metavar=("FORM", "N"), help="one measurement of memory, in this process")
    options = parser.parse_args()
    device = torch.device(options.device)
    if options.clock == "cpu" and device.type != "cpu":
        parser.error("--clock cpu measures the processor; use --clock wall on a GPU")
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    if options.memory:
        print(memory(options.memory[0], int(options.memory[1]), tuple(options.memory_size), device))
        return
    watch = Stopwatch(device, time.process_time if options.clock == "cpu" else time.perf_counter, options.turns)
    results = {part: {} for part in PARTS}
    for size in SIZES[:1] if options.quick else SIZES:
        if "updates" in options.only:
            results["updates"][f"One update on a set of 4, {title(size)}"] = update_rows(watch, size)
        print(".", end="", flush=True)
    for size in [*TRAINED_SIZES, *(SIZES[:1] if options.quick else SIZES)] if "augmentation" in options.only else ():
        results["augmentation"][f"Augmentation of 16 scans, {title(size)}"] = augmentation_rows(watch, size, 16)
        print(".", end="", flush=True)
    if "memory" in options.only and not options.quick:
        results["memory"] = memory_rows(options)
    machine = (
        torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU thread(s)"
    )
    print(f"\n\n{machine}, {options.clock} time, torch {torch.__version__}, {options.turns} turns\n")
    for heading, rows in results["updates"].items():
        print(table(heading, rows, "plain"))
    for heading, rows in results["augmentation"].items():
        print(table(heading, rows, "batched"))
    if results["memory"]:
        print(f"### Memory of one update, {title(options.memory_size)}\n\n| | MiB |\n| --- | ---: |")
        print("\n".join(f"| {name} | {mib:.0f} |" for name, mib in results["memory"].items()))
    if options.json:
        record = {"machine": machine, "clock": options.clock, "torch": torch.__version__, "turns": options.turns}
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(record | results, file, indent=1)


if __name__ == "__main__":
    main()
