"""Dynamic group convolutions against static ones, on patches of the plane: the G-CNN experiment with other networks.

Source: "A Dynamic Group Equivariant Convolutional Networks for Medical Image Analysis" (BIBM 2020), of which only the
abstract is known: see `nn.dynamic`. Protocol, data, augmentation and scores are those of the G-CNN experiment, so that
the networks alone differ. Softmax temperatures fall over the first half of the updates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fewscans import train
from fewscans.data.base import Cases
from fewscans.errors import ParamsError
from fewscans.experiments import gcnn
from fewscans.experiments.base import Run
from fewscans.experiments.dynamic.arms import ARMS
from fewscans.nn.dense_gcnn import DenseGcnn

ANNEALED = 0.5  # share of the updates


@dataclass(frozen=True, kw_only=True)
class Grid(gcnn.Grid):
    """As the G-CNN's.   width: 8 for the channels that the arms name, others scale them.   colours: 1 or 3."""

    ARMS = ARMS

    colours: int = 1

    def __post_init__(self):
        super().__post_init__()
        if len(self.patch) != 2 or any(side % 8 for side in self.patch):
            raise ParamsError(f"patch must be two sizes that 8 divides, got {list(self.patch)}")
        if self.colours not in (1, 3):
            raise ParamsError(f"colours must be 1 or 3, got {self.colours}")


class Dynamic(gcnn.Gcnn):
    """Kernels mixed by attention, with and without a group, on labels of 0 and 1."""

    name = "dynamic"
    ARMS = ARMS
    Grid = Grid
    beaten_by = "auc"

    def check(self, grid: Grid, cases: Cases) -> None:
        have = 3 if gcnn.in_colour(cases) else 1
        if have != grid.colours:
            raise ParamsError(f"colours is {grid.colours}, but images of {cases.path} have {have}; set it in the grid")
        super().check(grid, cases)

    def decides(self, run: Run, grid: Grid) -> dict:
        return super().decides(run, grid) | {"colours": grid.colours}

    def network(self, run: Run, grid: Grid) -> DenseGcnn:
        spec = ARMS[run.arm]
        width, noise = max(1, round(spec.channels * grid.width / 8)), run.seed if spec.noise else None
        anneal = max(1, round(ANNEALED * self.updates(run, grid)))
        net = DenseGcnn(
            spec.group, grid.patch, width, grid.colours, spec.kernels, spec.attention, spec.gate, noise, anneal,
            spec.blind,
        )  # fmt: skip
        net.reset_parameters(train.generator(run.seed, "initialisation"))
        return net

    def compute(self, net: DenseGcnn, steps: int) -> float:
        """Multiply-adds for one image of each batch, in billions."""
        return round(steps * net.macs() / 1e9, 6)

    @torch.inference_mode()
    def seen_in(self, net: DenseGcnn, x: Tensor, grid: Grid) -> dict:
        """attention: of each dynamic layer, the mean entropy of its weights over log K, 1 if they are even, and the
        standard deviation of a weight over images, 0 if kernels do not depend on the image.
        """
        layers, seen = [layer for layer in net.dynamic() if layer.kernels > 1], {}
        if not layers:
            return {}
        handles = [
            layer.register_forward_hook(
                lambda layer, inputs, _, place=place: seen.setdefault(place, []).append(layer.attend(*inputs))
            )
            for place, layer in enumerate(layers)
        ]
        net.eval()
        gcnn.logits_of(net, x, grid)
        for handle in handles:
            handle.remove()
        weights = [torch.cat(seen[place]) for place in range(len(layers))]  # (n, K, 1 or G)
        return {"attention": [
            {
                "entropy": round(float(-(w * w.clamp_min(1e-12).log()).sum(1).mean() / math.log(w.shape[1])), 5),
                "spread": round(float(w.std(0).mean()), 5),
            }
            for w in weights
        ]}  # fmt: skip


EXPERIMENT = Dynamic()
