"""What a group convolution costs beside a plain one with the same input and output channels.

    python benchmarks/gconv.py [--quick] [--json FILE] [--device cpu|cuda] [--threads N] [--clock wall|cpu]

All contenders of a row are timed in one process, taking turns (A B C A B C ...), after a warm-up. A ratio is the median
over turns of time of ours / time of the plain one in the same turn, with its quartiles: a machine that slows down for
a while slows both. `--clock cpu` counts processor time instead of wall time, for a machine that others use as well.
escnn's layers are timed too where that library is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fewscans.groups import Group
from fewscans.nn.gcnn import NoduleNet
from fewscans.nn.gconv import GroupConv

# group, channels per orientation in and out, batch, size: the paper's fourth and third layers; the plane at width 16
LAYERS = [
    ("Z3", 32, 32, 4, (6, 18, 18)),
    ("D4", 11, 11, 4, (6, 18, 18)),
    ("D4", 6, 11, 4, (6, 18, 18)),
    ("D4h", 8, 8, 4, (6, 18, 18)),
    ("D4h", 4, 8, 4, (6, 18, 18)),
    ("O", 7, 7, 4, (6, 18, 18)),
    ("O", 3, 7, 4, (6, 18, 18)),
    ("Oh", 5, 5, 4, (6, 18, 18)),
    ("Oh", 2, 5, 4, (6, 18, 18)),
    ("Z2", 32, 32, 30, (24, 24)),
    ("p4", 8, 8, 30, (24, 24)),
    ("p4", 16, 16, 30, (24, 24)),
    ("p4", 32, 32, 30, (12, 12)),
    ("p4m", 6, 6, 30, (24, 24)),
    ("p4m", 11, 11, 30, (24, 24)),
    ("p4m", 23, 23, 30, (12, 12)),
]
NETWORKS = [("Z2", 8), ("p4", 8), ("p4m", 8), ("Z2", 16), ("p4", 16), ("p4m", 16)]  # on 48x48, batch 30
QUICK = {"D4", "p4m"}


@dataclass(frozen=True)
class Row:
    """One line of a table: milliseconds per contender; ours against plain as median, first and third quartile."""

    title: str
    parameters: int
    milliseconds: dict[str, float]
    ratio: float
    quartiles: tuple[float, float]
    notes: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Stopwatch:
    device: torch.device
    clock: Callable[[], float]
    repeats: int

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return self.clock()

    def compare(self, contenders: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
        """Milliseconds of each contender in each turn."""
        for contender in contenders.values():
            for _ in range(3):
                contender()
        times = {name: [] for name in contenders}
        for _ in range(self.repeats):
            for name, contender in contenders.items():
                start = self.now()
                contender()
                times[name].append(1e3 * (self.now() - start))
        return times


def row(title: str, parameters: int, times: dict[str, list[float]], ours="ours", plain="plain", **notes) -> Row:
    ratios = [a / b for a, b in zip(times[ours], times[plain], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    medians = {name: statistics.median(values) for name, values in times.items()}
    return Row(title, parameters, medians, middle, (low, high), notes)


def forward_backward(layer: nn.Module, x: Tensor) -> Callable[[], None]:
    upstream = torch.randn_like(layer(x).detach())

    def step():
        layer.zero_grad(set_to_none=True)
        x.grad = None
        layer(x).backward(upstream)

    return step


def forward(layer: nn.Module, x: Tensor) -> Callable[[], Tensor]:
    def step():
        with torch.no_grad():
            return layer(x)

    return step


def plain_twin(layer: GroupConv, device) -> nn.Module:
    kind = nn.Conv2d if layer.group.dim == 2 else nn.Conv3d
    order = layer.group.order
    return kind(layer.in_channels * order, layer.out_channels * order, 3, padding=1).to(device)


def layer_rows(watch: Stopwatch, cases) -> tuple[list[Row], list[Row]]:
    """Training (forward and backward, expansion included) and evaluation (expansion cached; exported)."""
    training, evaluation = [], []
    for name, c_in, c_out, batch, size in cases:
        layer = GroupConv(name, c_in, c_out, 3).to(watch.device)
        plain = plain_twin(layer, watch.device)
        x = torch.randn(batch, c_in, layer.group.order, *size, device=watch.device)
        title = f"{name} {c_in}→{c_out}, batch {batch}, {'×'.join(map(str, size))}"
        parameters = sum(p.numel() for p in layer.parameters())
        contenders = {
            "plain": forward_backward(plain, x.flatten(1, 2).clone().requires_grad_()),
            "ours": forward_backward(layer, x.clone().requires_grad_()),
        }
        rival, notes = escnn_layer(name, c_in, c_out, watch)
        if rival is not None:
            contenders["escnn"] = forward_backward(rival, x.flatten(1, 2).clone().requires_grad_())
        training.append(row(title, parameters, watch.compare(contenders), **notes))
        exported = layer.export()
        contenders = {
            "plain": forward(plain.eval(), x.flatten(1, 2)),
            "ours": forward(layer.eval(), x),
            "exported": forward(exported.eval(), x.flatten(1, 2)),
        }
        evaluation.append(row(title, parameters, watch.compare(contenders)))
        print(".", end="", flush=True)
    return training, evaluation


def escnn_layer(name: str, c_in: int, c_out: int, watch: Stopwatch) -> tuple[nn.Module | None, dict[str, float]]:
    """escnn's convolution between regular fields of the group, its parameters and the seconds it took to build."""
    if importlib.util.find_spec("escnn") is None or name in ("Z2", "Z3"):
        return None, {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from escnn import gspaces
        from escnn import nn as enn

        spaces = {
            "p4": lambda: gspaces.rot2dOnR2(4),
            "p4m": lambda: gspaces.flipRot2dOnR2(4),
            "D4": lambda: gspaces.dihedralOnR3(4),
            "D4h": lambda: gspaces.fullCylindricalOnR3(4),
            "O": gspaces.octaOnR3,
            "Oh": gspaces.fullOctaOnR3,
        }
        start = watch.now()
        space = spaces[name]()
        before, after = (enn.FieldType(space, c * [space.regular_repr]) for c in (c_in, c_out))
        kind = enn.R2Conv if Group.named(name).dim == 2 else enn.R3Conv
        convolution = kind(before, after, kernel_size=3, padding=1).to(watch.device).train()
        seconds = watch.now() - start

    class Unwrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution = convolution

        def forward(self, x):
            return self.convolution(enn.GeometricTensor(x, before)).tensor

    parameters = sum(p.numel() for p in convolution.parameters())
    return Unwrapped(), {"escnn_parameters": parameters, "escnn_build_seconds": seconds}


class PlainNet(nn.Module):
    """The layers of a NoduleNet with ordinary convolutions and norms of the same channels: nothing tied."""

    def __init__(self, net: NoduleNet):
        super().__init__()
        order, stages, before = net.group.order, [], 1
        for channels, pool in zip(net.channels, net.pools, strict=True):
            after = channels * order
            stages += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
            stages += [] if pool is None else [nn.MaxPool2d(pool)]
            before = after
        self.stages = nn.Sequential(*stages)
        self.classifier = nn.Linear(net.classifier.in_features, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.stages(x).flatten(1)).squeeze(1)


def training_step(net: nn.Module, x: Tensor, y: Tensor) -> Callable[[], None]:
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-4)

    def step():
        optimiser.zero_grad()
        F.binary_cross_entropy_with_logits(net(x), y).backward()
        optimiser.step()

    return step


