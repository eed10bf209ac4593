"""What a dynamic group convolution costs beside the static one with the same channels: multiply-adds and time.

    python benchmarks/dynamic.py [--quick] [--json FILE] [--device cpu|cuda] [--threads N] [--clock wall|cpu]

Multiply-adds, forward, are counted by torch on the layers themselves while they run. Times are of forward and backward,
the mixing and turning of kernels included, in turns and as ratios as in gconv.py. Four kernels, batch 32.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from dataclasses import asdict, dataclass

import torch
from gconv import Stopwatch, forward_backward, training_step
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from fewscans.nn.dense_gcnn import DenseGcnn
from fewscans.nn.dynamic import ATTENTIONS, DynamicGroupConv
from fewscans.nn.gconv import GroupConv

KERNELS, BATCH = 4, 32
BARS = {"multiply-adds": 1.1, "cpu": 2.5, "cuda": 1.3}
# group, channels in and out per orientation, kernel, size: the layers of the dynamic p4m network, wider ones, space
LAYERS = [
    ("p4m", 4, 4, 3, (24, 24)),
    ("p4m", 8, 4, 1, (24, 24)),
    ("p4m", 4, 4, 3, (12, 12)),
    ("p4m", 4, 4, 3, (6, 6)),
    ("p4m", 8, 8, 3, (24, 24)),
    ("p4m", 16, 16, 3, (12, 12)),
    ("p4", 16, 16, 3, (24, 24)),
    ("Z2", 32, 32, 3, (24, 24)),
    ("D4", 6, 6, 3, (6, 18, 18)),
]
QUICK = 4  # layers


@dataclass(frozen=True)
class Row:
    """Dynamic over static: multiply-adds, and the median and quartiles of the ratio of times."""

    title: str
    static_ms: float
    dynamic_ms: float
    multiply_adds: float
    ratio: float
    quartiles: tuple[float, float]


def multiply_adds(module: nn.Module, x: Tensor) -> float:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(x)
    return counter.get_total_flops() / 2


def row(title: str, adds: float, times: dict[str, list[float]]) -> Row:
    ratios = [a / b for a, b in zip(times["dynamic"], times["static"], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    static, dynamic = (statistics.median(times[name]) for name in ("static", "dynamic"))
    return Row(title, static, dynamic, adds, middle, (low, high))


def layer_rows(watch: Stopwatch, cases) -> list[Row]:
    rows = []
    for name, c_in, c_out, kernel, size in cases:
        static = GroupConv(name, c_in, c_out, kernel, bias=False).to(watch.device)
        x = torch.randn(BATCH, c_in, static.group.order, *size, device=watch.device)
        for attention in ATTENTIONS:
            dynamic = DynamicGroupConv(name, c_in, c_out, kernel, KERNELS, attention, bias=False).to(watch.device)
            adds = multiply_adds(dynamic, x) / multiply_adds(static, x)
            pair = {"static": static, "dynamic": dynamic}
            times = watch.compare({k: forward_backward(layer, x.clone().requires_grad_()) for k, layer in pair.items()})
            sizes = "×".join(map(str, size))
            rows.append(row(f"{name} {c_in}→{c_out}, kernel {kernel}, {sizes}, {attention}", adds, times))
            print(".", end="", flush=True)
    return rows


def network_rows(watch: Stopwatch, widths) -> list[Row]:
    """One update of a whole p4m network on patches of 48 pixels, at equal width."""
    rows, x = [], torch.randn(BATCH, 1, 48, 48, device=watch.device)
    y = (torch.rand(BATCH, device=watch.device) > 0.5).float()
    for width in widths:
        static = DenseGcnn("p4m", width=width).to(watch.device).train()
        for attention in ATTENTIONS:
            dynamic = DenseGcnn("p4m", width=width, kernels=KERNELS, attention=attention).to(watch.device).train()
            adds = multiply_adds(dynamic, x) / multiply_adds(static, x)
            times = watch.compare({"static": training_step(static, x, y), "dynamic": training_step(dynamic, x, y)})
            rows.append(row(f"p4m, width {width}, {attention}", adds, times))
            print(".", end="", flush=True)
    return rows


def table(heading: str, rows: list[Row], bar: float) -> str:
    header = ["", "static, ms", "dynamic, ms", "time, dynamic / static", "multiply-adds", "beyond a bar"]
    lines = [f"### {heading}", "", f"| {' | '.join(header)} |", "| --- | ---: | ---: | ---: | ---: | --- |"]
    for r in rows:
        over = {"time": r.ratio > bar, "multiply-adds": r.multiply_adds > BARS["multiply-adds"]}
        cells = [r.title, f"{r.static_ms:.1f}", f"{r.dynamic_ms:.1f}"]
        cells += [f"**{r.ratio:.2f}** [{r.quartiles[0]:.2f}, {r.quartiles[1]:.2f}]"]
        cells += [f"{math.ceil(1000 * r.multiply_adds) / 1000:.3f}"]  # never rounded down to a bar
        lines.append(f"| {' | '.join(cells)} | {', '.join(name for name in over if over[name])} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", help="write the numbers here too")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="default: torch's own choice")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--quick", action="store_true", help=f"the first {QUICK} layers and one network")
    options = parser.parse_args()
    device = torch.device(options.device)
    if options.clock == "cpu" and device.type != "cpu":
        parser.error("--clock cpu measures the processor; use --clock wall on a GPU")
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    watch = Stopwatch(device, time.process_time if options.clock == "cpu" else time.perf_counter, options.repeats)
    bar = BARS[device.type]
    results = {
        f"One layer, {KERNELS} kernels, batch {BATCH}, forward and backward": layer_rows(
            watch, LAYERS[:QUICK] if options.quick else LAYERS
        ),
        f"A whole network on 48×48, batch {BATCH}, one update, at equal width": network_rows(
            watch, (8,) if options.quick else (8, 16)
        ),
    }
    machine = (
        torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU thread(s)"
    )
    print(f"\n\n{machine}, {options.clock} time, torch {torch.__version__}, {options.repeats} turns")
    print(f"bars: time {bar}, multiply-adds {BARS['multiply-adds']}\n")
    for heading, rows in results.items():
        print(table(heading, rows, bar))
    if options.json:
        record = {"machine": machine, "clock": options.clock, "torch": torch.__version__, "repeats": options.repeats}
        record["tables"] = {heading: [asdict(r) for r in rows] for heading, rows in results.items()}
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(record, file, indent=1)


if __name__ == "__main__":
    main()