def network_rows(watch: Stopwatch, cases) -> list[Row]:
    """One update of a whole planar network, against plain networks of the same channels in both memory layouts."""
    rows = []
    for name, width in cases:
        x = torch.randn(30, 1, 48, 48, device=watch.device)
        y = (torch.rand(30, device=watch.device) > 0.5).float()
        net = NoduleNet(name, (48, 48), width).to(watch.device).train()
        plain = [PlainNet(net).to(watch.device).train() for _ in range(2)]
        contenders = {
            "plain": training_step(plain[0], x, y),
            "plain, channels-last": training_step(plain[1].to(memory_format=torch.channels_last), x, y),
            "ours": training_step(net, x, y),
        }
        title = f"{name}, width {width}, channels {'/'.join(map(str, net.channels[::2]))}"
        parameters = sum(p.numel() for p in net.parameters())
        rows.append(row(title, parameters, watch.compare(contenders), plain="plain, channels-last"))
        print(".", end="", flush=True)
    return rows


def table(heading: str, rows: list[Row]) -> str:
    """A Markdown table; the ratio is ours to plain (channels-last plain for whole networks)."""
    names = list(dict.fromkeys(name for r in rows for name in r.milliseconds))
    notes = list(dict.fromkeys(name for r in rows for name in r.notes))
    header = [
        "",
        "parameters",
        *(f"{name}, ms" for name in names),
        "ours / plain",
        *(n.replace("_", " ") for n in notes),
    ]
    lines = [f"### {heading}", "", "| " + " | ".join(header) + " |", "| --- |" + " ---: |" * (len(header) - 1)]
    for r in rows:
        cells = [r.title, f"{r.parameters:,}"]
        cells += [f"{r.milliseconds[name]:.2f}" if name in r.milliseconds else "" for name in names]
        cells += [f"**{r.ratio:.2f}** [{r.quartiles[0]:.2f}, {r.quartiles[1]:.2f}]"]
        cells += [f"{r.notes[name]:,.4g}" if name in r.notes else "" for name in notes]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", help="write the numbers here too")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="default: torch's own choice")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--quick", action="store_true", help=f"only {' and '.join(sorted(QUICK))}")
    options = parser.parse_args()
    device = torch.device(options.device)
    if options.clock == "cpu" and device.type != "cpu":
        parser.error("--clock cpu measures the processor; use --clock wall on a GPU")
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    watch = Stopwatch(device, time.process_time if options.clock == "cpu" else time.perf_counter, options.repeats)
    layers = [case for case in LAYERS if not options.quick or case[0] in QUICK]
    networks = [case for case in NETWORKS if not options.quick or case[0] in QUICK]
    training, evaluation = layer_rows(watch, layers)
    results = {
        "One layer, forward and backward, kernel expansion included": training,
        "One layer, evaluation, expanded kernels kept": evaluation,
        "A whole network on 48×48, batch 30, one update (ratio: to plain, channels-last)": network_rows(
            watch, networks
        ),
    }
    escnn = "installed" if importlib.util.find_spec("escnn") else "not installed, not timed"
    machine = (
        torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU thread(s)"
    )
    print(f"\n\n{machine}, {options.clock} time, torch {torch.__version__}, {options.repeats} turns; escnn {escnn}\n")
    for heading, rows in results.items():
        print(table(heading, rows))
    if options.json:
        record = {"machine": machine, "clock": options.clock, "torch": torch.__version__, "repeats": options.repeats}
        record["tables"] = {heading: [asdict(r) for r in rows] for heading, rows in results.items()}
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(record, file, indent=1)


if __name__ == "__main__":
    main()
